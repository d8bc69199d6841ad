//! RocksDB store and read models folded from the log; what a read model is, [`tol_system::projection`] says.
//!
//! * [`store`] — [`RocksStore`], the node's one RocksDB, a cache of the log
//! * [`engine`] — [`ProjectionEngine`]: threads, status, rebuilds; [`query`] — rows, pages, digests; [`asof`] — the past
//! * [`index`] — [`EventIndex`]: events by id, subject, type and correlation; timelines and traces
//! * [`customers`], [`revenue`], [`deployments`] — the read models that are served whatever system is disabled
//!
//! Inside: `examples` (events for the contract suite), `generation` (how rows are keyed and generations kept), `fold` (one partition), `folder` (live), `follow` (who is told of changes), `rebuild` (beside), `rebuilds` (their threads), `set_aside` (events that could not be folded), `shared` (what threads share).

pub mod asof;
pub mod customers;
pub mod deployments;
pub mod engine;
mod error;
mod examples;
mod fold;
mod folder;
mod follow;
mod generation;
pub mod index;
pub mod metric_definitions;
pub mod query;
mod rebuild;
mod rebuilds;
pub mod revenue;
mod set_aside;
mod shared;
pub mod store;

pub use asof::AsOfState;
pub use engine::{EngineOptions, ProjectionEngine};
pub use error::Error;
pub use fold::AsOf;
pub use folder::Step;
pub use follow::Follower;
pub use index::{EventIndex, IndexStatus, Located, SearchPage, SearchQuery};
pub use query::{Digest, Item, Page};
pub use set_aside::{SetAsideEvent, SetAsidePage};
pub use shared::{ProjectionStatus, RebuildState, RebuildStatus};
pub use store::{Opened, RocksStore, StoreOptions};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod engine_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod follow_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod model_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod rebuild_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod set_aside_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod testing;
