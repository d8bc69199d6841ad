//! The names of this crate's metrics.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::effects::LaneName;

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

/// Describes the metrics to the installed recorder.
pub fn describe() {
    describe_effects();
}
