//! A simple correct writer of one numbered partition (facts, the clock), and the log as a Kafka client splits its batches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, Event, EventTime};
use tol_kafka::{Append, AppendDone, Appended, Assignment, Batch, Bounds, Error, EventLog, Health, Position, Record, TopicPartition, TopicSpec};

type Answer = Arc<Mutex<Option<Result<Vec<Appended>, Error>>>>;

/// Writes what is queued, each event once, whatever the log does; now and then it claims anew, repeats itself or writes as a zombie.
pub(super) struct Feed {
    to: TopicPartition,
    log: Arc<dyn EventLog>,
    epoch: u64,
    sequence: u64,
    claimed: bool,
    queue: VecDeque<Event>,
    in_flight: Option<(Event, Answer)>,
    last: Option<Record>,
    claims: u64,
}

impl Feed {
    pub(super) fn new(to: TopicPartition, log: Arc<dyn EventLog>) -> Self {
        Self { to, log, epoch: 0, sequence: 0, claimed: false, queue: VecDeque::new(), in_flight: None, last: None, claims: 0 }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_none()
    }

    fn send(&self, record: Record) -> Answer {
        let answer = Answer::default();
        let kept = answer.clone();
        let append = Append { to: self.to.clone(), expected: None, records: vec![record] };
        self.log.append(vec![append], Box::new(move |result| *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(result)));
        answer
    }

    fn claim(&self, epoch: u64) -> Event {
        let nonce = format!("feed {} {}", self.to, self.claims);
        let claim = OwnerClaimed { epoch, nonce: nonce.clone(), node: "feed".into(), code_version: "1".into(), config_hash: "0".into() };
        let mut event = Event::new(nonce, "/hub", OWNER_CLAIMED, "partition/0");
        event.set(Attribute::Epoch, epoch.to_string());
        event.data = serde_json::to_vec(&claim).unwrap_or_default();
        event
    }

    fn holds(&self, id: &str) -> Option<bool> {
        let batches = self.log.read(&self.to, 0, usize::MAX).ok()?;
        Some(batches.iter().any(|batch| batch.events_from(0).any(|(_, event)| event.id() == id)))
    }

    pub(super) fn step(&mut self, random: &mut ChaCha8Rng) {
        if let Some((event, answer)) = &self.in_flight {
            let Some(result) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
            let written = match (result, self.holds(event.get(Attribute::Id))) {
                (_, Some(written)) => written,
                (result, None) => {
                    // Not readable now: look again later.
                    *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    return;
                }
            };
            let event = event.clone();
            self.in_flight = None;
            if !written {
                // The same bytes again (E11).
                let answer = self.send(Record::from_event(&event));
                self.in_flight = Some((event, answer));
            } else if event.get(Attribute::Type) == OWNER_CLAIMED {
                self.epoch += 1;
                self.claimed = true;
            } else {
                self.sequence += 1;
                self.last = Some(Record::from_event(&event));
            }
            return;
        }
        match random.random_range(0..40) {
            0 => self.claimed = false,
            1 => {
                if let Some(last) = &self.last {
                    self.send(last.clone());
                }
            }
            2 if self.epoch > 1 => {
                let mut zombie = Event::new(format!("zombie {}", self.sequence), "/zombie", "sim.count_wanted.v1", "customer/0");
                zombie.set(Attribute::Epoch, (self.epoch - 1).to_string()).set(Attribute::Sequence, (self.sequence + 1).to_string());
                self.send(Record::from_event(&zombie));
            }
            3 if self.epoch > 0 => {
                self.claims += 1;
                self.send(Record::from_event(&self.claim(self.epoch)));
            }
            _ => {}
        }
        if self.queue.is_empty() {
            return;
        }
        let event = if self.claimed {
            let Some(mut event) = self.queue.pop_front() else { return };
            event.set(Attribute::Epoch, self.epoch.to_string()).set(Attribute::Sequence, (self.sequence + 1).to_string());
            event
        } else {
            self.claims += 1;
            self.claim(self.epoch + 1)
        };
        let answer = self.send(Record::from_event(&event));
        self.in_flight = Some((event, answer));
    }
}

/// A client whose appends of several records are now and then sent in parts, between which others may write.
pub(super) struct Splitting {
    inner: Arc<dyn EventLog>,
    random: Mutex<ChaCha8Rng>,
}

impl Splitting {
    pub(super) fn new(inner: Arc<dyn EventLog>, seed: u64) -> Self {
        Self { inner, random: Mutex::new(ChaCha8Rng::seed_from_u64(seed)) }
    }
}

impl EventLog for Splitting {
    fn append(&self, appends: Vec<Append>, done: AppendDone) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = Vec::new();
        for append in appends {
            let Append { to, mut expected, mut records } = append;
            while records.len() > 1 && random.random_bool(0.5) {
                let rest = records.split_off(random.random_range(1..records.len()));
                parts.push(Append { to: to.clone(), expected, records });
                expected = None;
                records = rest;
            }
            parts.push(Append { to, expected, records });
        }
        drop(random);
        self.inner.append(
            parts,
            Box::new(move |result| {
                done(result.map(|appended| {
                    let mut joined: Vec<Appended> = Vec::new();
                    for part in appended {
                        match joined.last_mut() {
                            Some(last) if last.to == part.to => last.positions.extend(part.positions),
                            _ => joined.push(part),
                        }
                    }
                    joined
                }));
            }),
        );
    }

    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        self.inner.read(from, position, max_bytes)
    }

    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error> {
        self.inner.bounds(of)
    }

    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, Error> {
        self.inner.position_at(of, time)
    }

    fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        self.inner.topics()
    }

    fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.inner.ensure_topics(topics)
    }

    fn watch(&self, woken: Arc<dyn Fn(&TopicPartition) + Send + Sync>) {
        self.inner.watch(woken);
    }

    fn join(&self, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>) {
        self.inner.join(partitions, changed);
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn close(&self) {
        self.inner.close();
    }
}
