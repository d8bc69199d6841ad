//! Erases persons: records it on `control`, destroys the key on every node, and has views and blobs drop what they derived.
//!
//! Every node reads `control` from its first record on: at its start, before it admits or decides anything, it destroys the keys of all
//! erased persons, so that a key store that was restored from a copy brings none of them back. Then it follows `control`, and calls the functions given
//! to [`Erasures::on_erased`] with each erased person: again after each start, since what a function purges may be older than the erasure.
//!
//! What the log, rows, systems' states and parked inputs hold of a person is sealed, so it is gone with the key. Only what was opened has to be
//! purged: views in memory, blobs, whatever a system derived from opened text.

use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use serde::Serialize;
use tol_events::personal::{self, KeyState, KeyStore};
use tol_events::tree::SubjectErased;
use tol_events::{Attribute, DomainEvent as _, reserved};
use tol_kafka::{Append, EventLog, Position, Record, TopicPartition};

use super::Open;
use tol_plug::{Kind, Problem};

const READ_BYTES: usize = 1 << 20;
/// How often `control` is read for erasures.
const ROUND: Duration = Duration::from_millis(250);
/// How long the record of an erasure is awaited.
const PATIENCE: Duration = Duration::from_secs(10);

/// The outcome of erasing a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// The person's subject.
    pub subject: String,
    /// The position of the record on `control`.
    pub position: Position,
    /// Whether there was a key: `false` for a person who was erased before, or of whom nothing personal was known.
    pub key_destroyed: bool,
}

/// Something derived of a person could not be dropped; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{of} still holds what it derived of {subject}: {problem}")]
pub struct PurgeError {
    /// What holds it.
    pub of: &'static str,
    /// Who was erased.
    pub subject: String,
    /// What failed.
    pub problem: String,
}

/// Drops what was derived of this person. Called on the thread of erasures, more than once for one person; may block.
pub type Purge = Arc<dyn Fn(&str) -> Result<(), PurgeError> + Send + Sync>;

/// Why erasures cannot be followed now. They are tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Log(#[from] tol_kafka::Error),
    #[error(transparent)]
    Keys(#[from] personal::Error),
    #[error(transparent)]
    Purge(#[from] PurgeError),
}

impl From<Error> for tol_kafka::Error {
    /// For the node's start, which waits for what may come back.
    fn from(error: Error) -> Self {
        match error {
            Error::Log(error) => error,
            error => tol_kafka::Error::Unavailable(error.to_string()),
        }
    }
}

/// Follows the erasures on `control`.
pub(crate) struct Erasures {
    log: Arc<dyn EventLog>,
    keys: Arc<dyn KeyStore>,
    purges: RwLock<Vec<Purge>>,
    /// Held while records are followed.
    next: Mutex<Next>,
}

/// The next records of `control`. A purge that fails keeps no key alive.
#[derive(Default)]
struct Next {
    keys: Position,
    purges: Position,
}

fn control() -> TopicPartition {
    TopicPartition::new("control", 0)
}

impl Erasures {
    pub(crate) fn new(log: Arc<dyn EventLog>, keys: Arc<dyn KeyStore>) -> Self {
        Self { log, keys, purges: RwLock::default(), next: Mutex::default() }
    }

    /// Calls `purge` with each person who is erased from now on, and with all who were erased before.
    pub(crate) fn on_erased(&self, purge: Purge) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.purges.write().unwrap_or_else(PoisonError::into_inner).push(purge);
        next.purges = 0;
    }

    /// Destroys the keys of all who were erased so far: before anything is sealed.
    pub(crate) fn destroy_keys(&self) -> Result<(), Error> {
        self.read(0, |subject| self.destroy(subject).map(drop)).map(drop)
    }

    /// Follows `control` to its end.
    pub(crate) fn follow(&self) -> Result<(), Error> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let purges = self.purges.read().unwrap_or_else(PoisonError::into_inner).clone();
        next.keys = self.read(next.keys, |subject| self.destroy(subject).map(drop))?;
        next.purges = self.read(next.purges, |subject| purges.iter().try_for_each(|purge| purge(subject)).map_err(Error::Purge))?;
        Ok(())
    }

    /// Follows until `closing`.
    pub(crate) fn run(&self, closing: &dyn Fn() -> bool) {
        while !closing() {
            if let Err(error) = self.follow() {
                tracing::error!(%error, "an erasure waits");
            }
            std::thread::sleep(ROUND);
        }
    }

    /// Whether there was a key.
    fn destroy(&self, subject: &str) -> Result<bool, Error> {
        // Nearly always of an erasure that was followed before.
        if self.keys.get(subject)? == KeyState::Erased {
            return Ok(false);
        }
        tracing::info!(subject, "erased");
        Ok(self.keys.destroy(subject)?)
    }

    /// Hands all erasures from `from` on to `take`; where `control` goes on.
    fn read(&self, from: Position, mut take: impl FnMut(&str) -> Result<(), Error>) -> Result<Position, Error> {
        let mut next = from;
        loop {
            let batches = self.log.read(&control(), next, READ_BYTES)?;
            let Some(last) = batches.last() else { return Ok(next) };
            let end = last.end();
            for event in batches.iter().flat_map(|batch| batch.events_from(next)).map(|(_, event)| event) {
                if event.event_type() == reserved::SUBJECT_ERASED {
                    take(event.subject())?;
                }
            }
            next = end;
        }
    }

    /// Appends the record.
    fn record(&self, erased: &SubjectErased<'_>, source: String) -> Result<Position, Problem> {
        let event = erased.to_event(uuid::Uuid::new_v4().to_string(), source).map_err(|error| Problem::internal(error.to_string()))?;
        let mut event = event.at(chrono::Utc::now().into());
        event.set(Attribute::RecordedTime, event.get(Attribute::Time).to_owned());
        let (sender, appended) = mpsc::sync_channel(1);
        let append = Append { to: control(), expected: None, records: vec![Record::from_event(&event)] };
        self.log.append(vec![append], Box::new(move |answer| drop(sender.try_send(answer))));
        let answer = appended.recv_timeout(PATIENCE).map_err(|_| Problem::unavailable("the log did not confirm the erasure in time; ask again", 1))?;
        let appended = answer.map_err(|error| Problem::unavailable(error.to_string(), 1))?;
        let position = appended.first().and_then(|appended| appended.positions.first()).copied();
        position.ok_or_else(|| Problem::internal("the log confirmed the erasure without a position"))
    }
}

