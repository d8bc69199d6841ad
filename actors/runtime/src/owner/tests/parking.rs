//! Inputs that fail, and what operators do about them.

use super::*;

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
