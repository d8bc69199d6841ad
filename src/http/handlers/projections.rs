//! Projections: queries, digests, rebuilds.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::Path;
use serde::Serialize;

use super::{Outcome, State, ask, caller, json, json_with};
use crate::http::api::{Folded, RowsQuery, Running};
use crate::http::parameters::Query;
use crate::http::problem::{Kind, Problem};

pub(crate) async fn all(state: State) -> Outcome {
    json(&ask(&state, |node| Ok(node.projections())).await?)
}

/// Waits for what `min_position` asks for.
async fn wait_for(state: &State, projection: &str, query: &Query<'_>) -> Result<(), Problem> {
    let positions = query.min_positions()?;
    if positions.is_empty() {
        return Ok(());
    }
    let timeout = query.timeout()?;
    let asked: Vec<String> = positions.iter().map(|(place, position)| format!("{place}:{position}")).collect();
    if state.api.wait_for(projection, positions, timeout).await? {
        return Ok(());
    }
    let detail = format!("{} is not visible in {projection} after {} ms; ask again, or wait longer with timeout_ms", asked.join(", "), timeout.as_millis());
    Err(Problem::new(Kind::NotVisibleYet, detail).with("min_position", asked).retry_after(1))
}

/// 200 with the answer, or 202 while it is being folded.
fn folded<T: Serialize>(answer: &Folded<T>) -> Outcome {
    match answer {
        Folded::Done(answer) => json(answer),
        Folded::Running { progress } => json_with(StatusCode::ACCEPTED, &Running { state: "running", progress: *progress }),
    }
}

pub(crate) async fn rows(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    let (name, query) = (name.into_inner(), Query::of(&request)?);
    let rows = RowsQuery { limit: query.limit()?, cursor: query.text("cursor"), past: query.past()? };
    wait_for(&state, &name, &query).await?;
    folded(&ask(&state, move |node| node.rows(&name, &rows)).await?)
}

pub(crate) async fn row(state: State, request: HttpRequest, place: Path<(String, String)>) -> Outcome {
    let ((name, key), query) = (place.into_inner(), Query::of(&request)?);
    let past = query.past()?;
    wait_for(&state, &name, &query).await?;
    let found = match past {
        // A point read takes microseconds; handing it to another thread would cost more than it.
        None => state.api.row(&name, &key, None)?,
        Some(_) => {
            let (name, key) = (name.clone(), key.clone());
            ask(&state, move |node| node.row(&name, &key, past)).await?
        }
    };
    let then = past.map(|past| format!(" as of {}", past.time())).unwrap_or_default();
    match found {
        Some(row) => json(&row),
        None => Err(Problem::new(Kind::RowNotFound, format!("projection \"{name}\" has no row \"{key}\"{then}")).with("key", key)),
    }
}

pub(crate) async fn digest(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    let (name, query) = (name.into_inner(), Query::of(&request)?);
    let past = query.past()?;
    wait_for(&state, &name, &query).await?;
    folded(&ask(&state, move |node| node.digest(&name, past)).await?)
}

pub(crate) async fn start_rebuild(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    let (name, by) = (name.into_inner(), caller(&request));
    json_with(StatusCode::ACCEPTED, &ask(&state, move |node| node.rebuild(&name, &by)).await?)
}

pub(crate) async fn rebuild_status(state: State, name: Path<String>) -> Outcome {
    json(&state.api.rebuild_status(&name)?)
}

pub(crate) async fn cancel_rebuild(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    let (name, by) = (name.into_inner(), caller(&request));
    json(&ask(&state, move |node| node.cancel_rebuild(&name, &by)).await?)
}
