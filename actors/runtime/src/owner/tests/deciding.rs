//! What is decided, when, and what is not.

use super::*;

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

/// Correlations of all own events that are not claims, with what the events say.
fn correlations(stage: &Stage) -> Vec<(String, String)> {
    let batches = stage.log.read(&TopicPartition::new("puppet.events", 0), 0, usize::MAX).unwrap();
    let events = batches.iter().flat_map(|batch| batch.events_from(0)).filter(|(_, event)| event.event_type() != OWNER_CLAIMED);
    let named = events.map(|(_, event)| (event.data_as::<Value>().unwrap()["name"].as_str().unwrap_or_default().to_owned(), event));
    named.map(|(name, event)| (name, event.correlation_id().to_owned())).collect()
}

fn pair(name: &str, correlation: &str) -> (String, String) {
    (name.to_owned(), correlation.to_owned())
}

#[test]
fn timers_and_effects_keep_the_correlation_of_what_asked_for_them() {
    let mut stage = Stage::new();
    let asks = |id: &str, script: Value| {
        let mut event = Event::new(id, "/test", "test.told.v1", "customer/a").with_data(&script).unwrap().at(EventTime::from_micros(1));
        event.set(Attribute::CorrelationId, "order 7");
        event
    };
    stage.write("facts.customer", asks("f1", json!({ "timer": ["x", 50] })));
    stage.write("facts.customer", asks("f2", json!({ "effect": true })));
    stage.fact("f3", "customer/a", json!({ "timer": ["y", 60] }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    let started = stage.outputs().into_iter().find_map(|output| if let Output::StartEffect(id, effect) = output { Some((id, effect)) } else { None });
    let (request, effect) = started.unwrap();
    assert_eq!(effect.correlation, "order 7");
    driver.effect_ended(request.clone(), EffectOutcome::Completed(Value::Null), EventTime::from_micros(5));
    stage.settle(&mut driver);
    // The next owner knows them from the log alone.
    stage.store = Arc::new(MemoryStore::new(9));
    let mut next = stage.open(2);
    stage.tick(100);
    stage.settle(&mut next);
    let expected = [pair("f1", "order 7"), pair("f2", "order 7"), pair("f3", "f3"), pair(&format!("effect {request}"), "order 7")];
    assert_eq!(correlations(&stage), [&expected[..], &[pair("timer x", "order 7"), pair("timer y", "f3")]].concat());
}

fn settled(outputs: Vec<Output>) -> Vec<String> {
    outputs.into_iter().filter_map(|output| if let Output::EffectSettled(id) = output { Some(id) } else { None }).collect()
}

#[test]
fn a_result_is_settled_when_it_is_committed_and_not_before() {
    let mut stage = Stage::new();
    stage.fact("f1", "customer/a", json!({ "effect": true }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    let request = stage.outputs().into_iter().find_map(|output| if let Output::StartEffect(id, _) = output { Some(id) } else { None }).unwrap();
    let offer = |driver: &mut Driver| driver.effect_ended(request.clone(), EffectOutcome::Completed(Value::Null), EventTime::from_micros(5));
    // While stopped it is kept, however often it is offered.
    stage.stopped = true;
    (0..3).for_each(|_| offer(&mut driver));
    stage.settle(&mut driver);
    assert_eq!(settled(stage.outputs()), [""; 0]);
    // The log refuses it: what was decided is dropped, and the result with it.
    stage.stopped = false;
    stage.log.set_reachable(false);
    stage.settle(&mut driver);
    stage.log.set_reachable(true);
    stage.now_ms += 10_000;
    stage.settle(&mut driver);
    let outputs = stage.outputs();
    let again = outputs.iter().any(|output| matches!(output, Output::StartEffect(id, _) if *id == request));
    assert!(again && settled(outputs).is_empty(), "it is pending again");
    offer(&mut driver);
    stage.settle(&mut driver);
    assert_eq!(settled(stage.outputs()), [request.as_str()]);
    // One that is offered once more is settled at once.
    offer(&mut driver);
    stage.settle(&mut driver);
    assert_eq!(settled(stage.outputs()), [request.as_str()]);
    assert_eq!(stage.names(), ["f1", &format!("effect {request}")]);
}

#[test]
fn a_result_that_is_parked_is_settled() {
    let mut stage = Stage::new();
    stage.options.attempts = 1;
    stage.fact("f1", "customer/a", json!({ "effect": true }));
    stage.fact("f2", "customer/a", json!({ "fail": true }));
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    let request = stage.outputs().into_iter().find_map(|output| if let Output::StartEffect(id, _) = output { Some(id) } else { None }).unwrap();
    driver.effect_ended(request.clone(), EffectOutcome::Completed(Value::Null), EventTime::from_micros(5));
    stage.settle(&mut driver);
    assert_eq!(settled(stage.outputs()), [request]);
    assert_eq!(driver.owner().parked(9).unwrap().len(), 2, "it waits behind f2");
}

#[test]
fn a_cache_of_another_format_is_removed_and_folded_anew() {
    let mut stage = Stage::new();
    stage.fact("f1", "customer/a", json!({ "timer": ["x", 50] }));
    stage.settle(&mut stage.open(1));
    let (row, meta) = (b"puppet\x001\x000\0tx".to_vec(), b"owner\0mpuppet\x001\x000\0".to_vec());
    stage.store.write(vec![Change::Put(Table::State, row.clone(), b"f1".to_vec()), Change::Put(Table::Meta, meta.clone(), b"{}".to_vec())], None).unwrap();
    stage.settle(&mut stage.open(2));
    assert_eq!((stage.store.get(Table::State, &row).unwrap(), stage.store.get(Table::Meta, &meta).unwrap()), (None, None));
    let mut driver = stage.open(3);
    stage.tick(100);
    stage.settle(&mut driver);
    assert_eq!(stage.names(), ["f1", "timer x"]);
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
