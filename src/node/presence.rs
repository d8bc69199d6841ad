//! [`Presence`]: the file `node.json` in the data folder, which says which node runs on it, for `tol doctor`. Only the lock says whether one does.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The node that runs on a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Presence {
    /// Its process.
    pub(crate) pid: u32,
    /// Where it listens.
    pub(crate) url: String,
}

fn file(data: &Path) -> PathBuf {
    data.join("node.json")
}

impl Presence {
    /// Writes that this process runs on the folder, whose lock it holds.
    pub(super) fn write(data: &Path, url: &str) -> std::io::Result<()> {
        let here = Self { pid: std::process::id(), url: url.to_owned() };
        std::fs::write(file(data), serde_json::to_vec(&here)?)
    }

    /// Removes what was written. A process that is killed leaves it behind.
    pub(super) fn remove(data: &Path) {
        let _ = std::fs::remove_file(file(data));
    }

    /// The node that runs on the folder now, if one does and says so.
    pub(crate) fn of(data: &Path) -> Option<Self> {
        let lock = File::open(data.join("lock")).ok()?;
        if !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        serde_json::from_slice(&std::fs::read(file(data)).ok()?).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_there_only_while_it_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Presence::of(folder.path()), None);
        Presence::write(folder.path(), "http://127.0.0.1:7700").unwrap();
        assert_eq!(Presence::of(folder.path()), None, "left behind by one that was killed");
        let lock = File::create(folder.path().join("lock")).unwrap();
        lock.try_lock().unwrap();
        assert_eq!(Presence::of(folder.path()), Some(Presence { pid: std::process::id(), url: "http://127.0.0.1:7700".into() }));
        Presence::remove(folder.path());
        assert_eq!(Presence::of(folder.path()), None);
    }
}
