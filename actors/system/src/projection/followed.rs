//! [`Followed`]: the changed rows that the follower of a projection gets, to answer from memory.

use super::Projection;
use super::rows::read_row;

/// Rows that changed, by key; `None` where a row was removed.
pub type ChangedRows<R> = Vec<(String, Option<R>)>;

/// Changed rows for a follower. They come in order, from the thread that folds, before a request that waits for their position is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed<R> {
    /// Whether `rows` are all rows, since another generation serves now: drop what you hold.
    pub anew: bool,
    /// The rows. A key of several partitions comes once for each: follow only projections without such keys.
    pub rows: ChangedRows<R>,
    /// Whether the rows hold all that the log had at the last look.
    pub caught_up: bool,
    /// Whether these are the rows of the node's last run, because the log is not open yet.
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
