//! Events that cannot be folded: set aside, listed, left out everywhere, folded after a repair. And folds that stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize, Serializer};
use tol_events::{Attribute, Event, EventTime, EventView};
use tol_kafka::TopicPartition;
use tol_system::projection::{self, Projection, Rows};

use crate::store::RocksStore;
use crate::testing::{Owned, order, settle, store};
use crate::{AsOf, EngineOptions, Error, EventIndex, ProjectionEngine, RebuildState};

const TOPIC: &str = "facts.customer";
const LONG: Duration = Duration::from_secs(60);

/// Counts events by subject. One whose id begins with `bad` fails and one with `panic` panics, after it was counted; repaired, they count a thousand.
struct Picky<const REPAIRED: bool>;

impl<const REPAIRED: bool> Projection for Picky<REPAIRED> {
    type Row = u64;
    const NAME: &'static str = "picky";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = TOPIC;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, u64>) -> Result<(), projection::Error> {
        let weight = if event.id().starts_with("order") { 1 } else { 1_000 };
        *rows.get_mut(event.subject())? += weight;
        *rows.get_mut("customer/all")? += weight;
        match event.id() {
            id if !REPAIRED && id.starts_with("bad") => Err(projection::Error::Malformed(format!("{id} is bad"))),
            id if !REPAIRED && id.starts_with("panic") => panic!("{id} panics"),
            _ => Ok(()),
        }
    }

    fn merge(a: u64, b: u64) -> u64 {
        a + b
    }

    fn value(row: &u64, _: &str) -> serde_json::Value {
        (*row).into()
    }

    fn subject_of(key: &str) -> Option<String> {
        (key != "customer/all").then(|| key.to_owned())
    }

    fn examples(&self) -> Vec<Event> {
        vec![order(1, 7, 3, 77, "USD")]
    }
}

fn engine_of<P: Projection>(owned: &Owned, rocks: &Arc<RocksStore>, projection: P) -> ProjectionEngine {
    let options = EngineOptions { read_bytes: 2_000, ..EngineOptions::default() };
    let mut engine = ProjectionEngine::new(Arc::new(owned.log.clone()), rocks.clone(), options).unwrap();
    engine.register(projection);
    engine
}

/// `count` events of which each that `is_bad` says cannot be folded.
fn events(count: usize, is_bad: impl Fn(usize) -> bool) -> Vec<Event> {
    (0..count)
        .map(|id| {
            let mut event = order(id, (id % 13) as u32, (id % 50) as i64, 77, "USD");
            if is_bad(id) {
                event.set(Attribute::Id, format!("{}-{id}", if id % 2 == 0 { "bad" } else { "panic" }));
            }
            event
        })
        .collect()
}

fn log_of(events: &[Event], partitions: u32, batch: usize) -> Owned {
    let mut owned = Owned::new(&[TOPIC], partitions);
    owned.write(TOPIC, events, batch);
    owned
}

fn rows(engine: &ProjectionEngine) -> Vec<crate::Item> {
    engine.list("picky", 1_000, None).unwrap().items
}

fn all_set_aside(engine: &ProjectionEngine, limit: usize) -> Vec<crate::SetAsideEvent> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = engine.set_aside("picky", limit, cursor.as_deref()).unwrap();
        found.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return found;
        }
    }
}

/// The rows that a log without the bad events gives.
fn without_the_bad(events: &[Event]) -> Vec<crate::Item> {
    let good: Vec<Event> = events.iter().filter(|event| event.get(Attribute::Id).starts_with("order")).cloned().collect();
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(&log_of(&good, 1, 50), &store(folder.path()), Picky::<false>);
    settle(&engine);
    rows(&engine)
}

