//! Caches, claims and answers.

use super::*;

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
