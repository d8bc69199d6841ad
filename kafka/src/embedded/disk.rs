//! Files and folders: synced creation, writes at an offset, and the failures tests inject into them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Failures of the disk that a test switches on and off while the log runs.
#[derive(Debug)]
pub struct DiskFaults {
    /// Bytes the log and its reserve may take; `u64::MAX` is no limit.
    pub capacity: AtomicU64,
    /// Every sync fails.
    pub fail_sync: AtomicBool,
    used: AtomicU64,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self { capacity: AtomicU64::new(u64::MAX), fail_sync: AtomicBool::new(false), used: AtomicU64::new(0) }
    }
}

/// The disk as the log uses it.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    faults: Option<Arc<DiskFaults>>,
    sync: bool,
}

impl Disk {
    pub(crate) fn new(sync: bool, faults: Option<Arc<DiskFaults>>) -> Self {
        Self { faults, sync }
    }

    /// Writes all of `bytes` at `offset`; with a full disk a part of them may have been written.
    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(faults) = &self.faults {
            let left = faults.capacity.load(Ordering::SeqCst).saturating_sub(faults.used.load(Ordering::SeqCst));
            if (bytes.len() as u64) > left {
                file.write_all_at(&bytes[..left as usize], offset)?;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            faults.used.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
        file.write_all_at(bytes, offset)
    }

    /// Makes the data of `file` durable.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        if self.faults.as_ref().is_some_and(|faults| faults.fail_sync.load(Ordering::SeqCst)) {
            return Err(io::Error::other("injected failure"));
        }
        if self.sync { file.sync_data() } else { Ok(()) }
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.sync { File::open(folder)?.sync_all() } else { Ok(()) }
    }

    /// Takes `bytes` of disk under `path`, really written so that no file system can promise them twice.
    pub(crate) fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        // What an earlier run kept back is not let go: on a full disk somebody else would have it.
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == bytes) {
            if let Some(faults) = &self.faults {
                faults.used.fetch_add(bytes, Ordering::SeqCst);
            }
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let written = self.write_at(&file, &vec![0x5a; bytes as usize], 0).and_then(|()| self.sync(&file));
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written
    }

    /// Gives the bytes of `reserve` back.
    pub(crate) fn release(&self, path: &Path) -> io::Result<()> {
        let bytes = std::fs::metadata(path)?.len();
        std::fs::remove_file(path)?;
        if let Some(faults) = &self.faults {
            faults.used.fetch_sub(bytes, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Writes a small file so that it is there whole or not at all.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        self.sync(&file)?;
        std::fs::rename(&part, path)?;
        self.sync_folder(path.parent().unwrap_or(Path::new(".")))
    }
}

/// Whether the error says that there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
