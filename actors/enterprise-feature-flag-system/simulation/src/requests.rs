//! What the model says of a request before it sees the answer.

use serde_json::Value;
use tol_runtime::simulation::Recorded;

use crate::flag::{Flag, Ramp, arms, environments, errors, is_live, text};

/// What a request leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It is granted, or taken in: some events, none of them a refusal.
    Granted,
    /// It changes nothing, and nothing is said.
    Silent,
    /// It is refused, and changes nothing.
    Refused,
    /// Taken in by some and refused by others: reports, of which experiments take what a rollout cannot.
    Both,
}

use Expected::{Both, Granted, Refused, Silent};

/// Bare kind of a type: `flags.kill_requested.v1` is `kill_requested`.
pub(crate) fn kind(event_type: &str) -> &str {
    event_type.split('.').nth(1).unwrap_or_default()
}

pub(crate) fn expected(flag: &Flag, fact: &Recorded) -> Expected {
    let data = &fact.data;
    match kind(&fact.event_type) {
        "change_requested" => change(flag, data),
        "kill_requested" => kill(flag, data),
        "rollout_requested" => rollout(flag, data),
        "rollback_requested" => match &flag.running {
            Some(ramp) if ramp.id == text(data, "rollout_id") => Granted,
            _ if flag.rollouts.contains(text(data, "rollout_id")) => Silent,
            _ => Refused,
        },
        "metrics_observed" => metrics(flag, data),
        "counts_reported" => counts(flag, data),
        "experiment_requested" => match (text(data, "action"), flag.experiments.get(text(data, "experiment_id"))) {
            ("start", None) if flag.definition.is_none() => Refused,
            ("start", None) => Granted,
            ("conclude", None) => Refused,
            ("conclude", Some(known)) if !known.concluded => Granted,
            _ => Silent,
        },
        "deployment_observed" => match &flag.running {
            Some(ramp) if is_about(data, &ramp.environment) && trouble(data) != ramp.troubles.get(text(data, "service")).cloned() => Granted,
            _ => Silent,
        },
        "shared_change_requested" => {
            let (known, wanted) = (flag.shared.get(text(data, "format")), &data["shared"]);
            let same = known.map_or(wanted.as_object().is_some_and(serde_json::Map::is_empty), |known| known == wanted);
            if same { Silent } else { Granted }
        }
        _ => Silent,
    }
}

/// Whether it is about this environment: it names it, or none.
pub(crate) fn is_about(data: &Value, environment: &str) -> bool {
    data.get("environment").is_none_or(|named| named == environment)
}

/// What is known of a service, if a rollout has to wait for it.
pub(crate) fn trouble(data: &Value) -> Option<String> {
    let what = text(data, "what");
    (!matches!(what, "succeeded" | "incident_resolved")).then(|| format!("{what} {}", text(data, "deployment_id")))
}

fn change(flag: &Flag, data: &Value) -> Expected {
    let wanted = &data["definition"];
    let too_much = |environment: &Value| {
        environment["rules"].as_array().into_iter().flatten().any(|rule| rule["share"]["part"].as_u64().is_some_and(|part| part > crate::flag::WHOLE))
    };
    let shown = environments(wanted);
    if wanted["key"] != data["key"] || shown.values().any(too_much) || data.get("base_version").is_some_and(|base| *base != flag.version) {
        return Refused;
    }
    let Some(known) = &flag.definition else { return Granted };
    // Another format hashes otherwise: people would change sides.
    if known["family"] != wanted["family"] && data["anew"] != true && !environments(known).is_empty() {
        return Refused;
    }
    if known == wanted && flag.stale_at == data["stale_at"] {
        return Silent;
    }
    match &flag.running {
        // Whom its rule reaches, and by what they are drawn, is the rollout's alone while it runs.
        Some(ramp) if ramp.rule_of(known) != ramp.rule_of(wanted) || known["family"] != wanted["family"] => Refused,
        _ => Granted,
    }
}

/// Environments in which a kill changes something.
pub(crate) fn killed(definition: &Value, data: &Value) -> Vec<String> {
    environments(definition).iter().filter(|(name, environment)| is_about(data, name) && environment["killed"] != true).map(|(name, _)| name.clone()).collect()
}

fn kill(flag: &Flag, data: &Value) -> Expected {
    let Some(definition) = &flag.definition else { return Refused };
    if !environments(definition).keys().any(|name| is_about(data, name)) {
        return Refused;
    }
    if killed(definition, data).is_empty() { Silent } else { Granted }
}

fn rollout(flag: &Flag, data: &Value) -> Expected {
    if flag.rollouts.contains(text(data, "rollout_id")) {
        return Silent;
    }
    let environment = flag.definition.as_ref().and_then(|definition| environments(definition).get(text(data, "environment")));
    let rule = data["rule"].as_u64().and_then(|rule| usize::try_from(rule).ok());
    match (environment, rule) {
        (Some(environment), Some(rule)) if flag.running.is_none() && is_live(environment) && environment["rules"].get(rule).is_some() => Granted,
        _ => Refused,
    }
}

fn metrics(flag: &Flag, data: &Value) -> Expected {
    let Some(ramp) = flag.running.as_ref().filter(|ramp| ramp.id == text(data, "rollout_id")) else { return Silent };
    let look = &data["observation"];
    let errors = look["metrics"].get("errors").map(arms);
    let broken = match errors {
        None => false,
        Some(None) => true,
        Some(Some(errors)) => !ramp.is_guarded() || ramp.errors_fall(&errors),
    };
    if broken || ramp.falls(subjects(look)) { Refused } else { Granted }
}

/// Subjects of (control, treatment) in a look.
pub(crate) fn subjects(look: &Value) -> [u64; 2] {
    ["control_subjects", "treatment_subjects"].map(|arm| look[arm].as_u64().unwrap_or(0))
}

/// Whether those whom the rule reaches can be compared with all others: it is the only rule.
pub(crate) fn is_comparable(flag: &Flag, ramp: &Ramp) -> bool {
    let rules = flag.definition.as_ref().and_then(|definition| environments(definition).get(&ramp.environment)?["rules"].as_array());
    ramp.rule == 0 && rules.is_some_and(|rules| rules.len() == 1)
}

/// The rollout that a report is added to.
pub(crate) fn counted_by<'f>(flag: &'f Flag, data: &Value) -> Option<&'f Ramp> {
    flag.running.as_ref().filter(|ramp| is_about(data, &ramp.environment))
}

fn counts(flag: &Flag, data: &Value) -> Expected {
    let experiments = flag.experiments.values().any(|experiment| !experiment.concluded && experiment.counts);
    let rollout = match counted_by(flag, data) {
        None => Silent,
        Some(ramp) if !is_comparable(flag, ramp) => {
            if ramp.held == "incomparable" {
                Silent
            } else {
                Granted
            }
        }
        Some(ramp) => {
            let mut sum = ramp.clone();
            sum.report(data);
            if ramp.falls(sum.counted) { Refused } else { Granted }
        }
    };
    match (experiments, rollout) {
        (true, Refused) => Both,
        (true, _) => Granted,
        (false, rollout) => rollout,
    }
}

/// The guard metric of a look that reports make up, if it can be taken: it is left out where it falls, and comes with a later look.
pub(crate) fn takeable(ramp: &Ramp, data: &Value) -> Option<crate::flag::Arms> {
    let mut sum = ramp.clone();
    sum.report(data);
    let _ = errors(data);
    (ramp.is_guarded() && sum.measures && !ramp.errors_fall(&sum.measured)).then_some(sum.measured)
}
