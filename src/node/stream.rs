//! Streams events as they are appended. Each stream has a thread that reads the log by the rules of every reader (E3, E4) and waits for a
//! slow client; only a bounded channel lies between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tol_events::EventView;
use tol_kafka::{Cursor, Delivery, Position, Reader, TopicPartition};

use super::Open;
use super::api::readable;
use tol_plug::platform::{EventFilter, StreamedEvent, Subscription};
use tol_plug::{Kind, Problem};

/// Events that wait for the client.
const CHANNEL: usize = 256;
/// How often the log is looked at when nothing comes.
const IDLE: Duration = Duration::from_millis(25);

struct Followed {
    reader: Reader,
    /// Events below were there before, or were delivered before.
    from: Position,
}

/// Follows all facts and systems' events from now on, or from after `resume`.
pub(crate) fn subscribe(open: &Arc<Open>, filter: EventFilter, resume: Option<&str>) -> Result<Subscription, Problem> {
    let unavailable = |error: tol_kafka::Error| Problem::unavailable(error.to_string(), 1);
    let resumed = resume.map(parse_token).transpose()?;
    let mut followed = BTreeMap::new();
    for (topic, partitions) in open.log.topics().map_err(unavailable)? {
        if !(topic.starts_with("facts.") || topic.ends_with(".events") || topic == "control") {
            continue;
        }
        for partition in 0..partitions {
            let at = TopicPartition::new(topic.as_str(), partition);
            let from = match &resumed {
                Some(positions) => positions.get(&at).copied().unwrap_or(0),
                None => open.log.bounds(&at).map_err(unavailable)?.end,
            };
            // The index knows what a reader must remember at its position; a token from before it begins at the start.
            let known = open.index.cursor(&at);
            let cursor = if known.position <= from { known } else { Cursor::default() };
            followed.insert(at.clone(), Followed { reader: Reader::resume(at, cursor), from });
        }
    }
    let (sender, events) = mpsc::channel(CHANNEL);
    let delivered: BTreeMap<TopicPartition, Position> = followed.iter().map(|(at, one): (&TopicPartition, &Followed)| (at.clone(), one.from)).collect();
    let begins_at = token(&delivered);
    let open = open.clone();
    std::thread::Builder::new()
        .name("stream".to_owned())
        .spawn(move || follow(&open, followed, delivered, &filter, &sender))
        .map_err(|error| Problem::unavailable(format!("a thread for the stream did not start: {error}"), 5))?;
    Ok(Subscription { token: begins_at, events })
}

fn follow(
    open: &Open,
    mut followed: BTreeMap<TopicPartition, Followed>,
    mut delivered: BTreeMap<TopicPartition, Position>,
    filter: &EventFilter,
    sender: &mpsc::Sender<StreamedEvent>,
) {
    while !sender.is_closed() && !open.control.stopping.load(std::sync::atomic::Ordering::Acquire) {
        let mut moved = false;
        for (at, one) in &mut followed {
            let Ok(batches) = open.log.read(at, one.reader.next(), 256 << 10) else { continue };
            for batch in batches {
                moved = true;
                let mut out = Vec::new();
                let from = one.from;
                let read = one.reader.read(&batch, &mut |delivery| {
                    if let Delivery::Group { events, .. } = delivery {
                        out.extend(
                            events
                                .iter()
                                .filter(|(position, event)| *position >= from && wanted(filter, *event))
                                .map(|(position, event)| (*position, event.to_event())),
                        );
                    }
                    Ok(())
                });
                if let Err(stop) = read {
                    tracing::error!(%stop, "a stream ends");
                    return;
                }
                for (position, event) in out {
                    delivered.insert(at.clone(), position + 1);
                    let event = readable(open.keys.as_ref(), event, at.clone(), position);
                    if sender.blocking_send(StreamedEvent { token: token(&delivered), event }).is_err() {
                        return;
                    }
                }
                delivered.insert(at.clone(), one.reader.cursor().position.max(from));
            }
        }
        if !moved {
            std::thread::sleep(IDLE);
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

/// The token of a log in which nothing was delivered: an empty one could not be told from none.
const START: &str = "start";

/// `topic/partition:position`, comma-separated; partitions at 0 are left out.
fn token(delivered: &BTreeMap<TopicPartition, Position>) -> String {
    let parts: Vec<String> = delivered.iter().filter(|(_, position)| **position > 0).map(|(at, position)| format!("{at}:{position}")).collect();
    if parts.is_empty() { START.to_owned() } else { parts.join(",") }
}

fn parse_token(text: &str) -> Result<BTreeMap<TopicPartition, Position>, Problem> {
    if text == START {
        return Ok(BTreeMap::new());
    }
    let part = |part: &str| {
        let (at, position) = part.rsplit_once(':')?;
        Some((at.parse().ok()?, position.parse().ok()?))
    };
    text.split(',')
        .map(part)
        .collect::<Option<_>>()
        .ok_or_else(|| Problem::new(Kind::INVALID_CURSOR, "Last-Event-ID is not one that this stream gave; leave it out to follow from now on"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_also_where_nothing_was_delivered() {
        let delivered = BTreeMap::from([(TopicPartition::new("facts.customer", 3), 120), (TopicPartition::new("control", 0), 7)]);
        assert_eq!(parse_token(&token(&delivered)).unwrap(), delivered);
        assert!(parse_token(&token(&BTreeMap::from([(TopicPartition::new("control", 0), 0)]))).unwrap().is_empty());
        for wrong in ["", "x", "facts.customer/3", "facts.customer/3:-1", "a/1:1,", "start,a/1:1"] {
            assert_eq!(parse_token(wrong).unwrap_err().kind, Kind::INVALID_CURSOR, "{wrong}");
        }
    }
}
