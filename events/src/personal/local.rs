//! [`LocalKeyStore`]: the keys of one node in an append-only file.
//!
//! ```text
//! file   := "TOLKEYS1" check frame*     check: 32 zero bytes wrapped by the master key, to tell another master key at once
//! frame  := length:u32 crc32c:u32 record*            little-endian; one frame, one fsync
//! record := kind:u8 subject_length:u32 subject wrapped?      kind 1: a key, wrapped by the master key; kind 2: an erased subject
//! ```
//! Only the last frame can be torn, since each is synced before the next is written. A destroyed key is not merely marked: the file is
//! written anew without it. (The file system may keep the old blocks for a while; without the master key they say nothing.)

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use super::keys::{Error, Key, KeyState, KeyStore, Keys, state_of};
use super::{NONCE_LEN, open, seal};

const MAGIC: &[u8] = b"TOLKEYS1";
/// Nonce, 32 bytes, 16 bytes of tag.
const WRAPPED_LEN: usize = NONCE_LEN + 32 + 16;
const HEADER_LEN: usize = MAGIC.len() + WRAPPED_LEN;
const CHECK: &[u8] = b"tol key store";
const KEY: u8 = 1;
const ERASED: u8 = 2;

/// Keys in a folder, wrapped by a master key. One process at a time.
pub struct LocalKeyStore {
    path: PathBuf,
    master: Key,
    keys: RwLock<Keys>,
    /// `None` after a write failed: what the file holds is then unknown.
    file: Mutex<Option<File>>,
    truncated: u64,
    _lock: File,
}

impl std::fmt::Debug for LocalKeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalKeyStore({})", self.path.display())
    }
}

impl LocalKeyStore {
    /// Opens the store in `folder`, or makes one.
    ///
    /// # Errors
    /// When another process has it open, the master key is another, the file is damaged before its end, or it cannot be read or written.
    pub fn open(folder: &Path, master: Key) -> Result<Self, Error> {
        let path = folder.join("keys.log");
        let io = |error| Error::Io { path: path.clone(), error };
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("keys.lock")).map_err(io)?;
        lock.try_lock().map_err(|_| Error::InUse(folder.to_owned()))?;

        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes).map_err(io)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        if bytes.is_empty() {
            let file = rewrite(&path, &master, &Keys::new())?;
            return Ok(Self { path, master, keys: RwLock::default(), file: Mutex::new(Some(file)), truncated: 0, _lock: lock });
        }
        let (keys, good) = read(&path, &bytes, &master)?;
        let mut file = private().create(false).open(&path).map_err(io)?;
        let truncated = (bytes.len() - good) as u64;
        if truncated > 0 {
            tracing::warn!(path = %path.display(), bytes = truncated, "cut off the torn end of the key store");
            file.set_len(good as u64).and_then(|()| file.sync_all()).map_err(io)?;
        }
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(io)?;
        Ok(Self { path, master, keys: RwLock::new(keys), file: Mutex::new(Some(file)), truncated, _lock: lock })
    }

    /// How many bytes of a torn end were cut off when it was opened.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    fn add(&self, subjects: &[&str]) -> Result<(), Error> {
        let absent = |subject: &str| !self.keys.read().unwrap_or_else(PoisonError::into_inner).contains_key(subject);
        if !subjects.iter().any(|subject| absent(subject)) {
            return Ok(());
        }
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = slot.as_mut().ok_or_else(|| Error::Failed(self.path.clone()))?;
        let mut made = Keys::new();
        let mut records = Vec::new();
        for subject in subjects {
            if absent(subject) && !made.contains_key(*subject) {
                let key = Key::generate()?;
                put_record(&mut records, subject, Some(&key), &self.master)?;
                made.insert((*subject).into(), Some(key));
            }
        }
        if made.is_empty() {
            return Ok(()); // another thread made them meanwhile
        }
        if let Err(error) = file.write_all(&frame(&records)).and_then(|()| file.sync_data()) {
            *slot = None;
            return Err(Error::Io { path: self.path.clone(), error });
        }
        self.keys.write().unwrap_or_else(PoisonError::into_inner).extend(made);
        Ok(())
    }
}

impl KeyStore for LocalKeyStore {
    fn get_or_create(&self, subject: &str) -> Result<Key, Error> {
        self.add(&[subject])?;
        match self.get(subject)? {
            KeyState::Present(key) => Ok(key),
            KeyState::Erased | KeyState::Absent => Err(Error::Erased(subject.to_owned())),
        }
    }

