//! The HTTP interface as a client sees it: a real server on a free port, over a node that records what it is asked.

mod access;
mod attacks;
mod bad_input;
pub(crate) mod client;
mod documented;
pub(crate) mod fake;
mod queries;
mod sdks;
mod streams;
