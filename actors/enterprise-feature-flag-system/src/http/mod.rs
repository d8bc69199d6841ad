//! Flags for people: listing, changing, killing, scheduling, rolling out.
//!
//! * `files` — import, export and evaluation
//! * `experiments` — experiments and their results
//! * `exposures` — which customer met which arm
//! * `sets` — environments, and what their flags share
//! * `requests` — a request's way to what is served

pub(crate) mod experiments;
pub(crate) mod exposures;
mod files;
mod requests;
pub(crate) mod sets;

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Path, Payload};
use tol_enterprise_feature_flag_system::definition::{Definition, Scheduled};
use tol_enterprise_feature_flag_system::objections::objections;
use tol_enterprise_feature_flag_system::served::Served;
use tol_events::DomainEvent;
use tol_events::flags::{ChangeRequested, KillRequested, RollbackRequested, RolloutRequested};

use super::{Outcome, State, ask, caller, json, json_with};
use crate::flags::import::{SOURCE, as_object, new_id};
use crate::http::api::{ChangeFlag, Flag, FlagInShort, FlagPage, Folded, InEnvironment, Past, ScheduleFlag, StartRollout};
use crate::http::parameters::{Query, json_body_within};
use crate::http::problem::{Kind, Problem};
use requests::{PROJECTION, decide, unknown};

pub(crate) use files::{evaluate, export, import};

/// The environment where none is named.
pub(crate) const DEFAULT_ENVIRONMENT: &str = "production";
/// Longest reason, characters: it is written to the log.
const REASON_MAX: usize = 4_096;

/// Tells, beside the answer, why it may not rest on what the log holds.
pub(crate) const DEGRADED: &str = "tol-flags-degraded";

fn in_short(key: &str, served: &Served) -> FlagInShort {
    let state = |environment: &tol_enterprise_feature_flag_system::definition::Environment| match (environment.killed, environment.enabled) {
        (true, _) => "killed",
        (false, true) => "on",
        (false, false) => "off",
    };
    FlagInShort {
        key: key.to_owned(),
        version: served.version,
        changed_at: served.changed_at,
        family: served.definition.family.name(),
        stale: served.stale_since.is_some(),
        owner: served.definition.owner.clone(),
        environments: served.definition.environments.iter().map(|(name, environment)| (name.clone(), state(environment))).collect(),
    }
}

pub(crate) async fn all(state: State, request: HttpRequest) -> Outcome {
    let query = Query::of(&request)?;
    let (limit, cursor, environment) = (query.limit()?, query.text("cursor"), query.text("environment"));
    let stale = query.one_of("stale", &["true", "false"])?.map(|text| text == "true");
    let set = match files::set_at(&state, query.past()?).await? {
        Folded::Done(set) => set,
        Folded::Running { progress } => return files::running(progress),
    };
    let wanted = |served: &Served| {
        stale.is_none_or(|stale| served.stale_since.is_some() == stale)
            && environment.as_ref().is_none_or(|name| served.definition.environments.contains_key(name))
    };
    let after = set.sorted().into_iter().filter(|(key, served)| cursor.as_deref().is_none_or(|cursor| *key > cursor) && wanted(served));
    let mut items: Vec<FlagInShort> = after.take(limit + 1).map(|(key, served)| in_short(key, served)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|last| last.key.clone());
    json(&FlagPage { items, next_cursor, degraded: state.api.flags().standing().degraded.clone() })
}

/// A flag's row; also one that is archived.
async fn row(state: &State, key: &str, past: Option<Past>) -> Result<Flag, Problem> {
    let subject = format!("flag/{key}");
    let found = ask(state, move |node| node.row(PROJECTION, &subject, past)).await?;
    // One of which there is nothing but refused requests is none.
    let row = found.filter(|row| row.value["definition"].is_object()).ok_or_else(|| unknown(key))?;
    requests::flag(row.value)
}

