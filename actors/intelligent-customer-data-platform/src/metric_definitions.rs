//! Names of the metrics of the customer data platform.

use metrics::{describe_counter, describe_gauge};

/// Calls of SDKs that were taken.
pub(crate) const CALLS: &str = "tol_cdp_calls_total";
/// Calls of SDKs that were refused.
pub(crate) const REFUSED: &str = "tol_cdp_calls_refused_total";
/// Identifiers whose value says nothing, such as `null`.
pub(crate) const BLOCKED: &str = "tol_cdp_identifiers_blocked_total";
/// Profiles that wait to be evaluated for audiences.
pub(crate) const WAITING: &str = "tol_cdp_evaluations_waiting";

/// Describes them to the recorder.
pub(crate) fn describe() {
    describe_counter!(CALLS, "Calls of SDKs that were taken");
    describe_counter!(REFUSED, "Calls of SDKs that were refused");
    describe_counter!(BLOCKED, "Identifiers whose value says nothing, such as null");
    describe_gauge!(WAITING, "Profiles that wait to be evaluated for audiences");
}
