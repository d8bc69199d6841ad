//! Projections: what is asked and what is answered.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tol_events::EventTime;
use tol_kafka::{Position, TopicPartition};
use utoipa::ToSchema;

/// Which past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// What had happened by then (`as_of`), by the events' time.
    AsOf(EventTime),
    /// What was known by then (`known_at`), by the recorded time.
    KnownAt(EventTime),
}

impl Past {
    /// The moment.
    pub fn time(self) -> EventTime {
        match self {
            Past::AsOf(time) | Past::KnownAt(time) => time,
        }
    }
}

/// Which rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsQuery {
    /// At most so many, from 1.
    pub limit: usize,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// The past; `None` is now.
    pub past: Option<Past>,
}

/// An answer about a past of a whole projection, which may still have to be folded.
#[derive(Clone, Debug, PartialEq)]
pub enum Folded<T> {
    /// The answer.
    Done(T),
    /// Being folded: ask again (202).
    Running {
        /// 0 to 1.
        progress: f64,
    },
}

/// The state as of then is being folded; ask again.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Running {
    /// Always `running`.
    #[schema(example = "running")]
    pub state: &'static str,
    /// 0 to 1.
    pub progress: f64,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Row {
    /// Its key.
    pub key: String,
    /// What the projection makes of it.
    pub value: Value,
    /// The past moment asked for; null is now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub as_of: Option<EventTime>,
    /// Next position of each topic partition that the answer rests on: everything below is in it.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub positions: BTreeMap<TopicPartition, Position>,
    /// Only while an older version's rows answer: the version of the fold that made this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_version: Option<u32>,
}

/// One row of a page.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// What the projection makes of it.
    pub value: Value,
}

/// A page of rows in key order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct RowPage {
    /// The rows.
    pub items: Vec<Item>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// Only while an older version's rows answer: the version of the fold that made these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_version: Option<u32>,
}

/// The content of a projection in one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Digest {
    /// A hash of all rows, independent of their order.
    pub digest: String,
    /// How many rows.
    pub rows: u64,
    /// Next position of each topic partition that it holds. Only digests at the same positions can be compared.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub positions: BTreeMap<TopicPartition, Position>,
    /// Only while an older version's rows answer: the version of the fold that made them. It cannot be compared with another's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_version: Option<u32>,
}

/// A rebuild's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RebuildState {
    /// None was started since the node was.
    None,
    /// It folds.
    Running,
    /// Its generation serves.
    Done,
    /// It failed; the old generation still serves.
    Failed,
    /// It was cancelled; the old generation still serves.
    Cancelled,
}

/// A rebuild.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RebuildStatus {
    /// What it does.
    pub state: RebuildState,
    /// 0 to 1.
    pub progress: f64,
    /// Events folded a second.
    pub events_per_second: u64,
    /// The generation it makes.
    pub generation: u32,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A projection.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// Version of its fold.
    pub version: u32,
    /// Version of the fold that made the rows that answer. An older one's answer while this one's are being folded (`rebuild`).
    pub rows_version: u32,
    /// The generation that answers.
    pub generation: u32,
    /// Records in the log that are not visible yet.
    pub lag: u64,
    /// Next position of each topic partition: everything below is visible.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub positions: BTreeMap<TopicPartition, Position>,
    /// The rebuild.
    pub rebuild: RebuildStatus,
    /// Why it does not go on; queries show the last state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}
