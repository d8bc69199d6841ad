//! Flags as whole files: import, export, and the evaluation of what is served.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tol_plug::platform::{Folded, Past, RowsQuery, Running};
use tol_plug::query::Query;
use tol_plug::request::run_blocking;
use tol_plug::{Kind, Outcome, Problem, Reason, body, json, json_with};

use super::DEGRADED;
use super::import::{Import, Plan, plan};
use super::requests::{PROJECTION, Unmet, decide_all, pending};
use super::types::{EvaluateFlags, FlagProblem, FlagsImported};
use crate::definition::{Error, Mode, Problem as FormatProblem};
use crate::evaluation::{self, Format};
use crate::problems::{INVALID_DEFINITIONS, REQUEST_REFUSED, VERSION_CONFLICT};
use crate::served::FlagSet;
use crate::serving::evaluate::{Question, evaluate as answers};
use crate::serving::rows::set_of;
use crate::{DEFAULT_ENVIRONMENT, Request};

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
pub(super) async fn set_at(request: &Request, past: Option<Past>) -> Result<Folded<Arc<FlagSet>>, Problem> {
    let Some(past) = past else { return Ok(Folded::Done(request.serving.server.current())) };
    Ok(match rows_at(request, Some(past), |key, value| Some((key, value))).await? {
        Folded::Running { progress } => Folded::Running { progress },
        Folded::Done(rows) => Folded::Done(Arc::new(set_of(rows))),
    })
}

