use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::customers::Customers;
use crate::testing::{Owned, business, engine, order, settle, store};
use crate::{Error, ProjectionEngine};
use tol_system::Followed;

const TOPIC: &str = "facts.customer";

type Row = <Customers as tol_system::Projection>::Row;

/// What a follower holds, and what it was told.
#[derive(Default)]
struct Told {
    rows: BTreeMap<String, Row>,
    anew: usize,
    caught_up: bool,
    changed: usize,
}

fn following(engine: &ProjectionEngine) -> Arc<Mutex<Told>> {
    let told = Arc::new(Mutex::new(Told::default()));
    let held = told.clone();
    let follower = move |followed: Followed<Row>| {
        let mut held = held.lock().unwrap();
        if followed.anew {
            held.rows.clear();
            held.anew += 1;
        }
        held.changed = followed.rows.len();
        held.caught_up = followed.caught_up;
        for (key, row) in followed.rows {
            match row {
                Some(row) => drop(held.rows.insert(key, row)),
                None => drop(held.rows.remove(&key)),
            }
        }
    };
    engine.follow::<Customers>(follower).unwrap();
    told
}

fn assert_holds_all(engine: &ProjectionEngine, told: &Mutex<Told>) {
    let told = told.lock().unwrap();
    let shown: BTreeMap<String, serde_json::Value> =
        engine.list("customers", 10_000, None).unwrap().items.into_iter().map(|item| (item.key, item.value)).collect();
    let held: BTreeMap<String, serde_json::Value> =
        told.rows.iter().map(|(key, row)| (key.clone(), <Customers as tol_system::Projection>::value(row, key))).collect();
    assert_eq!(held, shown);
    assert!(told.caught_up);
}

#[test]
fn a_follower_holds_what_queries_show_also_after_a_restart_and_a_rebuild() {
    let mut owned = Owned::new(&[TOPIC], 4);
    owned.write(TOPIC, &business(300), 7);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let first = engine(&owned, &rocks);
    let told = following(&first);
    assert!(matches!(first.follow::<Customers>(|_| ()), Err(Error::Busy(_))), "one follower");
    settle(&first);
    assert_holds_all(&first, &told);

    // One change is told as one.
    owned.write(TOPIC, &[order(9_000, 3, 1, 5, "USD")], 1);
    settle(&first);
    assert_eq!(told.lock().unwrap().changed, 1);
    assert_holds_all(&first, &told);

    first.rebuild("customers").unwrap();
    settle(&first);
    assert_eq!(told.lock().unwrap().anew, 2, "the new generation is told as a whole");
    assert_holds_all(&first, &told);
    drop(first);

    // Without the log the store's rows are what was known last.
    let known = ProjectionEngine::last_known::<Customers>(&rocks).unwrap();
    assert_eq!(known.len(), told.lock().unwrap().rows.len());
    owned.write(TOPIC, &[order(9_001, 4, 1, 5, "USD")], 1);
    let second = engine(&owned, &rocks);
    let told = following(&second);
    second.step();
    assert_eq!(told.lock().unwrap().anew, 1);
    settle(&second);
    assert_holds_all(&second, &told);
}
