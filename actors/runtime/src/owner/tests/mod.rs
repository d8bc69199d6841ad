//! Owners with a system that does as the facts say.

mod covering;
mod deciding;
mod parking;
mod personal;
mod protocol;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};
use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::tree::{SystemPaused, SystemResumed};
use tol_events::{Attribute, DomainEvent, Event, EventView, reserved};
use tol_kafka::{EventLog, Faults, MemoryLog, TopicSpec};
use tol_system::{Decision, Evolution, Input, InputSpec, System, erase};

use super::*;
use crate::driver::{Driver, Output};
use crate::store::{Change, MemoryStore, Table};

/// Does what an input's data says: `{"emit": n}`, `{"fail": true}`, `{"panic": true}`, `{"unlisted": true}`, `{"timer": [id, due]}`, `{"effect": true}`,
/// `{"register": {…}, "person": …}`: tells of a customer, sealed with that person's key.
#[derive(Default)]
struct Puppet {
    healed: AtomicBool,
    decided: AtomicU32,
}

struct Shared(Arc<Puppet>);

impl System for Shared {
    type State = Vec<String>;

    fn describe(&self) -> Description {
        Description {
            name: "puppet",
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "",
            inputs: vec![InputSpec { topic: "facts.customer", types: &["test."] }],
            emits: &["commerce.customer_registered.v1", "test.done.v1", "test.timer_set.v1", "test.work_requested.v1"],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, _: &Vec<String>, input: Input<'_>, decision: &mut Decision) -> Result<(), tol_system::Error> {
        self.0.decided.fetch_add(1, Ordering::Relaxed);
        let (name, script) = match input {
            Input::Event(event) => (event.id().to_owned(), event.data_as::<Value>().unwrap()),
            Input::Timer { id, .. } => (format!("timer {id}"), json!({ "emit": 1 })),
            Input::Effect { request_id, .. } => (format!("effect {request_id}"), json!({ "emit": 1 })),
        };
        if !self.0.healed.load(Ordering::Relaxed) {
            assert!(script.get("panic").is_none(), "as asked");
            if script.get("fail").is_some() {
                return Err(tol_system::Error::Refused("as asked".into()));
            }
        }
        let count = script["emit"].as_u64().unwrap_or(u64::from(script.get("panic").or(script.get("fail")).is_some()));
        for _ in 0..count {
            decision.emit("test.done.v1", &json!({ "name": name }));
        }
        if script.get("unlisted").is_some() {
            decision.emit("test.unlisted.v1", &json!({ "name": name }));
        }
        if script.get("timer").is_some() {
            decision.emit("test.timer_set.v1", &json!({ "name": name, "timer": script["timer"] }));
        }
        if let Some(customer) = script.get("register") {
            decision.emit("commerce.customer_registered.v1", customer).person = script["person"].as_str().map(str::to_owned);
        }
        if script.get("effect").is_some() {
            decision.emit("test.work_requested.v1", &json!({ "name": name }));
        }
        Ok(())
    }

    fn evolve(&self, state: &mut Vec<String>, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), tol_system::Error> {
        let data: Value = event.data_as().unwrap();
        state.push(data["name"].as_str().unwrap_or_default().to_owned());
        if event.event_type() == "test.timer_set.v1" {
            evolution.set_timer(data["timer"][0].as_str().unwrap(), EventTime::from_micros(data["timer"][1].as_i64().unwrap()));
        }
        if event.event_type() == "test.work_requested.v1" {
            evolution.request_effect("test", Value::Null);
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}

struct Stage {
    log: MemoryLog,
    store: Arc<MemoryStore>,
    puppet: Arc<Puppet>,
    options: Options,
    written: BTreeMap<&'static str, u64>,
    now_ms: u64,
    stopped: bool,
    outputs: Mutex<Vec<Output>>,
}

impl Stage {
    fn new() -> Self {
        Self::on_log(1)
    }

    fn on_log(seed: u64) -> Self {
        let log = MemoryLog::new(seed, Faults::default());
        let spec = |name: &str| TopicSpec { name: name.to_owned(), partitions: 1, retention: None };
        log.ensure_topics(&["facts.customer", "clock", "puppet.events"].map(spec)).unwrap();
        Self {
            log,
            store: Arc::new(MemoryStore::new(9)),
            puppet: Arc::default(),
            options: Options { partitions: 1, ..Options::default() },
            written: BTreeMap::new(),
            now_ms: 1,
            stopped: false,
            outputs: Mutex::default(),
        }
    }

    fn append(&self, topic: &str, event: &Event) {
        let append = Append { to: TopicPartition::new(topic, 0), expected: None, records: vec![Record::from_event(event)] };
        self.log.append(vec![append], Box::new(|result| drop(result.unwrap())));
    }

    fn claim(&self, topic: &str, epoch: u64) {
        let claim = OwnerClaimed { epoch, nonce: "other".into(), node: String::new(), code_version: String::new(), config_hash: String::new() };
        let mut event = Event::new("claim", "/test", OWNER_CLAIMED, "partition/0").with_data(&claim).unwrap();
        event.set(Attribute::Epoch, epoch.to_string());
        self.append(topic, &event);
    }

    fn write(&mut self, topic: &'static str, mut event: Event) {
        let sequence = self.written.get(topic).copied().unwrap_or_default() + 1;
        if sequence == 1 {
            self.claim(topic, 1);
        }
        self.written.insert(topic, sequence);
        event.set(Attribute::Epoch, "1").set(Attribute::Sequence, sequence.to_string());
        self.append(topic, &event);
    }

    fn fact(&mut self, id: &str, subject: &str, script: Value) {
        self.write("facts.customer", Event::new(id, "/test", "test.told.v1", subject).with_data(&script).unwrap().at(EventTime::from_micros(1)));
    }

    fn tick(&mut self, micros: i64) {
        self.write("clock", Event::new(format!("tick {micros}"), "/hub", reserved::CLOCK_TICKED, "clock").at(EventTime::from_micros(micros)));
    }

    fn open(&self, seed: u64) -> Driver {
        let system = erase(Shared(self.puppet.clone()));
        let mut driver = Driver::open(system, 0, "node", Arc::new(self.log.clone()), self.store.clone(), self.options.clone(), seed, Arc::new(|| {})).unwrap();
        driver.owner_mut().assign(true);
        driver
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, wall: EventTime::from_micros(1), stopped: self.stopped }
    }

    /// Steps until nothing moves.
    fn settle(&self, driver: &mut Driver) {
        while let progress = driver.step(self.moment()).unwrap()
            && progress.moved
        {
            self.outputs.lock().unwrap().extend(progress.outputs);
        }
    }

    fn outputs(&self) -> Vec<Output> {
        std::mem::take(&mut *self.outputs.lock().unwrap())
    }

    /// Type and what it says of every own event that is not a claim.
    fn own(&self) -> Vec<(String, String)> {
        let batches = self.log.read(&TopicPartition::new("puppet.events", 0), 0, usize::MAX).unwrap();
        let events = batches.iter().flat_map(|batch| batch.events_from(0)).filter(|(_, event)| event.event_type() != OWNER_CLAIMED);
        events.map(|(_, event)| (event.event_type().to_owned(), event.data_as::<Value>().unwrap()["name"].as_str().unwrap_or_default().to_owned())).collect()
    }

    /// Data of all own events of a type.
    fn own_data(&self, event_type: &str) -> Vec<Value> {
        let batches = self.log.read(&TopicPartition::new("puppet.events", 0), 0, usize::MAX).unwrap();
        let events = batches.iter().flat_map(|batch| batch.events_from(0)).filter(|(_, event)| event.event_type() == event_type);
        events.map(|(_, event)| event.data_as().unwrap()).collect()
    }

    fn names(&self) -> Vec<String> {
        self.own().into_iter().map(|(_, name)| name).filter(|name| !name.is_empty()).collect()
    }
}
