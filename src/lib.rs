//! The tol binary as a library.
//!
//! * [`cli`] — the command line

pub mod cli;
