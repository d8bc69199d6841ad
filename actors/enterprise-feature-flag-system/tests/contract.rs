//! The contract of the plug, with all that it serves.

use tol_enterprise_feature_flag_system::Flags;

#[test]
fn the_plug_keeps_its_contract() {
    let report = tol_plug::contract::check::<Flags>().unwrap_or_else(|violations| panic!("{violations}"));
    println!("{report:#?}");
    assert!(report.systems.len() == 2 && report.requests > 200 && report.answered.len() > report.refused.len(), "a check of little: {report:#?}");
}
