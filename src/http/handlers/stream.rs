//! Events as they come, as server-sent events.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use tol_plug::platform::{STREAM_START, StreamedEvent, Subscription, stream_token_at};
use tol_plug::{Kind, Outcome, Problem};

use super::{Asked, events};
use crate::http::metric_definitions::STREAMS;

/// A comment is sent when nothing else was for so long, so that proxies keep the connection and a dead client is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events put into one chunk at most, while they are there without waiting.
const CHUNK_EVENTS: usize = 64;

pub(crate) async fn follow(request: Asked) -> Outcome {
    let permit = request.serving.streams.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::new(Kind::TOO_MANY_STREAMS, "as many streams are open as this node serves; close one or try later").retry_after(5))?;
    let query = request.query()?;
    // A browser repeats the URL when it connects again, and adds the header: what it has seen wins over where it began.
    let resume = request.header("last-event-id").filter(|text| !text.is_empty()).map(str::to_owned).or_else(|| query.text("last_event_id"));
    let resume = match (resume, query.text("from").as_deref()) {
        (Some(token), _) => Some(token),
        (None, Some(STREAM_START)) => Some(STREAM_START.to_owned()),
        (None, _) => query.start_of("from")?.map(stream_token_at),
    };
    let Subscription { token, events } = request.serving.api.subscribe(events::filter(&query), resume).await?;
    let open = Open { events, _counted: Counted::new(permit), begins_at: Some(token) };
    let body = futures_util::stream::unfold(open, |mut open| async move { open.chunk().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), open)) });
    Ok(HttpResponse::Ok().content_type("text/event-stream").insert_header(("x-accel-buffering", "no")).streaming(Box::pin(body)))
}

struct Open {
    events: mpsc::Receiver<StreamedEvent>,
    _counted: Counted,
    /// Until the head was sent.
    begins_at: Option<String>,
}

impl Open {
    /// What is sent next; `None` ends the stream.
    async fn chunk(&mut self) -> Option<Bytes> {
        if let Some(token) = self.begins_at.take() {
            // Sent at once, so that the client sees the head and knows that nothing from here on is missed. An id without data
            // is no event, but a client remembers it: one that breaks off before the first event goes on from here.
            let mut chunk = b"retry: 1000\n: following\n".to_vec();
            write_id(&token, &mut chunk);
            chunk.push(b'\n');
            return Some(chunk.into());
        }
        let first = match tokio::time::timeout(KEEP_ALIVE, self.events.recv()).await {
            Err(_) => return Some(Bytes::from_static(b": alive\n\n")),
            Ok(received) => received?,
        };
        let mut chunk = Vec::with_capacity(1_024);
        write_event(&first, &mut chunk);
        for _ in 1..CHUNK_EVENTS {
            let Ok(next) = self.events.try_recv() else { break };
            write_event(&next, &mut chunk);
        }
        Some(chunk.into())
    }
}

fn write_event(streamed: &StreamedEvent, chunk: &mut Vec<u8>) {
    write_id(&streamed.token, chunk);
    chunk.extend_from_slice(b"data: ");
    chunk.extend_from_slice(&streamed.event.to_json());
    chunk.extend_from_slice(b"\n\n");
}

fn write_id(token: &str, chunk: &mut Vec<u8>) {
    chunk.extend_from_slice(b"id: ");
    chunk.extend(token.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r' | 0)));
    chunk.push(b'\n');
}

/// An open stream, counted until it is dropped.
struct Counted {
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(STREAMS).increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(STREAMS).decrement(1.0);
    }
}
