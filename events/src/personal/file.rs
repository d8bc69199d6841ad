//! [`FileKeyStore`]: keys in an append-only file, of one node or of several that share its folder.
//!
//! ```text
//! file   := "TOLKEYS1" check frame*     check: 32 zero bytes wrapped by the master key, to tell another master key at once; its nonce
//!                                       is random, so a file that was written anew has another one
//! frame  := length:u32 crc32c:u32 record*            little-endian; one frame, one fsync
//! record := kind:u8 subject_length:u32 subject wrapped?      kind 1: a key, wrapped by the master key; kind 2: an erased subject
//! ```
//! Only the last frame can be torn, since each is synced before the next is written. A destroyed key is not merely marked: the file is
//! written anew without it. (The file system may keep the old blocks for a while; without the master key they say nothing.)
//!
//! Nodes that share the folder (on storage that all of them mount, with locks: NFS 4, CephFS, GFS2) write one at a time, under the lock
//! `keys.writing`, and read what others wrote before they write. A node uses what it knows for [`VALID`], then looks at the file again, and
//! without it gives no key out: so a key that one node destroyed is used by no other one longer than that.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::keys::{Error, Key, KeyState, KeyStore, Keys, state_of};
use super::{NONCE_LEN, open, random, seal};

const MAGIC: &[u8] = b"TOLKEYS1";
/// Nonce, 32 bytes, 16 bytes of tag.
const WRAPPED_LEN: usize = NONCE_LEN + 32 + 16;
const HEADER_LEN: usize = MAGIC.len() + WRAPPED_LEN;
const CHECK: &[u8] = b"tol key store";
const KEY: u8 = 1;
const ERASED: u8 = 2;

/// How long a node that shares the file uses what it knows of it.
pub const VALID: Duration = Duration::from_millis(500);
/// How long another node's write is awaited.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One process only: what it knows is what the file holds.
    Alone,
    /// Several nodes.
    Shared,
}

/// What the file holds, as far as it was read.
struct Known {
    keys: Keys,
    /// Tells a file that was written anew.
    header: Vec<u8>,
    /// Bytes of whole frames, the header included.
    end: u64,
    /// When the file was looked at.
    looked: Instant,
}

/// Keys in a folder, wrapped by a master key.
pub struct FileKeyStore {
    path: PathBuf,
    master: Key,
    sharing: Sharing,
    known: RwLock<Known>,
    /// One thread at a time writes, and waits for other nodes that do.
    writing: Mutex<()>,
    /// Held while the file and what is known of it differ.
    looking: Mutex<()>,
    /// A write failed: what the file holds is unknown.
    failed: AtomicBool,
    truncated: u64,
    /// Held by the one process, or by all that share.
    _lock: File,
}

impl std::fmt::Debug for FileKeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileKeyStore({}, {:?})", self.path.display(), self.sharing)
    }
}

impl FileKeyStore {
    /// Opens the store in `folder`, or makes one.
    ///
    /// # Errors
    /// When another process has it open and one of both would be alone, the master key is another, the file is damaged before its end, or it
    /// cannot be read or written.
    pub fn open(folder: &Path, master: Key, sharing: Sharing) -> Result<Self, Error> {
        let path = folder.join("keys.log");
        let io = |error| Error::Io { path: path.clone(), error };
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = lock_file(&folder.join("keys.lock"))?;
        let locked = match sharing {
            Sharing::Alone => lock.try_lock(),
            Sharing::Shared => lock.try_lock_shared(),
        };
        locked.map_err(|_| Error::InUse(folder.to_owned()))?;
        let known = Known { keys: Keys::new(), header: Vec::new(), end: 0, looked: Instant::now() };
        let (known, writing, looking, failed) = (RwLock::new(known), Mutex::default(), Mutex::default(), AtomicBool::default());
        let mut opened = Self { path, master, sharing, known, writing, looking, failed, truncated: 0, _lock: lock };
        opened.truncated = opened.begin()?;
        Ok(opened)
    }

    /// Reads the file, or makes it; how many bytes of a torn end were cut off.
    fn begin(&self) -> Result<u64, Error> {
        let (_turn, _looking) = (self.turn()?, self.look());
        match std::fs::metadata(&self.path) {
            Ok(file) if file.len() > 0 => {}
            Ok(_) => self.rewrite(Keys::new())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.rewrite(Keys::new())?,
            Err(error) => return Err(self.io(error)),
        }
        self.read_new()?;
        let end = self.known().end;
        let length = std::fs::metadata(&self.path).map_err(|error| self.io(error))?.len();
        if length > end {
            tracing::warn!(path = %self.path.display(), bytes = length - end, "cut off the torn end of the key store");
            self.cut(end)?;
        }
        Ok(length - end)
    }

