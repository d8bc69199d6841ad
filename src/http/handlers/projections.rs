//! Projections: queries, digests, rebuilds.

use actix_web::http::StatusCode;
use serde::Serialize;
use tol_plug::platform::{Folded, RowsQuery, Running};
use tol_plug::request::Query;
use tol_plug::{Kind, Outcome, Problem, json, json_with};

use super::{Asked, ask};

pub(crate) async fn all(request: Asked) -> Outcome {
    json(&ask(&request, |node| Ok(node.projections())).await?)
}

/// Waits for what `min_position` asks for.
async fn wait_for(request: &Asked, projection: &str, query: &Query<'_>) -> Result<(), Problem> {
    let positions = query.min_positions()?;
    if positions.is_empty() {
        return Ok(());
    }
    let timeout = query.timeout()?;
    let asked: Vec<String> = positions.iter().map(|(place, position)| format!("{place}:{position}")).collect();
    if request.serving.api.wait_for(projection, positions, timeout).await? {
        return Ok(());
    }
    let detail = format!("{} is not visible in {projection} after {} ms; ask again, or wait longer with timeout_ms", asked.join(", "), timeout.as_millis());
    Err(Problem::new(Kind::NOT_VISIBLE_YET, detail).with("min_position", asked).retry_after(1))
}

/// 200 with the answer, or 202 while it is being folded.
fn folded<T: Serialize>(answer: &Folded<T>) -> Outcome {
    match answer {
        Folded::Done(answer) => json(answer),
        Folded::Running { progress } => json_with(StatusCode::ACCEPTED, &Running { state: "running", progress: *progress }),
    }
}

pub(crate) async fn rows(request: Asked) -> Outcome {
    let (name, query) = (request.path("name").to_owned(), request.query()?);
    let rows = RowsQuery { limit: query.limit()?, cursor: query.text("cursor"), past: query.past()? };
    wait_for(&request, &name, &query).await?;
    folded(&ask(&request, move |node| node.rows(&name, &rows)).await?)
}

pub(crate) async fn row(request: Asked) -> Outcome {
    let (name, key, query) = (request.path("name").to_owned(), request.path("key").to_owned(), request.query()?);
    let past = query.past()?;
    wait_for(&request, &name, &query).await?;
    let found = match past {
        // A point read takes microseconds; handing it to another thread would cost more than it.
        None => request.serving.api.row(&name, &key, None)?,
        Some(_) => {
            let (name, key) = (name.clone(), key.clone());
            ask(&request, move |node| node.row(&name, &key, past)).await?
        }
    };
    let then = past.map(|past| format!(" as of {}", past.time())).unwrap_or_default();
    match found {
        Some(row) => json(&row),
        None => Err(Problem::new(Kind::ROW_NOT_FOUND, format!("projection \"{name}\" has no row \"{key}\"{then}")).with("key", key)),
    }
}

pub(crate) async fn digest(request: Asked) -> Outcome {
    let (name, query) = (request.path("name").to_owned(), request.query()?);
    let past = query.past()?;
    wait_for(&request, &name, &query).await?;
    folded(&ask(&request, move |node| node.digest(&name, past)).await?)
}

pub(crate) async fn set_aside(request: Asked) -> Outcome {
    let (name, query) = (request.path("name").to_owned(), request.query()?);
    let (limit, cursor) = (query.limit()?, query.text("cursor"));
    json(&ask(&request, move |node| node.set_aside(&name, limit, cursor.as_deref())).await?)
}

pub(crate) async fn start_rebuild(request: Asked) -> Outcome {
    let (name, by) = (request.path("name").to_owned(), request.caller().name().to_owned());
    json_with(StatusCode::ACCEPTED, &ask(&request, move |node| node.rebuild(&name, &by)).await?)
}

pub(crate) async fn rebuild_status(request: Asked) -> Outcome {
    json(&request.serving.api.rebuild_status(request.path("name"))?)
}

pub(crate) async fn cancel_rebuild(request: Asked) -> Outcome {
    let (name, by) = (request.path("name").to_owned(), request.caller().name().to_owned());
    json(&ask(&request, move |node| node.cancel_rebuild(&name, &by)).await?)
}
