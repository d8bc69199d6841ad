use super::*;
use crate::testing::{Owned, business, engine, order, settle, store};
use crate::{AsOf, Error};
use tol_events::{Event, EventTime};

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
