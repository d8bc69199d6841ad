//! Sealed content: chunks under a key of their own, so that any length is sealed and opened with the memory of one chunk.
//!
//! ```text
//! file  := "TOLBLOB1" salt:32 chunk+          the last chunk may be shorter, and empty in an empty blob
//! chunk := AES-256-GCM-SIV of up to 64 KiB, with its tag
//! ```
//! The key is derived from the subject's key and the salt, so no two blobs share one, and a chunk's number can be its nonce. The nonce also says which
//! chunk is the last (STREAM: Hoang, Reyhanitabar, Rogaway and Vizár, 2015): chunks cannot be left out, moved or cut off.

use aes_gcm_siv::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use tol_events::personal::{self, Key};
use tol_plug::blobs::Error;

/// Content of a chunk, bytes.
pub(super) const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
const MAGIC: &[u8; 8] = b"TOLBLOB1";
pub(super) const HEADER: usize = MAGIC.len() + 32;

/// Seals or opens the chunks of one blob, in order.
pub(super) struct Sealer {
    cipher: Aes256GcmSiv,
    salt: [u8; 32],
    /// The subject is authenticated with each chunk.
    subject: Vec<u8>,
    next: u64,
}

/// Length of a file whose content has so many bytes.
pub(super) fn sealed_length(bytes: u64) -> Option<u64> {
    let chunks = bytes.div_ceil(CHUNK as u64).max(1);
    bytes.checked_add(chunks.checked_mul(TAG as u64)?)?.checked_add(HEADER as u64)
}

/// Length of a whole chunk in a file.
pub(super) const SEALED_CHUNK: usize = CHUNK + TAG;

impl Sealer {
    /// For a new blob.
    pub(super) fn fresh(key: &Key, subject: &str) -> Result<Self, Error> {
        Ok(Self::with(key, subject, Key::generate()?.derive("tol 2026 salt of a blob")))
    }

    /// For the blob that begins with `header`; `None` if that is no header.
    pub(super) fn of_header(key: &Key, subject: &str, header: &[u8]) -> Option<Self> {
        Some(Self::with(key, subject, header.strip_prefix(MAGIC)?.try_into().ok()?))
    }

    fn with(key: &Key, subject: &str, salt: [u8; 32]) -> Self {
        let own = blake3::keyed_hash(&key.derive("tol 2026 blobs of a subject"), &salt);
        Self { cipher: Aes256GcmSiv::new(own.as_bytes().into()), salt, subject: subject.as_bytes().to_vec(), next: 0 }
    }

    /// What a file begins with.
    pub(super) fn header(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &self.salt].concat()
    }

    fn nonce(&mut self, is_last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = is_last.into();
        self.next += 1;
        nonce
    }

    /// Seals the next chunk in its place.
    pub(super) fn seal(&mut self, chunk: &mut Vec<u8>, is_last: bool) -> Result<(), Error> {
        let nonce = self.nonce(is_last);
        let sealed = self.cipher.encrypt_in_place(Nonce::from_slice(&nonce), &self.subject, chunk);
        sealed.map_err(|_| personal::Error::TooLong.into())
    }

    /// Opens the next chunk in its place; whether it is what was sealed there.
    #[must_use]
    pub(super) fn open(&mut self, chunk: &mut Vec<u8>, is_last: bool) -> bool {
        let nonce = self.nonce(is_last);
        self.cipher.decrypt_in_place(Nonce::from_slice(&nonce), &self.subject, chunk).is_ok()
    }
}
