//! Changes as server-sent events. A stream holds no queue: it remembers what its client was told last, and tells it what has changed since when the
//! client can take more. So one that reads slowly costs nothing, misses nothing, and one that reads nothing at all is cut off by the write timeout.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tol_enterprise_feature_flag_system::serving::{EventKind, Serving};

use super::{Access, Asked, Need, note_last_known};
use crate::http::handlers::Outcome;
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

pub(super) fn unleash(asked: &Asked) -> Outcome {
    follow(asked, Access::of(asked, Need::Definitions, None)?, Protocol::Unleash)
}

pub(super) fn growthbook(asked: &Asked) -> Outcome {
    follow(asked, Access::of(asked, Need::Definitions, Some(&asked.key))?, Protocol::GrowthBook)
}

fn follow(asked: &Asked, access: Access, protocol: Protocol) -> Outcome {
    let flags = &asked.state.flags;
    flags.current()?;
    let permit = flags.streams.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::new(Kind::TooManyStreams, "as many streams of flags are open as this node serves; poll, or try later").retry_after(5))?;
    let told = asked.request.headers().get("last-event-id").and_then(|value| value.to_str().ok()).map(|id| format!("\"{id}\""));
    let open = Open { serving: flags.serving.clone(), access, protocol, told, began: false, _counted: Counted::new(permit) };
    let body = futures_util::stream::unfold(open, |mut open| async move { open.next().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), open)) });
    let mut response = HttpResponse::Ok().content_type("text/event-stream").insert_header(("x-accel-buffering", "no")).streaming(Box::pin(body));
    note_last_known(asked, &mut response);
    Ok(response)
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
            // At once, so that the client sees the head.
            return Some(self.event(EventKind::UnleashConnected).unwrap_or_else(|| Bytes::from_static(b": nothing has changed\n\n")));
        }
        loop {
            match tokio::time::timeout(KEEP_ALIVE, self.serving.changed()).await {
                Err(_) => return Some(Bytes::from_static(b": alive\n\n")),
                // The node stops.
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {}
            }
            if let Some(event) = self.event(EventKind::UnleashUpdated) {
                return Some(event);
            }
        }
    }

    /// What the client does not know yet, if anything; `of_unleash` if it is one of Unleash's.
    fn event(&mut self, of_unleash: EventKind) -> Option<Bytes> {
        let environment = {
            let serving = self.serving.borrow_and_update();
            self.access.environment(&serving)
        };
        let kind = if self.protocol == Protocol::Unleash { of_unleash } else { EventKind::GrowthBook };
        let event = environment.event(kind, self.told.as_deref())?;
        self.told = Some(environment.delta_tag());
        Some(event)
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
