//! Where an interrupted import stood. Only a saving of time: ids are deterministic, so an import without it is right as well.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::mapping::Mapping;
use crate::cli::error::Error;
use crate::cli::output;

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// The imported file, for people.
    file: String,
    /// Node, mapping and path: another import must not go on with this one's lines.
    import: String,
    /// The file's length; another length is another file.
    length: u64,
    /// All lines up to it are acknowledged.
    acknowledged_line: u64,
}

/// The state of one import.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    file: String,
    import: String,
    length: u64,
}

impl State {
    /// The state of importing `file` with `mapping` into the node at `url`, kept at `path` or below the user's state folder.
    ///
    /// # Errors
    /// When there is neither `path` nor a home folder.
    pub fn at(path: Option<PathBuf>, url: &str, file: &Path, mapping: &Mapping, length: u64) -> Result<State, Error> {
        let absolute = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let name = format!("{url}\u{0}{}\u{0}{mapping:?}", absolute.display());
        let import = Uuid::new_v5(&tol_events::id::NAMESPACE, name.as_bytes()).to_string();
        let path = match path.or_else(|| Some(state_folder()?.join(format!("{import}.json")))) {
            Some(path) => path,
            None => return Err(Error::Usage("there is no $HOME to remember the import's state in; give --state FILE".into())),
        };
        Ok(State { path, file: absolute.display().to_string(), import, length })
    }

    /// The line up to which everything is acknowledged; 0 when nothing is remembered.
    ///
    /// # Errors
    /// When what is remembered belongs to another file, mapping or node.
    pub fn load(&self) -> Result<u64, Error> {
        let Ok(text) = std::fs::read_to_string(&self.path) else { return Ok(0) };
        let wrong = |why: &str| Error::Usage(format!("{} {why}; leave out --resume, what is there counts as a duplicate", self.path.display()));
        let content: Content = serde_json::from_str(&text).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        if content.import != self.import || content.length != self.length {
            return Err(wrong("belongs to another import, or the file has changed"));
        }
        Ok(content.acknowledged_line)
    }

    /// Remembers a line. That it cannot be written is told and stops nothing.
    pub fn save(&self, acknowledged_line: u64) {
        let content = Content { file: self.file.clone(), import: self.import.clone(), length: self.length, acknowledged_line };
        if let Err(error) = self.write(&content) {
            output::note(&format!("the import's state cannot be written to {}: {error}", self.path.display()));
        }
    }

    fn write(&self, content: &Content) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Renamed into place, so that an interruption leaves the old state or the new one.
        let new = self.path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(content)?)?;
        std::fs::rename(&new, &self.path)
    }

    /// Forgets: the import is done.
    pub fn clear(&self) {
        let _absent = std::fs::remove_file(&self.path);
    }
}

fn state_folder() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("tol").join("imports"))
}
