//! A node that answers the same to everybody and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tol_enterprise_feature_flag_system::projections::flags::{Experiment, FlagRow};
use tol_events::{Attribute, Event, EventTime, Position, TopicPartition};
use tol_plug::platform::{
    Check, Decided, EventFilter, EventPage, Folded, Item, LoggedEvent, Owner, Past, Permit, Published, Row, RowPage, RowsQuery, SearchQuery, Standing,
    StreamedEvent, Subscription,
};
use tol_plug::{Answer, Blobs, Kind, Platform, Problem};
use tree_of_life::http::NodeApi;
use tree_of_life::http::api::*;

/// A flag's row as the store has it: the flag `42`, with an experiment.
pub fn flag_row() -> FlagRow {
    let experiments = BTreeMap::from([("42".to_owned(), Experiment::default())]);
    FlagRow { version: 1, definition: Some(flag()["definition"].to_string()), experiments, ..FlagRow::default() }
}

/// The same row as queries show it.
fn flag() -> Value {
    let definition = json!({"key": "42", "type": "boolean", "family": "flagd", "environments": {"production": {"enabled": true}}});
    let rollout = json!({"id": "r-1", "state": "running"});
    let details = json!({"variations": ["disabled", "enabled"], "metrics": ["purchases", "usage.export"], "environment": "production"});
    let experiment = json!({"statement": "people buy more", "state": "running", "details": details, "version": 1, "began_at": "2026-01-01T00:00:00Z",
        "by": "ada", "counted": {"exposures": {"disabled": 500, "enabled": 500}}});
    let experiments = json!({"42": experiment});
    json!({"key": "42", "version": 1, "definition": definition, "stale": false, "rollout": rollout, "experiments": experiments, "changes": []})
}

/// See the module.
#[derive(Default)]
pub struct FakeNode {
    calls: Mutex<Vec<String>>,
    /// What was published.
    pub published: Mutex<Vec<Event>>,
    /// What the next publishing answers instead.
    pub refuse: Mutex<Option<Problem>>,
    /// What streams deliver.
    pub to_stream: Mutex<Vec<StreamedEvent>>,
    /// Senders of streams that are kept open.
    pub open_streams: Mutex<Vec<mpsc::Sender<StreamedEvent>>>,
    /// Whether `wait_for` succeeds.
    pub behind: Mutex<bool>,
    /// Whether the past is still being folded.
    pub folding: Mutex<bool>,
    pub not_ready: Mutex<bool>,
}

impl FakeNode {
    fn call(&self, text: impl Into<String>) {
        self.calls.lock().unwrap().push(text.into());
    }

    /// What was asked since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn folded<T>(&self, answer: T) -> Folded<T> {
        if *self.folding.lock().unwrap() { Folded::Running { progress: 0.5 } } else { Folded::Done(answer) }
    }
}

fn known(projection: &str) -> Result<(), Problem> {
    if matches!(projection, "customers" | "flags") { Ok(()) } else { Err(Problem::unknown_projection(projection)) }
}

fn cursor(cursor: Option<&str>) -> Result<(), Problem> {
    match cursor {
        None | Some("next") => Ok(()),
        Some(other) => Err(Problem::new(Kind::INVALID_CURSOR, format!("\"{other}\" was not given by this node"))),
    }
}

pub fn positions() -> BTreeMap<TopicPartition, Position> {
    BTreeMap::from([(TopicPartition::new("facts.customer", 3), 120)])
}

/// An event whose data has line feeds between its tokens.
pub fn order(id: &str) -> LoggedEvent {
    let mut event = Event::new(id, "/shop", "commerce.order_placed.v1", "customer/42");
    event.set(Attribute::Time, "2026-01-31T12:00:00Z");
    event.data = b"{\n  \"order_id\": \"a\\nb\"\n}".to_vec();
    LoggedEvent { event, position: Some((TopicPartition::new("facts.customer", 3), 120)) }
}

fn rebuild() -> RebuildStatus {
    RebuildStatus { state: RebuildState::Running, progress: 0.42, events_per_second: 400_000, generation: 2, problem: None }
}

fn system(name: &str) -> SystemStatus {
    SystemStatus { name: name.into(), version: "0.1.0".into(), state: "running".into(), ..SystemStatus::default() }
}