pub(crate) async fn one(state: State, request: HttpRequest, key: Path<String>) -> Outcome {
    let past = Query::of(&request)?.past()?;
    json(&row(&state, &key, past).await?)
}

pub(crate) async fn history(state: State, request: HttpRequest, key: Path<String>) -> Outcome {
    let past = Query::of(&request)?.past()?;
    json(&row(&state, &key, past).await?.changes)
}

pub(crate) async fn rollout(state: State, request: HttpRequest, key: Path<String>) -> Outcome {
    let past = Query::of(&request)?.past()?;
    let flag = row(&state, &key, past).await?;
    if flag.rollout.is_null() {
        return Err(Problem::new(Kind::NotFound, format!("flag \"{}\" has had no rollout", flag.key)));
    }
    json(&flag.rollout)
}

fn reason(text: &str) -> Result<String, Problem> {
    match text.trim() {
        "" => Err(Problem::new(Kind::InvalidBody, "reason is empty; say why, it is recorded")),
        long if long.chars().count() > REASON_MAX => Err(Problem::new(Kind::InvalidBody, format!("reason is longer than {REASON_MAX} characters"))),
        text => Ok(text.to_owned()),
    }
}

/// How long a request is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has a request decided.
async fn ask_for(state: &State, key: &str, base: Option<u64>, request: &impl DomainEvent) -> Result<requests::Outcome, Problem> {
    request.validate().map_err(|error| Problem::new(Kind::InvalidBody, error.to_string()))?;
    let event = request.to_event(new_id(), SOURCE).map_err(|error| Problem::internal(error.to_string()))?;
    decide(state, key, base, event.at(chrono::Utc::now().into()), PATIENCE).await
}

/// Has a request decided, and answers with the flag.
async fn settle(state: &State, key: &str, base: Option<u64>, request: &impl DomainEvent) -> Outcome {
    match ask_for(state, key, base, request).await? {
        requests::Outcome::Served(flag) => json(&flag),
        requests::Outcome::Pending(pending) => json_with(StatusCode::ACCEPTED, &pending),
    }
}

pub(crate) async fn change(state: State, request: HttpRequest, key: Path<String>, payload: Payload) -> Outcome {
    let asked: ChangeFlag = json_body_within(&request, payload, state.body_limit).await?;
    let (key, reason, by) = (key.into_inner(), reason(&asked.reason)?, caller(&request));
    let mut definition = asked.definition;
    definition.entry("key").or_insert_with(|| key.clone().into());
    // What the flag alone cannot know; what it can, the system says.
    if let Ok(definition) = serde_json::from_value::<Definition>(definition.clone().into()) {
        let objections = objections(&state.api.flags().current(), &definition);
        if !objections.is_empty() {
            return Err(Problem::new(Kind::RequestRefused, format!("flag \"{key}\": {}", objections.join("; "))).with("flag", key));
        }
    }
    let change = ChangeRequested {
        key: key.as_str().into(),
        definition,
        base_version: asked.base_version,
        by: by.into(),
        reason: reason.into(),
        stale_at: asked.stale_at,
        anew: false,
    };
    settle(&state, &key, asked.base_version, &change).await
}

/// The flag as it is served now, to be changed from.
fn served(state: &State, key: &str) -> Result<std::sync::Arc<Served>, Problem> {
    state.api.flags().current().get(key).cloned().ok_or_else(|| unknown(key))
}

/// Changes a flag from what is served now.
async fn change_served(state: &State, request: &HttpRequest, key: &str, reason: String, make: impl FnOnce(&mut Definition) -> Result<(), Problem>) -> Outcome {
    let known = served(state, key)?;
    let mut definition = known.definition.clone();
    make(&mut definition)?;
    let change = ChangeRequested {
        key: key.into(),
        definition: as_object(&definition),
        base_version: Some(known.version),
        by: caller(request).into(),
        reason: reason.into(),
        stale_at: known.stale_at,
        anew: false,
    };
    settle(state, key, Some(known.version), &change).await
}

