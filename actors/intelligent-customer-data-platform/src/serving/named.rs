//! Identifiers whose value the log has, as far as this node remembers: a repeat costs no fact.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places of the table: 2 MB.
const PLACES: usize = 1 << 18;

/// A table of the last identifiers, one in each place. Forgetting one costs a fact that the log then has twice.
pub(crate) struct Named(Box<[AtomicU64]>);

impl Default for Named {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Named {
    pub(crate) fn has(&self, identifier_id: &str) -> bool {
        let hash = hash(identifier_id);
        self.place(hash).load(Ordering::Relaxed) == hash
    }

    pub(crate) fn add(&self, identifier_id: &str) {
        let hash = hash(identifier_id);
        self.place(hash).store(hash, Ordering::Relaxed);
    }

    /// Forgets all: after an erasure the log is asked again.
    pub(crate) fn clear(&self) {
        self.0.iter().for_each(|place| place.store(0, Ordering::Relaxed));
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        &self.0[hash as usize % PLACES]
    }
}

fn hash(identifier_id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(identifier_id.as_bytes()).max(1)
}
