//! Systems of the measurements' own, in a node inside this process: one that refuses what it is told to, one that asks for
//! effects and remembers when it last decided, and any number that read each other's events.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde_json::json;
use tol_config::Config;
use tol_events::{Event, EventTime, EventView};
use tol_runtime::supervision::Registered;
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, System};
use tree_of_life::node::testing::TestNode;

/// What a puppet emits an order.
const DONE: &str = "bench.order_seen.v1";
/// What it asks for.
const ASKED: &str = "bench.call_requested.v1";

/// What a puppet does, and what it did.
pub struct Puppet {
    /// Its name.
    pub name: &'static str,
    /// Every input is refused.
    pub refuses: AtomicBool,
    /// Each hundredth order asks for an HTTP call of this URL.
    pub calls: Option<String>,
    /// Decisions.
    pub decided: AtomicU64,
    /// When it decided last, microseconds since `zero`.
    pub last_us: AtomicU64,
    /// Zero of `last_us`.
    pub zero: Instant,
}

impl Puppet {
    /// One that does nothing special yet.
    pub fn new(name: &'static str, calls: Option<String>) -> Arc<Self> {
        Arc::new(Self { name, refuses: AtomicBool::new(false), calls, decided: AtomicU64::new(0), last_us: AtomicU64::new(0), zero: Instant::now() })
    }

    /// For a node.
    pub fn registered(self: &Arc<Self>) -> Registered {
        let puppet = self.clone();
        let factory = Arc::new(move || Ok(tol_system::erase(Strings(puppet.clone()))));
        Registered { description: Strings(self.clone()).describe(), factory }
    }
}

/// A node in this process with these puppets beside the real systems.
pub fn node(folder: &Path, puppets: &[Arc<Puppet>], change: impl FnOnce(&mut Config)) -> anyhow::Result<TestNode> {
    let mut config = Config::default();
    config.node.data = folder.join("data");
    config.http.listen = "127.0.0.1:0".to_owned();
    for puppet in puppets {
        config.systems.entry(puppet.name.to_owned()).or_default().retry_attempts = 1;
    }
    change(&mut config);
    TestNode::start(config, puppets.iter().map(Puppet::registered).collect())
}

struct Strings(Arc<Puppet>);

impl System for Strings {
    type State = u64;

    fn describe(&self) -> Description {
        Description {
            name: self.0.name,
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "A measurement's own",
            inputs: vec![InputSpec { topic: "facts.customer", types: &["commerce.order_placed."] }],
            emits: &[DONE, ASKED],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, state: &u64, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let Input::Event(event) = input else { return Ok(()) };
        self.0.last_us.store(self.0.zero.elapsed().as_micros() as u64, Ordering::Relaxed);
        self.0.decided.fetch_add(1, Ordering::Relaxed);
        if self.0.refuses.load(Ordering::Relaxed) {
            return Err(Error::Refused("as asked".to_owned()));
        }
        match &self.0.calls {
            // A call of each hundredth: what may be called in a second is far less than what may come in.
            Some(_) if !event.id().ends_with("00") => drop(decision.emit(DONE, &json!({ "order": event.id(), "number": state + 1 }))),
            Some(url) => drop(decision.emit(ASKED, &json!({ "order": event.id(), "url": url }))),
            None => drop(decision.emit(DONE, &json!({ "order": event.id(), "number": state + 1 }))),
        }
        Ok(())
    }

    fn evolve(&self, state: &mut u64, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        if event.event_type() == ASKED {
            let data: serde_json::Value = event.data_as().map_err(|error| Error::Refused(error.to_string()))?;
            evolution.request_effect("http", json!({ "url": data["url"], "body": { "order": data["order"] } }));
        }
        *state += 1;
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        let mut event = Event::new("o1", "/shop", "commerce.order_placed.v1", "customer/1").at(EventTime::from_secs(1_767_268_800));
        event.data = json!({"order_id": "o1", "customer_id": "1", "total": {"minor": 1, "currency": "USD"}}).to_string().into_bytes();
        vec![event]
    }
}

/// What the systems of a [`Mesh`] want of the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// No type that ever comes: they read the topic.
    Nothing,
    /// Every order, and emit an event for each.
    Everything,
}

/// A system that reads facts and the events of the others.
#[derive(Clone)]
pub struct Mesh {
    name: &'static str,
    inputs: Vec<InputSpec>,
}

impl Mesh {
    /// So many of them. Their names live as long as the process, as those of registered systems do.
    pub fn of(count: usize, wants: Wants) -> Vec<Self> {
        let kept = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let names: Vec<&'static str> = (0..count).map(|number| kept(format!("bench-mesh-{number}"))).collect();
        let facts: &'static [&'static str] = if wants == Wants::Everything { &["commerce.order_placed."] } else { &["bench.never_told."] };
        let system = |name: &&'static str| {
            let others = names.iter().filter(|other| *other != name);
            let events = others.map(|other| InputSpec { topic: kept(format!("{other}.events")), types: &["bench.never_asked."] });
            let inputs = std::iter::once(InputSpec { topic: "facts.customer", types: facts }).chain(events).collect();
            Mesh { name, inputs }
        };
        names.iter().map(system).collect()
    }

    fn registered(self) -> Registered {
        let description = self.describe();
        Registered { description, factory: Arc::new(move || Ok(tol_system::erase(self.clone()))) }
    }
}

/// A node in this process with these systems beside the registered ones.
pub fn node_with(folder: &Path, systems: Vec<Mesh>) -> anyhow::Result<TestNode> {
    let mut config = Config::default();
    config.node.data = folder.join("data");
    config.http.listen = "127.0.0.1:0".to_owned();
    TestNode::start(config, systems.into_iter().map(Mesh::registered).collect())
}

impl System for Mesh {
    type State = u64;

    fn describe(&self) -> Description {
        Description {
            name: self.name,
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "A measurement's own",
            inputs: self.inputs.clone(),
            emits: &[DONE],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, state: &u64, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let Input::Event(event) = input else { return Ok(()) };
        decision.emit(DONE, &json!({ "order": event.id(), "number": state + 1 }));
        Ok(())
    }

    fn evolve(&self, state: &mut u64, _: EventView<'_>, _: &mut Evolution) -> Result<(), Error> {
        *state += 1;
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}