#[test]
fn what_cannot_be_folded_is_set_aside_whole_and_the_rest_is_folded() {
    for (partitions, batch) in [(1, 1), (4, 7), (2, 500)] {
        let events = events(600, |id| id % 97 == 0 || (300..310).contains(&id));
        let folder = tempfile::tempdir().unwrap();
        let rocks = store(folder.path());
        let owned = log_of(&events, partitions, batch);
        let expected = without_the_bad(&events);
        let list = {
            let engine = engine_of(&owned, &rocks, Picky::<false>);
            settle(&engine);
            let status = engine.status().remove(0);
            assert_eq!((status.failed, status.lag, status.set_aside), (None, 0, 17));
            assert_eq!(rows(&engine), expected, "batches of {batch}");
            let list = all_set_aside(&engine, 100);
            assert_eq!(all_set_aside(&engine, 3), list, "in pages");
            list
        };
        let mut ids: Vec<&str> = list.iter().map(|aside| aside.id.as_str()).collect();
        let mut bad: Vec<&str> = events.iter().map(|event| event.get(Attribute::Id)).filter(|id| !id.starts_with("order")).collect();
        ids.sort_unstable();
        bad.sort_unstable();
        assert_eq!(ids, bad);
        for aside in &list {
            let read = owned.log_event(&aside.at, aside.position);
            assert_eq!((read.get(Attribute::Id), read.get(Attribute::Subject)), (aside.id.as_str(), aside.subject.as_str()));
            let says = if aside.id.starts_with("bad") { "is bad" } else { "panics" };
            assert!(aside.problem.contains(says) && aside.recorded_at.is_some(), "{aside:?}");
        }
        // After a restart, and by a rebuild.
        let engine = engine_of(&owned, &rocks, Picky::<false>);
        settle(&engine);
        assert_eq!((rows(&engine), all_set_aside(&engine, 100)), (expected.clone(), list.clone()));
        engine.rebuild("picky").unwrap();
        settle(&engine);
        assert_eq!(engine.rebuild_status("picky").unwrap().state, RebuildState::Done);
        assert_eq!((rows(&engine), all_set_aside(&engine, 100)), (expected, list));
    }
}

#[test]
fn the_past_leaves_out_what_is_set_aside() {
    let events = events(600, |id| id % 7 == 0);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let owned = log_of(&events, 3, 9);
    let engine = engine_of(&owned, &rocks, Picky::<false>);
    settle(&engine);
    let index = EventIndex::open(Arc::new(owned.log.clone()), rocks.clone()).unwrap();
    while index.step().unwrap() {}
    let limit = EventTime::from_secs(25 * 86_400);
    let as_of = AsOf::EventTime(limit);
    let _ = engine.as_of_all("picky", as_of).unwrap();
    settle(&engine);
    let _ = engine.as_of_all("picky", as_of).unwrap();
    let happened: Vec<Event> = events.iter().filter(|event| EventTime::parse(event.get(Attribute::Time)).unwrap() <= limit).cloned().collect();
    let expected = without_the_bad(&happened);
    assert_eq!(engine.as_of_list("picky", as_of, 1_000, None).unwrap().unwrap().items, expected);
    for item in expected.iter().filter(|item| item.key != "customer/all") {
        assert_eq!(engine.as_of_key(&index, "picky", &item.key, as_of).unwrap().as_ref(), Some(&item.value), "{}", item.key);
    }
}

