//! The `clock` topic: ticks that drive event-time timers. One writer, as everywhere; ticks never go back and never outrun the
//! monotonic clock of the node that writes them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tol_events::{Attribute, Event, EventTime, reserved};
use tol_kafka::{Appended, Cursor, Delivery, EventLog, Position, Record, TopicPartition};

use crate::owner::{Error, Moment, Mutation, breaks};
use crate::store::{Change, Store, Table};
use crate::writer::{Identity, Outcome, Phase, Sent, Writer};

/// Time of the last tick in the log: when whatever wrote it was alive. `None` where there is none, or it cannot be read.
pub fn last_tick(log: &dyn EventLog) -> Option<EventTime> {
    let partition = TopicPartition::new("clock", 0);
    let bounds = log.bounds(&partition).ok()?;
    // The last records may be claims that nothing followed.
    let mut position = bounds.end.saturating_sub(256).max(bounds.earliest);
    let mut last = None;
    while position < bounds.end {
        let batches = log.read(&partition, position, 1 << 20).ok()?;
        let end = batches.last()?.end();
        let ticks = batches.iter().flat_map(|batch| batch.events_from(position)).filter(|(_, event)| event.event_type() == reserved::CLOCK_TICKED);
        last = ticks.filter_map(|(_, event)| event.time()).max().max(last);
        position = end;
    }
    last
}

type Answer = (Sent, Result<Vec<Appended>, tol_kafka::Error>);

