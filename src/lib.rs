//! The tol binary as a library.
//!
//! * [`cli`] — the command line
//! * [`http`] — the server
//! * [`node`] — log, systems and projections wired together

pub mod cli;
pub mod http;
pub mod node;