fn answer<T: Send + 'static>(value: Result<T, Problem>) -> Answer<'static, T> {
    Box::pin(async move { value })
}

impl Platform for FakeNode {
    fn admit(&self, events: Vec<Event>) -> Answer<'_, Published> {
        self.call(format!("publish {}", events.len()));
        if let Some(problem) = self.refuse.lock().unwrap().take() {
            return answer(Err(problem));
        }
        let accepted = events.len() as u64;
        self.published.lock().unwrap().extend(events);
        answer(Ok(Published { accepted, duplicates: 0, positions: positions(), warnings: Vec::new() }))
    }

    fn search(&self, query: &SearchQuery) -> Result<EventPage, Problem> {
        self.call(format!("searchEvents {query:?}"));
        cursor(query.cursor.as_deref())?;
        Ok(EventPage { items: vec![order("1")], next_cursor: Some("next".into()) })
    }

    fn event(&self, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem> {
        self.call(format!("event {id} {source:?}"));
        let mut other = order("twice");
        other.event.set(Attribute::Source, "/other");
        Ok(match (id, source) {
            ("missing", _) => vec![],
            ("twice", None) => vec![order("twice"), other],
            _ => vec![order(id)],
        })
    }

    fn subscribe(&self, filter: EventFilter, resume: Option<String>) -> Answer<'_, Subscription> {
        self.call(format!("streamEvents {:?} {resume:?}", filter.subject));
        if resume.as_deref().is_some_and(|token| token.contains("bad")) {
            return answer(Err(Problem::new(Kind::INVALID_CURSOR, "Last-Event-ID was not given by this node")));
        }
        let (sender, receiver) = mpsc::channel(16);
        for event in self.to_stream.lock().unwrap().iter() {
            sender.try_send(event.clone()).unwrap();
        }
        self.open_streams.lock().unwrap().push(sender);
        answer(Ok(Subscription { token: "facts.customer/3:0".into(), events: receiver }))
    }

    fn timeline(&self, subject: &str, limit: usize, at: Option<&str>) -> Result<EventPage, Problem> {
        self.call(format!("timeline {subject} {limit}"));
        cursor(at)?;
        Ok(EventPage { items: vec![order("1")], next_cursor: None })
    }

    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool> {
        let places: Vec<String> = positions.iter().map(|(place, position)| format!("{place}:{position}")).collect();
        self.call(format!("wait {projection} {} {}", places.join(" "), timeout.as_millis()));
        answer(known(projection).map(|()| !*self.behind.lock().unwrap()))
    }

    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem> {
        self.call(format!("row {projection} {key} {}", past.is_some()));
        known(projection)?;
        let row = Row {
            key: key.into(),
            value: if projection == "flags" { flag() } else { json!({"customer_id": key, "orders": 3}) },
            as_of: past.map(Past::time),
            positions: positions(),
            rows_version: (key == "older").then_some(1),
        };
        Ok((key != "missing").then_some(row))
    }

    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem> {
        self.call(format!("rows {projection} {query:?}"));
        known(projection)?;
        cursor(query.cursor.as_deref())?;
        Ok(self.folded(RowPage { items: vec![Item { key: "42".into(), value: json!({"orders": 3}) }], next_cursor: None, rows_version: Some(1) }))
    }

    fn query(&self, system: &str, query: &str, subject: &str, parameters: BTreeMap<String, String>) -> Result<serde_json::Value, Problem> {
        self.call(format!("systemQuery {subject} {parameters:?}"));
        self.call(format!("{system}.{query}"));
        Ok(json!({"answer": 42}))
    }

    fn decide(&self, system: &str, facts: Vec<Event>, _: Duration) -> Answer<'_, Decided> {
        self.call(format!("decide {system} {}", facts.len()));
        answer(Ok(Decided::By(vec![Vec::new(); facts.len()])))
    }

    fn owner(&self, _: &str) -> Owner {
        Owner::Here
    }

    fn ask(&self, question: &str, subject: &str, _: Value) -> Answer<'_, Value> {
        self.call(format!("ask {question} {subject}"));
        answer(Ok(Value::Null))
    }

    fn blobs(&self) -> Result<Arc<dyn Blobs>, Problem> {
        Err(Problem::unavailable("the fake node has no blobs", 1))
    }

    fn reveal(&self, _: &str, json: &[u8]) -> Result<Vec<u8>, Problem> {
        Ok(json.to_vec())
    }

    fn erase(&self, subject: &str, by: &str, reason: &str) -> Answer<'_, ()> {
        self.call(format!("erase {subject} {by} {reason}"));
        answer(Ok(()))
    }

    fn permit(&self) -> Option<Permit> {
        Some(Permit::holding(()))
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        watch::channel(false).1
    }

    fn health(&self) -> Standing {
        Standing::default()
    }

    fn now(&self) -> EventTime {
        EventTime::from_secs(1)
    }
}

