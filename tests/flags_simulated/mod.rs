//! The flags that nodes serve, against the log: in the simulated cluster, and against the flag system's own fold.
//!
//! * `follower` — the projection `flags` and who follows it, on each simulated node
//! * `folds` — the projection's fold and the flag system's over the same events

mod folds;
mod follower;
