//! Identifiers as keyed hashes: who has the log and not the key cannot tell whom a subject is about.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rand::TryRngCore as _;

/// The file with the node's own key, in its data folder.
const FILE: &str = "cdp-identifiers.key";

/// Hashes identifiers with one key.
pub(crate) struct Hasher {
    key: OnceLock<[u8; 32]>,
    path: PathBuf,
}

impl Hasher {
    /// Hashes with `key`; without one, with the key of the data folder, which is made when it is first needed.
    pub(crate) fn new(key: Option<[u8; 32]>, data: &Path) -> Self {
        let hasher = Self { key: OnceLock::new(), path: data.join(FILE) };
        if let Some(key) = key {
            let _ = hasher.key.set(key);
        }
        hasher
    }

    /// The id of an identifier.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub(crate) fn id(&self, identifier_type: &str, value: &str) -> io::Result<String> {
        let key = match self.key.get() {
            Some(key) => key,
            None => {
                let made = key_of(&self.path)?;
                self.key.get_or_init(|| made)
            }
        };
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(identifier_type.as_bytes()).update(b"\0").update(value.as_bytes());
        Ok(hasher.finalize().to_hex()[..32].to_owned())
    }
}

/// The key in the file; a new one where there is none. Of two that make one at a time, both take the first's.
fn key_of(path: &Path) -> io::Result<[u8; 32]> {
    match fs::read(path) {
        Ok(bytes) => return <[u8; 32]>::try_from(bytes).map_err(|_| io::Error::other(format!("{} is no key of 32 bytes", path.display()))),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let mut key = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut key).map_err(io::Error::other)?;
    let mut nonce = [0; 8];
    rand::rngs::OsRng.try_fill_bytes(&mut nonce).map_err(io::Error::other)?;
    let draft = path.with_extension(format!("{:016x}", u64::from_le_bytes(nonce)));
    let mut file = private(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => {
            if let Some(folder) = path.parent() {
                fs::File::open(folder)?.sync_all()?;
            }
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => key_of(path),
        Err(error) => Err(error),
    }
}

fn private(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_folder_is_made_once_and_two_folders_have_two() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = |folder: &Path| Hasher::new(None, folder).id("email", "a@b.example").unwrap();
        assert_eq!(id(one.path()), id(one.path()));
        assert_ne!(id(one.path()), id(other.path()));
        let given = Hasher::new(Some([7; 32]), one.path());
        assert_ne!(given.id("email", "x").unwrap(), given.id("user_id", "x").unwrap());
        fs::write(one.path().join(FILE), b"short").unwrap();
        assert!(Hasher::new(None, one.path()).id("email", "x").is_err(), "a damaged key is never replaced");
    }
}
