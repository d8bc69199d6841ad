//! A mounted flag system on a node that records facts and decides nothing; tests say which rows it follows.

use std::ops::Deref;

use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::Flags;
use tol_enterprise_feature_flag_system::projections::flags::FlagRow;
use tol_plug::MountedProjection;
pub use tol_plug::testing::TestAnswer as Answer;
use tol_plug::testing::TestServer;
use tol_system::Followed;

/// See the module.
pub struct Server {
    server: TestServer,
    projection: MountedProjection,
}

impl Deref for Server {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}

/// A flag's row as queries show it; each has a rollout and an experiment that run.
pub fn flag(key: &str) -> Value {
    let definition = json!({"key": key, "type": "boolean", "family": "flagd", "environments": {"production": {"enabled": true}}});
    let rollout = json!({"id": "r-1", "state": "running"});
    let details = json!({"variations": ["disabled", "enabled"], "metrics": ["purchases", "usage.export"], "environment": "production"});
    let experiment = json!({"statement": "people buy more", "state": "running", "details": details, "version": 1, "began_at": "2026-01-01T00:00:00Z",
        "by": "ada", "counted": {"exposures": {"disabled": 500, "enabled": 500}}});
    json!({"key": key, "version": 1, "definition": definition, "stale": false, "rollout": rollout, "experiments": {"42": experiment}, "changes": []})
}

impl Server {
    /// One whose log is open and that serves nothing yet.
    pub fn new() -> Self {
        Self::with(&json!({}))
    }

    pub fn with(settings: &Value) -> Self {
        let server = Self::closed(settings);
        server.open();
        server
    }

    /// One whose log is not open.
    pub fn closed(settings: &Value) -> Self {
        let server = TestServer::recording::<Flags>(settings).unwrap();
        let projection = server.mounted.projections().pop().unwrap();
        Self { server, projection }
    }

    /// Has all requests come from the holder of a key.
    pub fn with_key(self, attributes: &[(&str, &str)]) -> Self {
        Self { server: self.server.with_key("ada", attributes), ..self }
    }

    /// Tells it of rows, as the projection's fold does.
    pub fn follow(&self, rows: Vec<(String, Option<FlagRow>)>, anew: bool) {
        self.tell(rows, Followed { anew, rows: Vec::new(), caught_up: true, last_known: false });
    }

    pub fn tell(&self, rows: Vec<(String, Option<FlagRow>)>, how: Followed<Vec<u8>>) {
        let rows = rows.into_iter().map(|(key, row)| (key, row.map(|row| postcard::to_stdvec(&row).unwrap()))).collect();
        (self.projection.follower.as_ref().unwrap())(Followed { rows, ..how });
    }
}
