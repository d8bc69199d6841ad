//! [`Merge`]: reads all partitions in about the order in which their records were appended, always the one that has come the least far in time. So
//! one time says how far all have come, and a token need not name them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tol_events::{Event, EventTime, EventView};
use tol_kafka::{Cursor, Delivery, EventLog, Position, Reader, Stop, TopicPartition};
use tol_plug::Problem;

use super::token::{self, CLOCKS_APART_MS, Moved, Token};

/// Bytes read from a partition at a time.
const READ_BYTES: usize = 256 << 10;
/// How often it is looked for new topics.
const LOOK_MS: i64 = 2_000;

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Some partition was read; there may be more.
    Moved,
    /// No partition has anything.
    Idle,
    /// The receiver has gone.
    Ended,
}

/// An event, and where the stream stands behind it.
pub(super) struct Delivered {
    pub(super) at: TopicPartition,
    pub(super) position: Position,
    pub(super) event: Event,
    pub(super) token: String,
}

struct Followed {
    reader: Reader,
    /// Events below were there before, or were delivered before.
    from: Position,
}

/// Finds what a reader must remember at the position that the index has reached.
type Known = Box<dyn Fn(&TopicPartition) -> Cursor + Send>;

/// All facts and systems' events, from a place on.
pub(super) struct Merge {
    log: Arc<dyn EventLog>,
    known: Known,
    followed: Vec<Followed>,
    /// Places in `followed` by the time up to which each was read, then by turn.
    order: BTreeMap<(i64, u64), usize>,
    turn: u64,
    /// Partitions that could not be read, or hold a group back, and the time up to which they were delivered before that.
    unsettled: BTreeMap<usize, i64>,
    /// Where the stream began: everything at this time or later is in it.
    began_ms: i64,
    moved: BTreeMap<TopicPartition, Moved>,
    /// How many partitions in a row had nothing.
    quiet: usize,
    looked_ms: i64,
}

fn unavailable(error: tol_kafka::Error) -> Problem {
    Problem::unavailable(error.to_string(), 1)
}

fn is_followed(topic: &str) -> bool {
    topic.starts_with("facts.") || topic.ends_with(".events") || topic == "control"
}

impl Merge {
    /// From behind `resume`, or from now on.
    pub(super) fn begin(log: Arc<dyn EventLog>, known: Known, resume: Option<Token>, now_ms: i64) -> Result<Self, Problem> {
        let began_ms = resume.as_ref().map_or(now_ms - CLOCKS_APART_MS, |token| token.time_ms);
        let mut merge = Self {
            log,
            known,
            followed: Vec::new(),
            order: BTreeMap::new(),
            turn: 0,
            unsettled: BTreeMap::new(),
            began_ms,
            moved: BTreeMap::new(),
            quiet: 0,
            looked_ms: now_ms,
        };
        let mut named = resume.as_ref().map(|token| token.named.clone()).unwrap_or_default();
        let time = EventTime::from_millis(began_ms);
        for (topic, partitions) in merge.log.topics().map_err(unavailable)? {
            for at in (0..partitions).filter(|_| is_followed(&topic)).map(|partition| TopicPartition::new(topic.as_str(), partition)) {
                let end = merge.log.bounds(&at).map_err(unavailable)?.end;
                let by_time = if began_ms <= 0 { 0 } else { merge.log.position_at(&at, time).map_err(unavailable)? };
                let from = match &resume {
                    None => end,
                    Some(_) => named.remove(&at).unwrap_or(by_time),
                };
                if from > end {
                    return Err(token::ahead(&format!("{at} ends at {end}, before {from}")));
                }
                if from != by_time {
                    merge.moved.insert(at.clone(), Moved { next: from, appended_at_ms: now_ms });
                }
                merge.follow(at, from, if resume.is_some() { began_ms } else { now_ms });
            }
        }
        // A partition at its beginning may be of a topic that is still to be made.
        match named.into_iter().find(|(_, position)| *position > 0) {
            Some((at, position)) => Err(token::ahead(&format!("the log has no {at}, of which it names {position}"))),
            None => Ok(merge),
        }
    }

