//! What the follower of a projection is handed: the rows that changed, so that it can answer from memory.

use super::Projection;
use super::rows::read_row;

/// Rows that changed, by key; `None` where a row was removed.
pub type ChangedRows<R> = Vec<(String, Option<R>)>;

/// What a follower is told, in order, from the thread that folds, before anybody who waits for a position is told that it is visible.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed<R> {
    /// Whether these are all rows there are: another generation serves now.
    pub anew: bool,
    /// The rows. A key that lies in several partitions comes once for each: following is for projections where none does.
    pub rows: ChangedRows<R>,
    /// Whether that is all the log had when it was last looked at.
    pub caught_up: bool,
    /// Whether these are the rows that the store held when the node last ran; the log is not open yet.
    pub last_known: bool,
}

impl Followed<Vec<u8>> {
    /// Reads the stored rows of projection `P`.
    pub fn read<P: Projection>(self) -> Followed<P::Row> {
        Followed { anew: self.anew, rows: read_rows::<P>(self.rows), caught_up: self.caught_up, last_known: self.last_known }
    }
}

/// Reads stored rows of projection `P`. Logs and leaves out a row that does not read; queries of that row answer with the same error.
pub fn read_rows<P: Projection>(rows: ChangedRows<Vec<u8>>) -> ChangedRows<P::Row> {
    let read = |key: &str, bytes: &[u8]| {
        let row = read_row::<P::Row>(key, bytes);
        row.inspect_err(|problem| tracing::error!(projection = P::NAME, %problem, "a follower misses a row")).ok()
    };
    rows.into_iter()
        .filter_map(|(key, bytes)| match bytes {
            Some(bytes) => read(&key, &bytes).map(|row| (key, Some(row))),
            None => Some((key, None)),
        })
        .collect()
}