impl NodeApi for FakeNode {
    fn wait_indexed(&self, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool> {
        let places: Vec<String> = positions.iter().map(|(place, position)| format!("{place}:{position}")).collect();
        self.call(format!("waitIndexed {} {}", places.join(" "), timeout.as_millis()));
        answer(Ok(!*self.behind.lock().unwrap()))
    }

    fn index_lag(&self) -> u64 {
        if *self.behind.lock().unwrap() { 12 } else { 0 }
    }

    fn trace(&self, correlation: &str) -> Result<Trace, Problem> {
        self.call(format!("trace {correlation}"));
        let roots = if correlation == "missing" {
            vec![]
        } else {
            vec![TraceNode { event: order("1"), children: vec![TraceNode { event: order("2"), children: vec![] }] }]
        };
        Ok(Trace { correlation: correlation.into(), events: 2, truncated: false, roots })
    }

    fn projections(&self) -> Vec<ProjectionStatus> {
        self.call("projections");
        vec![ProjectionStatus {
            name: "customers".into(),
            version: 2,
            rows_version: 1,
            generation: 1,
            lag: 0,
            positions: positions(),
            set_aside: 1,
            rebuild: rebuild(),
            failed: None,
        }]
    }

    fn digest(&self, projection: &str, _: Option<Past>) -> Result<Folded<Digest>, Problem> {
        self.call(format!("digest {projection}"));
        known(projection)?;
        Ok(self.folded(Digest { digest: "ab".into(), rows: 1, positions: positions(), rows_version: None }))
    }

    fn set_aside(&self, projection: &str, limit: usize, at: Option<&str>) -> Result<SetAsidePage, Problem> {
        self.call(format!("setAside {projection} {limit}"));
        known(projection)?;
        cursor(at)?;
        let aside = SetAsideEvent {
            position: "facts.customer/3:120".into(),
            id: "1".into(),
            source: "/shop".into(),
            event_type: "commerce.order_placed.v1".into(),
            subject: "customer/42".into(),
            recorded_at: Some(EventTime::from_secs(1)),
            problem: "the sum does not fit in 64 bits".into(),
        };
        Ok(SetAsidePage { items: vec![aside], next_cursor: Some("3:121".into()) })
    }

    fn rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem> {
        self.call(format!("startRebuild {projection} {by}"));
        known(projection).map(|()| rebuild())
    }

    fn rebuild_status(&self, projection: &str) -> Result<RebuildStatus, Problem> {
        self.call(format!("rebuildStatus {projection}"));
        known(projection).map(|()| rebuild())
    }

    fn cancel_rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem> {
        self.call(format!("cancelRebuild {projection} {by}"));
        known(projection).map(|()| rebuild())
    }

    fn systems(&self) -> Vec<SystemStatus> {
        self.call("systems");
        vec![system("tree-of-life-system")]
    }

    fn effects(&self, limit: usize) -> Vec<EffectStatus> {
        self.call(format!("effects {limit}"));
        vec![EffectStatus {
            system: "tree-of-life-system".into(),
            partition: 0,
            key: "9b2f".into(),
            subject: "customer/42".into(),
            runner: "http".into(),
            state: EffectState::Running,
            for_ms: 1_200,
            attempt: 1,
            problem: None,
            progress: Some(0.5),
            text: Some("half of it".into()),
            silent_ms: Some(20),
        }]
    }

    fn system(&self, name: &str, subject: Option<&str>) -> Result<Option<SystemDetail>, Problem> {
        self.call(format!("system {name} {subject:?}"));
        Ok((name != "missing").then(|| SystemDetail { status: system(name), details: BTreeMap::from([("epoch".into(), json!(3))]) }))
    }

    fn system_digest(&self, name: &str) -> Result<SystemDigest, Problem> {
        self.call(format!("systemDigest {name}"));
        if name == "missing" {
            Err(Problem::unknown_system(name))
        } else {
            Ok(SystemDigest { digest: "ab".into(), subjects: 1, state_version: 1, positions: positions() })
        }
    }

    fn control(&self, name: &str, control: Control, by: &str) -> Answer<'_, SystemStatus> {
        self.call(format!("{}System {name} {by}", format!("{control:?}").to_lowercase()));
        answer(if name == "missing" { Err(Problem::unknown_system(name)) } else { Ok(system(name)) })
    }

    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem> {
        self.call(format!("deadLetters {query:?}"));
        cursor(query.cursor.as_deref())?;
        Ok(DeadLetterPage { items: vec![DeadLetter { id: "d1".into(), ..DeadLetter::default() }], next_cursor: None })
    }

