//! Tests of rebuilds that begin by themselves: of a new version, and after the store was opened anew.

use std::sync::Arc;
use std::time::Duration;

use tol_events::EventView;
use tol_kafka::TopicPartition;
use tol_system::projection::{self, Projection, Rows};

use crate::store::{RocksStore, Trouble};
use crate::testing::{Owned, business, order, settle, store};

use crate::{EngineOptions, ProjectionEngine, RebuildState, generation};

const TOPIC: &str = "facts.customer";
const LONG: Duration = Duration::from_secs(30);

/// Counts orders. Version 2 counts each for ten; version 3 stores another row; version 4 does not know what the log holds.
struct Counts<const V: u32>;

impl<const V: u32> Projection for Counts<V> {
    type Row = u64;
    const NAME: &'static str = "counts";
    const VERSION: u32 = V;
    const ROWS_SINCE: u32 = if V == 3 { 3 } else { 1 };
    const TOPIC: &'static str = TOPIC;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, u64>) -> Result<(), projection::Error> {
        if V == 4 {
            return Err(projection::Error::Malformed("not known to version 4".to_owned()));
        }
        if event.event_type() == "commerce.order_placed.v1" {
            *rows.get_mut(event.subject())? += if V == 2 { 10 } else { 1 };
        }
        Ok(())
    }

    fn merge(a: u64, b: u64) -> u64 {
        a + b
    }

    fn value(row: &u64, _: &str) -> serde_json::Value {
        (*row).into()
    }

    fn examples(&self) -> Vec<tol_events::Event> {
        vec![order(1, 7, 3, 77, "USD")]
    }
}

fn counting<const V: u32>(owned: &Owned, rocks: &Arc<RocksStore>) -> ProjectionEngine {
    // A step folds a few batches, and what it folded is written.
    let options = EngineOptions { read_bytes: 300, rebuild_bytes: 1, ..EngineOptions::default() };
    let mut engine = ProjectionEngine::new(Arc::new(owned.log.clone()), rocks.clone(), options).unwrap();
    engine.register(Counts::<V>);
    engine
}

fn orders(from: usize) -> Vec<tol_events::Event> {
    (from..from + 10_000).map(|id| order(id, id as u32 % 40, 3, 77, "USD")).collect()
}

fn of_customer_7(engine: &ProjectionEngine) -> u64 {
    engine.get("counts", "customer/7").unwrap().and_then(|value| value.as_u64()).unwrap()
}

fn generations(rocks: &RocksStore) -> usize {
    generation::all(&rocks.database().unwrap()).unwrap().len()
}

/// A log of which version 1 has folded half.
fn half_folded(folder: &std::path::Path) -> (Owned, Vec<(TopicPartition, u64)>) {
    let mut owned = Owned::new(&[TOPIC], 2);
    owned.write(TOPIC, &orders(0), 100);
    let engine = counting::<1>(&owned, &store(folder));
    settle(&engine);
    assert_eq!((of_customer_7(&engine), engine.older_rows("counts").unwrap()), (250, None));
    let visible = owned.ends(TOPIC);
    owned.write(TOPIC, &orders(10_000), 100);
    (owned, visible)
}

#[test]
fn a_new_version_shows_the_old_rows_until_it_has_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut owned, visible) = half_folded(folder.path());
    // Cut off in the middle, twice: it goes on with the same generation, from where it was.
    let (mut begun, mut progress) = (None, 0.0);
    for _ in 0..2 {
        let rocks = store(folder.path());
        let engine = counting::<2>(&owned, &rocks);
        engine.step();
        for _ in 0..3 {
            engine.step();
            assert_eq!((of_customer_7(&engine), engine.older_rows("counts").unwrap()), (250, Some(1)), "the old rows, and said to be old");
        }
        let status = engine.status().remove(0);
        assert_eq!((status.version, status.rows_version, status.rebuild.state), (2, 1, RebuildState::Running));
        assert_eq!(*begun.get_or_insert(status.rebuild.generation), status.rebuild.generation);
        assert!(status.rebuild.progress > progress && status.rebuild.progress < 1.0, "{status:?} after {progress}");
        progress = status.rebuild.progress;
        assert!(engine.reached("counts", &visible).unwrap());
        assert!(!engine.reached("counts", &owned.ends(TOPIC)).unwrap(), "what the old rows do not hold is not said to be visible");
        assert!(status.lag > 0 && status.failed.is_none());
        assert_eq!(generations(&rocks), 2);
    }
    let rocks = store(folder.path());
    let engine = counting::<2>(&owned, &rocks);
    engine.start();
    assert!(engine.wait_for("counts", &owned.ends(TOPIC), LONG).unwrap());
    let status = engine.status().remove(0);
    assert_eq!((of_customer_7(&engine), status.rows_version, status.failed, Some(status.generation)), (5_000, 2, None, begun));
    // It is the serving one like any other from now on.
    owned.write(TOPIC, &[order(90_000, 7, 3, 77, "USD")], 1);
    assert!(engine.wait_for("counts", &owned.ends(TOPIC), LONG).unwrap());
    assert_eq!(of_customer_7(&engine), 5_010);
    engine.stop();
    drop(engine);
    let engine = counting::<2>(&owned, &rocks);
    settle(&engine);
    assert_eq!((of_customer_7(&engine), engine.older_rows("counts").unwrap(), generations(&rocks)), (5_010, None, 1), "the old ones are dropped");
}

