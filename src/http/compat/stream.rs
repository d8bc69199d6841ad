//! Changes as server-sent events. A stream holds no queue: it remembers what its client was told last, and tells it what has changed since when the
//! client can take more. So one that reads slowly costs nothing, misses nothing, and one that reads nothing at all is cut off by the write timeout.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Bytes, Path};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tol_enterprise_feature_flag_system::serving::{Environment, Serving, Since};

use super::{Access, LAST_KNOWN, Need};
use crate::http::handlers::{Outcome, State};
use crate::http::metric_definitions::FLAG_STREAMS;
use crate::http::problem::{Kind, Problem};

/// A comment is sent when nothing else was for so long: SDKs take a stream for dead after 30 or 60 seconds, proxies after that too.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whose events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Unleash,
    GrowthBook,
}

pub(super) async fn unleash(state: State, request: HttpRequest) -> Outcome {
    let access = Access::of(&state, &request, Need::Definitions, None)?;
    follow(&state, &request, access, Protocol::Unleash)
}

pub(super) async fn growthbook(state: State, request: HttpRequest, key: Path<String>) -> Outcome {
    let access = Access::of(&state, &request, Need::Definitions, Some(&key))?;
    follow(&state, &request, access, Protocol::GrowthBook)
}

fn follow(state: &State, request: &HttpRequest, access: Access, protocol: Protocol) -> Outcome {
    state.flags.current()?;
    let permit = state.flags.streams.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::new(Kind::TooManyStreams, "as many streams of flags are open as this node serves; poll, or try later").retry_after(5))?;
    let told = request.headers().get("last-event-id").and_then(|value| value.to_str().ok()).map(|id| format!("\"{id}\""));
    let open = Open { serving: state.flags.serving.clone(), access, protocol, told, began: false, _counted: Counted::new(permit) };
    let body = futures_util::stream::unfold(open, |mut open| async move { open.next().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), open)) });
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream").insert_header(("x-accel-buffering", "no"));
    if let Some(known_at) = state.flags.last_known() {
        response.insert_header((LAST_KNOWN, known_at));
    }
    Ok(response.streaming(Box::pin(body)))
}

struct Open {
    serving: watch::Receiver<Arc<Serving>>,
    access: Access,
    protocol: Protocol,
    /// Tag of what the client was told last.
    told: Option<String>,
    /// Whether the head was sent.
    began: bool,
    _counted: Counted,
}

impl Open {
    /// What is sent next; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.began {
            self.began = true;
            let environment = self.environment();
            // At once, so that the client sees the head.
            return Some(self.event(&environment, "unleash-connected").unwrap_or_else(|| Bytes::from_static(b": nothing has changed\n\n")));
        }
        loop {
            match tokio::time::timeout(KEEP_ALIVE, self.serving.changed()).await {
                Err(_) => return Some(Bytes::from_static(b": alive\n\n")),
                // The node stops.
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {}
            }
            let environment = self.environment();
            if let Some(event) = self.event(&environment, "unleash-updated") {
                return Some(event);
            }
        }
    }

    fn environment(&mut self) -> Arc<Environment> {
        let serving = self.serving.borrow_and_update().clone();
        self.access.environment(&serving)
    }

    /// What the client does not know yet, if anything. To Unleash's SDKs everything is a hydration, whichever event brings it.
    fn event(&mut self, environment: &Environment, name: &str) -> Option<Bytes> {
        let since = environment.since(self.told.as_deref());
        let tag = environment.delta_tag();
        let (name, data) = match (self.protocol, since) {
            (_, Since::Nothing) => return None,
            (Protocol::Unleash, Since::Changes(text) | Since::Everything(text)) => (name, text.body),
            (Protocol::GrowthBook, _) => ("features", environment.growthbook_payload().body.clone()),
        };
        let mut event = Vec::with_capacity(data.len() + 96);
        event.extend_from_slice(format!("event: {name}\nid: {}\ndata: ", tag.trim_matches('"')).as_bytes());
        event.extend_from_slice(&data);
        event.extend_from_slice(b"\n\n");
        self.told = Some(tag);
        Some(event.into())
    }
}

/// An open stream, counted until it is dropped.
struct Counted {
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(FLAG_STREAMS).increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(FLAG_STREAMS).decrement(1.0);
    }
}
