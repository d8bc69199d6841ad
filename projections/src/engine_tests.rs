use std::sync::Arc;
use std::time::Duration;

use tol_events::{Attribute, Event, EventTime};
use tol_kafka::TopicPartition;

use crate::testing::{Owned, business, engine, order, settle, store};
use crate::{AsOf, AsOfState, EngineOptions, Error, ProjectionEngine, RebuildState};

const TOPIC: &str = "facts.customer";

fn filled(count: usize, partitions: u32) -> Owned {
    let mut owned = Owned::new(&[TOPIC], partitions);
    owned.write(TOPIC, &business(count), 7);
    owned
}

#[test]
fn folded_state_is_queried_by_key_and_page() {
    let owned = filled(500, 4);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&owned, &store(folder.path()));
    settle(&engine);
    let status = &engine.status()[0];
    assert_eq!((status.name, status.lag, status.failed.clone()), ("customers", 0, None));
    let mut listed = Vec::new();
    let mut cursor = None;
    loop {
        let page = engine.list("customers", 5, cursor.as_deref()).unwrap();
        listed.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed.len(), 23);
    assert!(listed.windows(2).all(|pair| pair[0].key < pair[1].key));
    for item in &listed {
        assert_eq!(engine.get("customers", &item.key).unwrap().as_ref(), Some(&item.value));
    }
    assert_eq!(engine.get("customers", "nobody").unwrap(), None);
    assert!(matches!(engine.get("nothing", "1"), Err(Error::Unknown(_))));
}

#[test]
fn digest_is_the_same_for_other_partition_counts_and_batches() {
    let digests: Vec<_> = [(1, 1), (4, 7), (8, 500)]
        .map(|(partitions, batch)| {
            let mut owned = Owned::new(&[TOPIC], partitions);
            owned.write(TOPIC, &business(600), batch);
            let folder = tempfile::tempdir().unwrap();
            let engine = engine(&owned, &store(folder.path()));
            settle(&engine);
            let digest = engine.digest("customers").unwrap();
            (digest.digest, digest.rows)
        })
        .to_vec();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    let mut other = business(600);
    other.push(order(9_999, 3, 1, 1, "USD"));
    let mut owned = Owned::new(&[TOPIC], 4);
    owned.write(TOPIC, &other, 9);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&owned, &store(folder.path()));
    settle(&engine);
    assert_ne!(engine.digest("customers").unwrap().digest, digests[0].0);
}

#[test]
fn folding_goes_on_where_it_stopped() {
    let mut owned = filled(300, 4);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let first = engine(&owned, &rocks);
    settle(&first);
    let generation = first.status()[0].generation;
    drop(first);
    owned.write(TOPIC, &[order(10_000, 5, 3, 77, "USD")], 1);
    let second = engine(&owned, &rocks);
    settle(&second);
    assert_eq!(second.status()[0].generation, generation);
    let fresh = tempfile::tempdir().unwrap();
    let afresh = engine(&owned, &store(fresh.path()));
    settle(&afresh);
    assert_eq!(second.digest("customers").unwrap(), afresh.digest("customers").unwrap());
}

#[test]
fn a_cache_of_another_history_starts_empty() {
    let owned = filled(300, 2);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    settle(&engine(&owned, &rocks));
    // Same name and topic, fewer records; then as many but others.
    for events in [business(100), (0..400).map(|id| order(id, 1, 1, 1, "USD")).collect()] {
        let mut other = Owned::new(&[TOPIC], 2);
        other.write(TOPIC, &events, 10);
        let engine = engine(&other, &rocks);
        settle(&engine);
        let fresh = tempfile::tempdir().unwrap();
        let afresh = crate::testing::engine(&other, &store(fresh.path()));
        settle(&afresh);
        assert_eq!(engine.digest("customers").unwrap(), afresh.digest("customers").unwrap());
    }
}

#[test]
fn rebuild_swaps_in_the_same_state_and_drops_the_old_generation() {
    let mut owned = filled(800, 4);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let engine = engine(&owned, &rocks);
    settle(&engine);
    let before = engine.digest("customers").unwrap();
    assert_eq!(engine.rebuild("customers").unwrap().state, RebuildState::Running);
    assert!(matches!(engine.rebuild("customers"), Err(Error::Busy(_))));
    engine.step();
    assert_eq!(engine.digest("customers").unwrap(), before);
    settle(&engine);
    let status = engine.rebuild_status("customers").unwrap();
    assert_eq!((status.state, status.progress, status.problem.clone()), (RebuildState::Done, 1.0, None));
    assert_eq!(engine.status()[0].generation, status.generation);
    assert_eq!(engine.digest("customers").unwrap(), before);
    engine.step();
    assert_eq!(crate::generation::all(&rocks.database().unwrap()).unwrap().len(), 1);
    owned.write(TOPIC, &[order(10_000, 5, 3, 77, "USD")], 1);
    settle(&engine);
    assert_ne!(engine.digest("customers").unwrap().digest, before.digest);
}

