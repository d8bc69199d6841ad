//! The contract of the plug.

use tol_revenue_agent_system::Revenue;

#[test]
fn the_plug_keeps_its_contract() {
    let report = tol_plug::contract::check::<Revenue>().unwrap_or_else(|violations| panic!("{violations}"));
    assert!(report.systems.len() == 1, "a check of nothing: {report:#?}");
}
