//! Flags as whole files: import, export, and the evaluation of what is served.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;
use tol_enterprise_feature_flag_system::definition::{Error, Mode, Problem as FormatProblem};
use tol_enterprise_feature_flag_system::evaluation::{self, Format};
use tol_enterprise_feature_flag_system::served::FlagSet;

use super::requests::{Settled, decide_all, pending};
use super::{DEFAULT_ENVIRONMENT, DEGRADED, Outcome, PROJECTION, State, ask, caller, json, json_with};
use crate::flags::evaluate::{Question, evaluate as answers};
use crate::flags::import::{Import, Plan, plan};
use crate::flags::set_of;
use crate::http::api::{EvaluateFlags, FlagProblem, FlagsImported, Folded, Past, RowsQuery, Running};
use crate::http::parameters::{Query, json_body_within, json_text};
use crate::http::problem::{Kind, Problem};

/// Longest wait for another import of this node.
const TURN: Duration = Duration::from_secs(30);
/// Rows of the past read at a time.
const PAGE: usize = 1_000;
/// How often an import is planned anew because flags changed under it.
const TRIES: usize = 3;
/// What an export could not say, counted.
const PROBLEMS: &str = "tol-export-problems";

const FORMATS: &[&str] = &["unleash", "growthbook", "flagd"];

/// The flags as they are, or as they were.
pub(super) async fn set_at(state: &State, past: Option<Past>) -> Result<Folded<Arc<FlagSet>>, Problem> {
    let Some(past) = past else { return Ok(Folded::Done(state.api.flags().current())) };
    Ok(match rows_at(state, Some(past), |key, value| Some((key, value))).await? {
        Folded::Running { progress } => Folded::Running { progress },
        Folded::Done(rows) => Folded::Done(Arc::new(set_of(rows))),
    })
}

/// What `pick` takes of every row, as they are or as they were.
pub(super) async fn rows_at<T: Send + 'static>(
    state: &State,
    past: Option<Past>,
    pick: impl Fn(String, Value) -> Option<T> + Send + 'static,
) -> Result<Folded<Vec<T>>, Problem> {
    let folded = ask(state, move |node| {
        let mut rows = Vec::new();
        let mut cursor = None;
        loop {
            match node.rows(PROJECTION, &RowsQuery { limit: PAGE, cursor: cursor.take(), past })? {
                Folded::Running { progress } => return Ok(Folded::Running { progress }),
                Folded::Done(page) => {
                    rows.extend(page.items.into_iter().filter_map(|item| pick(item.key, item.value)));
                    cursor = page.next_cursor;
                }
            }
            if cursor.is_none() {
                return Ok(Folded::Done(rows));
            }
        }
    });
    folded.await
}

/// The past is being folded.
pub(super) fn running(progress: f64) -> Outcome {
    json_with(StatusCode::ACCEPTED, &Running { state: "running", progress })
}

/// An answer, marked where it may not rest on what the log holds.
fn marked(state: &State, mut response: HttpResponse) -> HttpResponse {
    if let Some(why) = &state.api.flags().standing().degraded {
        let text: String = why.chars().map(|character| if character.is_ascii_graphic() { character } else { ' ' }).collect();
        if let Ok(value) = HeaderValue::from_str(text.trim()) {
            response.headers_mut().insert(HeaderName::from_static(DEGRADED), value);
        }
    }
    response
}

fn format_of(query: &Query<'_>) -> Result<Format, Problem> {
    let name = query.one_of("format", FORMATS)?.ok_or_else(|| Problem::parameter("format", "is missing; use unleash, growthbook or flagd"))?;
    name.parse().map_err(|error: evaluation::Error| Problem::parameter("format", error.to_string()))
}

fn environment_of(query: &Query<'_>) -> String {
    query.text("environment").unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    web::block(work).await.map_err(|_| Problem::unavailable("the node is stopping", 1))
}

fn shown(problems: Vec<FormatProblem>) -> Vec<FlagProblem> {
    let effect = |problem: &FormatProblem| serde_json::to_value(problem.effect).ok().and_then(|effect| effect.as_str().map(str::to_owned)).unwrap_or_default();
    problems.into_iter().map(|problem| FlagProblem { effect: effect(&problem), flag: problem.flag, problem: problem.problem }).collect()
}

fn not_of_the_format(format: Format, error: &Error) -> Problem {
    match error {
        Error::Json(problem) => Problem::new(Kind::MalformedJson, problem.to_string()),
        Error::Format(_) => Problem::new(Kind::InvalidDefinitions, format!("{}: {error}", format.name())),
    }
}

