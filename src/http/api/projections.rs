//! Projections as operators see them.

use std::collections::BTreeMap;

use serde::Serialize;
use tol_events::{EventTime, Position, TopicPartition};
use utoipa::ToSchema;

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
    /// Events that could not be folded and are not in the rows; `GET /projections/{name}/set-aside` lists them.
    pub set_aside: u64,
    /// The rebuild.
    pub rebuild: RebuildStatus,
    /// Why it does not go on; queries show the last state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// An event that a projection could not fold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SetAsideEvent {
    /// Where it lies, `topic/partition:position`.
    #[schema(example = "facts.customer/3:120")]
    pub position: String,
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its subject.
    pub subject: String,
    /// When it was recorded.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub recorded_at: Option<EventTime>,
    /// What the fold says.
    pub problem: String,
}

/// A page of events that a projection could not fold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SetAsidePage {
    /// By partition and position.
    pub items: Vec<SetAsideEvent>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}