    fn get(&self, subject: &str) -> Result<KeyState, Error> {
        Ok(state_of(&self.keys.read().unwrap_or_else(PoisonError::into_inner), subject))
    }

    fn ensure(&self, subjects: &[&str]) -> Result<(), Error> {
        self.add(subjects)
    }

    fn destroy(&self, subject: &str) -> Result<bool, Error> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            return Err(Error::Failed(self.path.clone()));
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let before = keys.insert(subject.into(), None);
        match rewrite(&self.path, &self.master, &keys) {
            Ok(file) => *slot = Some(file),
            Err(error) => {
                // Whether the new file took the old one's place is unknown; the key stays gone in this process.
                *slot = None;
                return Err(error);
            }
        }
        Ok(matches!(before, Some(Some(_))))
    }
}

fn frame(records: &[u8]) -> Vec<u8> {
    [&(records.len() as u32).to_le_bytes(), &crc32c::crc32c(records).to_le_bytes(), records].concat()
}

fn put_record(out: &mut Vec<u8>, subject: &str, key: Option<&Key>, master: &Key) -> Result<(), Error> {
    out.push(if key.is_some() { KEY } else { ERASED });
    out.extend_from_slice(&(subject.len() as u32).to_le_bytes());
    out.extend_from_slice(subject.as_bytes());
    if let Some(key) = key {
        out.extend_from_slice(&seal(master, subject.as_bytes(), key.bytes())?);
    }
    Ok(())
}

/// Writes the whole store beside the old file and puts it in its place; the file, ready for appending.
fn rewrite(path: &Path, master: &Key, keys: &Keys) -> Result<File, Error> {
    let io = |error| Error::Io { path: path.to_owned(), error };
    let mut bytes = [MAGIC, &seal(master, CHECK, &[0; 32])?].concat();
    let mut subjects: Vec<&str> = keys.keys().map(|subject| &**subject).collect();
    subjects.sort_unstable();
    for chunk in subjects.chunks(10_000) {
        let mut records = Vec::new();
        for subject in chunk {
            put_record(&mut records, subject, keys.get(*subject).and_then(Option::as_ref), master)?;
        }
        bytes.extend_from_slice(&frame(&records));
    }
    let beside = path.with_extension("new");
    let mut file = private().create(true).truncate(true).open(&beside).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&beside, path).map_err(io)?;
    let folder = path.parent().unwrap_or(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(file)
}

/// For writing, readable by its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The keys, and how many bytes of the file are good.
fn read(path: &Path, bytes: &[u8], master: &Key) -> Result<(Keys, usize), Error> {
    let corrupt = |offset: usize| Error::Corrupt { path: path.to_owned(), offset: offset as u64 };
    let check = bytes.get(MAGIC.len()..HEADER_LEN).filter(|_| bytes.starts_with(MAGIC)).ok_or_else(|| corrupt(0))?;
    open(master, CHECK, check).ok_or_else(|| Error::MasterKey(path.to_owned()))?;
    let mut keys = Keys::new();
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let Some(records) = frame_at(bytes, at) else {
            // Torn if nothing whole follows; else bytes that were synced have changed.
            let whole_follows = (at + 1..bytes.len()).any(|later| frame_at(bytes, later).is_some());
            return if whole_follows { Err(corrupt(at)) } else { Ok((keys, at)) };
        };
        read_records(records, master, &mut keys).ok_or_else(|| corrupt(at))?;
        at += 8 + records.len();
    }
    Ok((keys, at))
}

/// The records of a whole frame.
fn frame_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?);
    let records = bytes.get(at + 8..(at + 8).checked_add(length)?)?;
    (length > 0 && crc32c::crc32c(records) == crc).then_some(records)
}

fn read_records(mut records: &[u8], master: &Key, keys: &mut Keys) -> Option<()> {
    while let Some((kind, rest)) = records.split_first() {
        let (length, rest) = rest.split_at_checked(4)?;
        let (subject, rest) = rest.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
        let subject_text = std::str::from_utf8(subject).ok()?;
        records = match *kind {
            KEY => {
                let (wrapped, rest) = rest.split_at_checked(WRAPPED_LEN)?;
                let key: [u8; 32] = open(master, subject, wrapped)?.try_into().ok()?;
                keys.insert(subject_text.into(), Some(Key::new(key)));
                rest
            }
            ERASED => {
                keys.insert(subject_text.into(), None);
                rest
            }
            _ => return None,
        };
    }
    Some(())
}
