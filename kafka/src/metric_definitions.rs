//! The names of this crate's metrics.

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

const COMMIT_SECONDS: &str = "tol_log_commit_seconds";
const DAMAGED_BATCHES: &str = "tol_log_damaged_batches_total";
const RECORDS_APPENDED: &str = "tol_log_records_appended_total";

/// Describes the metrics to the installed recorder.
pub fn describe() {
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time of one write and sync of the embedded log");
    describe_counter!(DAMAGED_BATCHES, "Batches of the embedded log that readers found damaged since the start, the first a start");
    describe_counter!(RECORDS_APPENDED, "Records made durable by this node");
}

pub(crate) fn commit_seconds() -> Histogram {
    histogram!(COMMIT_SECONDS)
}

pub(crate) fn damaged_batches() -> Counter {
    counter!(DAMAGED_BATCHES)
}

pub(crate) fn records_appended() -> Counter {
    counter!(RECORDS_APPENDED)
}
