//! Flags for people: listing, changing, killing, scheduling, rolling out.
//!
//! * `routes` — the table of routes
//! * `types` — what goes in and out, as the OpenAPI document has it
//! * `files` — import, export and evaluation
//! * `import` — the changes that an import asks for
//! * `experiments` — experiments and their results
//! * `exposures` — which customer met which arm
//! * `sets` — environments, and what their flags share
//! * `requests` — admits requests and waits until what came of them is served

mod experiments;
mod exposures;
mod files;
mod import;
mod requests;
mod routes;
mod sets;
mod types;

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use tol_events::DomainEvent;
use tol_events::flags::{ChangeRequested, KillRequested, RollbackRequested, RolloutRequested};
use tol_plug::platform::{Folded, Past};
use tol_plug::{Kind, Outcome, Problem, Reason, json, json_with};

use self::import::{SOURCE, as_object, new_id};
use self::requests::{PROJECTION, RequestOutcome, decide, unknown};
use self::types::{ChangeFlag, FlagInShort, FlagPage, FlagView, InEnvironment, ScheduleFlag, StartRollout};
use crate::Request;
use crate::definition::{self, Definition, Scheduled};
use crate::objections::objections;
use crate::problems::REQUEST_REFUSED;
use crate::served::Served;

pub(crate) use self::routes::ROUTES;
pub(crate) use self::types::components;

/// The path parameter that names a flag.
const KEY: &str = "key";
/// Tells, beside the answer, why it may not rest on what the log holds.
const DEGRADED: &str = "tol-flags-degraded";
/// How long a request is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

