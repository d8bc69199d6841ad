//! Queries: named well, pure, and with a clean error for every absurd parameter.

use std::collections::BTreeMap;

use tol_events::Event;

use super::guard::{Cause, Guard};
use super::{Report, Rule, Violation};
use crate::{Input, Parameters, QueryError, QuerySpec, State};

/// Values that nobody means.
const ABSURD: [&str; 8] = ["", " ", "-1", "99999999999999999999999999", "\u{0}", "../..", "\u{1F4A5}", "{\"a\":[]}"];

pub(super) fn check(guard: &Guard<'_>, examples: &[Event], report: &mut Report) -> Result<(), Violation> {
    let specs = guard.queries()?;
    if specs.is_empty() {
        return Ok(());
    }
    names(specs)?;
    let states = states(guard, examples)?;
    for state in &states {
        for spec in specs {
            let none = Parameters::new();
            let valid: Parameters = spec.parameters.iter().map(|parameter| (parameter.name.to_owned(), parameter.example.to_owned())).collect();
            for parameters in [&none, &valid] {
                report.queries += 1;
                if let Err(problem) = ask(guard, state, spec.name, parameters)? {
                    return Err(broken(format!("{} with {parameters:?} is refused: {problem}", spec.name)));
                }
            }
            for parameter in spec.parameters {
                for value in ABSURD.map(str::to_owned).into_iter().chain([parameter.example.repeat(2_000)]) {
                    report.queries += 1;
                    let given = Parameters::from([(parameter.name.to_owned(), value)]);
                    match ask(guard, state, spec.name, &given)? {
                        Ok(_) => {}
                        Err(QueryError::Parameter { name, problem }) if name == parameter.name && !problem.is_empty() => {}
                        Err(other) => return Err(broken(format!("{} answers a wrong {} with \"{other}\", which does not name it", spec.name, parameter.name))),
                    }
                }
            }
        }
        if !matches!(ask(guard, state, "no-such-query", &Parameters::new())?, Err(QueryError::Unknown(_))) {
            return Err(broken("a query that it does not have is answered".to_owned()));
        }
    }
    Ok(())
}

fn broken(detail: String) -> Violation {
    Violation::new(Rule::Queries, detail)
}

fn names(specs: &[QuerySpec]) -> Result<(), Violation> {
    let plain =
        |name: &str, more: char| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == more);
    for (at, spec) in specs.iter().enumerate() {
        if !plain(spec.name, '-') || spec.about.is_empty() || !spec.subject.contains('/') || specs[..at].iter().any(|earlier| earlier.name == spec.name) {
            return Err(broken(format!(
                "\"{}\" needs a name of its own of lower case letters, digits and hyphens, a sentence, and a subject kind/id",
                spec.name
            )));
        }
        let unfit = spec.parameters.iter().find(|parameter| !plain(parameter.name, '_') || parameter.name == "subject" || parameter.about.is_empty());
        if let Some(parameter) = unfit {
            return Err(broken(format!("parameter \"{}\" of {} needs a plain name other than subject, and a sentence", parameter.name, spec.name)));
        }
    }
    Ok(())
}

/// The state of every subject after the examples, and one that nothing is known of.
fn states(guard: &Guard<'_>, examples: &[Event]) -> Result<Vec<State>, Violation> {
    let mut states: BTreeMap<String, State> = BTreeMap::from([(String::new(), guard.empty_state()?)]);
    for example in examples {
        let encoded = example.encode();
        let input = Input::Event(encoded.view());
        let subject = input.subject().to_owned();
        if !states.contains_key(&subject) {
            states.insert(subject.clone(), guard.empty_state()?);
        }
        let Some(state) = states.get_mut(&subject) else { continue };
        let view = encoded.view();
        if let Ok(events) = guard.decide(state, input, &Cause { source: view.source(), id: view.id() })? {
            for event in events {
                guard.evolve(state, &event)?;
            }
        }
    }
    Ok(states.into_values().collect())
}

/// Asks twice, compares, and looks whether the state is as it was.
fn ask(guard: &Guard<'_>, state: &State, query: &str, parameters: &Parameters) -> Result<Result<serde_json::Value, QueryError>, Violation> {
    let before = guard.write(state)?;
    let first = guard.query(state, query, parameters)?;
    if guard.query(&guard.read(&before)?, query, parameters)? != first {
        return Err(broken(format!("{query} with {parameters:?} was answered differently the second time")));
    }
    if guard.write(state)? != before {
        return Err(broken(format!("{query} changed the state")));
    }
    Ok(first)
}
