//! The names of the node's own metrics; `http::metric_definitions` has those of HTTP.

use metrics::{Counter, counter, describe_counter};

const FACTS_PASSED_ON: &str = "tol_facts_passed_on_total";
const FACTS_WARNED: &str = "tol_facts_warned_total";

/// Describes the metrics of all crates to the installed recorder.
pub(crate) fn describe_all() {
    tol_kafka::metric_definitions::describe();
    tol_projections::metric_definitions::describe();
    tol_runtime::metric_definitions::describe();
    describe_counter!(FACTS_PASSED_ON, "Facts that this node passed on to the owners of their partitions");
    describe_counter!(FACTS_WARNED, "Warnings about admitted facts, by kind: unknown-type, unknown-field, spelling, more");
}

pub(crate) fn facts_warned(kind: &str) -> Counter {
    counter!(FACTS_WARNED, "kind" => kind.to_owned())
}

pub(crate) fn facts_passed_on() -> Counter {
    counter!(FACTS_PASSED_ON)
}
