//! Copies of a log's files, made while it is written to, and putting them back.
//!
//! Segments only ever grow at their end, and a frame is there whole or not at all. So the files as they are now, taken in order and cut behind the
//! last whole frame, are the log as it was at one moment. Each file is copied beside its place and renamed: a backup that was interrupted is
//! still a whole, only older, log. A segment that gets no more batches is copied once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::embedded::inspect::{Inspection, inspect};
use crate::embedded::{io_error, segment};
use crate::log::{Error, Position, TopicPartition};

/// What a copy holds and what making it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The log's identity.
    pub identity: String,
    /// Segments in the copy.
    pub segments: u32,
    /// Records in the copy.
    pub records: u64,
    /// Where each partition of the copy ends.
    pub ends: BTreeMap<TopicPartition, Position>,
    /// Bytes that were copied now.
    pub copied_bytes: u64,
    /// Segments that were there already, or linked.
    pub spared: u32,
}

fn identity_of(folder: &Path) -> Result<Option<String>, Error> {
    let path = folder.join("identity");
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("cannot read", &path, &error)),
    }
}

fn len(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

/// Copies the first `bytes` of a file to its place at once: whole or not at all.
fn copy_to(from: &Path, to: &Path, bytes: u64) -> Result<(), Error> {
    let part = to.with_extension("part");
    let copy = || -> std::io::Result<()> {
        let mut target = File::create(&part)?;
        std::io::copy(&mut File::open(from)?.take(bytes), &mut target)?;
        target.sync_all()?;
        std::fs::rename(&part, to)
    };
    copy().map_err(|error| {
        let _ = std::fs::remove_file(&part);
        io_error("cannot copy to", to, &error)
    })
}

/// Brings `to` to where the log in `from` is now. A log that runs is not disturbed and goes on. With `link`, segments that get no more batches are
/// hard links where both folders lie on one file system: nothing is copied, but one bad disk takes both. `progress` is told how many of how many segments.
///
/// # Errors
/// [`Error::Invalid`] where `to` holds something else, [`Error::Corrupt`] naming the damage of the original, or the disk's error.
pub fn backup(from: &Path, to: &Path, link: bool, progress: &mut dyn FnMut(u32, u32)) -> Result<Copied, Error> {
    let identity = identity_of(from)?.ok_or_else(|| Error::Unknown(format!("an embedded log in {}", from.display())))?;
    std::fs::create_dir_all(to).map_err(|e| io_error("cannot create", to, &e))?;
    match identity_of(to)? {
        Some(other) if other != identity => {
            return Err(Error::Invalid(format!("{} holds a backup of another log ({other}, not {identity}); choose an empty folder", to.display())));
        }
        Some(_) => {}
        None if segment::list(to)?.is_empty() => copy_to(&from.join("identity"), &to.join("identity"), u64::MAX)?,
        None => return Err(Error::Invalid(format!("{} holds segments and no identity; choose an empty folder", to.display()))),
    }
    let mut copied = Copied { identity, ..Copied::default() };
    let numbers = segment::list(from)?;
    let total = numbers.len() as u32;
    for number in numbers {
        let is_last = number + 1 == total;
        let (source, target) = (segment::log_path(from, number), segment::log_path(to, number));
        let bytes = len(&source).ok_or_else(|| Error::Corrupt(format!("{} is gone", source.display())))?;
        if !is_last && (len(&target) == Some(bytes) || (link && hard_link(&source, &target))) {
            copied.spared += 1;
        } else {
            copy_to(&source, &target, bytes)?;
            copied.copied_bytes += bytes;
            check(to, number, is_last)?;
        }
        if !is_last && let Some(bytes) = len(&segment::idx_path(from, number)).filter(|bytes| len(&segment::idx_path(to, number)) != Some(*bytes)) {
            // Only makes the first start shorter.
            let _ = copy_to(&segment::idx_path(from, number), &segment::idx_path(to, number), bytes);
        }
        progress(number + 1, total);
    }
    File::open(to).and_then(|folder| folder.sync_all()).map_err(|e| io_error("cannot sync", to, &e))?;
    copied.segments = segment::list(to)?.len() as u32;
    (copied.records, copied.ends) = ends(to)?;
    Ok(copied)
}

fn hard_link(from: &Path, to: &Path) -> bool {
    let part = to.with_extension("part");
    let _ = std::fs::remove_file(&part);
    std::fs::hard_link(from, &part).and_then(|()| std::fs::rename(&part, to)).is_ok()
}

/// Reads a copied segment with all checksums; the last one is cut behind its last whole frame, as it may have been written just then.
fn check(folder: &Path, number: u32, is_last: bool) -> Result<(), Error> {
    let path = segment::log_path(folder, number);
    let (_, cut) = segment::scan(folder, number)?;
    let Some(cut) = cut else { return Ok(()) };
    if !is_last {
        return Err(Error::Corrupt(format!("{} at byte {}, followed by newer segments", path.display(), cut.at)));
    }
    if cut.at == 0 {
        // It was begun just then and holds nothing.
        return std::fs::remove_file(&path).map_err(|e| io_error("cannot remove", &path, &e));
    }
    let shorten = || OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(cut.at).and_then(|()| file.sync_all()));
    shorten().map_err(|e| io_error("cannot cut", &path, &e))
}