    /// How many bytes of a torn end were cut off when it was opened.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    fn io(&self, error: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), error }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The only writer, of all processes, until what is returned is dropped.
    fn turn(&self) -> Result<(MutexGuard<'_, ()>, Option<File>), Error> {
        let turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.sharing == Sharing::Alone {
            return Ok((turn, None));
        }
        let lock = lock_file(&self.path.with_extension("writing"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok((turn, Some(lock))),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Err(TryLockError::WouldBlock) => return Err(self.io(std::io::ErrorKind::TimedOut.into())),
                Err(TryLockError::Error(error)) => return Err(self.io(error)),
            }
        }
    }

    /// Looks at the file if that was too long ago.
    fn refresh(&self) -> Result<(), Error> {
        if self.sharing == Sharing::Alone || self.known().looked.elapsed() < VALID {
            return Ok(());
        }
        let _looking = self.look();
        if self.known().looked.elapsed() < VALID {
            return Ok(()); // another thread looked meanwhile
        }
        self.read_new()
    }

    fn look(&self) -> MutexGuard<'_, ()> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what was written since, all where the file was written anew. To be called under [`FileKeyStore::look`].
    fn read_new(&self) -> Result<(), Error> {
        let (looked, io) = (Instant::now(), |error| self.io(error));
        // Opened anew: that is when network file systems ask for what others wrote.
        let mut file = File::open(&self.path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut header = vec![0; HEADER_LEN];
        file.read_exact(&mut header).map_err(|_| Error::Corrupt { path: self.path.clone(), offset: 0 })?;
        let (same, end) = {
            let known = self.known();
            (known.header == header && length >= known.end, known.end)
        };
        if same && length == end {
            self.known_mut().looked = looked;
            return Ok(());
        }
        if !same {
            check(&self.path, &header, &self.master)?;
        }
        let from = if same { end } else { HEADER_LEN as u64 };
        file.seek(SeekFrom::Start(from)).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let mut read = Keys::new();
        let good = read_frames(&self.path, from, &bytes, &self.master, &mut read)?;
        let mut known = self.known_mut();
        if !same {
            known.keys.clear();
        }
        known.keys.extend(read);
        (known.header, known.end, known.looked) = (header, from + good, looked);
        Ok(())
    }

    fn add(&self, subjects: &[&str]) -> Result<(), Error> {
        let all_known = |keys: &Keys| subjects.iter().all(|subject| keys.contains_key(*subject));
        if all_known(&self.known().keys) {
            return Ok(());
        }
        let _turn = self.turn()?;
        let _looking = self.look();
        self.check_sound()?;
        if self.sharing == Sharing::Shared {
            self.read_new()?;
        }
        let mut made = Keys::new();
        let mut records = Vec::new();
        {
            let known = self.known();
            for subject in subjects {
                if !known.keys.contains_key(*subject) && !made.contains_key(*subject) {
                    let key = Key::generate()?;
                    put_record(&mut records, subject, Some(&key), &self.master)?;
                    made.insert((*subject).into(), Some(key));
                }
            }
        }
        if made.is_empty() {
            return Ok(()); // made by another thread or node meanwhile
        }
        let end = self.known().end;
        let frame = frame(&records);
        self.sound(|| {
            // What lies behind was torn by a node that ended.
            let mut file = self.cut(end)?;
            file.write_all(&frame).and_then(|()| file.sync_data()).map_err(|error| self.io(error))
        })?;
        let mut known = self.known_mut();
        known.keys.extend(made);
        known.end = end + frame.len() as u64;
        Ok(())
    }

    /// Does what may leave the file in an unknown state.
    fn sound<T>(&self, write: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        write().inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    fn check_sound(&self) -> Result<(), Error> {
        if self.failed.load(Ordering::Acquire) { Err(Error::Failed(self.path.clone())) } else { Ok(()) }
    }

    /// Cuts the file off at `end`; it is written on from there.
    fn cut(&self, end: u64) -> Result<File, Error> {
        let io = |error| self.io(error);
        let mut file = private().create(false).open(&self.path).map_err(io)?;
        if file.metadata().map_err(io)?.len() > end {
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io)?;
        }
        file.seek(SeekFrom::Start(end)).map_err(io)?;
        Ok(file)
    }

    /// Writes the whole store beside the old file and puts it in its place.
    fn rewrite(&self, keys: Keys) -> Result<(), Error> {
        let io = |error| self.io(error);
        let header = [MAGIC, &seal(&self.master, random()?, CHECK, &[0; 32])?].concat();
        let mut bytes = header.clone();
        let mut subjects: Vec<&str> = keys.keys().map(|subject| &**subject).collect();
        subjects.sort_unstable();
        for chunk in subjects.chunks(10_000) {
            let mut records = Vec::new();
            for subject in chunk {
                put_record(&mut records, subject, keys.get(*subject).and_then(Option::as_ref), &self.master)?;
            }
            bytes.extend_from_slice(&frame(&records));
        }
        let beside = self.path.with_extension("new");
        let mut file = private().create(true).truncate(true).open(&beside).map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&beside, &self.path).map_err(io)?;
        let folder = self.path.parent().unwrap_or(&self.path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        *self.known_mut() = Known { keys, header, end: bytes.len() as u64, looked: Instant::now() };
        Ok(())
    }
}

impl KeyStore for FileKeyStore {
    fn get_or_create(&self, subject: &str) -> Result<Key, Error> {
        match self.get(subject)? {
            KeyState::Present(key) => return Ok(key),
            KeyState::Erased => return Err(Error::Erased(subject.to_owned())),
            KeyState::Absent => self.add(&[subject])?,
        }
        match state_of(&self.known().keys, subject) {
            KeyState::Present(key) => Ok(key),
            KeyState::Erased | KeyState::Absent => Err(Error::Erased(subject.to_owned())),
        }
    }

