//! The names of this crate's metrics.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const INDEX_LAG_EVENTS: &str = "tol_index_lag_events";
const PROJECTION_FAILED: &str = "tol_projection_failed";
const PROJECTION_LAG_EVENTS: &str = "tol_projection_lag_events";
const PROJECTION_POSITION: &str = "tol_projection_position";
const PROJECTION_REBUILD_PROGRESS: &str = "tol_projection_rebuild_progress_ratio";
const PROJECTION_SET_ASIDE: &str = "tol_projection_set_aside_events";
const STORE_HEALED: &str = "tol_store_healed_total";
const STORE_REOPENED: &str = "tol_store_reopened_total";
const STORE_TROUBLE: &str = "tol_store_trouble";

/// Describes the metrics to the installed recorder.
pub fn describe() {
    describe_gauge!(INDEX_LAG_EVENTS, "Records that the event index has not read");
    describe_gauge!(PROJECTION_FAILED, "1 while a projection stands still because of an error");
    describe_gauge!(PROJECTION_LAG_EVENTS, "Records that a projection has not folded");
    describe_gauge!(PROJECTION_POSITION, "Where a projection reads on, by partition");
    describe_gauge!(PROJECTION_REBUILD_PROGRESS, "How much of a rebuild is done, from 0 to 1");
    describe_gauge!(PROJECTION_SET_ASIDE, "Events that a projection could not fold and left out of its rows");
    describe_counter!(STORE_HEALED, "Times a damaged store was set aside and folded anew from the log");
    describe_counter!(STORE_REOPENED, "Times the store was opened again after an error");
    describe_gauge!(STORE_TROUBLE, "1 while the store takes no writes");
}

pub(crate) fn index_lag_events() -> Gauge {
    gauge!(INDEX_LAG_EVENTS)
}

pub(crate) fn projection_failed(projection: &'static str) -> Gauge {
    gauge!(PROJECTION_FAILED, "projection" => projection)
}

pub(crate) fn projection_lag_events(projection: &'static str) -> Gauge {
    gauge!(PROJECTION_LAG_EVENTS, "projection" => projection)
}

pub(crate) fn projection_position(projection: &'static str, partition: usize) -> Gauge {
    gauge!(PROJECTION_POSITION, "projection" => projection, "partition" => partition.to_string())
}

pub(crate) fn projection_rebuild_progress(projection: &'static str) -> Gauge {
    gauge!(PROJECTION_REBUILD_PROGRESS, "projection" => projection)
}

pub(crate) fn projection_set_aside(projection: &'static str) -> Gauge {
    gauge!(PROJECTION_SET_ASIDE, "projection" => projection)
}

pub(crate) fn store_healed() -> Counter {
    counter!(STORE_HEALED)
}

pub(crate) fn store_reopened() -> Counter {
    counter!(STORE_REOPENED)
}

pub(crate) fn store_trouble() -> Gauge {
    gauge!(STORE_TROUBLE)
}