#[test]
fn rows_that_the_new_version_cannot_read_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (owned, _) = half_folded(folder.path());
    let rocks = store(folder.path());
    let engine = counting::<3>(&owned, &rocks);
    assert_eq!(engine.get("counts", "customer/7").unwrap(), None);
    engine.step();
    assert_eq!((engine.older_rows("counts").unwrap(), engine.status()[0].rebuild.state, generations(&rocks)), (None, RebuildState::Idle, 1));
    settle(&engine);
    assert_eq!(of_customer_7(&engine), 500);
}

#[test]
fn a_new_version_that_cannot_fold_the_log_leaves_the_old_rows_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (owned, _) = half_folded(folder.path());
    {
        let rocks = store(folder.path());
        let engine = counting::<4>(&owned, &rocks);
        settle(&engine);
        let status = engine.status().remove(0);
        assert_eq!((of_customer_7(&engine), status.rows_version, status.rebuild.state), (250, 1, RebuildState::Failed));
        assert!(status.failed.as_deref().is_some_and(|why| why.contains("10000 events") && why.contains("not known to version 4")), "{status:?}");
        assert_eq!(generations(&rocks), 1);
    }
    // Going back is no rebuild.
    let engine = counting::<1>(&owned, &store(folder.path()));
    settle(&engine);
    assert_eq!((of_customer_7(&engine), engine.older_rows("counts").unwrap(), engine.status()[0].rebuild.state), (500, None, RebuildState::Idle));
}

#[test]
fn a_new_version_that_folds_less_is_swapped_in_when_an_operator_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (owned, _) = half_folded(folder.path());
    let engine = counting::<4>(&owned, &store(folder.path()));
    settle(&engine);
    engine.rebuild("counts").unwrap();
    settle(&engine);
    let status = engine.status().remove(0);
    assert_eq!((status.rows_version, status.set_aside, status.failed, status.lag), (4, 20_000, None, 0));
    assert_eq!(engine.get("counts", "customer/7").unwrap(), None);
}

#[test]
fn a_cancelled_fold_of_a_new_version_begins_again_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (owned, _) = half_folded(folder.path());
    let engine = counting::<2>(&owned, &store(folder.path()));
    engine.step();
    assert!(engine.cancel_rebuild("counts").unwrap());
    settle(&engine);
    assert_eq!((of_customer_7(&engine), engine.status()[0].rebuild.state), (250, RebuildState::Cancelled));
    engine.rebuild("counts").unwrap();
    settle(&engine);
    assert_eq!((of_customer_7(&engine), engine.older_rows("counts").unwrap(), engine.status()[0].failed.clone()), (5_000, None, None));
}

#[test]
fn a_rebuild_goes_on_by_itself_after_the_store_was_opened_anew() {
    let mut owned = Owned::new(&[TOPIC], 2);
    owned.write(TOPIC, &business(4_000), 20);
    owned.write(TOPIC, &orders(50_000), 100);
    for trouble in [Trouble::Disk("No space left on device".into()), Trouble::Damage("Corruption".into())] {
        let folder = tempfile::tempdir().unwrap();
        let rocks = store(&folder.path().join("projections"));
        let engine = counting::<1>(&owned, &rocks);
        settle(&engine);
        let expected = engine.digest("counts").unwrap();
        let begun = engine.rebuild("counts").unwrap().generation;
        engine.step();
        rocks.database().unwrap().complain(trouble.clone());
        crate::store::tests::mend(&rocks);
        engine.step();
        let status = engine.rebuild_status("counts").unwrap();
        assert_eq!((status.state, status.problem), (RebuildState::Running, None), "{trouble:?}");
        settle(&engine);
        let status = engine.rebuild_status("counts").unwrap();
        assert_eq!((status.state, engine.digest("counts").unwrap()), (RebuildState::Done, expected), "{trouble:?}");
        // The old one is dropped in the step after the swap.
        engine.step();
        assert_eq!((status.generation, engine.status()[0].generation, generations(&rocks)), (begun, begun, 1), "{trouble:?}");
    }
}

#[test]
fn a_rebuild_that_waits_for_the_store_can_be_cancelled() {
    let mut owned = Owned::new(&[TOPIC], 1);
    owned.write(TOPIC, &orders(0), 100);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let engine = counting::<1>(&owned, &rocks);
    settle(&engine);
    engine.rebuild("counts").unwrap();
    engine.step();
    rocks.database().unwrap().complain(Trouble::Disk("No space left on device".into()));
    assert!(engine.cancel_rebuild("counts").unwrap());
    crate::store::tests::mend(&rocks);
    settle(&engine);
    assert_eq!((engine.rebuild_status("counts").unwrap().state, generations(&rocks)), (RebuildState::Cancelled, 1));
}
