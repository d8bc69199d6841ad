//! Pending effects, by the id of their request.

use serde::{Deserialize, Serialize};
use tol_system::EffectRequest;

use super::{Cache, key};
use crate::owner::Error;

/// A pending effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEffect {
    /// The subject it was requested for.
    pub subject: String,
    /// What to do.
    pub request: EffectRequest,
    /// The request's correlation.
    pub correlation: String,
}

impl Cache {
    /// Adds or removes a pending effect.
    ///
    /// # Errors
    /// It does not serialise.
    pub fn set_effect(&mut self, request_id: &str, effect: Option<&PendingEffect>) -> Result<(), Error> {
        let row = effect.map(serde_json::to_vec).transpose().map_err(|_| Error::Internal("an effect does not serialise"))?;
        self.rows.insert(key(&self.prefix, b'e', &[request_id.as_bytes()]), row);
        Ok(())
    }

    /// A pending effect.
    ///
    /// # Errors
    /// The store failed.
    pub fn effect(&self, request_id: &str) -> Result<Option<PendingEffect>, Error> {
        let row = self.row(&key(&self.prefix, b'e', &[request_id.as_bytes()]))?;
        Ok(row.and_then(|row| serde_json::from_slice(&row).ok()))
    }

    /// All pending effects by request id.
    ///
    /// # Errors
    /// The store failed.
    pub fn effects(&self) -> Result<Vec<(String, PendingEffect)>, Error> {
        let prefix = key(&self.prefix, b'e', &[]);
        let rows = self.rows_below(&prefix, usize::MAX / 2)?;
        Ok(rows
            .into_iter()
            .filter_map(|(row, value)| Some((String::from_utf8(row[prefix.len()..].to_vec()).ok()?, serde_json::from_slice(&value).ok()?)))
            .collect())
    }
}
