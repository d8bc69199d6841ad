//! The contract of the plug.

use %CRATE%::%PLUG%;

#[test]
fn the_plug_keeps_its_contract() {
    let report = tol_plug::contract::check::<%PLUG%>().unwrap_or_else(|violations| panic!("{violations}"));
    assert_eq!((report.refused, report.systems[0].unreached.as_slice()), (vec![], &[""; 0][..]));
}