/// Records and ends of the log in `folder`, from index files where there are any.
fn ends(folder: &Path) -> Result<(u64, BTreeMap<TopicPartition, Position>), Error> {
    let disk = crate::embedded::disk::Disk::new(false, None);
    let mut index = crate::embedded::index::Index::new(0);
    let numbers = segment::list(folder)?;
    for number in &numbers {
        let contents = if Some(number) == numbers.last() { segment::scan(folder, *number)?.0 } else { segment::load_closed(folder, *number, &disk)? };
        segment::add(&mut index, &contents, &segment::log_path(folder, *number))?;
    }
    let mut ends = BTreeMap::new();
    for topic in index.topics().values() {
        for partition in 0..topic.partitions {
            let of = TopicPartition::new(topic.name.as_str(), partition);
            let end = index.slot(&of).map_or(0, |slot| index.partition(slot).end);
            ends.insert(of, end);
        }
    }
    Ok((index.records(), ends))
}

/// What was there before a restore, and what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The log that is there now.
    pub copied: Copied,
    /// Where the files that were there before are now.
    pub moved_aside: Option<PathBuf>,
}

/// Puts a copy that [`backup`] made into `to`, after reading all of it with all checksums. Files that are there are moved aside when `replace` says so.
///
/// # Errors
/// [`Error::InUse`] while a node runs there, [`Error::Invalid`] where there is a log and `replace` is not set, [`Error::Corrupt`] naming the damage
/// of the copy (nothing is changed then), or the disk's error.
pub fn restore(from: &Path, to: &Path, replace: bool, progress: &mut dyn FnMut(u32, u32)) -> Result<Restored, Error> {
    let identity = identity_of(from)?.ok_or_else(|| Error::Unknown(format!("a backup in {}", from.display())))?;
    let Inspection { torn, damages, .. } = inspect(from)?;
    if let Some(damage) = damages.first() {
        return Err(Error::Corrupt(format!("the backup itself: {damage}; nothing was restored")));
    }
    if let Some((file, at, _)) = torn {
        return Err(Error::Corrupt(format!("the backup itself: {} does not read from byte {at} on; nothing was restored", file.display())));
    }
    let _alone = lock(to)?;
    let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut moved_aside = None;
    if to.is_dir() && (identity_of(to)?.is_some() || !segment::list(to)?.is_empty()) {
        if !replace {
            return Err(Error::Invalid(format!("{} holds a log already; say --replace to move it aside", to.display())));
        }
        let free = (1u32..).map(|n| to.with_file_name(format!("{name}.replaced-{n}"))).find(|path| !path.exists());
        let aside = free.ok_or_else(|| Error::Invalid("no free name to move the log to".into()))?;
        std::fs::rename(to, &aside).map_err(|e| io_error("cannot move aside", to, &e))?;
        moved_aside = Some(aside);
    }
    // Made beside its place and renamed: it is there whole or not at all.
    let part = to.with_file_name(format!("{name}.restoring"));
    let _ = std::fs::remove_dir_all(&part);
    let copied = backup(from, &part, false, progress)?;
    if copied.identity != identity {
        return Err(Error::Corrupt(format!("{} changed while it was read", from.display())));
    }
    let _ = std::fs::remove_dir_all(to);
    std::fs::rename(&part, to).map_err(|e| io_error("cannot move to", to, &e))?;
    Ok(Restored { copied, moved_aside })
}

/// Keeps a node from starting on `folder` meanwhile; an error where one runs.
fn lock(folder: &Path) -> Result<Option<File>, Error> {
    let path = folder.join("lock");
    if !path.exists() {
        return Ok(None);
    }
    let file = OpenOptions::new().write(true).open(&path).map_err(|e| io_error("cannot open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(folder.display().to_string())),
        Err(TryLockError::Error(error)) => Err(io_error("cannot lock", &path, &error)),
    }
}