    fn get(&self, subject: &str) -> Result<KeyState, Error> {
        self.refresh()?;
        Ok(state_of(&self.known().keys, subject))
    }

    fn ensure(&self, subjects: &[&str]) -> Result<(), Error> {
        self.refresh()?;
        self.add(subjects)
    }

    fn destroy(&self, subject: &str) -> Result<bool, Error> {
        let _turn = self.turn()?;
        let _looking = self.look();
        self.check_sound()?;
        if self.sharing == Sharing::Shared {
            self.read_new()?;
        }
        let mut keys = {
            let known = self.known();
            if state_of(&known.keys, subject) == KeyState::Erased {
                return Ok(false);
            }
            known.keys.clone()
        };
        let before = keys.insert(subject.into(), None);
        // Gone from this process whatever becomes of the file.
        self.known_mut().keys.insert(subject.into(), None);
        self.sound(|| self.rewrite(keys))?;
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
        out.extend_from_slice(&seal(master, random()?, subject.as_bytes(), key.bytes())?);
    }
    Ok(())
}

fn lock_file(path: &Path) -> Result<File, Error> {
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    opened.map_err(|error| Error::Io { path: path.to_owned(), error })
}

/// For writing, readable by its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Whether the file is one of this master key.
fn check(path: &Path, header: &[u8], master: &Key) -> Result<(), Error> {
    let wrapped = header.strip_prefix(MAGIC).ok_or_else(|| Error::Corrupt { path: path.to_owned(), offset: 0 })?;
    open(master, CHECK, wrapped).map(drop).ok_or_else(|| Error::MasterKey(path.to_owned()))
}

/// Reads the whole frames of what lies at `offset` of the file; how many bytes they are.
fn read_frames(path: &Path, offset: u64, bytes: &[u8], master: &Key, keys: &mut Keys) -> Result<u64, Error> {
    let corrupt = |at: usize| Error::Corrupt { path: path.to_owned(), offset: offset + at as u64 };
    let mut at = 0;
    while at < bytes.len() {
        let Some(records) = frame_at(bytes, at) else {
            // Torn, or being written, if nothing whole follows; else bytes that were synced have changed.
            let whole_follows = (at + 1..bytes.len()).any(|later| frame_at(bytes, later).is_some());
            return if whole_follows { Err(corrupt(at)) } else { Ok(at as u64) };
        };
        read_records(records, master, keys).ok_or_else(|| corrupt(at))?;
        at += 8 + records.len();
    }
    Ok(at as u64)
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
