//! The event envelope and the typed domain events of Tree of Life.
//!
//! * [`event`] — the CloudEvents 1.0 envelope: [`Event`] (owned, for building), [`EventView`] (borrowed from a batch, for reading)
//! * [`time`] — [`EventTime`], microseconds UTC
//! * [`money`] — [`Money`], integer minor units with an ISO 4217 currency
//! * [`id`] — deterministic event ids and the partition of a subject
//! * [`reserved`] — the types the runtime itself writes: claims, checkpoints, parking, timers, effects

pub mod event;
pub mod id;
pub mod money;
pub mod reserved;
pub mod time;

pub use event::{Attribute, EncodedEvent, Event, EventMeta, EventView, Span};
pub use money::{Currency, Money};
pub use time::EventTime;
