//! All tests of the whole product in one binary, which is linked once.
//!
//! Against the real binary, as a child process:
//! * `admission`, `bad_input`, `command_line`, `contract`, `flags`, `operator`, `spine`, `storage`, `uptime`
//!
//! In this process, with systems that misbehave ([`common::systems`]) beside the real ones:
//! * `supervision`, `emergency_stop`, `erasure`, `puppet`, and `nodes` with several nodes on an Apache Kafka
//!
//! Without a node:
//! * `http_interface` — the HTTP server over a node that records what it is asked
//! * `simulated` — every registered system in the simulated cluster, alone and together with the projections
//! * `recount` — late and repeated facts through the revenue agent and the projections, against an independent recount
//! * `fuzz` — mutated input of every parser
//!
//! A test here shares its process with the others: it changes neither the environment nor the current folder, listens on free
//! ports, and reads only metrics that carry the name of its own system. A test that needs a process of its own is a `[[test]]` of
//! its own in `Cargo.toml`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod bad_input;
#[path = "../kafka/tests/broker/mod.rs"]
mod broker;
mod command_line;
mod common;
mod contract;
mod emergency_stop;
mod erasure;
mod flags;
mod fuzz;
mod http_interface;
mod nodes;
mod operator;
mod puppet;
mod recount;
mod simulated;
mod spine;
mod storage;
mod supervision;
mod uptime;
