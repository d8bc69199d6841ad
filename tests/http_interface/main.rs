//! The HTTP interface as a client sees it: a real server on a free port, over a node that records what it is asked.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod attacks;
mod bad_input;
mod client;
mod documented;
mod fake;
mod queries;
mod sdks;
mod streams;
