//! Streams events as they are appended. Each stream has a thread that reads the log by the rules of every reader (E3, E4) and waits for a
//! slow client; only a bounded channel lies between them.
//!
//! * [`token`] — what a client resumes with
//! * [`merge`] — reads all partitions in about the order in which they were written

mod merge;
mod token;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tol_events::{EventView, TopicPartition};

use self::merge::{Delivered, Merge, Step};
use super::Open;
use super::api::readable;
use tol_plug::Problem;
use tol_plug::platform::{EventFilter, StreamedEvent, Subscription};

/// Events that wait for the client.
const CHANNEL: usize = 256;
/// How long a stream waits when no partition had anything.
const IDLE: Duration = Duration::from_millis(25);

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Follows all facts and systems' events from now on, or from after `resume`. Blocking.
pub(crate) fn subscribe(open: &Arc<Open>, filter: EventFilter, resume: Option<&str>) -> Result<Subscription, Problem> {
    let resume = resume.map(|text| token::parse(text, now_ms())).transpose()?;
    let index = open.index.clone();
    let merge = Merge::begin(open.log.clone(), Box::new(move |at: &TopicPartition| index.cursor(at)), resume, now_ms())?;
    let (sender, events) = mpsc::channel(CHANNEL);
    let begins_at = merge.token();
    let open = open.clone();
    std::thread::Builder::new()
        .name("stream".to_owned())
        .spawn(move || follow(&open, merge, &filter, &sender))
        .map_err(|error| Problem::unavailable(format!("a thread for the stream did not start: {error}"), 5))?;
    Ok(Subscription { token: begins_at, events })
}

fn follow(open: &Open, mut merge: Merge, filter: &EventFilter, sender: &mpsc::Sender<StreamedEvent>) {
    while !sender.is_closed() && !open.control.stopping.load(Ordering::Acquire) {
        let mut deliver = |Delivered { at, position, event, token }: Delivered| {
            let event = readable(open.keys.as_ref(), event, at, position);
            sender.blocking_send(StreamedEvent { token, event }).is_ok()
        };
        match merge.step(now_ms(), &|event| wanted(filter, event), &mut deliver) {
            Ok(Step::Moved) => {}
            Ok(Step::Idle) => std::thread::sleep(IDLE),
            Ok(Step::Ended) => return,
            Err(stop) => {
                tracing::error!(%stop, "a stream ends");
                return;
            }
        }
    }
}

fn wanted(filter: &EventFilter, event: EventView<'_>) -> bool {
    if event.event_type().starts_with(tol_events::reserved::PREFIX) && filter.event_type.is_none() {
        return false;
    }
    let of_type = |wanted: &String| match wanted.strip_suffix('*') {
        Some(prefix) => event.event_type().starts_with(prefix),
        None => event.event_type() == wanted,
    };
    filter.subject.as_ref().is_none_or(|subject| event.subject() == subject)
        && filter.event_type.as_ref().is_none_or(of_type)
        && filter.correlation.as_ref().is_none_or(|correlation| event.correlation_id() == correlation)
}
