#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! What it declares ([`Plug`]), and what it may use ([`Platform`]).
//!
//! * [`plug`] — the trait [`Plug`], its [`Tables`], and [`mount`], which makes a line of the registry of it
//! * [`mounted`] — a plug without its serving side's type: what the node holds and calls
//! * [`route`] — rows of the table of routes
//! * [`protocol`] — foreign protocols below `/compat/<name>` or on a port of their own: credentials, CORS, error shapes
//! * [`listener`] — ports of a system's own: a protocol at the root, or raw TCP
//! * [`runner`] — effects: what touches the world outside
//! * [`process`] — child processes, bounded and never left behind
//! * [`question`] — what only the owner of a subject can answer
//! * [`request`] — a request as a handler sees it: caller, parameters, body
//! * [`answer`] — answers in JSON, and reasons
//! * [`platform`] — the node as a system sees it
//! * [`blobs`] — content that is too large for an event
//! * [`problem`] — errors as problem+json
//! * [`settings`] — reading a system's own settings
//! * [`cli`] — verbs of the command line
//! * [`testing`] — a node in memory, for a system's tests
//! * [`contract`] — the suite that every plug passes

pub mod answer;
pub mod blobs;
pub mod cli;
pub mod contract;
pub mod listener;
pub mod mounted;
pub mod platform;
pub mod plug;
pub mod problem;
pub mod process;
pub mod protocol;
pub mod question;
pub mod request;
pub mod route;
pub mod runner;
pub mod settings;
pub mod testing;

pub use answer::{Reason, json, json_with};
pub use blobs::Blobs;
pub use listener::{Connection, Listener, Serve};
pub use mounted::{Description, Mount, Mounted, MountedProjection};
pub use platform::{Answer, Platform};
pub use plug::{Plug, Start, StartError, Tables, mount};
pub use problem::{Kind, Problem};
pub use protocol::{Cors, Credential, Presented, Protocol};
pub use question::Question;
pub use request::{Caller, Request, body, query};
pub use route::{Access, Body, Content, Example, Handler, Outcome, Parameter, Place, Reply, Route, Scope, Shape, Spec};
pub use runner::{Effect, Failure, OnStop, Runner};
pub use settings::SettingError;
