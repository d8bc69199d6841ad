//! The node's blobs: files named by the SHA-256 of their bytes, durable before an event names them.
//!
//! ```text
//! blobs/<2 hex digits>/<62 hex digits>        content as it was put
//! blobs/sealed/<subject's hash>/<64 digits>   content sealed with that subject's key, so that all of a subject's are found and removed at once
//! blobs/tmp/                                  being written; emptied at start
//! ```
//! The name of a sealed blob is the hash of the sealed bytes, which a fresh random salt goes into: nobody who guesses a content finds it by its name.
//!
//! * `seal` — the chunks of a sealed blob; `read` — a reader that verifies
//! * [`backup`] — copying and verifying all blobs of a folder

pub mod backup;
mod read;
mod seal;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tol_events::blob::{BlobId, BlobRef};
use tol_events::personal::{self, KeyState, KeyStore};
use tol_plug::blobs::{Blobs, Error};

use read::Verified;
use seal::{CHUNK, Sealer};

const SEALED: &str = "sealed";
const TEMPORARY: &str = "tmp";

/// Blobs in a folder of this node.
pub struct FileBlobs {
    folder: PathBuf,
    keys: Arc<dyn KeyStore>,
    max_bytes: u64,
    /// Names temporary files.
    next: AtomicU64,
    /// Held while a blob gets its name and while a subject's are removed: nothing of an erased subject appears afterwards.
    naming: Mutex<()>,
}

/// What the operating system says of a file.
fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |error| Error::Io { path: path.to_owned(), error }
}

fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))
}

/// Makes a folder whose parent exists; durable.
fn make_folder(folder: &Path) -> Result<(), Error> {
    match fs::create_dir(folder) {
        Ok(()) => folder.parent().map_or(Ok(()), sync),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io(folder)(error)),
    }
}

/// The folder of the blobs sealed for a subject.
fn sealed_folder(folder: &Path, subject: &str) -> PathBuf {
    folder.join(SEALED).join(&blake3::hash(subject.as_bytes()).to_hex()[..32])
}

/// Where a blob lies.
fn path_of(folder: &Path, blob: BlobId, subject: Option<&str>) -> PathBuf {
    let name = blob.to_string();
    match subject {
        Some(subject) => sealed_folder(folder, subject).join(name),
        None => folder.join(&name[..2]).join(&name[2..]),
    }
}

