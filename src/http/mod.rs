//! The HTTP interface (actix-web).
//!
//! * [`api`] — what it needs of a node: [`NodeApi`](api::NodeApi), its questions and answers
//! * `routes` — the table of routes: path, method, scope, parameters, answers, problems
//! * `server` — [`serve`]: listening, and the routes mapped to their handlers
//! * `front` — the layer around all requests: their ids, every answer's headers, and the way to `compat`
//! * `guard` — what happens to a request of the table: API key, origin, method, parameters, measuring
//! * `compat` — what SDKs of others speak
//! * `limits` — requests a second by key, connections in all
//! * `unread` — closing connections whose body nobody reads
//! * `handlers` — one function a route
//! * `parameters` — reading query parameters and bodies
//! * [`problem`] — errors as problem+json (RFC 9457)
//! * [`openapi`] — the OpenAPI document, made from the table
//! * `pages` — problem pages and the browsable documentation
//! * [`metric_definitions`] — the metrics of this module

pub mod api;
mod compat;
mod front;
mod guard;
mod handlers;
mod limits;
pub mod metric_definitions;
pub mod openapi;
mod pages;
mod parameters;
pub mod problem;
mod routes;
mod server;
mod unread;

pub use api::NodeApi;
pub use problem::{Kind, Problem};
pub use server::{HttpOptions, serve};
