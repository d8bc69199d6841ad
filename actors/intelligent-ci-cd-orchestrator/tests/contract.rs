//! The contract of the plug.
#![allow(clippy::panic)]

use tol_intelligent_ci_cd_orchestrator::Delivery;

#[test]
fn the_plug_keeps_its_contract() {
    let report = tol_plug::contract::check::<Delivery>().unwrap_or_else(|violations| panic!("{violations}"));
    assert!(report.systems.len() == 1, "a check of nothing: {report:#?}");
}
