//! Environments, and what their flags share: segments, saved groups, evaluators.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Path, Payload};
use serde_json::{Map, Value};
use tol_enterprise_feature_flag_system::served::FlagSet;
use tol_events::flags::SharedChangeRequested;

use super::requests::{decide_all, pending};
use super::{Outcome, PATIENCE, State, caller, files, json, json_with};
use crate::flags::import::{Wanted, shared_wanted};
use crate::http::api::{ChangeShared, FlagEnvironment, Folded};
use crate::http::parameters::{Query, json_body_within};
use crate::http::problem::{Kind, Problem};

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

pub(crate) async fn all(state: State, request: HttpRequest) -> Outcome {
    match files::set_at(&state, Query::of(&request)?.past()?).await? {
        Folded::Done(set) => json(&environments(&set)),
        Folded::Running { progress } => files::running(progress),
    }
}

pub(crate) async fn change(state: State, request: HttpRequest, place: Path<(String, String)>, payload: Payload) -> Outcome {
    let asked: ChangeShared = json_body_within(&request, payload, state.body_limit).await?;
    let ((environment, format), reason) = (place.into_inner(), super::reason(&asked.reason)?);
    let format = format.parse().map_err(|_| Problem::new(Kind::NotFound, format!("there is no format \"{format}\"; use unleash, growthbook or flagd")))?;
    let request = SharedChangeRequested {
        environment: environment.as_str().into(),
        format: tol_enterprise_feature_flag_system::evaluation::Format::name(format).into(),
        shared: asked.shared.clone(),
        by: caller(&request).into(),
        reason: reason.into(),
    };
    let wanted: Wanted = shared_wanted(&request, format, chrono::Utc::now().into()).map_err(|error| Problem::internal(error.to_string()))?;
    let settled = decide_all(&state, vec![wanted], PATIENCE).await?;
    if !settled.pending.is_empty() {
        return json_with(StatusCode::ACCEPTED, &pending(&state, settled.pending));
    }
    let all = environments(&state.api.flags().current());
    // Without flags and with nothing shared there is no such environment any more.
    let none = FlagEnvironment { name: environment.clone(), flags: 0, shared: BTreeMap::new() };
    json(&all.into_iter().find(|one| one.name == environment).unwrap_or(none))
}
