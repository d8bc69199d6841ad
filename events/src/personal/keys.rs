//! [`KeyStore`]: where the keys of subjects live, outside the log and its backups.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::random;

/// What can go wrong with personal data and its keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The subject was erased; it never gets a key again.
    #[error("{0} was erased; no key is made for it again, use a new id for somebody who comes back")]
    Erased(String),
    /// A field is sealed with a key that this store never had.
    #[error("the key of {0} is not in this key store; restore the key store that belongs to this log")]
    NoKey(String),
    /// A sealed field does not open with its subject's key.
    #[error("field {field} of {subject} does not open with the subject's key: it was changed, moved, or sealed under another key store")]
    Unreadable {
        /// Whose it is.
        subject: String,
        /// Which field.
        field: String,
    },
    /// A field to be sealed is sealed already.
    #[error("field {0} is sealed already; send it as plain text")]
    AlreadySealed(String),
    /// The data is not a JSON object.
    #[error("the data is not a JSON object: {0}")]
    Data(String),
    /// More than the cipher takes (64 GiB).
    #[error("the field is too long to be encrypted")]
    TooLong,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(String),
    /// A file could not be read or written.
    #[error("key store {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// Another process has it open.
    #[error("key store {0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// The master key is not the one the store was made with.
    #[error("key store {0} was written under another master key; configure that one")]
    MasterKey(PathBuf),
    /// Synced bytes of the file are damaged.
    #[error("key store {path} is damaged at byte {offset}; restore it from its backup, nothing was changed")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// An earlier write failed, so what the file holds is not known.
    #[error("key store {0} failed to write before; restart the node when the cause is gone")]
    Failed(PathBuf),
}

impl Error {
    /// Whether the event is at fault, and not the store.
    pub fn is_of_the_event(&self) -> bool {
        matches!(self, Error::Unreadable { .. } | Error::AlreadySealed(_) | Error::Data(_) | Error::TooLong)
    }
}

/// A person's key: 256 bits. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// From its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new random one.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn generate() -> Result<Self, Error> {
        random().map(Self)
    }

    /// A key for another purpose, from which this one cannot be found: 256 bits by BLAKE3's key derivation.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.0)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The state of a subject's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The key exists.
    Present(Key),
    /// The key was destroyed, for ever.
    Erased,
    /// The subject never had a key.
    Absent,
}

/// Keeps one key for each subject. A key is durable before it is returned.
pub trait KeyStore: Send + Sync {
    /// Gives the subject's key; makes it durably where there is none.
    ///
    /// # Errors
    /// [`Error::Erased`] for an erased subject; or the store fails.
    fn get_or_create(&self, subject: &str) -> Result<Key, Error>;

    /// Looks up the subject's key.
    ///
    /// # Errors
    /// The store fails.
    fn get(&self, subject: &str) -> Result<KeyState, Error>;

    /// Makes the missing keys of many subjects, durably and at once; skips erased subjects.
    ///
    /// # Errors
    /// The store fails.
    fn ensure(&self, subjects: &[&str]) -> Result<(), Error>;

    /// Destroys the subject's key for ever; durable when this returns. A subject without a key is marked as erased too. Tells whether there was a key.
    ///
    /// # Errors
    /// The store fails.
    fn destroy(&self, subject: &str) -> Result<bool, Error>;
}

/// The keys and the erased subjects; a `None` is a tombstone.
pub(super) type Keys = HashMap<Box<str>, Option<Key>>;

pub(super) fn state_of(keys: &Keys, subject: &str) -> KeyState {
    match keys.get(subject) {
        None => KeyState::Absent,
        Some(None) => KeyState::Erased,
        Some(Some(key)) => KeyState::Present(key.clone()),
    }
}

/// Keys in memory, for tests and throw-away nodes.
#[derive(Debug, Default)]
pub struct MemoryKeyStore {
    keys: Mutex<Keys>,
    /// What keys are made of, where they are not random.
    seed: Option<[u8; 32]>,
}

impl MemoryKeyStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty store that makes the same keys from the same seed: for simulations, never for persons.
    pub fn seeded(seed: [u8; 32]) -> Self {
        Self { keys: Mutex::default(), seed: Some(seed) }
    }

    fn make(&self, subject: &str) -> Result<Key, Error> {
        self.seed.map_or_else(Key::generate, |seed| Ok(Key(*blake3::keyed_hash(&seed, subject.as_bytes()).as_bytes())))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for MemoryKeyStore {
    fn get_or_create(&self, subject: &str) -> Result<Key, Error> {
        let mut keys = self.lock();
        match state_of(&keys, subject) {
            KeyState::Present(key) => Ok(key),
            KeyState::Erased => Err(Error::Erased(subject.to_owned())),
            KeyState::Absent => {
                let key = self.make(subject)?;
                keys.insert(subject.into(), Some(key.clone()));
                Ok(key)
            }
        }
    }

    fn get(&self, subject: &str) -> Result<KeyState, Error> {
        Ok(state_of(&self.lock(), subject))
    }

    fn ensure(&self, subjects: &[&str]) -> Result<(), Error> {
        for subject in subjects {
            match self.get_or_create(subject) {
                Ok(_) | Err(Error::Erased(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn destroy(&self, subject: &str) -> Result<bool, Error> {
        Ok(matches!(self.lock().insert(subject.into(), None), Some(Some(_))))
    }
}