#[test]
fn a_cancelled_rebuild_leaves_the_old_generation() {
    let owned = filled(800, 4);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let engine = engine(&owned, &rocks);
    settle(&engine);
    let before = (engine.digest("customers").unwrap(), engine.status()[0].generation);
    assert!(!engine.cancel_rebuild("customers").unwrap());
    engine.rebuild("customers").unwrap();
    engine.step();
    assert!(engine.cancel_rebuild("customers").unwrap());
    settle(&engine);
    assert_eq!(engine.rebuild_status("customers").unwrap().state, RebuildState::Cancelled);
    assert_eq!((engine.digest("customers").unwrap(), engine.status()[0].generation), before);
    assert_eq!(crate::generation::all(&rocks.database().unwrap()).unwrap().len(), 1);
}

#[test]
fn a_rebuild_goes_on_after_the_process_ended() {
    let owned = filled(4_000, 4);
    let folder = tempfile::tempdir().unwrap();
    let begun = {
        let rocks = store(folder.path());
        let options = EngineOptions { read_bytes: 500, rebuild_bytes: 1, ..EngineOptions::default() };
        let mut engine = ProjectionEngine::new(Arc::new(owned.log.clone()), rocks.clone(), options).unwrap();
        engine.register(crate::customers::Customers);
        settle(&engine);
        engine.rebuild("customers").unwrap();
        engine.step();
        engine.step();
        let status = engine.rebuild_status("customers").unwrap();
        assert_eq!(status.state, RebuildState::Running);
        assert!(status.progress > 0.0 && status.progress < 1.0, "{status:?}");
        rocks.flush().unwrap();
        status.generation
    };
    let rocks = store(folder.path());
    let engine = engine(&owned, &rocks);
    engine.resume_rebuilds();
    let resumed = engine.rebuild_status("customers").unwrap();
    assert_eq!((resumed.state, resumed.generation), (RebuildState::Running, begun));
    assert!(resumed.progress > 0.0, "{resumed:?}");
    settle(&engine);
    assert_eq!((engine.rebuild_status("customers").unwrap().state, engine.status()[0].generation), (RebuildState::Done, begun));
    let fresh = tempfile::tempdir().unwrap();
    let afresh = crate::testing::engine(&owned, &store(fresh.path()));
    settle(&afresh);
    assert_eq!(engine.digest("customers").unwrap(), afresh.digest("customers").unwrap());
}

#[test]
fn an_unknown_version_is_set_aside_and_the_projection_goes_on() {
    let mut owned = filled(100, 1);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&owned, &store(folder.path()));
    settle(&engine);
    let before = engine.digest("customers").unwrap();
    owned.write(TOPIC, &[Event::new("x", "/shop", "commerce.order_placed.v9", "customer/1")], 1);
    settle(&engine);
    let status = &engine.status()[0];
    assert_eq!((status.failed.clone(), status.set_aside, status.lag), (None, 1, 0));
    let page = engine.set_aside("customers", 10, None).unwrap();
    assert!(page.items[0].id == "x" && page.items[0].problem.contains("commerce.order_placed.v9"), "{page:?}");
    assert_eq!(engine.digest("customers").unwrap().digest, before.digest);
    owned.write(TOPIC, &[order(10_000, 5, 3, 77, "USD")], 1);
    settle(&engine);
    assert_ne!(engine.digest("customers").unwrap().digest, before.digest, "what follows is folded");
}

#[test]
fn events_of_a_zombie_change_nothing() {
    let mut owned = filled(100, 1);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&owned, &store(folder.path()));
    settle(&engine);
    let before = engine.digest("customers").unwrap();
    let at = TopicPartition::new(TOPIC, 0);
    owned.claim(&at, 2);
    let mut stale = order(50_000, 1, 1, 1, "USD");
    stale.set(Attribute::Epoch, "1").set(Attribute::Sequence, "101");
    owned.append(&at, &[stale]);
    settle(&engine);
    let after = engine.digest("customers").unwrap();
    assert_eq!(after.digest, before.digest);
    assert_ne!(after.positions, before.positions);
}