/// Writes ticks while this node owns partition 0.
pub struct Ticker {
    writer: Writer,
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    tick_ms: u64,
    nonce: String,
    claims: u64,
    claim_position: Option<Position>,
    /// The last tick in the log.
    last: EventTime,
    /// Wall and monotonic clock when the claim became valid: ticks follow the monotonic one from there.
    anchor: Option<(EventTime, u64)>,
    next_ms: u64,
    committed: Cursor,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

const CURSOR: &[u8] = b"clock\0cursor";

impl Ticker {
    /// A ticker that writes every `tick_ms` milliseconds.
    ///
    /// # Errors
    /// The store failed.
    pub fn open(log: Arc<dyn EventLog>, store: Arc<dyn Store>, node: &str, nonce: String, tick_ms: u64) -> Result<Self, Error> {
        let partition = TopicPartition::new("clock", 0);
        let stored = store.get(Table::Meta, CURSOR)?;
        let (identity, mut committed, mut last): (String, Cursor, EventTime) = stored.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default();
        let beyond = log.bounds(&partition).is_ok_and(|bounds| committed.position > bounds.end);
        if identity != log.identity() || beyond {
            (committed, last) = (Cursor::default(), EventTime::default());
        }
        let identity = Identity {
            source: "/systems/tree-of-life-system".into(),
            node: node.into(),
            code_version: env!("CARGO_PKG_VERSION").into(),
            config_hash: "clock".into(),
        };
        let writer = Writer::new(partition, committed, identity);
        Ok(Self {
            writer,
            log,
            store,
            tick_ms: tick_ms.max(10),
            nonce,
            claims: 0,
            claim_position: None,
            last,
            anchor: None,
            next_ms: 0,
            committed,
            answers: Arc::default(),
        })
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The store failed or the topic cannot be read on.
    pub fn step(&mut self, owns: bool, moment: Moment) -> Result<(), Error> {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        for (sent, answer) in answers {
            self.answered(sent, answer)?;
        }
        if !owns {
            self.writer.release(self.committed);
            self.anchor = None;
            return Ok(());
        }
        if !self.writer.is_active() {
            return self.become_active(moment);
        }
        let (wall, since) = *self.anchor.get_or_insert((moment.wall, moment.now_ms));
        if self.writer.has_in_flight() || moment.now_ms < self.next_ms {
            return Ok(());
        }
        self.next_ms = moment.now_ms + self.tick_ms;
        let now = wall.plus_micros((moment.now_ms - since) as i64 * 1_000);
        if now > self.last || breaks(Mutation::ClockBack) {
            self.last = now;
            self.tick(now, moment.wall);
        }
        Ok(())
    }

    fn tick(&mut self, now: EventTime, wall: EventTime) {
        let (epoch, sequence) = self.writer.number();
        let mut event = Event::new(format!("tick-{}", now.as_micros()), "/systems/tree-of-life-system", reserved::CLOCK_TICKED, "clock/0").at(now);
        event.set(Attribute::Epoch, epoch.to_string()).set(Attribute::Sequence, sequence.to_string()).set(Attribute::RecordedTime, wall.to_string());
        event.data = b"{}".to_vec();
        let (number, append) = self.writer.append(vec![Record::from_event(&event)]);
        self.send(Sent::Batch(number), append);
    }

    fn send(&self, sent: Sent, append: tol_kafka::Append) {
        let answers = self.answers.clone();
        self.log.append(vec![append], Box::new(move |answer| answers.lock().unwrap_or_else(PoisonError::into_inner).push_back((sent, answer))));
    }

    fn answered(&mut self, sent: Sent, answer: Result<Vec<Appended>, tol_kafka::Error>) -> Result<(), Error> {
        let single = match &answer {
            Ok(appended) => appended.first().ok_or(&tol_kafka::Error::Closed),
            Err(error) => Err(error),
        };
        let number = match sent {
            Sent::Batch(number) => number,
            // One to an earlier claim says nothing about this one.
            Sent::Claim(number) if number != self.claims => return Ok(()),
            Sent::Claim(_) => {
                match single {
                    Ok(appended) => self.claim_position = appended.positions.first().copied(),
                    Err(_) => self.writer.release(self.committed),
                }
                return Ok(());
            }
        };
        match self.writer.acknowledged(number, single) {
            Outcome::Committed(cursor) => {
                self.committed = cursor;
                let row = serde_json::to_vec(&(self.log.identity(), cursor, self.last)).map_err(|_| Error::Internal("a cursor does not serialise"))?;
                self.store.write(vec![Change::Put(Table::Meta, CURSOR.to_vec(), row)], None)?;
            }
            Outcome::Lost(_) => {
                self.writer.release(self.committed);
                self.anchor = None;
            }
            Outcome::Outdated => {}
        }
        Ok(())
    }

    fn become_active(&mut self, moment: Moment) -> Result<(), Error> {
        for batch in self.log.read(self.writer.partition(), self.writer.read_from(), 1 << 20).unwrap_or_default() {
            let last = &mut self.last;
            self.writer.take_own(&batch, &mut |delivery| {
                if let Delivery::Group { events, .. } = delivery {
                    *last = events.iter().filter_map(|(_, event)| event.time()).fold(*last, EventTime::max);
                }
                Ok(())
            })?;
        }
        self.committed = self.writer.reader().cursor();
        let void = self.claim_position.is_some_and(|position| self.writer.claim_was_void(position));
        if void || *self.writer.phase() == Phase::Following {
            self.claims += 1;
            self.claim_position = None;
            let claim = self.writer.claim(self.committed, format!("{}-{}", self.nonce, self.claims), moment.wall);
            self.send(Sent::Claim(self.claims), claim);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use tol_kafka::{Faults, MemoryLog, TopicSpec};

    #[test]
    fn ticks_go_on_after_a_restart_and_never_back() {
        let log = MemoryLog::new(1, Faults { auto: true, ..Faults::default() }).client("a");
        log.ensure_topics(&[TopicSpec { name: "clock".into(), partitions: 1, retention: None }]).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(0));
        let run = |nonce: &str, wall: i64| {
            let mut ticker = Ticker::open(log.clone(), store.clone(), "n", nonce.into(), 10).unwrap();
            for now_ms in (0..200).step_by(5) {
                ticker.step(true, Moment { now_ms, wall: EventTime::from_secs(wall), stopped: false }).unwrap();
            }
        };
        run("a", 1_000);
        run("b", 500); // the wall clock jumped back: nothing is written below the last tick
        run("c", 2_000);
        let mut reader = tol_kafka::Reader::resume(TopicPartition::new("clock", 0), Cursor::default());
        let mut times = Vec::new();
        loop {
            let batches = log.read(&TopicPartition::new("clock", 0), reader.next(), 1 << 20).unwrap();
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                reader
                    .read(&batch, &mut |delivery| {
                        if let Delivery::Group { events, .. } = delivery {
                            times.extend(events.iter().filter_map(|(_, event)| event.time()));
                        }
                        Ok(())
                    })
                    .unwrap();
            }
        }
        assert!(times.len() > 20 && times.is_sorted() && times.last().unwrap() >= &EventTime::from_secs(2_000));
    }
}
