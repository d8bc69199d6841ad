//! Admission: the one door for facts, with requests from HTTP and from `inbox`.
//!
//! * [`candidate`] — an event on its way in: routed, hashed, ready to be numbered
//! * `filter` — who was surely never seen
//! * `known` — the committed facts of a gate, by id
//! * [`gate`] — the one writer of one partition of one facts topic
//! * [`machine`] — all gates of a node and who waits for them, without I/O
//! * [`driver`] — runs the machine against a log
//! * [`kinds`] — which topic the facts of a kind lie in
//! * [`memory`] — what is remembered of facts
//! * [`request`] — what it is asked and what it answers
//! * `waiting` — those who wait
//! * [`service`] — threads, the bounded queue, the answers
//! * `watch` — starts admission again when its thread panics, fails or hangs

pub mod candidate;
pub mod driver;
mod filter;
pub mod gate;
pub mod kinds;
mod known;
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