#[test]
fn the_past_of_the_whole_equals_a_fold_of_what_had_happened() {
    let owned = filled(700, 4);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let engine = engine(&owned, &rocks);
    settle(&engine);
    let limits = [10, 40, 60, 80, 96].map(|day| EventTime::from_secs(day * 86_400));
    for limit in limits {
        for as_of in [AsOf::EventTime(limit), AsOf::KnownAt(limit.plus_micros(1_000 * 86_400 * 1_000_000))] {
            assert!(matches!(engine.as_of_all("customers", as_of).unwrap(), AsOfState::Running { .. }));
            settle(&engine);
            let AsOfState::Done { positions } = engine.as_of_all("customers", as_of).unwrap() else { panic!("not done") };
            assert_eq!(positions, engine.positions("customers").unwrap());
            let mut past = Owned::new(&[TOPIC], 2);
            let happened: Vec<Event> = business(700).into_iter().filter(|event| EventTime::parse(event.get(Attribute::Time)).unwrap() <= limit).collect();
            past.write(TOPIC, &happened, 11);
            let fresh = tempfile::tempdir().unwrap();
            let oracle = crate::testing::engine(&past, &store(fresh.path()));
            settle(&oracle);
            let expected = oracle.digest("customers").unwrap();
            let found = engine.as_of_digest("customers", as_of).unwrap().unwrap();
            assert_eq!((found.digest, found.rows), (expected.digest, expected.rows));
            assert_eq!(engine.as_of_list("customers", as_of, 100, None).unwrap().unwrap(), oracle.list("customers", 100, None).unwrap());
            assert_eq!(engine.as_of_get("customers", as_of, "3").unwrap().unwrap(), oracle.get("customers", "3").unwrap());
        }
    }
    assert!(crate::generation::all(&rocks.database().unwrap()).unwrap().len() <= 5, "old pasts are dropped");
}

#[test]
fn threads_show_what_is_appended_and_rebuild_while_queries_run() {
    let mut owned = filled(400, 4);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&owned, &store(folder.path()));
    engine.start();
    let long = Duration::from_secs(30);
    assert!(engine.wait_for("customers", &owned.ends(TOPIC), long).unwrap());
    let mut watch = engine.watch("customers").unwrap();
    watch.mark_unchanged();
    engine.rebuild("customers").unwrap();
    for id in 0..50 {
        owned.write(TOPIC, &[order(20_000 + id, id as u32, 3, 77, "USD")], 1);
        assert!(engine.wait_for("customers", &owned.ends(TOPIC), long).unwrap());
        assert!(engine.get("customers", &id.to_string()).unwrap().is_some());
    }
    assert!(watch.has_changed().unwrap());
    let began = std::time::Instant::now();
    while engine.rebuild_status("customers").unwrap().state == RebuildState::Running && began.elapsed() < long {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(engine.rebuild_status("customers").unwrap().state, RebuildState::Done);
    assert!(engine.wait_for("customers", &owned.ends(TOPIC), long).unwrap());
    let fresh = tempfile::tempdir().unwrap();
    let afresh = crate::testing::engine(&owned, &store(fresh.path()));
    settle(&afresh);
    assert_eq!(engine.digest("customers").unwrap(), afresh.digest("customers").unwrap());
    assert!(!engine.wait_for("customers", &[(TopicPartition::new(TOPIC, 0), u64::MAX - 1)], Duration::from_millis(1)).unwrap());
}

#[test]
fn a_damaged_store_is_folded_again_from_the_log() {
    let mut owned = filled(100, 4);
    // Each has a row: the largest file is that of the rows.
    owned.write(TOPIC, &(0..3_000).map(|id| order(50_000 + id, 1_000 + id as u32, 3, 77, "USD")).collect::<Vec<_>>(), 100);
    let fresh = tempfile::tempdir().unwrap();
    let afresh = crate::testing::engine(&owned, &store(fresh.path()));
    settle(&afresh);
    let expected = afresh.digest("customers").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("projections");
    {
        let rocks = store(&path);
        settle(&engine(&owned, &rocks));
        rocks.flush().unwrap();
    }
    crate::store::tests::damage_table(&path);
    let rocks = store(&path);
    let engine = engine(&owned, &rocks);
    engine.rebuild("customers").ok();
    settle(&engine);
    let while_damaged = engine.digest("customers");
    assert!(!while_damaged.is_ok_and(|digest| digest == expected), "the damage was met");
    assert!(rocks.trouble().is_some());
    crate::store::tests::mend(&rocks);
    // What was folded before is refused, not answered as if it were empty.
    assert!(!matches!(engine.digest("customers"), Ok(digest) if digest != expected));
    settle(&engine);
    assert_eq!(engine.digest("customers").unwrap(), expected);
    assert_eq!(engine.status()[0].failed, None);
    assert_ne!(engine.rebuild_status("customers").unwrap().state, RebuildState::Running);
    engine.rebuild("customers").unwrap();
    settle(&engine);
    assert_eq!((engine.rebuild_status("customers").unwrap().state, engine.digest("customers").unwrap()), (RebuildState::Done, expected));
}