pub(crate) async fn archive(state: State, request: HttpRequest, key: Path<String>) -> Outcome {
    let reason =
        reason(&Query::of(&request)?.text("reason").unwrap_or_default()).map_err(|_| Problem::parameter("reason", "is missing; say why, it is recorded"))?;
    change_served(&state, &request, &key, reason, |definition| {
        definition.environments.clear();
        Ok(())
    })
    .await
}

pub(crate) async fn kill(state: State, request: HttpRequest, key: Path<String>, payload: Payload) -> Outcome {
    let asked: InEnvironment = json_body_within(&request, payload, state.body_limit).await?;
    let reason = reason(&asked.reason)?;
    served(&state, &key)?;
    let kill = KillRequested { key: key.as_str().into(), environment: asked.environment.map(Into::into), by: caller(&request).into(), reason: reason.into() };
    settle(&state, &key, None, &kill).await
}

fn no_such_environment(key: &str, name: &str) -> Problem {
    Problem::new(Kind::RequestRefused, format!("flag \"{key}\" is not in environment \"{name}\"")).with("flag", key)
}

pub(crate) async fn restore(state: State, request: HttpRequest, key: Path<String>, payload: Payload) -> Outcome {
    let asked: InEnvironment = json_body_within(&request, payload, state.body_limit).await?;
    let reason = reason(&asked.reason)?;
    change_served(&state, &request, &key, reason, |definition| {
        if let Some(name) = asked.environment.as_ref().filter(|name| !definition.environments.contains_key(*name)) {
            return Err(no_such_environment(&key, name));
        }
        let here = definition.environments.iter_mut().filter(|(name, _)| asked.environment.as_ref().is_none_or(|wanted| wanted == *name));
        here.for_each(|(_, environment)| environment.killed = false);
        Ok(())
    })
    .await
}

pub(crate) async fn schedule(state: State, request: HttpRequest, key: Path<String>, payload: Payload) -> Outcome {
    let asked: ScheduleFlag = json_body_within(&request, payload, state.body_limit).await?;
    let reason = reason(&asked.reason)?;
    change_served(&state, &request, &key, reason, |definition| {
        let environment = definition.environments.get_mut(&asked.environment).ok_or_else(|| no_such_environment(&key, &asked.environment))?;
        environment.schedule = asked.schedule.iter().map(|one| Scheduled { at: one.at, enabled: one.enabled }).collect();
        Ok(())
    })
    .await
}

pub(crate) async fn start_rollout(state: State, request: HttpRequest, key: Path<String>, payload: Payload) -> Outcome {
    let asked: StartRollout = json_body_within(&request, payload, state.body_limit).await?;
    let reason = reason(&asked.reason)?;
    served(&state, &key)?;
    let start = RolloutRequested {
        key: key.as_str().into(),
        rollout_id: asked.rollout_id.unwrap_or_else(new_id).into(),
        environment: asked.environment.into(),
        rule: asked.rule,
        plan: asked.plan,
        by: caller(&request).into(),
        reason: reason.into(),
    };
    settle(&state, &key, None, &start).await
}

pub(crate) async fn stop_rollout(state: State, request: HttpRequest, key: Path<String>, payload: Payload) -> Outcome {
    let asked: super::control::Reason = json_body_within(&request, payload, state.body_limit).await?;
    let reason = reason(&asked.reason)?;
    let rollout = row(&state, &key, None).await?.rollout;
    if rollout["state"] != "running" {
        return Err(Problem::new(Kind::RequestRefused, format!("no rollout of flag \"{key}\" is running")).with("flag", key.as_str()));
    }
    let stop = RollbackRequested {
        key: key.as_str().into(),
        rollout_id: rollout["id"].as_str().unwrap_or_default().to_owned().into(),
        by: caller(&request).into(),
        reason: reason.into(),
    };
    settle(&state, &key, None, &stop).await
}
