//! A platform in memory that answers the same to everybody and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tol_events::{Event, EventTime, Position, TopicPartition};
use tol_plug::platform::{
    Decided, EventFilter, EventPage, Folded, Item, LoggedEvent, Owner, Past, Permit, Published, Row, RowPage, RowsQuery, SearchQuery, Standing, Subscription,
};
use tol_plug::request::known;
use tol_plug::{Answer, Platform, Problem};

/// See the module.
pub struct Node {
    calls: Mutex<Vec<String>>,
    /// Facts that were admitted.
    pub admitted: Mutex<Vec<Event>>,
    /// What the next admission answers instead.
    pub refuse: Mutex<Option<Problem>>,
    /// Whether `wait_for` times out.
    pub behind: Mutex<bool>,
    /// Whether the past is still being folded.
    pub folding: Mutex<bool>,
    /// Why what is served may not be what the log holds.
    pub degraded: Mutex<Option<String>>,
    /// Whether the emergency stop is engaged.
    pub stop: watch::Sender<bool>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
            admitted: Mutex::default(),
            refuse: Mutex::default(),
            behind: Mutex::default(),
            folding: Mutex::default(),
            degraded: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }
}

/// Where all facts are.
pub fn positions() -> BTreeMap<TopicPartition, Position> {
    BTreeMap::from([(TopicPartition::new("facts.flag", 3), 120)])
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

impl Node {
    /// What was asked since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn call(&self, text: impl Into<String>) {
        self.calls.lock().unwrap().push(text.into());
    }
}

impl Platform for Node {
    fn admit(&self, facts: Vec<Event>) -> Answer<'_, Published> {
        self.call(format!("admit {}", facts.len()));
        if let Some(problem) = self.refuse.lock().unwrap().take() {
            return known(Err(problem));
        }
        let accepted = facts.len() as u64;
        self.admitted.lock().unwrap().extend(facts);
        known(Ok(Published { accepted, duplicates: 0, positions: positions() }))
    }

    fn decide(&self, _: &str, _: Vec<Event>, _: Duration) -> Answer<'_, Decided> {
        known(Err(Problem::internal("the flag system waits for its projection")))
    }

    fn search(&self, _: &SearchQuery) -> Result<EventPage, Problem> {
        Ok(EventPage::default())
    }

    fn event(&self, _: &str, _: Option<&str>) -> Result<Vec<LoggedEvent>, Problem> {
        Ok(Vec::new())
    }

    fn timeline(&self, _: &str, _: usize, _: Option<&str>) -> Result<EventPage, Problem> {
        Ok(EventPage::default())
    }

    fn subscribe(&self, _: EventFilter, _: Option<String>) -> Answer<'_, Subscription> {
        known(Err(Problem::internal("the flag system subscribes to nothing")))
    }

    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, _: Duration) -> Answer<'_, bool> {
        let places: Vec<String> = positions.iter().map(|(place, position)| format!("{place}:{position}")).collect();
        self.call(format!("wait {projection} {}", places.join(" ")));
        known(Ok(!*self.behind.lock().unwrap()))
    }

    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem> {
        self.call(format!("row {projection} {key} {}", past.is_some()));
        let value = key.strip_prefix("flag/").filter(|key| *key != "missing").map(flag);
        Ok(value.map(|value| Row { key: key.to_owned(), value, as_of: past.map(Past::time), positions: positions(), rows_version: None }))
    }

    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem> {
        self.call(format!("rows {projection} {}", query.past.is_some()));
        if *self.folding.lock().unwrap() {
            return Ok(Folded::Running { progress: 0.5 });
        }
        let items = vec![Item { key: "flag/then".to_owned(), value: flag("then") }];
        Ok(Folded::Done(RowPage { items, next_cursor: None, rows_version: None }))
    }

    fn query(&self, system: &str, _: &str, _: &str, _: BTreeMap<String, String>) -> Result<Value, Problem> {
        Err(Problem::unknown_system(system))
    }

    fn owner(&self, _: &str) -> Owner {
        Owner::Here
    }

    fn ask(&self, question: &str, _: &str, _: Value) -> Answer<'_, Value> {
        known(Err(Problem::internal(format!("nobody asks {question}"))))
    }

    fn reveal(&self, _: &str, json: &[u8]) -> Result<Vec<u8>, Problem> {
        Ok(json.to_vec())
    }

    fn erase(&self, _: &str, _: &str, _: &str) -> Answer<'_, ()> {
        known(Ok(()))
    }

    fn permit(&self) -> Option<Permit> {
        (!*self.stop.borrow()).then(|| Permit::holding(()))
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn health(&self) -> Standing {
        Standing { degraded: self.degraded.lock().unwrap().clone() }
    }

    fn now(&self) -> EventTime {
        EventTime::parse("2026-11-29T12:00:00Z").unwrap()
    }
}

/// A node behind an `Arc`, as tests keep it.
pub fn node() -> Arc<Node> {
    Arc::new(Node::default())
}