#[test]
fn a_rebuild_after_a_repair_folds_it_in_its_place() {
    let events = events(400, |id| id % 50 == 3);
    let (folder, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rocks = store(folder.path());
    let owned = log_of(&events, 2, 20);
    settle(&engine_of(&owned, &rocks, Picky::<false>));
    let repaired = engine_of(&owned, &rocks, Picky::<true>);
    settle(&repaired);
    assert_eq!((repaired.status()[0].set_aside, rows(&repaired)), (8, without_the_bad(&events)));
    repaired.rebuild("picky").unwrap();
    settle(&repaired);
    assert_eq!((repaired.status()[0].set_aside, all_set_aside(&repaired, 10)), (0, Vec::new()));
    let afresh = engine_of(&owned, &store(fresh.path()), Picky::<true>);
    settle(&afresh);
    assert_eq!(repaired.digest("picky").unwrap(), afresh.digest("picky").unwrap());
    assert_ne!(rows(&repaired), without_the_bad(&events));
    // What the old generation set aside went with it.
    repaired.step();
    let database = rocks.database().unwrap();
    assert_eq!(tol_runtime::store::Store::scan(&*database, tol_runtime::store::Table::Meta, b"proj.aside/", None, 10).unwrap(), []);
}

#[test]
fn many_that_cannot_be_folded_cost_no_more_than_as_many_that_can() {
    let owned = log_of(&events(30_000, |id| id % 10 != 0), 1, 1_000);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(&owned, &store(folder.path()), Picky::<false>);
    let began = Instant::now();
    std::panic::set_hook(Box::new(|_| ()));
    settle(&engine);
    drop(std::panic::take_hook());
    let status = engine.status().remove(0);
    assert_eq!((status.set_aside, status.lag, status.failed), (27_000, 0, None));
    // Read again from the last flush for each, it would be 27,000 times half a batch.
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[test]
fn a_cursor_that_no_page_gave_is_refused() {
    let owned = log_of(&events(10, |_| false), 1, 10);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(&owned, &store(folder.path()), Picky::<false>);
    settle(&engine);
    for wrong in ["", "x", "1", "1:x", "70000:1", "-1:2"] {
        assert!(matches!(engine.set_aside("picky", 10, Some(wrong)), Err(Error::Cursor)), "{wrong}");
    }
}

#[test]
fn a_projection_that_stopped_tells_how_far_it_is_behind() {
    let mut owned = log_of(&events(100, |_| false), 1, 10);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(&owned, &store(folder.path()), Picky::<false>);
    settle(&engine);
    assert_eq!(engine.status()[0].lag, 0);
    // Under an epoch that nobody claimed (E3): going on would be wrong.
    let mut forged = order(50_000, 1, 1, 1, "USD");
    forged.set(Attribute::Epoch, "9").set(Attribute::Sequence, "101");
    owned.append(&TopicPartition::new(TOPIC, 0), &[forged]);
    settle(&engine);
    let status = engine.status().remove(0);
    assert!(status.failed.is_some() && status.lag == 1, "{status:?}");
    owned.write(TOPIC, &events(40, |_| false), 10);
    let began = Instant::now();
    while engine.status()[0].lag != 41 {
        assert!(began.elapsed() < LONG, "{:?}", engine.status());
        engine.step();
    }
    assert!(engine.status()[0].failed.is_some());
}

/// A row that cannot be stored.
#[derive(Clone, Default, Deserialize)]
struct Unstorable;

impl Serialize for Unstorable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("it does not like to be stored")
    }
}

struct PanicsWhenStored;

impl Projection for PanicsWhenStored {
    type Row = Unstorable;
    const NAME: &'static str = "picky";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = TOPIC;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Unstorable>) -> Result<(), projection::Error> {
        rows.get_mut(event.subject()).map(drop)
    }

    fn merge(a: Unstorable, _: Unstorable) -> Unstorable {
        a
    }

    fn value(_: &Unstorable, _: &str) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}

#[test]
fn a_panic_beside_the_fold_stops_the_projection_and_ends_a_rebuild() {
    let owned = log_of(&events(100, |_| false), 2, 10);
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(&owned, &store(folder.path()), PanicsWhenStored);
    engine.start();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < LONG, "in vain: {what}: {:?}", engine.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("it stops", &|| engine.status()[0].failed.as_deref().is_some_and(|why| why.contains("does not like to be stored")));
    engine.rebuild("picky").unwrap();
    until("the rebuild ends", &|| engine.rebuild_status("picky").unwrap().state == RebuildState::Failed);
    assert!(engine.status()[0].lag > 0);
}
