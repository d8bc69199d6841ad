//! The contract of the plug.

use tol_intelligent_customer_data_platform::Cdp;

#[test]
fn the_plug_keeps_its_contract() {
    let report = tol_plug::contract::check::<Cdp>().unwrap_or_else(|violations| panic!("{violations}"));
    assert_eq!(report.systems[0].unreached.as_slice(), &[""; 0][..]);
}
