use super::postings::read_deltas;
use super::*;
use crate::testing::{Owned, business, engine, order, settle, store};
use crate::{AsOf, Error};
use tol_events::{Attribute, Event, EventTime};

const TOPIC: &str = "facts.customer";
const SYSTEM: &str = "revenue-agent-system.events";

fn index(owned: &Owned, rocks: &Arc<RocksStore>) -> Arc<EventIndex> {
    let index = EventIndex::open(Arc::new(owned.log.clone()), rocks.clone()).unwrap();
    while index.step().unwrap() {}
    index
}

fn all(index: &EventIndex, mut query: SearchQuery) -> Vec<Located> {
    let mut found = Vec::new();
    loop {
        let page = index.search(&query).unwrap();
        found.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return found;
        }
    }
}

#[test]
fn search_finds_what_a_scan_of_the_events_finds_in_pages_of_any_size() {
    let mut owned = Owned::new(&[TOPIC, SYSTEM], 4);
    let events = business(400);
    owned.write(TOPIC, &events[..150], 7);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    drop(index(&owned, &rocks));
    owned.write(TOPIC, &events[150..], 9);
    let index = index(&owned, &rocks);
    let (from, to) = (EventTime::from_secs(20 * 86_400), EventTime::from_secs(60 * 86_400));
    let base = SearchQuery { limit: 1_000, ..SearchQuery::default() };
    let queries = [
        base.clone(),
        SearchQuery { subject: Some("customer/5".into()), ..base.clone() },
        SearchQuery { event_type: Some("commerce.order_placed.v1".into()), from: Some(from), ..base.clone() },
        SearchQuery { subject: Some("customer/5".into()), event_type: Some("commerce.order_placed.v1".into()), to: Some(to), ..base.clone() },
        SearchQuery { subject: Some("customer/none".into()), ..base },
    ];
    for query in queries {
        let expected: std::collections::BTreeSet<&str> = events
            .iter()
            .filter(|event| query.subject.as_deref().is_none_or(|subject| event.get(Attribute::Subject) == subject))
            .filter(|event| query.event_type.as_deref().is_none_or(|event_type| event.get(Attribute::Type) == event_type))
            .filter(|event| {
                let time = EventTime::parse(event.get(Attribute::Time)).unwrap();
                query.from.is_none_or(|from| time >= from) && query.to.is_none_or(|to| time <= to)
            })
            .map(|event| event.get(Attribute::Id))
            .collect();
        let found = all(&index, query.clone());
        assert_eq!(found.len(), expected.len(), "{query:?}");
        assert_eq!(found.iter().map(|located| located.event.get(Attribute::Id)).collect::<std::collections::BTreeSet<_>>(), expected);
        for limit in [1, 3, 50] {
            let paged = all(&index, SearchQuery { limit, ..query.clone() });
            assert_eq!(paged, found, "pages of {limit} of {query:?}");
        }
    }
    assert_eq!(index.by_id("order-3").unwrap().len(), 1);
    assert_eq!(index.by_id("nothing").unwrap(), []);
    assert!(matches!(index.search(&SearchQuery { cursor: Some("x".into()), ..SearchQuery::default() }), Err(Error::Cursor)));
    assert_eq!(index.status().lag, 0);
}

/// An event of each of many types among thousands of others.
fn rare_among_many() -> Vec<Event> {
    let mut events = business(25_000);
    for (number, name) in ["delivery.deployment_started.v1", "delivery.deployment_finished.v1", "deliverance.x.v1", "product.x.v1"].iter().enumerate() {
        events.insert(24_000 + number, Event::new(format!("rare-{number}"), "/ci", *name, "customer/7"));
    }
    events
}

