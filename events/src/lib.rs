//! The event envelope and the typed domain events of Tree of Life.
//!
//! * [`event`] — the CloudEvents 1.0 envelope: [`Event`] (owned, for building), [`EventView`] (borrowed from a batch, for reading)
//! * [`binding`] — CloudEvents on the wire: HTTP (binary, structured, batch) and Kafka (binary, structured)
//! * [`time`] — [`EventTime`], microseconds UTC
//! * [`money`] — [`Money`], integer minor units with an ISO 4217 currency
//! * [`blob`] — [`BlobRef`], how an event names content that is too large for it
//! * [`position`] — where a record lies in the log: [`TopicPartition`], [`Position`]
//! * [`id`] — deterministic event ids and the partition of a subject
//! * [`kinds`] — the kinds of subjects and the topics of their facts
//! * [`domain`] — the trait of typed events; the types themselves: [`commerce`], [`billing`], [`delivery`], [`flags`], [`usage`], [`revenue`], [`tree`], [`supervision`], [`engagement`], [`cdp`]
//! * [`registry`] — the table of known types and the check at admission; inside: `amounts` (bounds), `currencies` (ISO 4217), `names` (near misses)
//! * [`personal`] — encryption of fields marked personal, and the key stores
//! * [`upcast`] — old versions become new ones when they are read
//! * [`schema`] — JSON Schemas, and which changes of one break readers or writers
//! * [`example`] — an event of each known type, and the page of all types
//! * [`reserved`] — the types that the runtime itself writes: claims, checkpoints, parking, timers, effects

mod amounts;
pub mod billing;
pub mod binding;
pub mod blob;
pub mod cdp;
pub mod commerce;
mod currencies;
pub mod delivery;
pub mod domain;
pub mod engagement;
pub mod event;
pub mod example;
pub mod flags;
pub mod id;
pub mod kinds;
pub mod money;
mod names;
pub mod personal;
pub mod position;
pub mod registry;
pub mod reserved;
pub mod revenue;
pub mod schema;
pub mod supervision;
pub mod time;
pub mod tree;
pub mod upcast;
pub mod usage;

pub use blob::{BlobId, BlobRef};
pub use domain::{DomainEvent, FieldError, PersonalText};
pub use event::{Attribute, EncodedEvent, Event, EventMeta, EventView, Span};
pub use money::{Currency, Money};
pub use position::{InvalidTopicPartition, Position, TopicPartition};
pub use time::EventTime;
