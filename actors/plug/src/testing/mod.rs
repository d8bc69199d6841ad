//! A node in memory, for the tests of one plug: no log, no network, no threads.
//!
//! ```no_run
//! # use tol_plug::Plug;
//! # fn example<P: Plug>() -> Result<(), Box<dyn std::error::Error>> {
//! let server = tol_plug::testing::TestServer::start::<P>(&serde_json::json!({}))?;
//! let answer = server.get("/greeting");
//! assert_eq!(answer.status, 200);
//! # Ok(()) }
//! ```
//!
//! * [`platform`] — [`FakePlatform`]: facts are decided by the plug's systems and folded by its projections
//! * [`server`] — [`TestServer`]: requests reach the handlers that their rows name
//! * [`blobs`] — [`MemoryBlobs`]
//! * `core`, `deciding`, `view` — what the platform holds: the log, a system with its states, a projection with its rows

pub mod blobs;
mod core;
mod deciding;
pub mod platform;
pub mod server;
pub(crate) mod view;

pub use blobs::MemoryBlobs;
pub use platform::FakePlatform;
pub use server::{TestAnswer, TestServer, TestStream};