#[test]
fn a_prefix_of_types_finds_what_is_there_on_the_first_page() {
    let mut owned = Owned::new(&[TOPIC], 2);
    owned.write(TOPIC, &rare_among_many(), 500);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    // Half of it by an index of an earlier run: what types there are is stored.
    drop(index(&owned, &rocks));
    let index = index(&owned, &rocks);
    let of = |event_type: &str| SearchQuery { event_type: Some(event_type.to_owned()), limit: 10, ..SearchQuery::default() };
    let ids = |query: SearchQuery| -> Vec<String> {
        let page = index.search(&query).unwrap();
        let mut ids: Vec<String> = page.items.iter().map(|located| located.event.get(Attribute::Id).to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(of("delivery.*")), ["rare-0", "rare-1"]);
    assert_eq!(ids(of("deliver*")), ["rare-0", "rare-1", "rare-2"]);
    assert_eq!(ids(of("delivery.deployment_started.v1")), ["rare-0"]);
    assert_eq!(ids(of("nothing.*")), [""; 0]);
    let of_subject = SearchQuery { subject: Some("customer/7".into()), ..of("product.*") };
    assert_eq!(ids(of_subject), ["rare-3"]);
    assert_eq!(all(&index, SearchQuery { limit: 10_000, ..of("*") }).len(), 25_004);
}

#[test]
fn more_types_than_are_walked_side_by_side_are_found_all_the_same() {
    let mut owned = Owned::new(&[TOPIC], 2);
    let events: Vec<Event> = (0..300).map(|id| Event::new(format!("e-{id}"), "/x", format!("many.t{}.v1", id % 150), format!("customer/{}", id % 5))).collect();
    owned.write(TOPIC, &events, 50);
    let folder = tempfile::tempdir().unwrap();
    let index = index(&owned, &store(folder.path()));
    let query = SearchQuery { event_type: Some("many.*".into()), limit: 7, ..SearchQuery::default() };
    assert_eq!(all(&index, query).len(), 300);
    let query = SearchQuery { event_type: Some("many.t14*".into()), limit: 7, ..SearchQuery::default() };
    assert_eq!(all(&index, query).len(), 2 * 11);
}

#[test]
fn what_was_appended_is_found_by_its_position_and_id_at_once() {
    let mut owned = Owned::new(&[TOPIC], 2);
    owned.write(TOPIC, &business(10), 5);
    let folder = tempfile::tempdir().unwrap();
    let index = index(&owned, &store(folder.path()));
    owned.write(TOPIC, &[order(900, 3, 1, 1, "USD")], 1);
    assert!(index.reached(&owned.ends(TOPIC)));
    assert_eq!(index.by_id("order-900").unwrap().len(), 1);
    owned.write(TOPIC, &[order(901, 3, 1, 1, "USD")], 1);
    assert_eq!(index.by_id("order-901").unwrap().len(), 1, "without waiting");
    let beyond: Vec<_> = owned.ends(TOPIC).into_iter().map(|(at, last)| (at, last + 1)).collect();
    assert!(!index.reached(&beyond));
    // The first event of a topic that has just appeared.
    let spec = tol_kafka::TopicSpec { name: SYSTEM.to_owned(), partitions: 2, retention: None };
    owned.log.ensure_topics(&[spec]).unwrap();
    owned.write(SYSTEM, &[Event::new("own", "/systems/x", "revenue.recognized.v1", "customer/1")], 1);
    assert!(index.reached(&owned.ends(SYSTEM)));
}

#[test]
fn a_trace_is_the_tree_of_causes() {
    let mut owned = Owned::new(&[TOPIC, SYSTEM], 2);
    let caused = |id: &str, cause: &str| {
        let mut event = Event::new(id, "/systems/x", "revenue.recognized.v1", "customer/1");
        event.set(Attribute::CorrelationId, "order-3").set(Attribute::CausationId, cause);
        event
    };
    owned.write(TOPIC, &[order(3, 1, 1, 5, "USD"), order(4, 1, 1, 5, "USD")], 1);
    owned.write(SYSTEM, &[caused("a", "order-3"), caused("b", "order-3"), caused("c", "a"), caused("loop1", "loop2"), caused("loop2", "loop1")], 2);
    let folder = tempfile::tempdir().unwrap();
    let index = index(&owned, &store(folder.path()));
    let trace = index.trace("order-3").unwrap().unwrap();
    fn shape(node: &serde_json::Value) -> String {
        let children: Vec<String> = node["caused"].as_array().unwrap().iter().map(shape).collect();
        format!("{}[{}]", node["event"]["id"].as_str().unwrap(), children.join(" "))
    }
    let roots: Vec<String> = trace["roots"].as_array().unwrap().iter().map(shape).collect();
    assert_eq!(trace["count"], 6);
    assert!(roots.contains(&"order-3[a[c[]] b[]]".to_owned()), "{roots:?}");
    assert_eq!(roots.len(), 2, "a circle of causes is shown once: {roots:?}");
    assert_eq!(index.trace("nothing").unwrap(), None);
}

#[test]
fn the_past_of_one_subject_equals_the_past_of_the_whole() {
    let mut owned = Owned::new(&[TOPIC], 4);
    owned.write(TOPIC, &business(500), 7);
    let folder = tempfile::tempdir().unwrap();
    let rocks = store(folder.path());
    let engine = engine(&owned, &rocks);
    settle(&engine);
    let full = index(&owned, &rocks);
    let nothing_indexed = tempfile::tempdir().unwrap();
    let lagging = EventIndex::open(Arc::new(owned.log.clone()), store(nothing_indexed.path())).unwrap();
    for as_of in [AsOf::EventTime(EventTime::from_secs(50 * 86_400)), AsOf::KnownAt(EventTime::from_secs(1_050 * 86_400))] {
        let _ = engine.as_of_all("customers", as_of).unwrap();
        settle(&engine);
        let _ = engine.as_of_all("customers", as_of).unwrap();
        for key in 0..25 {
            let key = key.to_string();
            let expected = engine.as_of_get("customers", as_of, &key).unwrap().expect("folded");
            assert_eq!(engine.as_of_key(&full, "customers", &key, as_of).unwrap(), expected, "{key}");
            assert_eq!(engine.as_of_key(&lagging, "customers", &key, as_of).unwrap(), expected, "{key}");
        }
    }
}

/// A log that cannot be read now in its last partition.
struct Interrupted {
    log: tol_kafka::MemoryLog,
    partition: u32,
    interrupted: AtomicBool,
}

impl EventLog for Interrupted {
    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<tol_kafka::Batch>>, tol_kafka::Error> {
        if from.partition == self.partition && self.interrupted.load(Ordering::SeqCst) {
            return Err(tol_kafka::Error::Unavailable("as asked".to_owned()));
        }
        self.log.read(from, position, max_bytes)
    }

    fn append(&self, appends: Vec<tol_kafka::Append>, done: tol_kafka::AppendDone) {
        self.log.append(appends, done);
    }

    fn bounds(&self, of: &TopicPartition) -> Result<tol_kafka::Bounds, tol_kafka::Error> {
        self.log.bounds(of)
    }

    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, tol_kafka::Error> {
        self.log.position_at(of, time)
    }

    fn topics(&self) -> Result<Vec<(String, u32)>, tol_kafka::Error> {
        self.log.topics()
    }

    fn ensure_topics(&self, topics: &[tol_kafka::TopicSpec]) -> Result<(), tol_kafka::Error> {
        self.log.ensure_topics(topics)
    }

    fn watch(&self, woken: Arc<dyn Fn(&TopicPartition) + Send + Sync>) {
        self.log.watch(woken);
    }

    fn join(&self, partitions: u32, changed: Arc<dyn Fn(tol_kafka::Assignment) + Send + Sync>) {
        self.log.join(partitions, changed);
    }

    fn identity(&self) -> String {
        self.log.identity()
    }

    fn health(&self) -> tol_kafka::Health {
        self.log.health()
    }

    fn close(&self) {
        self.log.close();
    }
}

#[test]
fn a_log_that_fails_amid_a_round_leaves_no_hole() {
    let mut owned = Owned::new(&[TOPIC], 4);
    owned.write(TOPIC, &business(100), 7);
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(Interrupted { log: owned.log.clone(), partition: 3, interrupted: AtomicBool::new(true) });
    let index = EventIndex::open(log.clone(), store(folder.path())).unwrap();
    assert!(index.step().is_err());
    log.interrupted.store(false, Ordering::SeqCst);
    while index.step().unwrap() {}
    assert_eq!(all(&index, SearchQuery { limit: 1_000, ..SearchQuery::default() }).len(), 100);
}

#[test]
fn deltas_read_back() {
    let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1];
    let mut bytes = Vec::new();
    numbers.iter().for_each(|number| write_number(&mut bytes, *number));
    assert_eq!(read_deltas(&bytes).collect::<Vec<_>>(), numbers);
}
