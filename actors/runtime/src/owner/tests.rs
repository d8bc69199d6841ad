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

/// Does what an input's data says: `{"emit": n}`, `{"fail": true}`, `{"panic": true}`, `{"unlisted": true}`, `{"timer": [id, due]}`, `{"effect": true}`.
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
            emits: &["test.done.v1", "test.timer_set.v1", "test.work_requested.v1"],
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

#[test]
fn a_panic_parks_its_subject_in_order_and_a_redrive_heals_it() {
    let mut stage = Stage::new();
    stage.options.attempts = 1;
    stage.fact("a1", "customer/a", json!({ "panic": true }));
    stage.fact("a2", "customer/a", json!({ "emit": 1 }));
    stage.fact("b1", "customer/b", json!({ "emit": 1 }));
    stage.fact("a3", "customer/a", json!({ "emit": 1 }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    assert_eq!(stage.names(), ["b1"]);
    let parked = driver.owner().parked(9).unwrap();
    let seen: Vec<(&str, u32)> = parked.iter().map(|parked| (parked.at.as_str(), parked.attempts)).collect();
    assert_eq!(seen, [("facts.customer/0@1", 1), ("facts.customer/0@2", 0), ("facts.customer/0@4", 0)]);
    assert!(parked[0].error.contains("panicked: as asked"), "{}", parked[0].error);
    assert_eq!(stage.outputs().iter().filter(|output| matches!(output, Output::DeadLetter(_))).count(), 3);

    driver.owner_mut().redrive_subject("customer/a", 7);
    stage.settle(&mut driver);
    let outputs = stage.outputs();
    let [Output::Answer(7, Ok(Answered::Redriven(refused)))] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(refused.gone.is_empty() && refused.failed[0].id == parked[0].id && refused.failed[0].problem.contains("as asked"), "{refused:?}");
    stage.puppet.healed.store(true, Ordering::Relaxed);
    driver.owner_mut().redrive_subject("customer/a", 8);
    stage.settle(&mut driver);
    assert_eq!(redriven(stage.outputs()).gone.len(), 3);
    assert_eq!(stage.names(), ["b1", "a1", "a2", "a3"]);
    assert!(driver.owner().parked(9).unwrap().is_empty());
}

fn redriven(outputs: Vec<Output>) -> Redriven {
    let mut answers = outputs.into_iter().filter_map(|output| match output {
        Output::Answer(_, Ok(Answered::Redriven(redriven))) => Some(redriven),
        _ => None,
    });
    answers.next().unwrap()
}

fn bulk(id: &str, subject: &str, through: u64, force: bool) -> Redrive {
    Redrive { subject: subject.into(), through, id: id.into(), by: "ann".into(), reason: "mended".into(), force }
}

#[test]
fn a_redrive_that_fails_again_is_recorded_counted_and_limited() {
    let mut stage = Stage::new();
    (stage.options.attempts, stage.options.redrives) = (1, 2);
    stage.fact("a1", "customer/a", json!({ "fail": true }));
    stage.fact("a2", "customer/a", json!({ "emit": 1 }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    stage.outputs();
    let redrive = |driver: &mut Driver, id: &str, force: bool| {
        driver.owner_mut().redrive(vec![bulk(id, "customer/a", u64::MAX, force)], 1);
        stage.settle(driver);
        redriven(stage.outputs())
    };
    // The same redrive, asked again because its answer was lost, tries nothing a second time.
    for _ in 0..2 {
        assert_eq!(redrive(&mut driver, "r1", false).failed.len(), 1);
    }
    assert_eq!(stage.puppet.decided.load(Ordering::Relaxed), 2, "parked once, redriven once");
    assert_eq!(redrive(&mut driver, "r2", false).failed.len(), 1);
    // What was counted is in the log: another owner knows it.
    let mut driver = stage.open(2);
    stage.settle(&mut driver);
    let limited = redrive(&mut driver, "r3", false);
    assert!(limited.failed.is_empty() && limited.limited[0].problem.contains("in vain 2 times"), "{limited:?}");
    let forced = redrive(&mut driver, "r4", true);
    assert_eq!((forced.failed.len(), driver.owner().parked(9).unwrap()[0].redrives), (1, 3));
    let failures: Vec<Value> = stage.own_data(reserved::REDRIVE_FAILED);
    let says: Vec<_> =
        failures.iter().map(|data| (data["redrive"].as_str().unwrap(), data["by"].as_str().unwrap(), data["redrives"].as_u64().unwrap())).collect();
    assert_eq!(says, [("r1", "ann", 1), ("r2", "ann", 2), ("r4", "ann", 3)]);
    stage.puppet.healed.store(true, Ordering::Relaxed);
    assert_eq!(redrive(&mut driver, "r5", true).gone.len(), 2);
    assert_eq!(stage.own_data(reserved::INPUT_REDRIVEN)[0]["reason"], "mended");
}

#[test]
fn a_redrive_goes_no_further_than_it_was_told_and_a_discard_says_who_and_why() {
    let mut stage = Stage::new();
    stage.options.attempts = 1;
    stage.fact("a1", "customer/a", json!({ "fail": true }));
    stage.fact("a2", "customer/a", json!({ "emit": 1 }));
    stage.fact("a3", "customer/a", json!({ "emit": 1 }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    stage.outputs();
    let parked = driver.owner().parked(9).unwrap();
    assert_eq!(parked[0].parked_at, Some(EventTime::from_micros(1)));
    stage.puppet.healed.store(true, Ordering::Relaxed);
    driver.owner_mut().redrive(vec![bulk("r1", "customer/a", parked[1].order, false)], 1);
    stage.settle(&mut driver);
    assert_eq!(redriven(stage.outputs()).gone, [parked[0].id.clone(), parked[1].id.clone()]);
    driver.owner_mut().discard(&parked[2].id, "bob", "a test order", 2, stage.moment()).unwrap();
    stage.settle(&mut driver);
    let discarded = stage.own_data(reserved::INPUT_DISCARDED).remove(0);
    assert_eq!((discarded["by"].as_str(), discarded["reason"].as_str()), (Some("bob"), Some("a test order")));
    assert!(driver.owner().parked(9).unwrap().is_empty());
}

#[test]
fn parked_inputs_are_read_without_their_owner_from_the_cache_or_the_log() {
    let mut stage = Stage::new();
    stage.options.attempts = 1;
    for subject in ["customer/a", "customer/b"] {
        stage.fact(&format!("{subject} 1"), subject, json!({ "fail": true }));
        stage.fact(&format!("{subject} 2"), subject, json!({ "emit": 1 }));
    }
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    driver.owner_mut().redrive(vec![bulk("r1", "customer/a", u64::MAX, false)], 1);
    stage.settle(&mut driver);
    let description = erase(Shared(stage.puppet.clone())).describe();
    let known = driver.owner().parked(9).unwrap();
    assert_eq!((known.len(), known[0].redrives), (4, 1));
    assert_eq!(read_parked(&*stage.store, None, &description, 0).unwrap(), known);
    assert_eq!(count_parked(&*stage.store, &description, 0).unwrap(), 4);
    // No cache at all, and one that is behind: the log has the rest.
    let empty = MemoryStore::new(1);
    assert_eq!(read_parked(&empty, Some(&stage.log), &description, 0).unwrap(), known);
    let behind = MemoryStore::new(1);
    for table in [Table::Meta, Table::State] {
        let rows = stage.store.scan(table, b"", None, usize::MAX).unwrap();
        behind.write(rows.into_iter().map(|(key, row)| Change::Put(table, key, row)).collect(), None).unwrap();
    }
    stage.puppet.healed.store(true, Ordering::Relaxed);
    driver.owner_mut().redrive(vec![bulk("r2", "customer/a", u64::MAX, false)], 1);
    stage.settle(&mut driver);
    assert_eq!(read_parked(&behind, None, &description, 0).unwrap().len(), 4);
    assert_eq!(read_parked(&behind, Some(&stage.log), &description, 0).unwrap(), known[2..]);
}

#[test]
fn an_input_is_tried_again_after_longer_and_longer_waits_and_then_parked() {
    let mut stage = Stage::new();
    stage.fact("a1", "customer/a", json!({ "fail": true }));
    stage.fact("b1", "customer/b", json!({ "emit": 1 }));
    let mut driver = stage.open(1);
    for (now_ms, tries) in [(100, 1), (149, 1), (150, 2), (249, 2), (250, 4)] {
        stage.now_ms = now_ms;
        stage.settle(&mut driver);
        assert_eq!(stage.puppet.decided.load(Ordering::Relaxed), tries, "at {now_ms} ms");
    }
    assert_eq!(driver.owner().parked(9).unwrap()[0].attempts, 3);
    assert_eq!(stage.names(), ["b1"]);
}

#[test]
fn groups_are_bounded_and_only_listed_events_are_written() {
    let mut stage = Stage::new();
    (stage.options.attempts, stage.options.group_events) = (1, 2);
    stage.fact("a1", "customer/a", json!({ "emit": 2 }));
    stage.fact("b1", "customer/b", json!({ "emit": 3 }));
    stage.fact("c1", "customer/c", json!({ "unlisted": true }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    assert_eq!(stage.names(), ["a1", "a1"]);
    let errors: Vec<String> = driver.owner().parked(9).unwrap().into_iter().map(|parked| parked.error).collect();
    assert!(errors[0].contains("at most 2 are allowed") && errors[1].contains("test.unlisted.v1 is not listed"), "{errors:?}");
}

#[test]
fn timers_fire_once_each_in_the_order_of_their_times_and_names() {
    let mut stage = Stage::new();
    stage.fact("f1", "customer/b", json!({ "timer": ["z", 50] }));
    stage.fact("f2", "customer/a", json!({ "timer": ["y", 50] }));
    stage.fact("f3", "customer/a", json!({ "timer": ["x", 70] }));
    stage.fact("f4", "customer/a", json!({ "timer": ["late", 900] }));
    stage.fact("f5", "customer/a", json!({ "timer": ["x", 40] }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    stage.tick(39);
    stage.tick(100);
    stage.tick(100);
    stage.settle(&mut driver);
    assert_eq!(stage.names()[5..], ["timer x", "timer y", "timer z"]);
}

#[test]
fn an_effects_second_result_is_dropped_and_a_new_owner_starts_only_what_is_pending() {
    let mut stage = Stage::new();
    stage.fact("f1", "customer/a", json!({ "effect": true }));
    stage.fact("f2", "customer/a", json!({ "effect": true }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    let started = |outputs: Vec<Output>| -> Vec<String> {
        outputs.into_iter().filter_map(|output| if let Output::StartEffect(id, _) = output { Some(id) } else { None }).collect()
    };
    let requests = started(stage.outputs());
    assert_eq!(requests.len(), 2);
    for _ in 0..2 {
        driver.effect_ended(requests[0].clone(), EffectOutcome::Completed(Value::Null), EventTime::from_micros(5));
    }
    stage.settle(&mut driver);
    driver.effect_ended(requests[0].clone(), EffectOutcome::Completed(Value::Null), EventTime::from_micros(6));
    stage.settle(&mut driver);
    assert_eq!(stage.names(), ["f1", "f2", &format!("effect {}", requests[0])]);
    let mut next = stage.open(2);
    stage.settle(&mut next);
    assert_eq!(started(stage.outputs()), requests[1..]);
}

#[test]
fn positions_of_inputs_that_lead_to_nothing_are_recorded_after_a_while() {
    let mut stage = Stage::new();
    stage.options.checkpoint_inputs = 4;
    (0..4).for_each(|number| stage.fact(&format!("f{number}"), "customer/a", json!({})));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    assert_eq!(stage.own(), [(reserved::CHECKPOINTED.to_owned(), String::new())]);
    let facts = TopicPartition::new("facts.customer", 0);
    assert_eq!(driver.owner().recorded()[&facts], Cursor { position: 5, epoch: 1, sequence: 4 });
}

#[test]
fn an_owner_whose_cache_was_taken_over_ends() {
    let mut stage = Stage::new();
    let mut first = stage.open(1);
    stage.settle(&mut first);
    let _second = stage.open(2);
    stage.fact("f1", "customer/a", json!({ "emit": 1 }));
    let ended = (0..5).find_map(|_| first.step(stage.moment()).err());
    assert!(matches!(ended, Some(Error::Store(crate::store::Error::TokenLost(_)))), "{ended:?}");
}

#[test]
fn nothing_is_decided_while_stopped_or_paused() {
    let mut stage = Stage::new();
    let gate = ControlGate::default();
    gate.renew(u64::MAX);
    let mut driver = stage.open(1);
    driver.owner_mut().heed(&gate);
    stage.settle(&mut driver);
    stage.fact("f1", "customer/a", json!({ "emit": 1 }));
    stage.stopped = true;
    stage.settle(&mut driver);
    stage.stopped = false;
    let says = |event: Event| gate.fold(event.encode().view());
    says(SystemPaused { system: "puppet".into(), by: "ann".into() }.to_event("1", "/nodes/a").unwrap());
    stage.settle(&mut driver);
    assert_eq!((stage.puppet.decided.load(Ordering::Relaxed), gate.deciding().len()), (0, 0));
    assert!(driver.owner().read_inputs_from().is_empty(), "who may decide nothing needs no inputs");
    says(SystemResumed { system: "puppet".into(), by: "ann".into() }.to_event("2", "/nodes/a").unwrap());
    stage.settle(&mut driver);
    assert_eq!(stage.names(), ["f1"]);
}

#[test]
fn a_stop_takes_hold_between_two_decisions_of_a_batch() {
    let mut stage = Stage::new();
    let gate = ControlGate::default();
    gate.renew(u64::MAX);
    stage.fact("f1", "customer/a", json!({ "emit": 1 }));
    let mut driver = stage.open(1);
    driver.owner_mut().heed(&gate);
    stage.settle(&mut driver);
    // The moment of the step says nothing of a stop that comes while it decides.
    gate.engage("fire", "ann", EventTime::default());
    stage.fact("f2", "customer/a", json!({ "emit": 1 }));
    stage.settle(&mut driver);
    assert_eq!(stage.puppet.decided.load(Ordering::Relaxed), 1);
    gate.release("out", "ann", EventTime::default());
    stage.settle(&mut driver);
    assert_eq!(stage.names(), ["f1", "f2"]);
}

#[test]
fn a_cache_of_another_log_or_without_its_positions_starts_empty() {
    let mut stage = Stage::new();
    stage.fact("f1", "customer/a", json!({ "emit": 1 }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    assert_eq!(driver.owner().subjects(9).unwrap(), ["customer/a"]);
    // The row of positions is damaged: the state beside it must not be folded into.
    let meta = stage.store.scan(Table::Meta, b"owner", None, 1).unwrap().remove(0).0;
    stage.store.write(vec![Change::Put(Table::Meta, meta, b"?".to_vec())], None).unwrap();
    let mut again = stage.open(2);
    assert!(again.owner().subjects(9).unwrap().is_empty());
    stage.settle(&mut again);
    assert_eq!(again.owner_mut().observe("customer/a").unwrap(), json!(["f1"]));
    let elsewhere = Stage { store: stage.store.clone(), ..Stage::on_log(2) };
    assert!(elsewhere.open(3).owner().subjects(9).unwrap().is_empty());
}

#[test]
fn a_cache_that_names_an_event_the_log_does_not_hold_starts_empty() {
    let mut stage = Stage::new();
    stage.fact("f1", "customer/a", json!({ "emit": 1 }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    let key = stage.store.scan(Table::Meta, b"owner", None, 1).unwrap().remove(0);
    let mut meta: Meta = serde_json::from_slice(&key.1).unwrap();
    meta.last_id = "another".to_owned();
    meta.inputs.clear();
    stage.store.write(vec![Change::Put(Table::Meta, key.0, serde_json::to_vec(&meta).unwrap())], None).unwrap();
    let mut again = stage.open(2);
    stage.settle(&mut again);
    assert_eq!(again.owner_mut().observe("customer/a").unwrap(), json!(["f1"]));
    assert_eq!(stage.names(), ["f1"]);
}

#[test]
fn an_answer_waits_for_the_batch_in_flight() {
    let mut stage = Stage::new();
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    stage.fact("f1", "customer/a", json!({ "emit": 1 }));
    stage.log.set_faults(Faults::stepped());
    stage.settle(&mut driver);
    driver.owner_mut().redrive_subject("customer/a", 1);
    driver.owner_mut().discard("nothing", "", "", 2, stage.moment()).unwrap();
    stage.settle(&mut driver);
    assert!(stage.outputs().is_empty());
    stage.log.run_all();
    stage.settle(&mut driver);
    assert!(matches!(&stage.outputs()[..], [Output::Answer(2, Ok(Answered::Discarded(false))), Output::Answer(1, Ok(Answered::Redriven(_)))]));
}

#[test]
fn an_active_owner_does_not_take_over_the_epoch_of_another() {
    let mut stage = Stage::new();
    stage.fact("f1", "customer/a", json!({}));
    let mut driver = stage.open(1);
    while driver.owner().phase() != &Phase::Active {
        driver.step(stage.moment()).unwrap();
    }
    let epoch = driver.owner().reader().epoch();
    stage.claim("puppet.events", epoch + 1);
    let batches = stage.log.read(driver.owner().own(), 0, usize::MAX).unwrap();
    batches.iter().for_each(|batch| driver.owner_mut().take_own(batch).unwrap());
    assert_eq!(driver.owner().reader().epoch(), epoch);
}

#[test]
fn an_owner_with_nothing_to_write_notices_a_higher_claim() {
    let mut stage = Stage::new();
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    stage.claim("puppet.events", 2);
    stage.now_ms += crate::driver::WATCH_MS;
    stage.settle(&mut driver);
    assert_eq!((driver.owner().phase(), driver.owner().reader().epoch()), (&Phase::Active, 3));
    // Its own claims are no reason to claim again.
    let claims = driver.owner().counts().claims;
    stage.now_ms += crate::driver::WATCH_MS;
    stage.settle(&mut driver);
    assert_eq!(driver.owner().counts().claims, claims);
}

#[test]
fn the_answer_to_an_earlier_claim_says_nothing_about_a_later_one() {
    let mut stage = Stage::new();
    stage.log.set_faults(Faults::stepped());
    let mut driver = stage.open(1);
    driver.step(stage.moment()).unwrap();
    driver.owner_mut().assign(false);
    driver.owner_mut().assign(true);
    stage.now_ms += 1_000;
    driver.step(stage.moment()).unwrap();
    stage.log.run_all();
    stage.settle(&mut driver);
    stage.log.run_all();
    stage.settle(&mut driver);
    assert_eq!(driver.owner().phase(), &Phase::Active);
    assert!(driver.owner().counts().claims <= 3, "{:?}", driver.owner().counts());
}
