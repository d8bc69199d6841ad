//! The names of the node's own metrics; `http::metric_definitions` has those of HTTP.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

const FACTS_PASSED_ON: &str = "tol_facts_passed_on_total";
const FACTS_WARNED: &str = "tol_facts_warned_total";
const FACTS_REFUSED: &str = "tol_facts_refused_total";
const INBOX_REFUSED: &str = "tol_inbox_refused_total";
const INBOX_REFUSED_WAITING: &str = "tol_inbox_refused_waiting";
const BUILD_INFO: &str = "tol_build_info";
const UPTIME_SECONDS: &str = "tol_uptime_seconds";
const DISK_FREE_BYTES: &str = "tol_disk_free_bytes";
const DISK_SIZE_BYTES: &str = "tol_disk_size_bytes";
// The names that every Prometheus client library gives these.
const PROCESS_CPU_SECONDS: &str = "process_cpu_seconds_total";
const PROCESS_RESIDENT_BYTES: &str = "process_resident_memory_bytes";
const PROCESS_VIRTUAL_BYTES: &str = "process_virtual_memory_bytes";
const PROCESS_OPEN_FILES: &str = "process_open_fds";
const PROCESS_MAX_FILES: &str = "process_max_fds";
const PROCESS_THREADS: &str = "process_threads";
const PROCESS_START: &str = "process_start_time_seconds";

/// Describes the metrics of all crates to the installed recorder.
pub(crate) fn describe_all() {
    tol_kafka::metric_definitions::describe();
    tol_projections::metric_definitions::describe();
    tol_runtime::metric_definitions::describe();
    describe_counter!(FACTS_PASSED_ON, "Facts that this node passed on to the owners of their partitions");
    describe_counter!(FACTS_WARNED, "Warnings about admitted facts, by kind: unknown-type, unknown-field, spelling, more");
    describe_counter!(FACTS_REFUSED, "Facts that this node refused, by the kind of problem; of a request that is refused, the fact at fault");
    describe_counter!(INBOX_REFUSED, "Records of Kafka's inbox that this node refused");
    describe_gauge!(INBOX_REFUSED_WAITING, "Refused records of Kafka's inbox that wait to be redriven or discarded");
    describe_gauge!(BUILD_INFO, "1; version and commit of this tol");
    describe_gauge!(UPTIME_SECONDS, Unit::Seconds, "Time since this node started");
    describe_gauge!(DISK_FREE_BYTES, Unit::Bytes, "Space that is left on the disk of the data folder");
    describe_gauge!(DISK_SIZE_BYTES, Unit::Bytes, "Size of the disk of the data folder");
    describe_counter!(PROCESS_CPU_SECONDS, Unit::Seconds, "Processor time of this process");
    describe_gauge!(PROCESS_RESIDENT_BYTES, Unit::Bytes, "Memory of this process that lies in RAM");
    describe_gauge!(PROCESS_VIRTUAL_BYTES, Unit::Bytes, "Address space of this process");
    describe_gauge!(PROCESS_OPEN_FILES, "Files and connections that this process has open");
    describe_gauge!(PROCESS_MAX_FILES, "Files and connections that this process may have open");
    describe_gauge!(PROCESS_THREADS, "Threads of this process");
    describe_gauge!(PROCESS_START, Unit::Seconds, "Unix time at which this process started");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "commit" => crate::commit::commit().unwrap_or("unknown")).set(1.0);
    // Shown before the first of them happens: an alert can tell none from a metric that is missing.
    inbox_refused().increment(0);
}

pub(crate) fn facts_warned(kind: &str) -> Counter {
    counter!(FACTS_WARNED, "kind" => kind.to_owned())
}

pub(crate) fn facts_passed_on() -> Counter {
    counter!(FACTS_PASSED_ON)
}

/// Facts refused, by the slug of the problem.
pub(crate) fn facts_refused(problem: &'static str) -> Counter {
    counter!(FACTS_REFUSED, "problem" => problem)
}

pub(crate) fn inbox_refused() -> Counter {
    counter!(INBOX_REFUSED)
}

pub(crate) fn inbox_refused_waiting() -> Gauge {
    gauge!(INBOX_REFUSED_WAITING)
}

pub(super) fn uptime(seconds: f64) {
    gauge!(UPTIME_SECONDS).set(seconds);
}

/// Bytes free and in all.
pub(super) fn disk(free: u64, size: u64) {
    gauge!(DISK_FREE_BYTES).set(free as f64);
    gauge!(DISK_SIZE_BYTES).set(size as f64);
}

/// What the system tells of this process.
pub(super) fn process(process: &super::process::Process) {
    // The exporter's counters are whole numbers; a clock that shows whole seconds is what it can say.
    counter!(PROCESS_CPU_SECONDS).absolute(process.cpu_seconds as u64);
    gauge!(PROCESS_RESIDENT_BYTES).set(process.resident_bytes as f64);
    gauge!(PROCESS_VIRTUAL_BYTES).set(process.virtual_bytes as f64);
    gauge!(PROCESS_OPEN_FILES).set(process.open_files as f64);
    gauge!(PROCESS_MAX_FILES).set(process.max_files as f64);
    gauge!(PROCESS_THREADS).set(process.threads as f64);
    gauge!(PROCESS_START).set(process.started);
}
