//! Parked inputs, by subject and order.

use super::{Cache, key};
use crate::owner::Error;

/// Where its parked inputs lie.
pub(in crate::owner) fn parked_prefix(prefix: &[u8]) -> Vec<u8> {
    key(prefix, b'p', &[])
}

impl Cache {
    fn parked_key(&self, subject: &str, position: u64) -> Vec<u8> {
        key(&self.prefix, b'p', &[subject.as_bytes(), &position.to_be_bytes()])
    }

    /// Adds or removes a parked input; `order` is its own event's sequence.
    pub fn set_parked(&mut self, subject: &str, order: u64, row: Option<Vec<u8>>) {
        self.none_parked &= row.is_none();
        self.rows.insert(self.parked_key(subject, order), row);
    }

    /// A parked input's row.
    ///
    /// # Errors
    /// The store failed.
    pub fn parked_row(&self, subject: &str, order: u64) -> Result<Option<Vec<u8>>, Error> {
        self.row(&self.parked_key(subject, order))
    }

    /// The parked inputs of a subject in order, at most `limit`, as (order, row).
    ///
    /// # Errors
    /// The store failed.
    pub fn parked_of(&self, subject: &str, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let prefix = key(&self.prefix, b'p', &[subject.as_bytes(), b""]);
        let rows = self.rows_below(&prefix, limit)?;
        Ok(rows.into_iter().filter_map(|(row, value)| Some((u64::from_be_bytes(row.get(prefix.len()..)?.try_into().ok()?), value))).collect())
    }

    /// Whether inputs of this subject are parked.
    ///
    /// # Errors
    /// The store failed.
    pub fn is_parked(&mut self, subject: &str) -> Result<bool, Error> {
        if !self.none_parked {
            self.none_parked = self.parked(1)?.is_empty();
        }
        if self.none_parked {
            return Ok(false);
        }
        // Many of one subject may be parked in one batch: the first in the overlay tells, without a copy of them all.
        let prefix = key(&self.prefix, b'p', &[subject.as_bytes(), b""]);
        if self.rows.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).any(|(_, row)| row.is_some()) {
            return Ok(true);
        }
        Ok(!self.parked_of(subject, 1)?.is_empty())
    }

    /// All parked inputs, by subject and order, at most `limit` rows.
    ///
    /// # Errors
    /// The store failed.
    pub fn parked(&self, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.rows_below(&parked_prefix(&self.prefix), limit)?.into_iter().map(|(_, row)| row).collect())
    }
}
