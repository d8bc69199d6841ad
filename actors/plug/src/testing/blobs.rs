//! Blobs in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tol_events::blob::{BlobId, BlobRef};

use crate::Blobs;
use crate::blobs::Error;

/// Longest blob.
const LIMIT: u64 = 64 << 20;

/// Content-addressed storage in memory. What belongs to a subject is kept as it is, and gone once the subject is erased.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    content: Mutex<BTreeMap<BlobId, Vec<u8>>>,
    erased: Mutex<Vec<String>>,
}

impl MemoryBlobs {
    /// Makes the content of a subject unreadable.
    pub fn erase(&self, subject: &str) {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner).push(subject.to_owned());
    }

    fn is_erased(&self, subject: &str) -> bool {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|erased| erased == subject)
    }
}

impl Blobs for MemoryBlobs {
    fn put(&self, subject: Option<&str>, media_type: &str, content: &mut dyn Read) -> Result<BlobRef, Error> {
        let mut bytes = Vec::new();
        content.take(LIMIT + 1).read_to_end(&mut bytes).map_err(Error::Content)?;
        if bytes.len() as u64 > LIMIT {
            return Err(Error::TooLarge { limit: LIMIT });
        }
        // The name of sealed content tells nothing of the content: equal content of two subjects has two names.
        let mut hash = Sha256::new();
        hash.update(subject.unwrap_or_default());
        hash.update(&bytes);
        let blob = BlobRef {
            sha256: BlobId::new(hash.finalize().into()),
            bytes: bytes.len() as u64,
            media_type: media_type.to_owned(),
            sealed: subject.map(str::to_owned),
        };
        self.content.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.sha256, bytes);
        Ok(blob)
    }

    fn get(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, Error> {
        if let Some(subject) = blob.sealed.as_ref().filter(|subject| self.is_erased(subject)) {
            return Err(Error::Erased { blob: blob.sha256, subject: subject.clone() });
        }
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.sha256).cloned();
        content.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read + Send>).ok_or(Error::Unknown(blob.sha256))
    }
}