    fn follow(&mut self, at: TopicPartition, from: Position, read_to_ms: i64) {
        // The index knows what a reader must remember at its position; a place before it is reached from the start.
        let known = (self.known)(&at);
        let cursor = if known.position <= from { known } else { Cursor::default() };
        self.followed.push(Followed { reader: Reader::resume(at, cursor), from });
        self.order.insert((read_to_ms, self.turn), self.followed.len() - 1);
        self.turn += 1;
    }

    /// The time up to which all was delivered, clocks that differ allowed for.
    fn settled_ms(&self) -> i64 {
        let read_to = self.order.first_key_value().map(|((read_to, _), _)| *read_to);
        let settled = read_to.into_iter().chain(self.unsettled.values().copied()).min();
        settled.map_or(self.began_ms, |settled| (settled - CLOCKS_APART_MS).max(self.began_ms))
    }

    /// Where the stream stands.
    pub(super) fn token(&self) -> String {
        let (mut moved, settled) = (self.moved.clone(), self.settled_ms());
        token::prune(&mut moved, settled);
        Token::write(settled, &moved)
    }

    /// Reads a piece of the partition that has come the least far, and delivers what is wanted of it until `deliver` says no.
    pub(super) fn step(&mut self, now_ms: i64, wanted: &dyn Fn(EventView<'_>) -> bool, deliver: &mut dyn FnMut(Delivered) -> bool) -> Result<Step, Stop> {
        if now_ms - self.looked_ms >= LOOK_MS {
            self.look_for_topics(now_ms);
        }
        let settled = self.settled_ms();
        let Some(((read_to, _), place)) = self.order.pop_first() else { return Ok(Step::Idle) };
        let Some(one) = self.followed.get_mut(place) else { return Ok(Step::Idle) };
        let at = one.reader.topic_partition().clone();
        let read = self.log.read(&at, one.reader.next(), READ_BYTES);
        let (mut now_read_to, mut found) = (now_ms, false);
        for batch in read.iter().flatten() {
            found = true;
            now_read_to = batch.appended_at_ms().min(now_ms);
            let mut out = Vec::new();
            let from = one.from;
            one.reader.read(batch, &mut |delivery| {
                if let Delivery::Group { events, .. } = delivery {
                    let wanted = events.iter().filter(|(position, event)| *position >= from && wanted(*event));
                    out.extend(wanted.map(|(position, event)| (*position, event.to_event())));
                }
                Ok(())
            })?;
            for (position, event) in out {
                self.moved.insert(at.clone(), Moved { next: position + 1, appended_at_ms: batch.appended_at_ms() });
                token::prune(&mut self.moved, settled);
                let token = Token::write(settled, &self.moved);
                if !deliver(Delivered { at: at.clone(), position, event, token }) {
                    return Ok(Step::Ended);
                }
            }
            let next = one.reader.cursor().position.max(from);
            if next > from || self.moved.contains_key(&at) {
                self.moved.insert(at.clone(), Moved { next, appended_at_ms: batch.appended_at_ms() });
            }
        }
        // What is held back was read, and is not delivered.
        if read.is_err() || one.reader.cursor().position < one.reader.next() {
            self.unsettled.entry(place).or_insert(read_to);
        } else {
            self.unsettled.remove(&place);
        }
        self.order.insert((now_read_to.max(read_to), self.turn), place);
        self.turn += 1;
        self.quiet = if found { 0 } else { self.quiet + 1 };
        if self.quiet < self.followed.len() {
            return Ok(Step::Moved);
        }
        self.quiet = 0;
        Ok(Step::Idle)
    }

    /// Follows topics that were made meanwhile, from their beginning.
    fn look_for_topics(&mut self, now_ms: i64) {
        let Ok(topics) = self.log.topics() else { return };
        let looked_before = std::mem::replace(&mut self.looked_ms, now_ms);
        for (topic, partitions) in topics.into_iter().filter(|(topic, _)| is_followed(topic)) {
            if self.followed.iter().any(|one| *one.reader.topic_partition().topic == *topic) {
                continue;
            }
            for partition in 0..partitions {
                self.follow(TopicPartition::new(topic.as_str(), partition), 0, looked_before);
            }
        }
    }
}
