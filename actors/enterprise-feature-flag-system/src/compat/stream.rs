//! Changes as server-sent events. A stream holds no queue: it remembers what its client was told last, and tells it what has changed since when the
//! client can take more. So one that reads slowly costs nothing, misses nothing, and one that reads nothing at all is cut off by the write timeout.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tol_plug::Outcome;

use super::environments::Named;
use super::note_last_known;
use crate::Request;
use crate::metric_definitions::FLAG_STREAMS;
use crate::serving::{EventKind, Serving};

/// A comment is sent when nothing else was for so long: SDKs take a stream for dead after 30 or 60 seconds, proxies after that too.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which SDKs' events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Unleash,
    GrowthBook,
}

pub(super) fn unleash(request: &Request) -> Outcome {
    follow(request, Dialect::Unleash)
}

pub(super) fn growthbook(request: &Request) -> Outcome {
    follow(request, Dialect::GrowthBook)
}

fn follow(request: &Request, dialect: Dialect) -> Outcome {
    let service = &request.serving;
    service.current()?;
    let permit = service.stream()?;
    let told = request.header("last-event-id").map(|id| format!("\"{id}\""));
    let open = Open { serving: service.follow(), named: Named::by(request).into_owned(), dialect, told, began: false, _counted: Counted::new(permit) };
    let body = futures_util::stream::unfold(open, |mut open| async move { open.next().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), open)) });
    let mut response = HttpResponse::Ok().content_type("text/event-stream").insert_header(("x-accel-buffering", "no")).streaming(Box::pin(body));
    note_last_known(request, &mut response);
    Ok(response)
}

struct Open {
    serving: watch::Receiver<Arc<Serving>>,
    named: Named<'static>,
    dialect: Dialect,
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
            self.named.among(&serving)
        };
        let kind = if self.dialect == Dialect::Unleash { of_unleash } else { EventKind::GrowthBook };
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
