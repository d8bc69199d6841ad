//! The HTTP interface (actix-web).
//!
//! * [`api`] — what it needs of a node: [`NodeApi`](api::NodeApi), its questions and answers
//! * `routes` — the node's own routes, as rows of the type that systems use too ([`tol_plug::Route`])
//! * `plugs` — the tables of systems, and what serves them
//! * `server` — [`serve`]: listening
//! * `front` — the layer around all requests: their ids, every answer's headers, and the way to `protocols`
//! * `protocols` — foreign protocols of systems, below `/compat/<name>` or at the root of a port of their own
//! * `listeners` — ports of systems
//! * `dispatch` — all other routes, from actix-web's router to their handlers
//! * `guard` — lets requests in by API key, scope, rate and origin
//! * `limits` — requests a second by key, connections in all
//! * `meters` — counts the requests of each row
//! * `unread` — closes connections whose body is not read
//! * `handlers` — a function for each route of the node itself
//! * `catalogue` — the known types of events
//! * [`openapi`] — the OpenAPI document, made from the rows
//! * `pages` — problem pages and the browsable documentation
//! * [`metric_definitions`] — the metrics of this module

pub mod api;
mod catalogue;
mod dispatch;
mod front;
mod guard;
mod handlers;
mod limits;
pub(crate) mod listeners;
mod meters;
pub mod metric_definitions;
pub mod openapi;
mod pages;
mod plugs;
mod protocols;
mod routes;
mod server;
mod unread;

pub use api::NodeApi;
pub use plugs::PlugEntry;
pub use server::{HttpOptions, Listening, serve};