impl Open {
    /// Erases a person: the record on `control` is durable first, then the key is destroyed and everything derived on this node is dropped before this
    /// returns. Other nodes follow when they read the record, within a second while they run, else before they start; a shared key store is without the
    /// key for all of them once this returns, see [`personal::VALID`]. Asking again changes nothing. Blocking.
    ///
    /// # Errors
    /// `invalid-event` for what is no subject or without a reason; `unavailable` where the log, the key store or a purge failed: once the
    /// record is in the log, this node tries until it is done.
    pub(crate) fn erase(&self, subject: &str, by: &str, reason: &str) -> Result<Erased, Problem> {
        let erased = SubjectErased { subject: subject.into(), reason: reason.into(), by: by.into() };
        if let Err(error) = erased.validate() {
            return Err(Problem::new(Kind::INVALID_EVENT, error.to_string()));
        }
        if subject.chars().any(char::is_control) {
            return Err(Problem::new(Kind::INVALID_EVENT, "subject holds control characters; no subject does"));
        }
        let unavailable = |error: Error| Problem::unavailable(format!("the erasure is recorded, and tried until it is done: {error}"), 1);
        let position = self.erasures.record(&erased, format!("/nodes/{}", self.name))?;
        let key_destroyed = self.erasures.destroy(subject).map_err(unavailable)?;
        self.erasures.follow().map_err(unavailable)?;
        Ok(Erased { subject: subject.to_owned(), position, key_destroyed })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tol_events::personal::MemoryKeyStore;
    use tol_kafka::{Faults, MemoryLog, TopicSpec};

    use super::*;

    fn erasures(log: &MemoryLog, keys: &Arc<MemoryKeyStore>) -> Erasures {
        Erasures::new(log.client("n"), keys.clone())
    }

    fn log() -> MemoryLog {
        let log = MemoryLog::new(1, Faults::default());
        log.ensure_topics(&[TopicSpec { name: "control".into(), partitions: 1, retention: None }]).unwrap();
        log
    }

    fn record(erasures: &Erasures, subject: &str) {
        erasures.record(&SubjectErased { subject: subject.into(), reason: "asked".into(), by: "ann".into() }, "/nodes/n".into()).unwrap();
    }

    #[test]
    fn every_node_that_reads_the_record_destroys_its_key() {
        let (log, keys, others) = (log(), Arc::new(MemoryKeyStore::new()), Arc::new(MemoryKeyStore::new()));
        keys.ensure(&["customer/1", "customer/2"]).unwrap();
        others.ensure(&["customer/1"]).unwrap();
        record(&erasures(&log, &keys), "customer/1");
        erasures(&log, &others).follow().unwrap();
        assert_eq!(others.get("customer/1").unwrap(), KeyState::Erased);
        // A store that was restored from a copy, at the node's start.
        erasures(&log, &keys).destroy_keys().unwrap();
        assert_eq!(keys.get("customer/1").unwrap(), KeyState::Erased);
        assert!(matches!(keys.get("customer/2").unwrap(), KeyState::Present(_)));
    }

    #[test]
    fn a_purge_that_fails_is_called_again_and_one_that_comes_late_hears_of_all() {
        let (log, keys) = (log(), Arc::new(MemoryKeyStore::new()));
        let erasures = erasures(&log, &keys);
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        erasures.on_erased(Arc::new(move |subject| match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Err(PurgeError { of: "test", subject: subject.to_owned(), problem: "as asked".into() }),
            _ => Ok(()),
        }));
        record(&erasures, "customer/1");
        assert!(matches!(erasures.follow(), Err(Error::Purge(_))));
        assert_eq!(keys.get("customer/1").unwrap(), KeyState::Erased, "the key waits for no purge");
        erasures.follow().unwrap();
        erasures.follow().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let late = Arc::new(AtomicU32::new(0));
        let counted = late.clone();
        erasures.on_erased(Arc::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }));
        erasures.follow().unwrap();
        assert_eq!(late.load(Ordering::SeqCst), 1);
    }
}
