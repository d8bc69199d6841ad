//! The business rules, on a node in memory.

use serde_json::json;
use tol_events::%SHORT%::%SUBJECT%Noted;
use tol_events::DomainEvent as _;
use tol_plug::Platform as _;
use tol_plug::testing::TestServer;
use %CRATE%::%PLUG%;

#[test]
fn each_note_counts_once() {
    let server = TestServer::start::<%PLUG%>(&json!({})).unwrap();
    for id in ["1", "2", "2"] {
        let fact = %SUBJECT%Noted { %FIELD%_id: "7".into(), note: "as it is".into() }.to_event(id, "/test").unwrap();
        drop(server.platform.admit(vec![fact]));
    }
    assert_eq!(server.get("/%SHORT%/7").json(), json!({"id": "7", "count": 2}));
    server.get("/%SHORT%/8").problem("row-not-found");
}
