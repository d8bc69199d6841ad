//! Environments, and what their flags share: segments, saved groups, evaluators.

use std::collections::BTreeMap;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use serde_json::{Map, Value};
use tol_events::flags::SharedChangeRequested;
use tol_plug::platform::Folded;
use tol_plug::{Kind, Outcome, Problem, Reason, json, json_with};

use super::import::shared_wanted;
use super::requests::{decide_all, pending};
use super::types::{ChangeShared, FlagEnvironment};
use super::{PATIENCE, files};
use crate::Request;
use crate::evaluation::Format;
use crate::served::FlagSet;

fn environments(set: &FlagSet) -> Vec<FlagEnvironment> {
    let mut flags: BTreeMap<String, usize> = set.environments().into_iter().map(|name| (name, 0)).collect();
    for (_, served) in set.sorted() {
        for name in served.definition.environments.keys() {
            *flags.entry(name.clone()).or_default() += 1;
        }
    }
    let shared = |name: &str| -> BTreeMap<String, Map<String, Value>> {
        let found = set.shared(name).into_iter().flat_map(|shared| shared.iter());
        found.map(|(format, shared)| (format.name().to_owned(), shared.clone())).collect()
    };
    flags.into_iter().map(|(name, flags)| FlagEnvironment { shared: shared(&name), name, flags }).collect()
}

pub(super) async fn all(request: Request) -> Outcome {
    match files::set_at(&request, request.query()?.past()?).await? {
        Folded::Done(set) => json(&environments(&set)),
        Folded::Running { progress } => files::running(progress),
    }
}

pub(super) async fn change(request: Request, payload: Payload) -> Outcome {
    let asked: ChangeShared = request.json(payload).await?;
    let (environment, format, reason) = (request.path("environment"), request.path("format"), Reason::checked(&asked.reason)?);
    let format: Format =
        format.parse().map_err(|_| Problem::new(Kind::NOT_FOUND, format!("there is no format \"{format}\"; use unleash, growthbook or flagd")))?;
    let change = SharedChangeRequested {
        environment: environment.into(),
        format: format.name().into(),
        shared: asked.shared.clone(),
        by: request.caller().name().into(),
        reason: reason.into(),
    };
    let wanted = shared_wanted(&change, format, request.platform().now()).map_err(|error| Problem::internal(error.to_string()))?;
    let unmet = decide_all(&request, vec![wanted], PATIENCE).await?;
    if !unmet.pending.is_empty() {
        return json_with(StatusCode::ACCEPTED, &pending(&request, unmet.pending));
    }
    let all = environments(&request.serving.server.current());
    // Without flags and with nothing shared there is no such environment any more.
    let none = FlagEnvironment { name: environment.to_owned(), flags: 0, shared: BTreeMap::new() };
    json(&all.into_iter().find(|one| one.name == environment).unwrap_or(none))
}
