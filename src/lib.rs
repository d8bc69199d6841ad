//! The tol binary as a library.
//!
//! * [`cli`] — the command line
//! * [`commit`] — the commit that this program was built from
//! * [`http`] — the server
//! * [`node`] — log, systems and projections wired together

pub mod cli;
pub mod commit;
pub mod http;
pub mod node;
mod tls;
