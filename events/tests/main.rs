//! Events against what stands outside the crate: the specification of CloudEvents, the checked-in schemas and golden files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cloudevents_spec;
mod examples;
mod schemas;
