//! The names of this crate's metrics, and of those that a node measures about its systems.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use tol_events::EventTime;

use crate::effects::LaneName;

const ADMISSION_RESTARTS: &str = "tol_admission_restarts_total";
const ADMISSION_SILENT_SECONDS: &str = "tol_admission_silent_seconds";
const FACTS_LATE: &str = "tol_facts_late_total";
const EMERGENCY_STOP: &str = "tol_emergency_stop";
const EMERGENCY_STOP_SINCE: &str = "tol_emergency_stop_start_time_seconds";
const SYSTEM_DEAD_LETTERS: &str = "tol_system_dead_letters";
const SYSTEM_DECISION_SECONDS: &str = "tol_system_decision_seconds";
const SYSTEM_EVENTS_CONSUMED: &str = "tol_system_events_consumed_total";
const SYSTEM_EVENTS_EMITTED: &str = "tol_system_events_emitted_total";
const SYSTEM_LAG_EVENTS: &str = "tol_system_lag_events";
const SYSTEM_RESTARTS: &str = "tol_system_restarts_total";
const SYSTEM_STATE: &str = "tol_system_state";

/// Describes the metrics to the installed recorder.
pub fn describe() {
    describe_effects();
    describe_counter!(ADMISSION_RESTARTS, "Times admission was started again after a panic");
    describe_gauge!(ADMISSION_SILENT_SECONDS, Unit::Seconds, "Time since admission's thread last gave a sign of life");
    describe_counter!(FACTS_LATE, "Facts whose time is before the newest time seen of their subject, by source; from the 65th source on, source is \"other\"");
    describe_gauge!(EMERGENCY_STOP, "1 while the emergency stop is engaged: nothing is decided and no effect starts");
    describe_gauge!(EMERGENCY_STOP_SINCE, Unit::Seconds, "Unix time at which the emergency stop that holds was engaged; 0 while there is none");
    describe_gauge!(SYSTEM_DEAD_LETTERS, "Parked inputs of a system");
    describe_histogram!(SYSTEM_DECISION_SECONDS, Unit::Seconds, "Time of each call of a system's decide");
    describe_counter!(SYSTEM_EVENTS_CONSUMED, "Inputs that a system decided or passed over");
    describe_counter!(SYSTEM_EVENTS_EMITTED, "Events of a system that were committed");
    describe_gauge!(SYSTEM_LAG_EVENTS, "Records of its inputs that a system has not decided");
    describe_counter!(SYSTEM_RESTARTS, "Starts of a system after the first");
    describe_gauge!(SYSTEM_STATE, "0 waiting, 1 running, 2 restarting, 3 degraded, 4 probing, 5 stopped");
}

pub(crate) fn admission_restarts() -> Counter {
    counter!(ADMISSION_RESTARTS)
}

pub(crate) fn admission_silent_seconds() -> Gauge {
    gauge!(ADMISSION_SILENT_SECONDS)
}

/// Sources that have a counter of their own: senders choose them, and every label value takes memory for ever.
const NAMED_SOURCES: usize = 64;

static LATE_SOURCES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Facts that came late from `source`.
pub(crate) fn facts_late(source: &str) -> Counter {
    let mut sources = LATE_SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    let is_named = sources.contains(source) || (sources.len() < NAMED_SOURCES && sources.insert(source.to_owned()));
    counter!(FACTS_LATE, "source" => if is_named { source.to_owned() } else { "other".to_owned() })
}

/// Shows the emergency stop, and since when it is engaged.
pub fn emergency_stop(since: Option<EventTime>) {
    gauge!(EMERGENCY_STOP).set(f64::from(u8::from(since.is_some())));
    gauge!(EMERGENCY_STOP_SINCE).set(since.map_or(0.0, |since| (since.as_micros() / 1_000_000) as f64));
}

/// Parked inputs of a system, as its cache says.
pub fn system_dead_letters(system: &'static str) -> Gauge {
    gauge!(SYSTEM_DEAD_LETTERS, "system" => system)
}

pub(crate) fn system_decision_seconds(system: &'static str) -> Histogram {
    histogram!(SYSTEM_DECISION_SECONDS, "system" => system)
}

pub(crate) fn system_events_consumed(system: &'static str) -> Counter {
    counter!(SYSTEM_EVENTS_CONSUMED, "system" => system)
}

pub(crate) fn system_events_emitted(system: &'static str) -> Counter {
    counter!(SYSTEM_EVENTS_EMITTED, "system" => system)
}

/// Records of its inputs that a system has not decided.
pub fn system_lag_events(system: &'static str) -> Gauge {
    gauge!(SYSTEM_LAG_EVENTS, "system" => system)
}

pub(crate) fn system_restarts(system: &'static str) -> Counter {
    counter!(SYSTEM_RESTARTS, "system" => system)
}

pub(crate) fn system_state(system: &'static str) -> Gauge {
    gauge!(SYSTEM_STATE, "system" => system)
}

// Effects, by `system` and `runner`.

const EFFECTS_RUNNING: &str = "tol_effects_running";
const EFFECTS_WAITING: &str = "tol_effects_waiting";
const EFFECTS_ENDED: &str = "tol_effects_ended_total";
const EFFECT_RETRIES: &str = "tol_effect_retries_total";

/// An `outcome` of [`EFFECTS_ENDED`].
pub(crate) const COMPLETED: &str = "completed";
/// An `outcome` of [`EFFECTS_ENDED`].
pub(crate) const FAILED: &str = "failed";
/// An `outcome` of [`EFFECTS_ENDED`].
pub(crate) const CANCELLED: &str = "cancelled";
/// An `outcome` of [`EFFECTS_ENDED`].
pub(crate) const DROPPED: &str = "dropped";
/// An `outcome` of [`EFFECTS_ENDED`].
pub(crate) const ABANDONED: &str = "abandoned";

fn describe_effects() {
    describe_gauge!(EFFECTS_RUNNING, Unit::Count, "Effects that run now");
    describe_gauge!(EFFECTS_WAITING, Unit::Count, "Effects that wait for a place in their lane, or for the release of a stop");
    describe_counter!(
        EFFECTS_ENDED,
        Unit::Count,
        "Tries of effects that ended for good, by outcome: completed, failed, cancelled (they run again), dropped (another node's now), \
         abandoned (their runner did not end)"
    );
    describe_counter!(EFFECT_RETRIES, Unit::Count, "Tries of effects that failed and are tried again");
}

pub(crate) fn effects_now(lane: &LaneName, running: usize, waiting: usize) {
    gauge!(EFFECTS_RUNNING, "system" => lane.system.clone(), "runner" => lane.runner.clone()).set(running as f64);
    gauge!(EFFECTS_WAITING, "system" => lane.system.clone(), "runner" => lane.runner.clone()).set(waiting as f64);
}

pub(crate) fn effects_ended(lane: &LaneName, outcome: &'static str) {
    counter!(EFFECTS_ENDED, "system" => lane.system.clone(), "runner" => lane.runner.clone(), "outcome" => outcome).increment(1);
}

pub(crate) fn effects_retried(lane: &LaneName) {
    counter!(EFFECT_RETRIES, "system" => lane.system.clone(), "runner" => lane.runner.clone()).increment(1);
}
