//! The content of a system's states in one number, read from the caches without asking the owners.

use std::collections::BTreeMap;

use tol_kafka::Position;
use tol_system::Description;

use super::Error;
use super::cache::{Meta, meta_key_of, prefix_of};
use crate::store::{Store, Table};

/// Subjects read at a time.
const PAGE: usize = 1_000;
/// How often a partition is read that changed while it was read.
const TRIES: u32 = 5;

/// The states of all subjects of a system in one number, to compare nodes, and caches with what is folded from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDigest {
    /// Sum modulo 2^128 of a BLAKE3 hash of each subject with its state, as hex: independent of the order and the number of partitions.
    pub digest: String,
    /// How many subjects.
    pub subjects: u64,
    /// Next position of each own partition that the states hold. Only digests at the same positions, of the same state version, can be compared.
    pub positions: BTreeMap<String, Position>,
}

/// Why there is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// A cache was written each time that it was read.
    #[error("partition {0} was written each time that it was read; ask again when there is less to decide")]
    Busy(u32),
    /// A cache does not read.
    #[error(transparent)]
    Cache(#[from] Error),
}

impl From<crate::store::Error> for DigestError {
    fn from(error: crate::store::Error) -> Self {
        DigestError::Cache(error.into())
    }
}

/// The hash of one subject with its state.
fn hash(subject: &[u8], state: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(subject.len() as u64).to_le_bytes()).update(subject).update(state);
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(half)
}

/// The digest of a system's caches in `store`; `log` is the identity of the log that they must belong to (E10). Reads all states: blocking.
///
/// # Errors
/// [`DigestError`].
pub fn digest_states(store: &dyn Store, log: &str, description: &Description, partitions: u32) -> Result<StateDigest, DigestError> {
    let mut found = StateDigest::default();
    let mut sum = 0u128;
    for partition in 0..partitions {
        let prefix = prefix_of(description, partition);
        let meta_key = meta_key_of(&prefix);
        let states = [prefix.as_slice(), b"s"].concat();
        let mut tries = 0;
        let (part, subjects, position) = loop {
            // Rows and positions are written together: a cache whose positions are the same afterwards was not written meanwhile.
            let before = store.get(Table::Meta, &meta_key)?;
            let meta: Meta = before.as_deref().and_then(|row| serde_json::from_slice(row).ok()).unwrap_or_default();
            if meta.log != log {
                break (0, 0, 0);
            }
            let (part, subjects) = sum_states(store, &states)?;
            if store.get(Table::Meta, &meta_key)? == before {
                break (part, subjects, meta.own.position);
            }
            tries += 1;
            if tries == TRIES {
                return Err(DigestError::Busy(partition));
            }
        };
        sum = sum.wrapping_add(part);
        found.subjects += subjects;
        found.positions.insert(format!("{}.events/{partition}", description.name), position);
    }
    found.digest = format!("{sum:032x}");
    Ok(found)
}

fn sum_states(store: &dyn Store, prefix: &[u8]) -> Result<(u128, u64), DigestError> {
    let (mut sum, mut subjects) = (0u128, 0);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = store.scan(Table::State, prefix, after.as_deref(), PAGE)?;
        for (key, state) in &rows {
            sum = sum.wrapping_add(hash(key.get(prefix.len()..).unwrap_or_default(), state));
            subjects += 1;
        }
        match rows.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok((sum, subjects)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tol_kafka::Cursor;

    use super::*;
    use crate::store::{self, Change, MemoryStore, Row};

    fn description() -> Description {
        Description {
            name: "digested",
            tier: 7,
            code_version: "1",
            state_version: 2,
            about: "",
            inputs: Vec::new(),
            emits: &[],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn stored(store: &MemoryStore, partition: u32, position: Position, states: &[(&str, &str)]) {
        let prefix = prefix_of(&description(), partition);
        let meta = Meta { log: "log".into(), own: Cursor { position, ..Cursor::default() }, ..Meta::default() };
        let mut changes = vec![Change::Put(Table::Meta, meta_key_of(&prefix), serde_json::to_vec(&meta).unwrap())];
        for (subject, state) in states {
            changes.push(Change::Put(Table::State, [&prefix, b"s".as_slice(), subject.as_bytes()].concat(), state.as_bytes().to_vec()));
        }
        store.write(changes, None).unwrap();
    }

    fn digest(store: &dyn Store) -> StateDigest {
        digest_states(store, "log", &description(), 2).unwrap()
    }

    #[test]
    fn it_is_of_subjects_and_states_wherever_they_lie() {
        let (one, other, third) = (MemoryStore::new(0), MemoryStore::new(0), MemoryStore::new(0));
        stored(&one, 0, 7, &[("customer/1", "1"), ("customer/2", "2")]);
        stored(&other, 0, 7, &[("customer/2", "2")]);
        stored(&other, 1, 9, &[("customer/1", "1")]);
        stored(&third, 0, 7, &[("customer/1", "2"), ("customer/2", "1")]);
        let (one, other, third) = (digest(&one), digest(&other), digest(&third));
        assert_eq!((&one.digest, one.subjects), (&other.digest, other.subjects));
        assert_ne!(one.digest, third.digest, "states of other subjects");
        let own = |partition: u32| format!("{}.events/{partition}", description().name);
        assert_eq!(other.positions, BTreeMap::from([(own(0), 7), (own(1), 9)]));
    }

    #[test]
    fn what_belongs_to_another_log_or_is_no_state_says_nothing() {
        let store = MemoryStore::new(0);
        stored(&store, 0, 7, &[("customer/1", "1")]);
        let timer = [prefix_of(&description(), 0), b"tcustomer/1".to_vec()].concat();
        store.write(vec![Change::Put(Table::State, timer, b"x".to_vec())], None).unwrap();
        assert_eq!(digest(&store).subjects, 1);
        let of_another = digest_states(&store, "another log", &description(), 2).unwrap();
        assert_eq!((of_another.subjects, of_another.digest), (0, format!("{:032x}", 0)));
    }

    /// A store that is written while it is read, so many times.
    struct Busy {
        inner: MemoryStore,
        left: AtomicU32,
    }

    impl Store for Busy {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, store::Error> {
            self.inner.get(table, key)
        }

        fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, store::Error> {
            let rows = self.inner.scan(table, prefix, after, limit)?;
            let left = self.left.load(Ordering::Relaxed);
            if left > 0 {
                self.left.store(left - 1, Ordering::Relaxed);
                stored(&self.inner, 0, 100 + u64::from(left), &[("customer/1", &left.to_string())]);
            }
            Ok(rows)
        }

        fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), store::Error> {
            self.inner.write(changes, token)
        }
    }

    #[test]
    fn what_was_written_meanwhile_is_read_again_a_few_times() {
        let busy = |left| {
            let store = Busy { inner: MemoryStore::new(0), left: AtomicU32::new(left) };
            stored(&store.inner, 0, 7, &[("customer/1", "0")]);
            digest_states(&store, "log", &description(), 1)
        };
        let expected = MemoryStore::new(0);
        stored(&expected, 0, 101, &[("customer/1", "1")]);
        assert_eq!(busy(2).unwrap(), digest_states(&expected, "log", &description(), 1).unwrap());
        assert_eq!(busy(1_000), Err(DigestError::Busy(0)));
    }
}