/// What `pick` takes of every row, as they are or as they were.
pub(super) async fn rows_at<T: Send + 'static>(
    request: &Request,
    past: Option<Past>,
    pick: impl Fn(String, Value) -> Option<T> + Send + 'static,
) -> Result<Folded<Vec<T>>, Problem> {
    let folded = request.block(move |platform| {
        let mut rows = Vec::new();
        let mut cursor = None;
        loop {
            match platform.rows(PROJECTION, &RowsQuery { limit: PAGE, cursor: cursor.take(), past })? {
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
fn marked(request: &Request, mut response: HttpResponse) -> HttpResponse {
    if let Some(why) = request.serving.degraded() {
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

fn shown(problems: Vec<FormatProblem>) -> Vec<FlagProblem> {
    let effect = |problem: &FormatProblem| serde_json::to_value(problem.effect).ok().and_then(|effect| effect.as_str().map(str::to_owned)).unwrap_or_default();
    problems.into_iter().map(|problem| FlagProblem { effect: effect(&problem), flag: problem.flag, problem: problem.problem }).collect()
}

fn not_of_the_format(format: Format, error: &Error) -> Problem {
    match error {
        Error::Json(problem) => Problem::new(Kind::MALFORMED_JSON, problem.to_string()),
        Error::Format(_) => Problem::new(INVALID_DEFINITIONS, format!("{}: {error}", format.name())),
    }
}

pub(super) async fn import(request: Request, payload: Payload) -> Outcome {
    let query = request.query()?;
    let format = format_of(&query)?;
    let mode = if query.one_of("mode", &["replace", "merge"])?.as_deref() == Some("replace") { Mode::Replace } else { Mode::Merge };
    let reason = query.text("reason").unwrap_or_else(|| format!("import of {}", format.name()));
    let import =
        Arc::new(Import { format, mode, environment: environment_of(&query), by: request.caller().name().to_owned(), reason: Reason::checked(&reason)? });
    let patience = query.timeout_or(30_000)?;
    // One at a time, each from what the one before it left. The body is read only then: who waits costs no memory.
    let turn = tokio::time::timeout(TURN, request.serving.importing.lock()).await;
    let _turn = turn.map_err(|_| Problem::new(Kind::JOB_RUNNING, "another import is running; try again when it has ended").retry_after(5))?;
    let text = Arc::new(body::json_text(request.http(), payload, request.parts.limits).await?);
    let mut done = FlagsImported { environment: import.environment.clone(), flags: 0, changed: 0, removed: 0, problems: Vec::new() };
    for _ in 0..TRIES {
        let (set, import, text, now) = (request.serving.server.current(), import.clone(), text.clone(), request.platform().now());
        let planned = run_blocking(move || plan(&set, &import, &text, now).map_err(|error| not_of_the_format(format, &error)));
        let Plan { wanted, flags, problems } = planned.await?;
        done.flags = flags;
        done.problems = shown(problems);
        done.changed = done.changed.max(wanted.iter().filter(|one| one.is_change()).count());
        done.removed = done.removed.max(wanted.iter().filter(|one| one.is_removal()).count());
        if wanted.is_empty() {
            return json(&done);
        }
        let Unmet { pending: undecided, refused, moved_on } = decide_all(&request, wanted, patience).await?;
        if !refused.is_empty() {
            return Err(some_refused(&refused, flags));
        }
        if !undecided.is_empty() {
            return json_with(StatusCode::ACCEPTED, &pending(&request, undecided));
        }
        if moved_on == 0 {
            return json(&done);
        }
    }
    let detail = "flags of the import were changed by others while it ran, several times; import again";
    Err(Problem::new(VERSION_CONFLICT, detail).retry_after(1))
}

fn some_refused(refused: &[(String, String)], flags: usize) -> Problem {
    let named: Vec<serde_json::Value> = refused.iter().take(100).map(|(flag, problem)| serde_json::json!({"flag": flag, "problem": problem})).collect();
    let first = refused.first().map(|(flag, problem)| format!("flag \"{flag}\": {problem}")).unwrap_or_default();
    let detail = format!("{} of {flags} flags were not taken, the others are served; the first of them: {first}", refused.len());
    Problem::new(REQUEST_REFUSED, detail).with("refused", named)
}

pub(super) async fn export(request: Request) -> Outcome {
    let query = request.query()?;
    let (format, environment) = (format_of(&query)?, environment_of(&query));
    let with_problems = query.one_of("problems", &["true", "false"])?.as_deref() == Some("true");
    let set = match set_at(&request, query.past()?).await? {
        Folded::Done(set) => set,
        Folded::Running { progress } => return running(progress),
    };
    let exported = run_blocking(move || {
        let exported = set.definitions().export(format, &environment);
        let text = if with_problems { serde_json::to_vec(&exported) } else { serde_json::to_vec(&exported.definitions) };
        Ok((text.map_err(|error| Problem::internal(error.to_string()))?, exported.problems.len()))
    });
    let (text, problems) = exported.await?;
    let mut response = HttpResponse::Ok().content_type("application/json").body(text);
    response.headers_mut().insert(HeaderName::from_static(PROBLEMS), HeaderValue::from(problems));
    Ok(marked(&request, response))
}

pub(super) async fn evaluate(request: Request, payload: Payload) -> Outcome {
    let past = request.query()?.past()?;
    let asked: EvaluateFlags = request.json(payload).await?;
    let format: Format = asked.format.parse().map_err(|error: evaluation::Error| Problem::new(Kind::INVALID_BODY, error.to_string()))?;
    let set = match set_at(&request, past).await? {
        Folded::Done(set) => set,
        Folded::Running { progress } => return running(progress),
    };
    let serving = past.is_none().then(|| request.serving.compiled());
    let (seed, now) = (request.serving.seed(), request.platform().now().to_datetime());
    let found = run_blocking(move || {
        let environment = asked.environment.as_deref().unwrap_or(DEFAULT_ENVIRONMENT);
        let question = Question { format, environment, context: asked.context.get(), flags: asked.flags.as_deref(), now, seed };
        answers(&set, serving.as_deref(), &question).map_err(|error| match error {
            evaluation::Error::Context(_) => Problem::new(Kind::INVALID_BODY, error.to_string()),
            error => Problem::internal(format!("the flags that are served do not compile: {error}")),
        })
    });
    Ok(marked(&request, json(&found.await?)?))
}
