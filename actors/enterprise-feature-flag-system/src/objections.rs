//! What speaks against a definition among the flags it would stand with, and what a flag alone cannot know: circles of prerequisites, segments that
//! nobody has defined. People's changes are refused for it; imports are not, as their formats say what such a flag answers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::definition::{Definition, Rule};
use crate::evaluation::Format;
use crate::served::FlagSet;

/// One sentence an objection; none if the definition may stand.
pub fn objections(set: &FlagSet, definition: &Definition) -> Vec<String> {
    let mut found = Vec::new();
    for (name, environment) in &definition.environments {
        for prerequisite in &environment.prerequisites {
            if prerequisite.flag != definition.key && set.get(&prerequisite.flag).is_none() {
                found.push(format!("environment {name}: prerequisite \"{}\" is no flag; make it first", prerequisite.flag));
            }
        }
        if let Some(circle) = circle(set, definition, name) {
            found.push(format!("environment {name}: prerequisites run in a circle: {}", circle.join(" needs ")));
        }
        let known = segments(set, name);
        for (index, rule) in environment.rules.iter().enumerate() {
            let Rule::Targeted(rule) = rule else { continue };
            for id in rule.segments.iter().filter(|id| !known.contains(id)) {
                found.push(format!("environment {name}: rule {index} names segment {id}, which the environment does not have; define it first"));
            }
        }
    }
    found
}

/// Ids of the segments an environment has.
fn segments(set: &FlagSet, environment: &str) -> BTreeSet<i64> {
    let shared = set.shared(environment).and_then(|shared| shared.get(&Format::Unleash)?.get("segments")?.as_array());
    shared.into_iter().flatten().filter_map(|segment| segment.get("id").and_then(Value::as_i64)).collect()
}

/// The way from the flag back to itself, if there is one.
fn circle(set: &FlagSet, definition: &Definition, environment: &str) -> Option<Vec<String>> {
    let needs = |key: &str| {
        let known = set.get(key);
        let of = if key == definition.key { Some(definition) } else { known.map(|served| &served.definition) };
        let environment = of.and_then(|definition| definition.environments.get(environment));
        environment.into_iter().flat_map(|environment| environment.prerequisites.iter().map(|prerequisite| prerequisite.flag.clone())).collect::<Vec<_>>()
    };
    // Depth first with the way as a stack: no recursion, as what comes in may be as deep as there are flags.
    let mut way = vec![(definition.key.clone(), needs(&definition.key))];
    let mut seen = BTreeSet::new();
    while let Some((_, rest)) = way.last_mut() {
        match rest.pop() {
            None => drop(way.pop()),
            Some(next) if next == definition.key => {
                return Some(way.into_iter().map(|(key, _)| key).chain([next]).collect());
            }
            Some(next) => {
                if seen.insert(next.clone()) {
                    let further = needs(&next);
                    way.push((next, further));
                }
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tol_events::EventTime;

    use super::*;
    use crate::served::{Change, Served, Shared};

    fn flag(key: &str, needs: &[&str], segments: &[i64]) -> Definition {
        let prerequisites: Vec<Value> = needs.iter().map(|flag| json!({"flag": flag, "enabled": true})).collect();
        let rule = json!({"kind": "targeted", "segments": segments, "serve": {"serve": "on"}});
        let environment = json!({"enabled": true, "rules": [rule], "prerequisites": prerequisites});
        serde_json::from_value(json!({"key": key, "type": "boolean", "family": "unleash", "environments": {"production": environment}})).unwrap()
    }

    fn set(flags: &[Definition]) -> FlagSet {
        let shared: Shared = [(Format::Unleash, json!({"segments": [{"id": 1, "constraints": []}]}).as_object().unwrap().clone())].into();
        let changes = flags.iter().map(|definition| Change::Flag {
            key: definition.key.clone(),
            served: Some(Arc::new(Served { definition: definition.clone(), version: 1, changed_at: EventTime::default(), stale_at: None, stale_since: None })),
        });
        FlagSet::default().with(changes).with([Change::Shared { environment: "production".into(), shared: Arc::new(shared) }])
    }

    #[test]
    fn a_circle_of_prerequisites_is_named_with_its_way() {
        let set = set(&[flag("b", &["d", "c"], &[]), flag("c", &["a"], &[]), flag("d", &["d2"], &[]), flag("d2", &["d"], &[]), flag("a", &[], &[])]);
        assert_eq!(objections(&set, &flag("a", &["b"], &[])), ["environment production: prerequisites run in a circle: a needs b needs c needs a"]);
        assert_eq!(objections(&set, &flag("a", &["d"], &[])), [""; 0], "a circle of others is not this flag's");
        assert_eq!(objections(&set, &flag("a", &["a"], &[])), ["environment production: prerequisites run in a circle: a needs a"]);
    }

    #[test]
    fn unknown_flags_and_segments_are_named() {
        let set = set(&[flag("b", &[], &[])]);
        assert_eq!(objections(&set, &flag("a", &["b"], &[1])), [""; 0]);
        let found = objections(&set, &flag("a", &["gone"], &[1, 7]));
        assert!(found.len() == 2 && found[0].contains("\"gone\" is no flag") && found[1].contains("segment 7"), "{found:?}");
    }

    #[test]
    fn a_long_chain_is_no_matter() {
        let chain: Vec<Definition> = (0..20_000).map(|number| flag(&format!("f{number}"), &[&format!("f{}", number + 1)], &[])).collect();
        assert_eq!(objections(&set(&chain), &flag("a", &["f0"], &[])), [""; 0]);
    }
}
