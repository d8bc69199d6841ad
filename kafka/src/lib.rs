//! The event log: one trait, three implementations that pass one conformance suite.
//!
//! * [`embedded`] — a folder on one machine
//! * [`rdkafka`](crate::rdkafka) — Apache Kafka
//! * [`memory`] — for tests: deterministic under a seed, with faults
//! * [`conformance`] — what each implementation must do
//! * [`migrate`] — from one log into another, positions kept
//! * [`log`] — the [`EventLog`] trait, positions, appends, bounds
//! * [`record`] — [`Record`] (one, for writing) and [`Batch`] (many, for reading; decoded once, shared by all readers)

mod builder;
pub mod conformance;
pub mod embedded;
pub mod log;
mod log_topics;
pub mod memory;
pub mod metric_definitions;
pub mod migrate;
pub mod rdkafka;
pub mod reader;
pub mod record;

pub use crate::rdkafka::{KafkaLog, KafkaOptions};
pub use embedded::{DiskFaults, EmbeddedLog, EmbeddedOptions, OpenReport};
pub use log::{Append, AppendDone, Appended, Assignment, Bounds, Error, EventLog, Health, Position, TopicPartition, TopicSpec};
pub use memory::{Faults, MemoryClient, MemoryLog};
pub use reader::{Cursor, Delivery, Dropped, Numbering, Reader, Stop};
pub use record::{Batch, HeaderName, Record, RecordRef};
