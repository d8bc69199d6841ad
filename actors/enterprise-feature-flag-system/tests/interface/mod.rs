//! The flag system's routes and protocols on a node in memory: each request reaches the handler that its row names.
//!
//! * `server` — a mounted flag system on a node that records facts, and what is asked of it
//! * `sdks` — protocols of others: the requests that the real SDKs were seen to send, and what they get
//! * `people` — the flag system's own routes
//! * `tables` — what the plug declares

mod people;
mod sdks;
mod server;
mod tables;
