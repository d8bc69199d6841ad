//! Copies of all blobs. A blob's name is the hash of its bytes, sealed or not, so a copy is verified without any key.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tol_events::blob::BlobId;
use tol_plug::blobs::Error;

use super::{SEALED, io, make_folder, sync};

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blobs in the copy that are in the original.
    pub blobs: u64,
    /// Bytes that were copied now.
    pub copied_bytes: u64,
    /// Blobs that were there already, or linked.
    pub spared: u64,
}

/// The entries of a folder; none where it does not exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    match fs::read_dir(folder) {
        Ok(found) => found.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(io(folder)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io(folder)(error)),
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The blobs in one folder, whose names begin with `prefix` before the files' own.
pub(super) fn names_in(folder: &Path, prefix: &str) -> Result<Vec<BlobId>, Error> {
    Ok(entries(folder)?.iter().filter_map(|path| format!("{prefix}{}", file_name(path)).parse().ok()).collect())
}

/// All blobs below a folder, with their places in it.
fn all(folder: &Path) -> Result<Vec<(PathBuf, BlobId)>, Error> {
    let mut found = Vec::new();
    let mut add = |inner: &Path, prefix: &str| {
        let place = |blob: BlobId| (inner.strip_prefix(folder).unwrap_or(inner).join(&blob.to_string()[prefix.len()..]), blob);
        found.extend(names_in(inner, prefix)?.into_iter().map(place));
        Ok(())
    };
    for inner in entries(folder)?.iter().filter(|inner| file_name(inner).len() == 2) {
        add(inner, file_name(inner))?;
    }
    for inner in entries(&folder.join(SEALED))? {
        add(&inner, "")?;
    }
    found.sort_unstable();
    Ok(found)
}

/// Brings `to` to where the blobs in `from` are now; a node that runs there is not disturbed. Call it after the log was copied: each blob that an event
/// names was there before the event. With `link`, blobs are hard links where both folders lie on one file system.
///
/// # Errors
/// [`Error::Damaged`] naming a blob of the original that is not what was stored, or [`Error::Io`].
pub fn copy(from: &Path, to: &Path, link: bool) -> Result<Copied, Error> {
    let mut copied = Copied::default();
    let mut changed = BTreeSet::new();
    for (place, blob) in all(from)? {
        let (source, target) = (from.join(&place), to.join(&place));
        let length = match fs::metadata(&source) {
            Ok(metadata) => metadata.len(),
            // Its subject was erased meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(io(&source)(error)),
        };
        copied.blobs += 1;
        if fs::metadata(&target).is_ok_and(|there| there.len() == length) {
            copied.spared += 1;
            continue;
        }
        for folder in [Some(to), target.parent().and_then(Path::parent), target.parent()].into_iter().flatten() {
            make_folder(folder)?;
        }
        if link && fs::hard_link(&source, &target).is_ok() {
            copied.spared += 1;
        } else {
            copy_one(&source, &target, blob)?;
            copied.copied_bytes += length;
        }
        changed.extend(target.parent().map(Path::to_owned));
    }
    changed.iter().try_for_each(|folder| sync(folder))?;
    Ok(copied)
}

/// Copies a file to its place at once: whole and verified, or not at all.
fn copy_one(from: &Path, to: &Path, blob: BlobId) -> Result<(), Error> {
    let part = to.with_extension("part");
    let mut file = File::create(&part).map_err(io(&part))?;
    let outcome = hash(from, &mut |bytes| file.write_all(bytes).map_err(io(&part))).and_then(|found| {
        if found != blob {
            return Err(Error::Damaged(blob));
        }
        file.sync_all().and_then(|()| fs::rename(&part, to)).map_err(io(to))
    });
    if outcome.is_err() {
        let _ = fs::remove_file(&part);
    }
    outcome
}

fn hash(path: &Path, each: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<BlobId, Error> {
    let mut file = File::open(path).map_err(io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(io(path))?;
        if count == 0 {
            return Ok(BlobId::new(hasher.finalize().into()));
        }
        hasher.update(&buffer[..count]);
        each(&buffer[..count])?;
    }
}

/// Reads all blobs of a folder; how many there are.
///
/// # Errors
/// [`Error::Damaged`] naming the first that is not what was stored, or [`Error::Io`].
pub fn verify(folder: &Path) -> Result<u64, Error> {
    let found = all(folder)?;
    for (place, blob) in &found {
        if hash(&folder.join(place), &mut |_| Ok(()))? != *blob {
            return Err(Error::Damaged(*blob));
        }
    }
    Ok(found.len() as u64)
}