/// A file that is removed unless it got its name.
struct Temporary {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl FileBlobs {
    /// Opens the folder, or makes it, and removes what was being written when the node ended. `max_bytes` is the most a blob may have.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(folder: &Path, keys: Arc<dyn KeyStore>, max_bytes: u64) -> Result<Self, Error> {
        let temporary = folder.join(TEMPORARY);
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(io(&temporary))?;
        }
        for folder in [folder.to_owned(), folder.join(SEALED), temporary] {
            make_folder(&folder)?;
        }
        Ok(Self { folder: folder.to_owned(), keys, max_bytes, next: AtomicU64::new(0), naming: Mutex::new(()) })
    }

    /// The blobs that are sealed with a subject's key.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sealed_for(&self, subject: &str) -> Result<Vec<BlobId>, Error> {
        let mut found = backup::names_in(&sealed_folder(&self.folder, subject), "")?;
        found.sort_unstable();
        Ok(found)
    }

    /// Removes all blobs that are sealed with a subject's key, once that key was destroyed; how many there were.
    ///
    /// # Errors
    /// [`Error::Io`]; doing it again removes the rest.
    pub fn purge(&self, subject: &str) -> Result<usize, Error> {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.sealed_for(subject)?.len();
        let folder = sealed_folder(&self.folder, subject);
        match fs::remove_dir_all(&folder) {
            Ok(()) => sync(&self.folder.join(SEALED))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io(&folder)(error)),
        }
        Ok(count)
    }

    /// Writes the content to a temporary file, synced.
    fn write(&self, sealer: Option<Sealer>, content: &mut dyn Read) -> Result<(Temporary, BlobId, u64), Error> {
        let path = self.folder.join(TEMPORARY).join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let file = options.open(&path).map_err(io(&path))?;
        let mut temporary = Temporary { path, file, named: false };
        let (bytes, sha256) = self.fill(&mut temporary, sealer, content)?;
        temporary.file.sync_all().map_err(io(&temporary.path))?;
        Ok((temporary, sha256, bytes))
    }

    fn fill(&self, temporary: &mut Temporary, mut sealer: Option<Sealer>, content: &mut dyn Read) -> Result<(u64, BlobId), Error> {
        let Temporary { path, file, .. } = temporary;
        let mut hasher = Sha256::new();
        let mut put = |bytes: &[u8]| {
            hasher.update(bytes);
            file.write_all(bytes).map_err(io(path))
        };
        if let Some(sealer) = &sealer {
            put(&sealer.header())?;
        }
        let (mut chunk, mut ahead) = (Vec::with_capacity(2 * CHUNK), Vec::with_capacity(2 * CHUNK));
        let mut bytes = 0;
        let mut read = |into: &mut Vec<u8>| {
            into.clear();
            let read = (&mut *content).take(CHUNK as u64).read_to_end(into).map_err(Error::Content)?;
            bytes += read as u64;
            if bytes > self.max_bytes { Err(Error::TooLarge { limit: self.max_bytes }) } else { Ok(()) }
        };
        read(&mut chunk)?;
        loop {
            // Which chunk is the last is sealed with it, so the next one is read first.
            read(&mut ahead)?;
            let is_last = ahead.is_empty();
            if let Some(sealer) = &mut sealer {
                sealer.seal(&mut chunk, is_last)?;
            }
            put(&chunk)?;
            if is_last {
                break;
            }
            std::mem::swap(&mut chunk, &mut ahead);
        }
        Ok((bytes, BlobId::new(hasher.finalize().into())))
    }

    /// Gives a written file its name; durable.
    fn name(&self, mut temporary: Temporary, blob: BlobId, subject: Option<(&str, &personal::Key)>) -> Result<(), Error> {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((subject, key)) = subject
            && self.keys.get(subject)? != KeyState::Present(key.clone())
        {
            return Err(personal::Error::Erased(subject.to_owned()).into());
        }
        let path = path_of(&self.folder, blob, subject.map(|(subject, _)| subject));
        let folder = path.parent().unwrap_or(&self.folder);
        make_folder(folder)?;
        // What may be there is the same, or was damaged.
        fs::rename(&temporary.path, &path).map_err(io(&path))?;
        temporary.named = true;
        sync(folder)
    }

    fn key_of(&self, blob: BlobId, subject: &str) -> Result<personal::Key, Error> {
        match self.keys.get(subject)? {
            KeyState::Present(key) => Ok(key),
            KeyState::Erased => Err(Error::Erased { blob, subject: subject.to_owned() }),
            KeyState::Absent => Err(personal::Error::NoKey(subject.to_owned()).into()),
        }
    }
}

impl Blobs for FileBlobs {
    fn put(&self, subject: Option<&str>, media_type: &str, content: &mut dyn Read) -> Result<BlobRef, Error> {
        let key = subject.map(|subject| Ok::<_, Error>((subject, self.keys.get_or_create(subject)?))).transpose()?;
        let sealer = key.as_ref().map(|(subject, key)| Sealer::fresh(key, subject)).transpose()?;
        let (temporary, sha256, bytes) = self.write(sealer, content)?;
        self.name(temporary, sha256, key.as_ref().map(|(subject, key)| (*subject, key)))?;
        Ok(BlobRef { sha256, bytes, media_type: media_type.to_owned(), sealed: subject.map(str::to_owned) })
    }

    fn get(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send>, Error> {
        let subject = blob.sealed.as_deref();
        let key = subject.map(|subject| Ok::<_, Error>((subject, self.key_of(blob.sha256, subject)?))).transpose()?;
        let path = path_of(&self.folder, blob.sha256, subject);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::Unknown(blob.sha256)),
            Err(error) => return Err(io(&path)(error)),
        };
        let length = file.metadata().map_err(io(&path))?.len();
        Ok(Box::new(Verified::open(blob, file, path, length, key.as_ref().map(|(subject, key)| (*subject, key)))?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