    fn dead_letter(&self, id: &str) -> Result<DeadLetterDetail, Problem> {
        self.call(format!("deadLetter {id}"));
        if id == "missing" {
            Err(Problem::unknown_dead_letter(id))
        } else {
            Ok(DeadLetterDetail { letter: DeadLetter { id: id.into(), ..DeadLetter::default() }, ..DeadLetterDetail::default() })
        }
    }

    fn redrive(&self, id: &str, request: RedriveOne, by: &str) -> Answer<'_, Redriven> {
        self.call(format!("redrive {id} {by}{}", if request.event.is_some() { " mended" } else { "" }));
        answer(if id == "missing" { Err(Problem::unknown_dead_letter(id)) } else { Ok(Redriven { redriven: 1, ids: vec![id.into()], ..Redriven::default() }) })
    }

    fn discard(&self, id: &str, reason: &str, by: &str) -> Answer<'_, DeadLetter> {
        self.call(format!("discard {id} {reason} {by}"));
        answer(Ok(DeadLetter { id: id.into(), ..DeadLetter::default() }))
    }

    fn redrive_all(&self, filter: RedriveFilter, by: &str) -> Answer<'_, Redriven> {
        self.call(format!("redriveAll {filter:?} {by}"));
        let state = if filter.background { "running" } else { "done" };
        answer(Ok(Redriven { id: "r1".into(), state: state.into(), dry_run: filter.dry_run, ..Redriven::default() }))
    }

    fn redrive_status(&self, id: &str) -> Answer<'_, Option<Redriven>> {
        self.call(format!("redriveStatus {id}"));
        answer(Ok((id != "missing").then(|| Redriven { id: id.into(), state: "done".into(), ..Redriven::default() })))
    }

    fn stop(&self, reason: &str, by: &str) -> Answer<'_, StopState> {
        self.call(format!("stop {reason} {by}"));
        let since = Some(EventTime::from_secs(1));
        answer(Ok(StopState { engaged: true, reason: Some(reason.into()), by: Some(by.into()), since, recorded: true, ..StopState::default() }))
    }

    fn stop_state(&self) -> StopState {
        self.call("stopState");
        StopState::default()
    }

    fn release(&self, reason: &str, by: &str) -> Answer<'_, StopState> {
        self.call(format!("release {reason} {by}"));
        answer(Ok(StopState::default()))
    }

    fn readiness(&self) -> Readiness {
        self.call("ready");
        let ready = !*self.not_ready.lock().unwrap();
        Readiness { ready, checks: vec![Check { name: "log".into(), ok: ready, detail: "broker 127.0.0.1:9092 does not answer".into() }] }
    }

    fn metrics(&self) -> String {
        self.call("metrics");
        "# HELP tol_up x\ntol_up 1\n".into()
    }

    fn version(&self) -> Version {
        self.call("version");
        Version { version: "0.1.0".into(), topics: vec![Topic { name: "facts.customer".into(), partitions: 8 }], ..Version::default() }
    }

    fn peer(&self, _: Vec<u8>) -> Answer<'_, Value> {
        self.call("peer");
        Box::pin(async { Ok(Value::Null) })
    }
}

/// A node behind an `Arc`, as tests keep it.
pub fn node() -> Arc<FakeNode> {
    Arc::new(FakeNode::default())
}
