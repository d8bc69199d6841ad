//! What clients tell real systems: their examples, about several subjects, repeated, late, and in other orders.

use std::collections::BTreeSet;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tol_events::{Attribute, Event, EventTime, kinds};

use super::Cast;

/// A fact, and where it is written by others than clients.
type Told = (Option<&'static str>, Event);

/// The example as if it had happened to others: ids of the examples' subjects carry `suffix`, in its subject, its target and its data.
fn about_others(example: &Event, ids: &BTreeSet<String>, suffix: &str) -> Event {
    let mut event = example.clone();
    for attribute in [Attribute::Subject, Attribute::Target] {
        if !example.get(attribute).is_empty() {
            event.set(attribute, format!("{}{suffix}", example.get(attribute)));
        }
    }
    if let Ok(mut data) = serde_json::from_slice(&example.data) {
        rename(&mut data, ids, suffix);
        event.data = data.to_string().into_bytes();
    }
    event
}

fn rename(value: &mut Value, ids: &BTreeSet<String>, suffix: &str) {
    match value {
        Value::String(text) if ids.contains(text.as_str()) => text.push_str(suffix),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, ids, suffix)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, ids, suffix)),
        _ => {}
    }
}

/// Takes one after the other from the front of any, so that each keeps its order.
fn interleave(random: &mut ChaCha8Rng, mut lines: Vec<Vec<Told>>) -> Vec<Told> {
    lines.iter_mut().for_each(|line| line.reverse());
    let mut all = Vec::new();
    while let Some(most) = lines.iter().map(Vec::len).sum::<usize>().checked_sub(1) {
        // Each fact that is left is as likely as any other to be next in its line.
        let mut at = random.random_range(0..=most);
        for line in &mut lines {
            if at < line.len() {
                all.extend(line.pop());
                break;
            }
            at -= line.len();
        }
    }
    all
}

impl Cast {
    /// The topic that this example stands in, if not among the facts; none where one of those here writes it itself.
    fn stands_in(&self, system: usize, example: &Event) -> Option<Option<&'static str>> {
        let event_type = example.get(Attribute::Type);
        let wanting: Vec<&'static str> = self.described.get(system)?.inputs.iter().filter(|input| input.wants(event_type)).map(|input| input.topic).collect();
        let home = kinds::topic_of(example.get(Attribute::Subject));
        if wanting.contains(&home) {
            return Some(None);
        }
        let own = wanting.into_iter().find(|topic| topic.ends_with(".events"))?;
        let is_here = self.described.iter().any(|description| own.strip_suffix(".events") == Some(description.name));
        if is_here { None } else { Some(Some(own)) }
    }

    /// What clients tell in a run, and what is written to topics of systems that are not here.
    pub(in crate::simulation) fn facts(&self, random: &mut ChaCha8Rng) -> (Vec<Event>, Vec<(&'static str, Event)>) {
        let subjects = self
            .examples
            .iter()
            .flatten()
            .flat_map(|example| [example.get(Attribute::Subject), example.get(Attribute::Target)])
            .filter(|subject| !subject.is_empty());
        let ids: BTreeSet<String> =
            subjects.flat_map(|subject| [Some(subject), subject.split_once('/').map(|(_, id)| id)]).flatten().map(str::to_owned).collect();
        let mut lines: Vec<Vec<Told>> = Vec::new();
        let others = random.random_range(1..=3);
        // Half of the runs leave nothing out, so that what comes late in a subject's life is reached.
        let kept = if random.random_bool(0.5) { 1.0 } else { 0.8 };
        for (system, examples) in self.examples.iter().enumerate() {
            for suffix in ["", "-b", "-c"].into_iter().take(others) {
                let told = examples.iter().filter_map(|example| Some((self.stands_in(system, example)?, about_others(example, &ids, suffix))));
                lines.push(told.filter(|_| random.random_bool(kept)).collect());
            }
        }
        let mut all = interleave(random, lines);
        if random.random_bool(0.25) {
            all.shuffle(random);
        }
        let repeats = all.len() / 5;
        for _ in 0..repeats {
            let Some(again) = all.choose(random).cloned() else { break };
            all.insert(random.random_range(0..=all.len()), again);
        }
        mistime(random, &mut all);
        let (mut facts, mut of_absent) = (Vec::new(), Vec::new());
        for (number, (topic, mut event)) in all.into_iter().enumerate() {
            let id = format!("{}~{number}", event.get(Attribute::Id));
            event.set(Attribute::Id, id);
            match topic {
                Some(topic) => of_absent.push((topic, event)),
                None => facts.push(event),
            }
        }
        (facts, of_absent)
    }
}

/// Some facts are late or early, or happened when another did.
fn mistime(random: &mut ChaCha8Rng, all: &mut [Told]) {
    let times: Vec<EventTime> = all.iter().filter_map(|(_, event)| EventTime::parse(event.get(Attribute::Time))).collect();
    let rate = if random.random_bool(0.3) { 0.3 } else { 0.03 };
    for (_, event) in all {
        let Some(time) = EventTime::parse(event.get(Attribute::Time)).filter(|_| random.random_bool(rate)) else { continue };
        let other = times.choose(random).copied().unwrap_or(time);
        let time = if random.random_bool(0.5) { other } else { time.plus_micros(random.random_range(-7_200_000_000..7_200_000_000)) };
        event.set(Attribute::Time, time.to_string());
    }
}