pub(crate) async fn import(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let query = Query::of(&request)?;
    let format = format_of(&query)?;
    let mode = if query.one_of("mode", &["replace", "merge"])?.as_deref() == Some("replace") { Mode::Replace } else { Mode::Merge };
    let reason = query.text("reason").unwrap_or_else(|| format!("import of {}", format.name()));
    let import = Arc::new(Import { format, mode, environment: environment_of(&query), by: caller(&request), reason: super::reason(&reason)? });
    let patience = query.timeout_or(30_000)?;
    // One at a time, each from what the one before it left. The body is read only then: who waits costs no memory.
    let turn = tokio::time::timeout(TURN, state.importing.lock()).await;
    let _turn = turn.map_err(|_| Problem::new(Kind::JobRunning, "another import is running; try again when it has ended").retry_after(5))?;
    let text = Arc::new(json_text(&request, payload, state.body_limit).await?);
    let mut done = FlagsImported { environment: import.environment.clone(), flags: 0, changed: 0, removed: 0, problems: Vec::new() };
    for _ in 0..TRIES {
        let (set, import, text) = (state.api.flags().current(), import.clone(), text.clone());
        let planned = blocking(move || plan(&set, &import, &text, chrono::Utc::now().into())).await?;
        let Plan { wanted, flags, problems } = planned.map_err(|error| not_of_the_format(format, &error))?;
        done.flags = flags;
        done.problems = shown(problems);
        done.changed = done.changed.max(wanted.iter().filter(|one| one.is_change()).count());
        done.removed = done.removed.max(wanted.iter().filter(|one| one.is_removal()).count());
        if wanted.is_empty() {
            return json(&done);
        }
        let Settled { pending: undecided, refused, moved_on } = decide_all(&state, wanted, patience).await?;
        if !refused.is_empty() {
            return Err(some_refused(&refused, flags));
        }
        if !undecided.is_empty() {
            return json_with(StatusCode::ACCEPTED, &pending(&state, undecided));
        }
        if moved_on == 0 {
            return json(&done);
        }
    }
    let detail = "flags of the import were changed by others while it ran, several times; import again";
    Err(Problem::new(Kind::VersionConflict, detail).retry_after(1))
}

fn some_refused(refused: &[(String, String)], flags: usize) -> Problem {
    let named: Vec<serde_json::Value> = refused.iter().take(100).map(|(flag, problem)| serde_json::json!({"flag": flag, "problem": problem})).collect();
    let first = refused.first().map(|(flag, problem)| format!("flag \"{flag}\": {problem}")).unwrap_or_default();
    let detail = format!("{} of {flags} flags were not taken, the others are served; the first of them: {first}", refused.len());
    Problem::new(Kind::RequestRefused, detail).with("refused", named)
}

pub(crate) async fn export(state: State, request: HttpRequest) -> Outcome {
    let query = Query::of(&request)?;
    let (format, environment) = (format_of(&query)?, environment_of(&query));
    let with_problems = query.one_of("problems", &["true", "false"])?.as_deref() == Some("true");
    let set = match set_at(&state, query.past()?).await? {
        Folded::Done(set) => set,
        Folded::Running { progress } => return running(progress),
    };
    let (text, problems) = blocking(move || {
        let exported = set.definitions().export(format, &environment);
        let text = if with_problems { serde_json::to_vec(&exported) } else { serde_json::to_vec(&exported.definitions) };
        (text, exported.problems.len())
    })
    .await?;
    let text = text.map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = HttpResponse::Ok().content_type("application/json").body(text);
    response.headers_mut().insert(HeaderName::from_static(PROBLEMS), HeaderValue::from(problems));
    Ok(marked(&state, response))
}

pub(crate) async fn evaluate(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let past = Query::of(&request)?.past()?;
    let asked: EvaluateFlags = json_body_within(&request, payload, state.body_limit).await?;
    let format: Format = asked.format.parse().map_err(|error: evaluation::Error| Problem::new(Kind::InvalidBody, error.to_string()))?;
    let set = match set_at(&state, past).await? {
        Folded::Done(set) => set,
        Folded::Running { progress } => return running(progress),
    };
    let serving = past.is_none().then(|| state.flags.serving.borrow().clone());
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let found = blocking(move || {
        let environment = asked.environment.as_deref().unwrap_or(DEFAULT_ENVIRONMENT);
        answers(
            &set,
            serving.as_deref(),
            &Question { format, environment, context: asked.context.get(), flags: asked.flags.as_deref(), now: chrono::Utc::now(), seed },
        )
    });
    match found.await? {
        Ok(found) => Ok(marked(&state, json(&found)?)),
        Err(error @ evaluation::Error::Context(_)) => Err(Problem::new(Kind::InvalidBody, error.to_string())),
        Err(error) => Err(Problem::internal(format!("the flags that are served do not compile: {error}"))),
    }
}
