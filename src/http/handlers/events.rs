//! Publishing, searching, tracing.

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::web::{self, Bytes};
use tol_events::binding::http::{Decoded, decode};
use tol_events::{Attribute, Event};
use tol_plug::platform::{EventFilter, LOG_POSITION, SearchQuery};
use tol_plug::request::Query;
use tol_plug::{Kind, Outcome, Problem, json};

use super::{Asked, ask};

/// Bodies from this size on are decoded on a blocking thread: 256 KB takes about a millisecond, which other requests should not wait.
const DECODE_ELSEWHERE_BYTES: usize = 256 << 10;

pub(crate) async fn publish(request: Asked, payload: Payload) -> Outcome {
    let body = request.body(payload).await?;
    let mut events = decode_request(request.http(), body).await?.events;
    let trace = request.header("traceparent").filter(|text| is_traceparent(text));
    for event in &mut events {
        if let Some(trace) = trace
            && !event.attributes.contains_key(&Attribute::TraceParent)
        {
            event.set(Attribute::TraceParent, trace);
        }
        event.extensions.remove(LOG_POSITION);
    }
    json(&request.serving.api.admit(events).await?)
}

async fn decode_request(request: &HttpRequest, body: Bytes) -> Result<Decoded, Problem> {
    let headers: Vec<(&str, &[u8])> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    if body.len() < DECODE_ELSEWHERE_BYTES {
        return decode(headers.into_iter(), &body).map_err(refused);
    }
    let headers: Vec<(String, Vec<u8>)> = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    let decoded = web::block(move || decode(headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())), &body)).await;
    decoded.map_err(|_| Problem::unavailable("the node is stopping", 1))?.map_err(refused)
}

fn refused(error: tol_events::binding::Error) -> Problem {
    use tol_events::binding::Error;
    let index = error.index();
    let innermost = match &error {
        Error::InBatch { error, .. } => error,
        other => other,
    };
    let kind = match innermost {
        Error::Json(_) => Kind::MALFORMED_JSON,
        Error::ContentType { .. } => Kind::UNSUPPORTED_CONTENT_TYPE,
        Error::Missing(_) | Error::Invalid { .. } | Error::InBatch { .. } => Kind::INVALID_EVENT,
    };
    let problem = Problem::new(kind, error.to_string());
    match index {
        Some(index) => problem.with("index", index),
        None if kind == Kind::INVALID_EVENT => problem.with("index", 0),
        None => problem,
    }
}

/// W3C Trace Context: `version-traceid-parentid-flags` in lower-case hex; an all-zero id is invalid.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let not_zero = |part: &str| part.bytes().any(|byte| byte != b'0');
    match parts.as_slice() {
        [version, trace, parent, flags, rest @ ..] => {
            let known_version = hex(version, 2) && *version != "ff" && (rest.is_empty() || *version != "00");
            known_version && hex(trace, 32) && not_zero(trace) && hex(parent, 16) && not_zero(parent) && hex(flags, 2)
        }
        _ => false,
    }
}

/// The filters that search and stream have in common.
pub(super) fn filter(query: &Query<'_>) -> EventFilter {
    EventFilter { subject: query.text("subject"), event_type: query.text("type"), correlation: query.text("correlation") }
}

/// Waits until the events at the positions of `min_position` are found.
async fn wait_for(request: &Asked, query: &Query<'_>) -> Result<(), Problem> {
    let positions = query.min_positions()?;
    if positions.is_empty() {
        return Ok(());
    }
    let timeout = query.timeout()?;
    let asked: Vec<String> = positions.iter().map(|(place, position)| format!("{place}:{position}")).collect();
    if request.serving.api.wait_indexed(positions, timeout).await? {
        return Ok(());
    }
    let detail = format!("{} is not indexed after {} ms; ask again, or wait longer with timeout_ms", asked.join(", "), timeout.as_millis());
    Err(Problem::new(Kind::NOT_VISIBLE_YET, detail).with("min_position", asked).retry_after(1))
}

/// The problem of an event that was not found, which may only be because the index is behind.
async fn not_found(request: &Asked, detail: String) -> Result<Problem, Problem> {
    let lag = ask(request, |node| Ok(node.index_lag())).await?;
    let detail = match lag {
        0 => detail,
        lag => format!("{detail}; the index is {lag} records behind the log: ask again, or with min_position as POST /events answered it"),
    };
    Ok(Problem::new(Kind::EVENT_NOT_FOUND, detail).with("index_lag", lag))
}

pub(crate) async fn search(request: Asked) -> Outcome {
    let query = request.query()?;
    let search =
        SearchQuery { filter: filter(&query), from: query.start_of("from")?, to: query.end_of("to")?, limit: query.limit()?, cursor: query.text("cursor") };
    if let (Some(from), Some(to)) = (search.from, search.to)
        && from > to
    {
        return Err(Problem::parameter("from", "is later than to"));
    }
    wait_for(&request, &query).await?;
    json(&ask(&request, move |node| node.search(&search)).await?)
}

pub(crate) async fn one(request: Asked) -> Outcome {
    let id = request.path("id").to_owned();
    let query = request.query()?;
    let source = query.text("source");
    wait_for(&request, &query).await?;
    let asked = id.clone();
    let found = ask(&request, move |node| node.event(&asked, source.as_deref())).await?;
    match found.as_slice() {
        [] => Err(not_found(&request, format!("no event has the id \"{id}\"")).await?.with("id", id)),
        [event] => json(event),
        several => {
            let sources: Vec<&str> = several.iter().map(|logged| source_of(&logged.event)).collect();
            let detail = format!("{} events have the id \"{id}\"; add ?source= with one of their sources", several.len());
            Err(Problem::new(Kind::AMBIGUOUS_EVENT, detail).with("id", id).with("sources", sources))
        }
    }
}

fn source_of(event: &Event) -> &str {
    event.attributes.get(&Attribute::Source).map_or("", String::as_str)
}

pub(crate) async fn trace(request: Asked) -> Outcome {
    let correlation = request.path("correlation").to_owned();
    wait_for(&request, &request.query()?).await?;
    let asked = correlation.clone();
    let trace = ask(&request, move |node| node.trace(&asked)).await?;
    if trace.roots.is_empty() {
        return Err(not_found(&request, format!("no event has the correlation id \"{correlation}\"")).await?.with("correlation", correlation));
    }
    json(&trace)
}

pub(crate) async fn timeline(request: Asked) -> Outcome {
    let query = request.query()?;
    let (limit, cursor, subject) = (query.limit()?, query.text("cursor"), request.path("subject").to_owned());
    wait_for(&request, &query).await?;
    json(&ask(&request, move |node| node.timeline(&subject, limit, cursor.as_deref())).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_passed_on() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(is_traceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"));
        for wrong in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert!(!is_traceparent(wrong), "{wrong}");
        }
    }
}
