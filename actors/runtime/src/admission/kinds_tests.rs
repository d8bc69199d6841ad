use tol_kafka::{Faults, MemoryLog};

use super::*;

fn log() -> MemoryLog {
    MemoryLog::new(1, Faults::default())
}

fn node(log: &MemoryLog, name: &str) -> Kinds {
    Kinds::open(log.client(name), 2, name).unwrap()
}

fn topic(kinds: &Kinds, subject: &str) -> Option<String> {
    kinds.topic_of(subject).map(|topic| topic.to_string())
}

fn append(log: &MemoryLog, topic: &str, event: Event) {
    let (sender, done) = mpsc::channel();
    let append = Append { to: TopicPartition::new(topic, 0), expected: None, records: vec![Record::from_event(&event)] };
    log.append(vec![append], Box::new(move |answer| sender.send(answer.map(drop)).unwrap()));
    done.recv().unwrap().unwrap();
}

/// Says where a kind lies, as a node of another version does.
fn placed_elsewhere(log: &MemoryLog, kind: &str, topic: &str) {
    let data = reserved::KindPlaced { kind: kind.into(), topic: topic.into() };
    append(log, TOPIC, Event::new("other", "/nodes/other", reserved::KIND_PLACED, format!("kind/{kind}")).with_data(&data).unwrap());
}

#[test]
fn the_first_fact_of_a_kind_places_it_on_every_node_and_after_a_restart() {
    let log = log();
    let (a, b) = (node(&log, "a"), node(&log, "b"));
    assert_eq!(topic(&a, "study/1"), None);
    assert!(a.topics_of(["customer", "study/1"].into_iter()).is_none(), "one of them has no place");
    a.place(["study", "shop"]).unwrap();
    assert_eq!((topic(&a, "study/1"), topic(&a, "shop/1")), (Some("facts.study".into()), Some(kinds::OTHER.into())));
    assert!(log.topics().unwrap().contains(&("facts.study".to_owned(), 2)), "the topic is there before the record says so");
    b.place(["study"]).unwrap();
    assert_eq!((topic(&b, "study/1"), topic(&b, "shop/1")), (topic(&a, "study/1"), topic(&a, "shop/1")));
    let end = log.bounds(&TopicPartition::new(TOPIC, 0)).unwrap().end;
    let again = node(&log, "a");
    again.place(["study", "shop"]).unwrap();
    assert_eq!(topic(&again, "study/2"), Some("facts.study".into()));
    assert_eq!(log.bounds(&TopicPartition::new(TOPIC, 0)).unwrap().end, end, "a kind is placed once");
}

#[test]
fn a_kind_met_before_it_was_declared_stays_where_it_is() {
    let log = log();
    let newer = node(&log, "newer");
    placed_elsewhere(&log, "study", kinds::OTHER); // an older version met it
    newer.place(["study", "heuristic"]).unwrap();
    assert_eq!((topic(&newer, "study/1"), topic(&newer, "heuristic/1")), (Some(kinds::OTHER.into()), Some("facts.study".into())));
    assert!(newer.is_split("facts.study") && !newer.is_split("facts.customer"));
}

#[test]
fn an_older_version_follows_a_newer_one_to_a_topic_it_never_heard_of() {
    let log = log();
    let older = node(&log, "older");
    let (sender, told) = mpsc::channel();
    older.watch(move |topic| sender.send(topic.to_string()).unwrap());
    placed_elsewhere(&log, "comet", "facts.comet");
    older.place(["comet"]).unwrap();
    assert_eq!(topic(&older, "comet/1"), Some("facts.comet".into()));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [kinds::OTHER, "facts.comet"]);
}

#[test]
fn of_two_nodes_that_meet_a_kind_at_once_the_first_record_holds_for_both() {
    let log = log();
    let nodes: Vec<Kinds> = ["a", "b", "c"].map(|name| node(&log, name)).into();
    std::thread::scope(|scope| {
        for node in &nodes {
            scope.spawn(|| node.place(["job", "comet", "queue"]).unwrap());
        }
    });
    for node in &nodes {
        assert_eq!((topic(node, "job/1"), topic(node, "comet/1")), (Some("facts.job".into()), Some(kinds::OTHER.into())));
    }
}

#[test]
fn a_log_older_than_the_records_is_surveyed_once() {
    let log = log();
    log.ensure_topics(&[spec(kinds::OTHER, 2)]).unwrap();
    append(&log, kinds::OTHER, Event::new("1", "/shop", "a.b.v1", "study/1"));
    append(&log, kinds::OTHER, Event::new("2", "/shop", "a.b.v1", "no kind"));
    let opened = node(&log, "a");
    assert_eq!((topic(&opened, "study/2"), topic(&opened, "tuning-target/1")), (Some(kinds::OTHER.into()), None));
    let end = log.bounds(&TopicPartition::new(TOPIC, 0)).unwrap().end;
    node(&log, "b");
    assert_eq!((end, log.bounds(&TopicPartition::new(TOPIC, 0)).unwrap().end), (2, 2));
}

#[test]
fn made_up_kinds_do_not_fill_the_memory() {
    let log = log();
    let opened = node(&log, "a");
    let made_up: Vec<String> = (0..MOST_UNDECLARED + 10).map(|number| format!("k{number}")).collect();
    opened.place(made_up.iter().map(String::as_str)).unwrap();
    let known = opened.placed().topics.len();
    assert!(known <= MOST_UNDECLARED, "{known}");
    assert_eq!(topic(&opened, "never-met/1"), Some(kinds::OTHER.into()));
    opened.place(["job"]).unwrap();
    assert_eq!(topic(&opened, "job/1"), Some(kinds::OTHER.into()), "from then on a kind may have been met without a record");
}

#[test]
fn a_record_that_does_not_read_stops_the_reader() {
    let log = log();
    let opened = node(&log, "a");
    placed_elsewhere(&log, "comet", "control");
    assert!(matches!(opened.place(["comet"]), Err(Error::Corrupt(_))));
}
