//! Experiments: of a flag or of all, one with its results, begun and concluded.

use std::ops::Bound;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use serde_json::{Map, Value, json as object};
use tol_events::flags::{ExperimentAction, ExperimentRequested};
use tol_plug::platform::Folded;
use tol_plug::{Kind, Outcome, Platform, Problem, Reason, json, json_with};

use super::import::new_id;
use super::requests::{PROJECTION, RequestOutcome};
use super::types::{FlagExperiment, FlagExperimentPage, StartExperiment};
use super::{KEY, ask_for, files, row, served};
use crate::Request;
use crate::experiments::{Spec, results};
use crate::problems::REQUEST_REFUSED;
use crate::serving::FlagServer;

/// The path parameter that names an experiment.
const EXPERIMENT: &str = "experiment";
/// Longest id, characters.
const ID_MAX: usize = 200;

/// Results from what the row has: all of them follow from the counts.
fn results_of(one: &Value) -> Value {
    // Of one that is over, as they were then.
    if let Some(then) = one["conclusion"]["details"].get("results") {
        return then.clone();
    }
    let spec = one["details"].as_object().and_then(|details| Spec::of(details).ok()).flatten();
    let counted = match &one["counted"] {
        Value::Null => Some(Default::default()),
        counted => serde_json::from_value(counted.clone()).ok(),
    };
    let expected: Vec<f64> = serde_json::from_value(one["expected"].clone()).unwrap_or_default();
    spec.zip(counted).map_or(Value::Null, |(spec, counted)| object!(results(&spec, &counted, &expected)))
}

/// An experiment as people see it.
fn shown(flag: &str, id: &str, one: &Value, with_results: bool) -> FlagExperiment {
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    FlagExperiment {
        experiment_id: id.to_owned(),
        flag: flag.to_owned(),
        state: text("state"),
        statement: text("statement"),
        environment: one["details"]["environment"].as_str().map(str::to_owned),
        version: one["version"].as_u64().unwrap_or_default(),
        began_at: text("began_at"),
        by: text("by"),
        details: one["details"].clone(),
        conclusion: if with_results || one["conclusion"].is_null() {
            one["conclusion"].clone()
        } else {
            object!({"statement": one["conclusion"]["statement"], "at": one["conclusion"]["at"], "by": one["conclusion"]["by"]})
        },
        propensities: one["propensities"].clone(),
        results: if with_results { results_of(one) } else { Value::Null },
    }
}

/// Which are asked for.
struct Wanted {
    state: Option<String>,
    environment: Option<String>,
}

impl Wanted {
    fn has(&self, one: &FlagExperiment) -> bool {
        // One that names no environment runs in all.
        let there = |wanted: &String| one.environment.as_ref().is_none_or(|environment| environment == wanted);
        self.state.as_ref().is_none_or(|state| *state == one.state) && self.environment.as_ref().is_none_or(there)
    }

    fn of(&self, flag: &str, experiments: &Value) -> Vec<FlagExperiment> {
        let all = experiments.as_object().into_iter().flatten().map(|(id, one)| shown(flag, id, one, false));
        all.filter(|one| self.has(one)).collect()
    }
}

pub(super) async fn of_flag(request: Request) -> Outcome {
    let query = request.query()?;
    let wanted = Wanted { state: query.one_of("state", &["running", "concluded"])?, environment: None };
    let flag = row(&request, request.path(KEY), query.past()?).await?;
    json(&wanted.of(&flag.key, &flag.experiments))
}

/// Where an experiment stands among all: by flag and id.
type Rank = (String, String);

fn rank(one: &FlagExperiment) -> Rank {
    (one.flag.clone(), one.experiment_id.clone())
}

/// Those that are wanted now, flag by flag, until there are more than `limit` after `after`: no flag is looked at that never had an experiment.
fn now(platform: &dyn Platform, server: &FlagServer, wanted: &Wanted, after: Option<&Rank>, limit: usize) -> Result<Vec<Vec<FlagExperiment>>, Problem> {
    let keys = server.with_experiments();
    let first = after.map_or("", |(flag, _)| flag.as_str());
    let (mut found, mut later) = (Vec::new(), 0);
    for key in keys.range::<str, _>((Bound::Included(first), Bound::Unbounded)) {
        if later > limit {
            break;
        }
        let Some(row) = platform.row(PROJECTION, &format!("flag/{key}"), None)? else { continue };
        let of_one = wanted.of(key, &row.value["experiments"]);
        later += of_one.iter().filter(|one| after.is_none_or(|after| rank(one) > *after)).count();
        found.push(of_one);
    }
    Ok(found)
}