fn in_short(key: &str, served: &Served) -> FlagInShort {
    let state = |environment: &definition::Environment| match (environment.killed, environment.enabled) {
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

async fn all(request: Request) -> Outcome {
    let query = request.query()?;
    let (limit, cursor, environment) = (query.limit()?, query.text("cursor"), query.text("environment"));
    let stale = query.one_of("stale", &["true", "false"])?.map(|text| text == "true");
    let set = match files::set_at(&request, query.past()?).await? {
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
    json(&FlagPage { items, next_cursor, degraded: request.serving.degraded() })
}

/// A flag's row; also one that is archived.
async fn row(request: &Request, key: &str, past: Option<Past>) -> Result<FlagView, Problem> {
    let subject = format!("flag/{key}");
    let found = request.block(move |platform| platform.row(PROJECTION, &subject, past)).await?;
    // One of which there is nothing but refused requests is none.
    let row = found.filter(|row| row.value["definition"].is_object()).ok_or_else(|| unknown(key))?;
    requests::flag(row.value)
}

async fn one(request: Request) -> Outcome {
    let past = request.query()?.past()?;
    json(&row(&request, request.path(KEY), past).await?)
}

async fn history(request: Request) -> Outcome {
    let past = request.query()?.past()?;
    json(&row(&request, request.path(KEY), past).await?.changes)
}

async fn rollout(request: Request) -> Outcome {
    let past = request.query()?.past()?;
    let flag = row(&request, request.path(KEY), past).await?;
    if flag.rollout.is_null() {
        return Err(Problem::new(Kind::NOT_FOUND, format!("flag \"{}\" has had no rollout", flag.key)));
    }
    json(&flag.rollout)
}

/// Has a request decided.
async fn ask_for(request: &Request, key: &str, base: Option<u64>, wanted: &impl DomainEvent) -> Result<RequestOutcome, Problem> {
    wanted.validate().map_err(|error| Problem::new(Kind::INVALID_BODY, error.to_string()))?;
    let event = wanted.to_event(new_id(), SOURCE).map_err(|error| Problem::internal(error.to_string()))?;
    decide(request, key, base, event.at(request.platform().now()), PATIENCE).await
}

/// Has a request decided, and answers with the flag as it is then.
async fn decide_and_show(request: &Request, key: &str, base: Option<u64>, wanted: &impl DomainEvent) -> Outcome {
    match ask_for(request, key, base, wanted).await? {
        RequestOutcome::Served(flag) => json(&flag),
        RequestOutcome::Pending(pending) => json_with(StatusCode::ACCEPTED, &pending),
    }
}

async fn change(request: Request, payload: Payload) -> Outcome {
    let asked: ChangeFlag = request.json(payload).await?;
    let (key, reason) = (request.path(KEY), Reason::checked(&asked.reason)?);
    let mut definition = asked.definition;
    definition.entry("key").or_insert_with(|| key.into());
    // What the flag alone cannot know; what it can, the system says.
    if let Ok(definition) = serde_json::from_value::<Definition>(definition.clone().into()) {
        let objections = objections(&request.serving.server.current(), &definition);
        if !objections.is_empty() {
            return Err(Problem::new(REQUEST_REFUSED, format!("flag \"{key}\": {}", objections.join("; "))).with("flag", key));
        }
    }
    let change = ChangeRequested {
        key: key.into(),
        definition,
        base_version: asked.base_version,
        by: request.caller().name().into(),
        reason: reason.into(),
        stale_at: asked.stale_at,
        anew: false,
    };
    decide_and_show(&request, key, asked.base_version, &change).await
}

/// The flag as it is served now, to be changed from.
fn served(request: &Request, key: &str) -> Result<Arc<Served>, Problem> {
    request.serving.server.current().get(key).cloned().ok_or_else(|| unknown(key))
}

/// Changes a flag from what is served now.
async fn change_served(request: &Request, key: &str, reason: String, make: impl FnOnce(&mut Definition) -> Result<(), Problem>) -> Outcome {
    let known = served(request, key)?;
    let mut definition = known.definition.clone();
    make(&mut definition)?;
    let change = ChangeRequested {
        key: key.into(),
        definition: as_object(&definition),
        base_version: Some(known.version),
        by: request.caller().name().into(),
        reason: reason.into(),
        stale_at: known.stale_at,
        anew: false,
    };
    decide_and_show(request, key, Some(known.version), &change).await
}

async fn archive(request: Request) -> Outcome {
    let reason = request.query()?.text("reason").unwrap_or_default();
    let reason = Reason::checked(&reason).map_err(|_| Problem::parameter("reason", "is missing or too long; say why, it is recorded"))?;
    change_served(&request, request.path(KEY), reason, |definition| {
        definition.environments.clear();
        Ok(())
    })
    .await
}

async fn kill(request: Request, payload: Payload) -> Outcome {
    let asked: InEnvironment = request.json(payload).await?;
    let (key, reason) = (request.path(KEY), Reason::checked(&asked.reason)?);
    served(&request, key)?;
    let kill = KillRequested { key: key.into(), environment: asked.environment.map(Into::into), by: request.caller().name().into(), reason: reason.into() };
    decide_and_show(&request, key, None, &kill).await
}

fn no_such_environment(key: &str, name: &str) -> Problem {
    Problem::new(REQUEST_REFUSED, format!("flag \"{key}\" is not in environment \"{name}\"")).with("flag", key)
}

async fn restore(request: Request, payload: Payload) -> Outcome {
    let asked: InEnvironment = request.json(payload).await?;
    let (key, reason) = (request.path(KEY), Reason::checked(&asked.reason)?);
    change_served(&request, key, reason, |definition| {
        if let Some(name) = asked.environment.as_ref().filter(|name| !definition.environments.contains_key(*name)) {
            return Err(no_such_environment(key, name));
        }
        let here = definition.environments.iter_mut().filter(|(name, _)| asked.environment.as_ref().is_none_or(|wanted| wanted == *name));
        here.for_each(|(_, environment)| environment.killed = false);
        Ok(())
    })
    .await
}

async fn schedule(request: Request, payload: Payload) -> Outcome {
    let asked: ScheduleFlag = request.json(payload).await?;
    let (key, reason) = (request.path(KEY), Reason::checked(&asked.reason)?);
    change_served(&request, key, reason, |definition| {
        let environment = definition.environments.get_mut(&asked.environment).ok_or_else(|| no_such_environment(key, &asked.environment))?;
        environment.schedule = asked.schedule.iter().map(|one| Scheduled { at: one.at, enabled: one.enabled }).collect();
        Ok(())
    })
    .await
}

async fn start_rollout(request: Request, payload: Payload) -> Outcome {
    let asked: StartRollout = request.json(payload).await?;
    let (key, reason) = (request.path(KEY), Reason::checked(&asked.reason)?);
    served(&request, key)?;
    let start = RolloutRequested {
        key: key.into(),
        rollout_id: asked.rollout_id.unwrap_or_else(new_id).into(),
        environment: asked.environment.into(),
        rule: asked.rule,
        plan: asked.plan,
        by: request.caller().name().into(),
        reason: reason.into(),
    };
    decide_and_show(&request, key, None, &start).await
}

async fn stop_rollout(request: Request, payload: Payload) -> Outcome {
    let asked: Reason = request.json(payload).await?;
    let (key, reason) = (request.path(KEY), Reason::checked(&asked.reason)?);
    let rollout = row(&request, key, None).await?.rollout;
    if rollout["state"] != "running" {
        return Err(Problem::new(REQUEST_REFUSED, format!("no rollout of flag \"{key}\" is running")).with("flag", key));
    }
    let stop = RollbackRequested {
        key: key.into(),
        rollout_id: rollout["id"].as_str().unwrap_or_default().to_owned().into(),
        by: request.caller().name().into(),
        reason: reason.into(),
    };
    decide_and_show(&request, key, None, &stop).await
}
