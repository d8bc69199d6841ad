//! Many calls into the log: answered when they are durable.

use std::collections::BTreeSet;
use std::sync::Arc;

use tol_events::{Attribute, Event};
use tol_plug::{Kind, Platform, Problem};

use super::{Call, Refused, facts};
use crate::metric_definitions;
use crate::serving::CdpService;

/// What became of a request's calls.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Calls that are durable, repeats among them.
    pub(crate) accepted: usize,
    /// Calls that are not taken, by their place in the request.
    pub(crate) rejected: Vec<(usize, String)>,
}

/// Admits calls; one that is wrong does not keep the others out.
pub(crate) async fn admit(
    service: &CdpService,
    platform: &Arc<dyn Platform>,
    source: &str,
    calls: Vec<(usize, Result<Call, Refused>)>,
) -> Result<Taken, Problem> {
    let Some(permit) = service.enter(calls.len()) else {
        return Err(Problem::new(Kind::TOO_MANY_REQUESTS, "too many calls are on their way into the log; send them again").retry_after(1));
    };
    let mut taken = Taken::default();
    let mut facts: Vec<Event> = Vec::with_capacity(calls.len());
    // The call of each fact.
    let mut places: Vec<usize> = Vec::with_capacity(calls.len());
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    for (index, call) in calls {
        match call.map_err(facts::Error::Call).and_then(|call| facts::facts(service, source, call)) {
            Ok(found) => {
                taken.accepted += 1;
                // Two calls with one id in one request are one call: the first.
                for fact in found.into_iter().filter(|fact| seen.insert(key_of(fact))) {
                    facts.push(fact);
                    places.push(index);
                }
            }
            Err(facts::Error::Call(refused)) => taken.rejected.push((index, refused.to_string())),
            Err(facts::Error::Node(problem)) => return Err(problem),
        }
    }
    admit_all(platform, &mut facts, &mut places, &mut taken).await?;
    facts.iter().filter(|fact| fact.get(Attribute::Type) == crate::types::IDENTIFIER_NAMED).for_each(|fact| service.named.add(fact.get(Attribute::Id)));
    taken.rejected.sort();
    metrics::counter!(metric_definitions::CALLS).increment(taken.accepted as u64);
    metrics::counter!(metric_definitions::REFUSED).increment(taken.rejected.len() as u64);
    drop(permit);
    Ok(taken)
}

fn key_of(fact: &Event) -> (String, String) {
    (fact.get(Attribute::Source).to_owned(), fact.get(Attribute::Id).to_owned())
}

/// Admits facts. A call whose id the log has with other content is the same call, sent again by a client whose clock was corrected differently: it is
/// left out, and the first one stays. A call whose content no fact may have (an amount of money out of bounds) is rejected by its place.
async fn admit_all(platform: &Arc<dyn Platform>, facts: &mut Vec<Event>, places: &mut Vec<usize>, taken: &mut Taken) -> Result<(), Problem> {
    while !facts.is_empty() {
        let Err(problem) = platform.admit(facts.clone()).await else { return Ok(()) };
        let named = problem.extensions.get("index").and_then(serde_json::Value::as_u64).and_then(|index| usize::try_from(index).ok());
        let (Some(index), Some(place)) = (named, named.and_then(|index| places.get(index).copied())) else { return Err(problem) };
        if problem.kind == Kind::INVALID_DATA || problem.kind == Kind::INVALID_EVENT {
            taken.accepted -= 1;
            taken.rejected.push((place, problem.detail));
            let keep: Vec<bool> = places.iter().map(|known| *known != place).collect();
            let mut kept = keep.iter();
            facts.retain(|_| kept.next().copied().unwrap_or_default());
            places.retain(|known| *known != place);
        } else if problem.kind == Kind::ID_CONFLICT {
            facts.remove(index);
            places.remove(index);
        } else {
            return Err(problem);
        }
    }
    Ok(())
}
