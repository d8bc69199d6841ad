//! What admission remembers of facts, as rows of the store.

use tol_kafka::{Position, TopicPartition};

use super::SeenKey;
use crate::owner::{Mutation, breaks};
use crate::store::{Change, Store, Table};

/// What admission remembers of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it lies.
    pub position: Position,
    /// Hash of its content.
    pub content: u64,
}

/// What a gate wants written to the store, under its token (E10).
pub struct Memory {
    /// Whose.
    pub partition: TopicPartition,
    pub(super) changes: Vec<Change>,
    pub(super) token_key: Vec<u8>,
    pub(super) token: Vec<u8>,
}

impl Memory {
    /// Writes it.
    ///
    /// # Errors
    /// The store failed or the token was lost.
    pub fn write(self, store: &dyn Store) -> Result<(), crate::store::Error> {
        let token = Some((self.token_key.as_slice(), self.token.as_slice())).filter(|_| !breaks(Mutation::GateTokenIgnored));
        store.write(self.changes, token)
    }
}

pub(super) fn seen_key(prefix: &[u8], key: SeenKey) -> Vec<u8> {
    [prefix, &key.0].concat()
}

pub(super) fn seen_change(prefix: &[u8], key: SeenKey, seen: Seen) -> Change {
    let mut row = Vec::with_capacity(16);
    row.extend_from_slice(&seen.position.to_be_bytes());
    row.extend_from_slice(&seen.content.to_be_bytes());
    Change::Put(Table::Seen, seen_key(prefix, key), row)
}

pub(super) fn read_seen(row: &[u8]) -> Option<Seen> {
    let (position, content) = row.split_at_checked(8)?;
    Some(Seen { position: u64::from_be_bytes(position.try_into().ok()?), content: u64::from_be_bytes(content.try_into().ok()?) })
}
