//! The tol binary as a library.
//!
//! * [`cli`] — the command line
//! * [`flags`] — the flags a node serves, in memory
//! * [`http`] — the server
//! * [`node`] — log, systems and projections wired together

pub mod cli;
pub mod flags;
pub mod http;
pub mod node;
