//! Admission: the one way of facts into the log, for requests from HTTP and from `inbox`.
//!
//! * [`candidate`] — an event on its way in: routed, hashed, ready to be numbered
//! * `filter` — a Bloom filter of admitted ids: a miss proves an id new
//! * `known` — the committed facts of a gate, by id
//! * [`gate`] — the one writer of one partition of one facts topic
//! * [`machine`] — all gates of a node and the requests that wait for them, without I/O
//! * [`driver`] — runs the machine against a log
//! * [`kinds`] — the topic of each kind's facts
//! * `late` — tells late facts, which admission counts by source
//! * [`memory`] — the ids of admitted facts, as stored
//! * [`request`] — requests of admission, and its answers
//! * `waiting` — requests that wait for commits
//! * [`service`] — threads, the bounded queue, the answers
//! * `watch` — starts admission again when its thread panics, fails or hangs

pub mod candidate;
pub mod driver;
mod filter;
pub mod gate;
pub mod kinds;
mod known;
mod late;
pub mod machine;
pub mod memory;
pub mod request;
pub mod service;
mod waiting;
mod watch;

pub use candidate::{Candidate, SeenKey};
pub use gate::Gate;
pub use kinds::Kinds;

pub use memory::{Memory, Seen};
pub use request::{AdmissionOptions, Published, Refusal};
pub use service::AdmissionHandle;
