//! Identifiers and homes of graphs talk to each other across partitions while nodes crash, owners hang, and acknowledgements and caches are lost: what was
//! decided equals a run without faults. `TOL_SIMULATE` gives another number of seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use tol_intelligent_customer_data_platform::IntelligentCustomerDataPlatform;
use tol_runtime::simulation::guests;
use tol_system::AnySystem;

fn systems() -> Vec<Arc<dyn AnySystem>> {
    vec![tol_system::erase(IntelligentCustomerDataPlatform::default())]
}

#[test]
fn what_subjects_tell_each_other_under_faults_is_what_they_tell_each_other_without() {
    let seeds = std::env::var("TOL_SIMULATE").map_or(40, |seeds| seeds.parse().expect("TOL_SIMULATE is a number of seeds"));
    let report = guests::check(systems, 0..seeds).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    let told = |event_type: &str| report.emitted.get(event_type).copied().unwrap_or_default();
    for event_type in
        ["cdp.link_offered.v1", "cdp.link_accepted.v1", "cdp.home_moved.v1", "cdp.profiles_resolved.v1", "cdp.profiles_merged.v1", "cdp.merge_refused.v1"]
    {
        assert!(told(event_type) > 0, "a check of nothing: {event_type} never happened: {report}");
    }
    assert!(report.stats.claims as u64 > seeds && report.stats.timers > 0 && report.stats.effects > 0, "{report}");
}
