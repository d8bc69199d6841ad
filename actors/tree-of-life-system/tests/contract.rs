//! The contract of the plug.
#![allow(clippy::panic)]

use tol_tree_of_life_system::Hub;

#[test]
fn the_plug_keeps_its_contract() {
    let report = tol_plug::contract::check::<Hub>().unwrap_or_else(|violations| panic!("{violations}"));
    assert!(report.systems.len() == 1, "a check of nothing: {report:#?}");
}
