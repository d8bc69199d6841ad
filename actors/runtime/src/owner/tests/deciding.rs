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
