//! What the description and the examples have to be before anything is run.

use tol_events::reserved::{PREFIX, STOP_ENGAGED, STOP_RELEASED};
use tol_events::{Attribute, Event};

use super::guard::{Cause, Guard, named};
use super::{Rule, Violation};
use crate::{Description, Input};

/// `domain.thing_done.v1`: at least two parts before the version, small letters, digits and underscores.
fn is_versioned_type(event_type: &str) -> bool {
    let Some((name, version)) = event_type.rsplit_once(".v") else { return false };
    let part_is_plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    name.contains('.') && name.split('.').all(part_is_plain) && !version.starts_with('0') && version.parse::<u32>().is_ok()
}

fn is_reserved(event_type: &str) -> bool {
    event_type.starts_with(PREFIX) || event_type == STOP_ENGAGED || event_type == STOP_RELEASED
}

/// Adds what is wrong with the description.
pub(super) fn description(description: &Description, violations: &mut Vec<Violation>) {
    let mut broken = |detail: String| violations.push(Violation::new(Rule::Description, detail));
    let name_is_plain = !description.name.is_empty() && description.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !name_is_plain {
        broken(format!("the name \"{}\" is not made of small letters, digits and hyphens; it names a folder and a topic", description.name));
    }
    if !(1..=7).contains(&description.tier) {
        broken(format!("tier {} is not one of 1 (hub) to 7 (research)", description.tier));
    }
    if description.code_version.is_empty() || description.state_version == 0 {
        broken("code_version is empty or state_version is 0; both tell caches and claims apart".into());
    }
    if description.about.is_empty() {
        broken("about is empty; say in one sentence what the system does".into());
    }
    if !(description.uptime_target > 0.0 && description.uptime_target <= 1.0) {
        broken(format!("the uptime target {} is not above 0 and at most 1", description.uptime_target));
    }
    if description.inputs.is_empty() || description.inputs.iter().any(|input| input.topic.is_empty() || input.types.contains(&"")) {
        broken("there are no inputs, or one without topic or with an empty type prefix (no prefix at all means every type)".into());
    }
    let own_topic = format!("{}.events", description.name);
    // What it tells its other subjects is an input of theirs, by types that it names: events of these with a target.
    let reads_all_of_its_own = |input: &crate::InputSpec| input.topic == own_topic && !input.types.iter().all(|told| description.emits.contains(told));
    if description.inputs.iter().any(|input| reads_all_of_its_own(input) || (input.topic == own_topic && input.types.is_empty())) {
        broken("it reads its own topic without naming the types that its subjects tell each other; its own events reach it through evolve".into());
    }
    if description.depends_on.contains(&description.name) {
        broken("it depends on itself".into());
    }
    if description.emits.is_empty() {
        broken("emits is empty; a system that decides nothing is no system".into());
    }
    for (index, event_type) in description.emits.iter().enumerate() {
        if is_reserved(event_type) {
            broken(format!("{event_type} is reserved for the runtime"));
        } else if !is_versioned_type(event_type) {
            broken(format!("\"{event_type}\" is not <domain>.<thing>_<past tense>.v<N>"));
        }
        if description.emits[..index].contains(event_type) {
            broken(format!("{event_type} is listed twice"));
        }
    }
}

/// The examples, and what is wrong with them. Each is decided from the empty state, where none may fail and one at least leads to an event.
pub(super) fn examples(guard: &Guard<'_>, violations: &mut Vec<Violation>) -> Vec<Event> {
    match checked_examples(guard, violations) {
        Ok(examples) => examples,
        Err(violation) => {
            violations.push(violation);
            Vec::new()
        }
    }
}

fn checked_examples(guard: &Guard<'_>, violations: &mut Vec<Violation>) -> Result<Vec<Event>, Violation> {
    let examples = guard.examples()?;
    if guard.examples()? != examples {
        return Err(Violation::new(Rule::Determinism, "examples() gives other examples the second time"));
    }
    if guard.configuration()? != guard.configuration()? {
        return Err(Violation::new(Rule::Determinism, "configuration() gives another configuration the second time"));
    }
    if examples.is_empty() {
        return Err(Violation::new(Rule::Examples, "examples() is empty; the contract suite has nothing to run"));
    }
    let mut led_to_an_event = false;
    for example in &examples {
        example_is_whole(guard, example, violations);
        let encoded = example.encode();
        let view = encoded.view();
        let cause = Cause { source: view.source(), id: view.id() };
        match guard.decide(&guard.empty_state()?, Input::Event(view), &cause) {
            Ok(Ok(events)) => led_to_an_event |= !events.is_empty(),
            Ok(Err(problem)) => violations.push(Violation::new(Rule::Examples, format!("{}: {problem}", named(&Input::Event(view), &cause)))),
            Err(violation) => violations.push(violation),
        }
    }
    if !led_to_an_event {
        violations.push(Violation::new(Rule::Examples, "no example leads to an event when it comes first; add one that does"));
    }
    Ok(examples)
}

fn example_is_whole(guard: &Guard<'_>, example: &Event, violations: &mut Vec<Violation>) {
    let mut broken = |problem: &str| {
        let detail = format!("{} {}: {problem}", example.get(Attribute::Type), example.get(Attribute::Id));
        violations.push(Violation::new(Rule::Examples, detail));
    };
    for attribute in [Attribute::Id, Attribute::Source, Attribute::Type, Attribute::Subject] {
        if example.get(attribute).is_empty() {
            broken(&format!("it has no {}", attribute.name()));
        }
    }
    let encoded = example.encode();
    if encoded.view().time().is_none() {
        broken("it has no time, or one that is not RFC 3339");
    }
    if !example.get(Attribute::Subject).contains('/') {
        broken("its subject is not kind/id");
    }
    if !guard.description.inputs.iter().any(|input| input.wants(example.get(Attribute::Type))) {
        broken("no input wants its type");
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&example.data).is_err() {
        broken("its data is not JSON");
    }
}