pub(super) async fn all(request: Request) -> Outcome {
    let query = request.query()?;
    let (limit, past) = (query.limit()?, query.past()?);
    let wanted = Wanted { state: query.one_of("state", &["running", "concluded"])?, environment: query.text("environment") };
    let after = match query.text("cursor").filter(|cursor| !cursor.is_empty()) {
        None => None,
        Some(cursor) => Some(position(&cursor).ok_or_else(|| Problem::new(Kind::INVALID_CURSOR, "it is none of this list; leave it out to begin anew"))?),
    };
    let found = match past {
        None => {
            let (after, service) = (after.clone(), request.serving.clone());
            Folded::Done(request.block(move |platform| now(platform, &service.server, &wanted, after.as_ref(), limit)).await?)
        }
        // The past is folded from all events anyway.
        Some(_) => {
            let of_row = move |subject: String, value: Value| Some(wanted.of(subject.strip_prefix("flag/")?, &value["experiments"]));
            files::rows_at(&request, past, of_row).await?
        }
    };
    let mut items: Vec<FlagExperiment> = match found {
        Folded::Done(found) => found.into_iter().flatten().collect(),
        Folded::Running { progress } => return files::running(progress),
    };
    items.sort_by_key(rank);
    items.retain(|one| after.as_ref().is_none_or(|after| rank(one) > *after));
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|last| object!([last.flag, last.experiment_id]).to_string());
    json(&FlagExperimentPage { items, next_cursor })
}

/// Flag and id of a cursor.
fn position(cursor: &str) -> Option<Rank> {
    serde_json::from_str(cursor).ok()
}

/// The experiment in a flag's row.
fn found<'v>(flag: &str, experiments: &'v Value, id: &str) -> Result<&'v Value, Problem> {
    experiments.get(id).ok_or_else(|| Problem::new(Kind::NOT_FOUND, format!("flag \"{flag}\" has no experiment \"{id}\"")).with("flag", flag))
}

pub(super) async fn one(request: Request) -> Outcome {
    let (key, id, past) = (request.path(KEY), request.path(EXPERIMENT), request.query()?.past()?);
    let flag = row(&request, key, past).await?;
    json(&shown(key, id, found(key, &flag.experiments, id)?, true))
}

/// Has a request decided, and answers with the experiment as it is then.
async fn decide_and_show(request: &Request, wanted: &ExperimentRequested<'_>) -> Outcome {
    match ask_for(request, &wanted.key, None, wanted).await? {
        RequestOutcome::Served(flag) => {
            let one = flag
                .experiments
                .get(wanted.experiment_id.as_ref())
                .ok_or_else(|| Problem::internal("an experiment that was begun is not in its flag's row"))?;
            json(&shown(&wanted.key, &wanted.experiment_id, one, true))
        }
        RequestOutcome::Pending(pending) => json_with(StatusCode::ACCEPTED, &pending),
    }
}

fn refused(key: &str, detail: String) -> Problem {
    Problem::new(REQUEST_REFUSED, detail).with("flag", key)
}

pub(super) async fn start(request: Request, payload: Payload) -> Outcome {
    let asked: StartExperiment = request.json(payload).await?;
    let too_long = |_| Problem::new(Kind::INVALID_BODY, "statement is empty or too long; say what is asked, it is recorded");
    let (key, statement) = (request.path(KEY), Reason::checked(&asked.statement).map_err(too_long)?);
    if asked.experiment_id.as_ref().is_some_and(|id| id.trim().is_empty() || id.chars().count() > ID_MAX) {
        return Err(Problem::new(Kind::INVALID_BODY, format!("experiment_id must be 1 to {ID_MAX} characters, or be left out")));
    }
    served(&request, key)?;
    let id = asked.experiment_id.unwrap_or_else(new_id);
    if let Some(known) = row(&request, key, None).await?.experiments.get(&id) {
        if known["statement"] == statement.as_str() && known["details"].as_object() == Some(&asked.details) {
            return json(&shown(key, &id, known, true));
        }
        return Err(refused(key, format!("flag \"{key}\" has an experiment \"{id}\" that asks something else; give this one another id")));
    }
    let start = ExperimentRequested {
        key: key.into(),
        experiment_id: id.into(),
        action: ExperimentAction::Start,
        statement: statement.into(),
        details: asked.details,
        by: request.caller().name().into(),
    };
    decide_and_show(&request, &start).await
}

pub(super) async fn conclude(request: Request, payload: Payload) -> Outcome {
    let asked: Reason = request.json(payload).await?;
    let (key, id, learned) = (request.path(KEY), request.path(EXPERIMENT), Reason::checked(&asked.reason)?);
    let flag = row(&request, key, None).await?;
    if found(key, &flag.experiments, id)?["state"] != "running" {
        return Err(refused(key, format!("experiment \"{id}\" of flag \"{key}\" is over")));
    }
    let conclude = ExperimentRequested {
        key: key.into(),
        experiment_id: id.into(),
        action: ExperimentAction::Conclude,
        statement: learned.into(),
        details: Map::new(),
        by: request.caller().name().into(),
    };
    decide_and_show(&request, &conclude).await
}
