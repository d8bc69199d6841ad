//! The runner that forgets a person: suppresses the identifiers, then destroys their keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tol_events::cdp::{KeyDestructionRequested, SuppressionRequested};
use tol_events::engagement::IdentifierRef;
use tol_events::{DomainEvent as _, Event};
use tol_plug::{Effect, Failure, OnStop, Problem, Runner};
use tol_system::EffectOutcome;

use crate::evolve::ERASE;
use crate::serving::{CdpService, by_profile};

/// Who is named as the one who erased.
const BY: &str = "intelligent-customer-data-platform";
/// What an erasure covers, for its certificate.
const COVERED: &[&str] = &[
    "the key of each identifier: values, traits, properties and contexts that are sealed with it cannot be opened any more, in the log and in copies of it",
    "rows of the projection identifiers",
    "suppression of each identifier: a late or repeated call makes nothing of it again",
    "audiences: the profile leaves them",
];

/// The table of runners.
pub(crate) static RUNNERS: &[Runner<CdpService>] = &[Runner {
    name: ERASE,
    at_once: 4,
    tries: 10,
    limit: Duration::from_secs(120),
    on_stop: OnStop::Finish,
    examples: || {
        let payload = json!({"erasure_id": "x1", "profile_id": "p1", "identifiers": [{"identifier_id": "u9", "identifier_type": "user_id"}]});
        vec![(payload, EffectOutcome::Completed(json!({"identifiers": ["u9"], "covered": COVERED})))]
    },
    run: erase,
}];

fn erase(service: &Arc<CdpService>, effect: &Effect<'_>) -> Result<Value, Failure> {
    let payload = effect.payload().to_string();
    let asked: KeyDestructionRequested<'_> =
        serde_json::from_str(&payload).map_err(|error| Failure::permanent(format!("the payload does not read: {error}")))?;
    let platform = &**effect.platform;
    let mut identifiers: BTreeMap<String, IdentifierRef> = asked.identifiers.iter().map(|known| (known.identifier_id.clone(), known.clone())).collect();
    // Whoever joined the profile since that was asked for goes too.
    if let Some(profile) = by_profile(platform, &service.rules, &asked.profile_id).map_err(retry)? {
        identifiers.extend(profile.members.into_iter().map(|member| (member.identifier_id.clone(), member)));
    }
    let suppress = |identifier_id: &String| -> Option<Event> {
        let data = SuppressionRequested { identifier_id: identifier_id.as_str().into(), by: BY.into() };
        data.to_event(format!("{}/{identifier_id}", effect.key()), "/effects/intelligent-customer-data-platform").ok()
    };
    let facts: Vec<Event> = identifiers.keys().filter_map(suppress).collect();
    if !facts.is_empty() {
        wait(platform.admit(facts))?;
    }
    for identifier_id in identifiers.keys() {
        if effect.cancelled() {
            return Err(Failure::Cancelled);
        }
        wait(platform.erase(&format!("identifier/{identifier_id}"), BY, &format!("erasure {}", asked.erasure_id)))?;
    }
    service.named.clear();
    Ok(json!({"identifiers": identifiers.keys().collect::<Vec<_>>(), "covered": COVERED}))
}

/// Waits for the node on a thread that may block.
fn wait<T>(answer: impl Future<Output = Result<T, Problem>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::retry(error.to_string()))?.block_on(answer).map_err(retry)
}

fn retry(problem: Problem) -> Failure {
    Failure::retry(problem.detail)
}
