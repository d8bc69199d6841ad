//! The flags that nodes serve, against the log: in the simulated cluster, and against the flag system's own fold.
//!
//! * `follower` — a real store, the projection `flags` and its follower on each simulated node
//! * `folds` — the projection's fold and the flag system's over the same events
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod folds;
mod follower;
