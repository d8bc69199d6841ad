//! Questions and answers about rows of projections.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tol_events::{EventTime, Position, TopicPartition};
use utoipa::ToSchema;

/// Selects a past moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// What had happened by then (`as_of`), by the events' time.
    AsOf(EventTime),
    /// What was known by then (`known_at`), by the recorded time.
    KnownAt(EventTime),
}

impl Past {
    /// Gives the moment.
    pub fn time(self) -> EventTime {
        match self {
            Past::AsOf(time) | Past::KnownAt(time) => time,
        }
    }
}

/// Selects a page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsQuery {
    /// Most rows of the page, from 1.
    pub limit: usize,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// The past moment; `None` is now.
    pub past: Option<Past>,
}

/// An answer about the past of a whole projection, which the node may have to fold first.
#[derive(Clone, Debug, PartialEq)]
pub enum Folded<T> {
    /// The answer.
    Done(T),
    /// The node folds it: ask again (202).
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
