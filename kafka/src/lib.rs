//! The event log: one trait, three implementations that pass one conformance suite.
//!
//! * [`log`] — the [`EventLog`] trait, positions, appends, bounds
//! * [`record`] — [`Record`] (one, for writing) and [`Batch`] (many, for reading; decoded once, shared by all readers)

pub mod log;
pub mod record;

pub use log::{Append, AppendDone, Appended, Assignment, Bounds, Error, EventLog, Health, Position, TopicPartition, TopicSpec};
pub use record::{Batch, HeaderName, Record, RecordRef};
