//! What every [`EventLog`] must do. Each check works on topics of its own, so they can run over one log in any order; a check panics where the log is wrong.

// It is test code that lives here because the tests of three logs, and of other crates, share it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tol_events::{Attribute, Event, EventTime};

use crate::log::{Append, Appended, Error, EventLog, Position, TopicPartition, TopicSpec};
use crate::record::Record;

/// How long anything may take; only a log that is wrong needs so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log under test.
#[derive(Clone)]
pub struct Subject {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// It refuses appends at another position than expected, and appends of one call are atomic.
    pub conditional: bool,
    /// Makes topic names unique when several runs share a broker.
    pub prefix: String,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subject({})", self.prefix)
    }
}

type Check = (&'static str, fn(&Subject));

/// All checks by name.
pub const CHECKS: &[Check] = &[
    ("positions_are_dense_and_ordered", positions_are_dense_and_ordered),
    ("reads_work_from_every_position", reads_work_from_every_position),
    ("a_call_appends_to_several_partitions", a_call_appends_to_several_partitions),
    ("a_wrong_expected_position_changes_nothing", a_wrong_expected_position_changes_nothing),
    ("everything_about_a_record_is_kept", everything_about_a_record_is_kept),
    ("events_are_kept", events_are_kept),
    ("large_records_are_kept", large_records_are_kept),
    ("positions_are_found_by_time", positions_are_found_by_time),
    ("topics_are_created_once", topics_are_created_once),
    ("what_does_not_exist_is_an_error", what_does_not_exist_is_an_error),
    ("watchers_are_woken", watchers_are_woken),
    ("concurrent_appenders_keep_their_order", concurrent_appenders_keep_their_order),
    ("reading_while_writing_sees_each_record_once", reading_while_writing_sees_each_record_once),
    ("one_process_owns_all", one_process_owns_all),
];

/// Runs all checks.
pub fn run(subject: &Subject) {
    for (name, check) in CHECKS {
        let started = Instant::now();
        check(subject);
        println!("{name} ok in {:?}", started.elapsed());
    }
}

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its position.
    pub position: Position,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers, sorted.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its value.
    pub value: Vec<u8>,
}

/// A record with a value and nothing else.
pub fn record(value: &str) -> Record {
    let mut record = Record::default();
    record.value(value.as_bytes());
    record
}

/// An unconditional append.
pub fn append_of(to: &TopicPartition, records: Vec<Record>) -> Append {
    Append { to: to.clone(), expected: None, records }
}

/// Appends and waits for the answer.
pub fn append(log: &dyn EventLog, appends: Vec<Append>) -> Result<Vec<Appended>, Error> {
    let (send, answer) = mpsc::channel();
    log.append(appends, Box::new(move |result| drop(send.send(result))));
    answer.recv_timeout(PATIENCE).expect("an append was neither acknowledged nor refused")
}

/// Reads a partition from `from` to its end.
pub fn read_all(log: &dyn EventLog, of: &TopicPartition, from: Position) -> Vec<Read> {
    let end = log.bounds(of).unwrap().end;
    let mut read = Vec::new();
    let mut next = from;
    let started = Instant::now();
    while next < end {
        assert!(started.elapsed() < PATIENCE, "{of} could be read to {next} only, it ends at {end}");
        for batch in log.read(of, next, 64 << 10).unwrap() {
            assert!(batch.base() <= next && next < batch.end(), "{batch:?} was read at {next}");
            assert_eq!(batch.topic_partition(), of);
            for record in batch.records().unwrap().into_iter().filter(|record| record.position >= next) {
                let mut headers: Vec<_> = record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
                headers.sort();
                read.push(Read { position: record.position, key: record.key.map(<[u8]>::to_vec), headers, value: record.value.to_vec() });
            }
            next = batch.end();
        }
    }
    read
}

/// Creates a topic of the subject's and names its partitions.
pub fn topic(subject: &Subject, name: &str, partitions: u32) -> Vec<TopicPartition> {
    let name = format!("{}{name}", subject.prefix);
    subject.log.ensure_topics(&[TopicSpec { name: name.clone(), partitions, retention: None }]).unwrap();
    (0..partitions).map(|partition| TopicPartition::new(name.as_str(), partition)).collect()
}

fn values(read: &[Read]) -> Vec<String> {
    read.iter().map(|read| String::from_utf8(read.value.clone()).unwrap()).collect()
}

fn positions_are_dense_and_ordered(subject: &Subject) {
    let log = &*subject.log;
    let to = &topic(subject, "dense", 2)[1];
    assert_eq!((log.bounds(to).unwrap().earliest, log.bounds(to).unwrap().end), (0, 0));
    assert!(log.read(to, 0, 1000).unwrap().is_empty());
    let mut next = 0;
    for round in 0..20u64 {
        let count = round % 7 + 1;
        let records = (next..next + count).map(|position| record(&position.to_string())).collect();
        let appended = append(log, vec![append_of(to, records)]).unwrap();
        assert_eq!(appended, [Appended { to: to.clone(), positions: (next..next + count).collect() }]);
        next += count;
        assert_eq!(log.bounds(to).unwrap().end, next, "the end after an acknowledgement");
    }
    let read = read_all(log, to, 0);
    assert_eq!(read.iter().map(|read| read.position).collect::<Vec<_>>(), (0..next).collect::<Vec<_>>());
    assert_eq!(values(&read), (0..next).map(|position| position.to_string()).collect::<Vec<_>>());
    assert!(log.read(to, next, 1000).unwrap().is_empty(), "nothing at the end");
}

fn reads_work_from_every_position(subject: &Subject) {
    let log = &*subject.log;
    let to = &topic(subject, "any-position", 1)[0];
    let mut total = 0u64;
    for round in 0..12u64 {
        let count = round * 5 % 13 + 1;
        append(log, vec![append_of(to, (total..total + count).map(|number| record(&format!("{number:0>50}"))).collect())]).unwrap();
        total += count;
    }
    for from in 0..total {
        let batches = log.read(to, from, if from % 3 == 0 { 1 } else { 400 }).unwrap();
        assert!(!batches.is_empty(), "at least one batch, however small the limit");
        let mut next = from;
        for batch in &batches {
            assert!(batch.base() <= next && next < batch.end(), "{batch:?} does not hold {next}");
            let records = batch.records().unwrap();
            assert_eq!(records.len(), batch.len());
            for record in records {
                assert_eq!(record.value, format!("{:0>50}", record.position).as_bytes());
            }
            next = batch.end();
        }
        assert!(next <= total);
    }
    let whole: usize = log.read(to, 0, 1 << 20).unwrap().iter().map(|batch| batch.len()).sum();
    assert!(whole > 0);
}

fn a_call_appends_to_several_partitions(subject: &Subject) {
    let log = &*subject.log;
    let partitions = topic(subject, "several", 3);
    for round in 0..5u64 {
        let one = |partition: usize, what: &str| append_of(&partitions[partition], vec![record(&format!("{round}{what}")), record(&format!("{round}{what}'"))]);
        let appended = append(log, vec![one(2, "a"), one(0, "b"), one(2, "c")]).unwrap();
        let expected = [(2, round * 4), (0, round * 2), (2, round * 4 + 2)];
        for (appended, (partition, base)) in appended.iter().zip(expected) {
            assert_eq!(*appended, Appended { to: partitions[partition].clone(), positions: vec![base, base + 1] });
        }
    }
    assert_eq!(log.bounds(&partitions[1]).unwrap().end, 0);
    assert_eq!(values(&read_all(log, &partitions[2], 16)), ["4a", "4a'", "4c", "4c'"]);
}

fn a_wrong_expected_position_changes_nothing(subject: &Subject) {
    let log = &*subject.log;
    let partitions = topic(subject, "expected", 2);
    let at = |partition: usize, expected| Append { to: partitions[partition].clone(), expected: Some(expected), records: vec![record("x"), record("y")] };
    append(log, vec![at(0, 0)]).unwrap();
    append(log, vec![at(0, 2), at(1, 0), at(0, 4)]).unwrap();
    if !subject.conditional {
        return;
    }
    for wrong in [5, 7, 0] {
        match append(log, vec![at(1, 2), at(0, wrong)]).unwrap_err() {
            Error::Conflict { to, expected, end } => assert_eq!((to, expected, end), (partitions[0].clone(), wrong, 6)),
            other => panic!("{other:?}"),
        }
        assert_eq!(log.bounds(&partitions[0]).unwrap().end, 6);
        assert_eq!(log.bounds(&partitions[1]).unwrap().end, 2, "the other part of the call must not be written");
    }
    append(log, vec![at(1, 2), at(0, 6)]).unwrap();
}

fn everything_about_a_record_is_kept(subject: &Subject) {
    let log = &*subject.log;
    let to = &topic(subject, "kept", 1)[0];
    let mut records = Vec::new();
    for number in 0..4u8 {
        let mut record = Record::default();
        match number {
            0 => {}
            1 => drop(record.key(b"")),
            _ => drop(record.key(&[0xff, 0, number])),
        }
        record.attribute(Attribute::Id, &format!("id-{number}")).attribute(Attribute::DataContentType, "application/json");
        record.header("constant", b"same").header("empty", b"").header("bytes", &[0xc3, 0x28, 0, number]).header("ce_extension", "größe".as_bytes());
        if number % 2 == 0 {
            record.header("twice", b"1").header("twice", b"2");
        }
        let value = [0xfe, number, 0];
        record.value(if number == 3 { b"" } else { &value });
        records.push(record);
    }
    append(log, vec![append_of(to, records.clone())]).unwrap();
    append(log, vec![append_of(to, vec![records[2].clone()])]).unwrap();
    records.push(records[2].clone());
    let read = read_all(log, to, 0);
    assert_eq!(read.len(), records.len());
    for (position, (read, written)) in read.into_iter().zip(&records).enumerate() {
        let mut headers: Vec<_> = written.headers().map(|(name, value)| (name.as_str().to_owned(), value.to_vec())).collect();
        headers.sort();
        let expected = Read { position: position as u64, key: written.key_bytes().map(<[u8]>::to_vec), headers, value: written.value_bytes().to_vec() };
        assert_eq!(read, expected);
    }
}

fn events_are_kept(subject: &Subject) {
    let log = &*subject.log;
    let to = &topic(subject, "events", 1)[0];
    let events: Vec<Event> = (0..3)
        .map(|number| {
            let mut event = Event::new(format!("e{number}"), "/shop", "shop.order_paid.v1", "customer/7");
            event.extensions.insert("color".into(), "green".into());
            event.data = format!("{{\"n\":{number}}}").into_bytes();
            event
        })
        .collect();
    append(log, vec![append_of(to, events.iter().map(Record::from_event).collect())]).unwrap();
    let mut found = Vec::new();
    let mut next = 0;
    while next < 3 {
        for batch in log.read(to, next, 1 << 20).unwrap() {
            found.extend(batch.events_from(next).map(|(_, view)| (view.id().to_owned(), view.data().to_vec(), view.extensions().count())));
            next = batch.end();
        }
    }
    assert_eq!(found, events.iter().enumerate().map(|(number, event)| (format!("e{number}"), event.data.clone(), 1)).collect::<Vec<_>>());
}

fn large_records_are_kept(subject: &Subject) {
    let log = &*subject.log;
    let to = &topic(subject, "large", 1)[0];
    // Does not compress: a generator by Marsaglia (xorshift64).
    let mut state = 88_172_645_463_325_252u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let values: Vec<Vec<u8>> = (0..3).map(|_| (0..1_000_000).map(|_| noise()).collect()).collect();
    for value in &values {
        let mut record = Record::default();
        record.value(value);
        append(log, vec![append_of(to, vec![record])]).unwrap();
    }
    let read = read_all(log, to, 0);
    assert!(read.iter().map(|read| &read.value).eq(values.iter()));
}

fn positions_are_found_by_time(subject: &Subject) {
    let log = &*subject.log;
    let to = &topic(subject, "time", 1)[0];
    let mut bases = Vec::new();
    for _ in 0..4 {
        bases.push(append(log, vec![append_of(to, vec![record("a"), record("b")])]).unwrap()[0].positions[0]);
        // The log's clock has milliseconds.
        std::thread::sleep(Duration::from_millis(3));
    }
    let end = log.bounds(to).unwrap().end;
    assert_eq!(log.position_at(to, EventTime::from_millis(0)).unwrap(), 0);
    assert_eq!(log.position_at(to, EventTime::from_secs(4_102_444_800)).unwrap(), end, "nothing was appended in 2100");
    for base in bases {
        let batches = log.read(to, base, 1).unwrap();
        let batch = batches.iter().find(|batch| batch.end() > base).expect("a batch at a position that was acknowledged");
        if batch.base() == base {
            assert_eq!(log.position_at(to, EventTime::from_millis(batch.appended_at_ms())).unwrap(), base);
        }
    }
}

fn topics_are_created_once(subject: &Subject) {
    let log = &*subject.log;
    let partitions = topic(subject, "once", 3);
    let name = partitions[0].topic.to_string();
    append(log, vec![append_of(&partitions[0], vec![record("stays")])]).unwrap();
    let spec = |partitions| TopicSpec { name: name.clone(), partitions, retention: None };
    log.ensure_topics(&[spec(3)]).unwrap();
    assert_eq!(log.bounds(&partitions[0]).unwrap().end, 1);
    match log.ensure_topics(&[spec(4)]).unwrap_err() {
        Error::PartitionMismatch { topic, configured, found } => assert_eq!((topic, configured, found), (name.clone(), 4, 3)),
        other => panic!("{other:?}"),
    }
    let topics = log.topics().unwrap();
    assert!(topics.contains(&(name.clone(), 3)), "{topics:?}");
    assert!(topics.is_sorted());
    for invalid in [TopicSpec { name: "no spaces".into(), partitions: 1, retention: None }, TopicSpec { partitions: 0, ..spec(0) }] {
        assert!(matches!(log.ensure_topics(&[invalid]), Err(Error::Invalid(_))));
    }
    assert!(!log.identity().is_empty());
    assert_eq!(log.identity(), log.identity());
    assert!(log.health().ready, "{:?}", log.health());
}

fn what_does_not_exist_is_an_error(subject: &Subject) {
    let log = &*subject.log;
    let to = topic(subject, "exists", 1).remove(0);
    for unknown in [TopicPartition::new(format!("{}nowhere", subject.prefix), 0), TopicPartition::new(to.topic.clone(), 1)] {
        assert!(matches!(append(log, vec![append_of(&to, vec![record("x")]), append_of(&unknown, vec![record("x")])]), Err(Error::Unknown(_))), "{unknown}");
        assert!(matches!(log.read(&unknown, 0, 1), Err(Error::Unknown(_))));
        assert!(matches!(log.bounds(&unknown), Err(Error::Unknown(_))));
        assert!(matches!(log.position_at(&unknown, EventTime::from_secs(0)), Err(Error::Unknown(_))));
    }
    assert_eq!(log.bounds(&to).unwrap().end, 0, "a refused call writes nothing");
    assert!(matches!(append(log, vec![append_of(&to, vec![])]), Err(Error::Invalid(_))));
    assert!(matches!(append(log, vec![]), Err(Error::Invalid(_))));
    match log.read(&to, 5, 1).unwrap_err() {
        Error::OutOfRange { of, position, earliest, end } => assert_eq!((of, position, earliest, end), (to, 5, 0, 0)),
        other => panic!("{other:?}"),
    }
}

fn watchers_are_woken(subject: &Subject) {
    let log = &*subject.log;
    let partitions = topic(subject, "watched", 2);
    for partition in &partitions {
        // A log need not watch what nobody reads.
        assert!(log.read(partition, 0, 1).unwrap().is_empty());
    }
    let (send, woken) = mpsc::channel();
    log.watch(Arc::new(move |partition| drop(send.send(partition.clone()))));
    for to in [&partitions[1], &partitions[0], &partitions[1]] {
        append(log, vec![append_of(to, vec![record("x")])]).unwrap();
        let end = log.bounds(to).unwrap().end;
        let started = Instant::now();
        while woken.recv_timeout(PATIENCE).expect("a watcher was not woken") != *to {
            assert!(started.elapsed() < PATIENCE);
        }
        assert_eq!(read_all(log, to, end - 1).len(), 1, "what a watcher is woken for can be read");
    }
}

fn concurrent_appenders_keep_their_order(subject: &Subject) {
    const APPENDERS: usize = 8;
    const CALLS: usize = 40;
    let partitions = topic(subject, "concurrent", 2);
    let acknowledged = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for appender in 0..APPENDERS {
            let (log, partitions, acknowledged) = (&subject.log, &partitions, &acknowledged);
            scope.spawn(move || {
                let (send, answers) = mpsc::channel();
                for call in 0..CALLS {
                    let records = (0..call % 3 + 1).map(|part| record(&format!("{appender}/{call:03}/{part}"))).collect();
                    let send = send.clone();
                    log.append(vec![append_of(&partitions[call % 2], records)], Box::new(move |result| drop(send.send(result.unwrap()))));
                }
                drop(send);
                for _ in 0..CALLS {
                    let appended = answers.recv_timeout(PATIENCE).expect("an append was not acknowledged");
                    let positions = &appended[0].positions;
                    assert!(positions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "records of one call lie together: {positions:?}");
                    acknowledged.fetch_add(positions.len() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let mut total = 0;
    for partition in &partitions {
        let read = values(&read_all(&*subject.log, partition, 0));
        total += read.len() as u64;
        for appender in 0..APPENDERS {
            let own: Vec<_> = read.iter().filter(|value| value.starts_with(&format!("{appender}/"))).collect();
            assert!(own.is_sorted() && own.len() > CALLS / 2, "{own:?}");
        }
    }
    assert_eq!(total, acknowledged.load(Ordering::Relaxed));
}

fn reading_while_writing_sees_each_record_once(subject: &Subject) {
    const TOTAL: u64 = 400;
    let to = &topic(subject, "tail", 1)[0];
    std::thread::scope(|scope| {
        let reader = || {
            let mut next = 0;
            let started = Instant::now();
            while next < TOTAL {
                assert!(started.elapsed() < PATIENCE, "only {next} of {TOTAL} records were seen");
                for batch in subject.log.read(to, next, 1000).unwrap() {
                    for record in batch.records().unwrap().iter().filter(|record| record.position >= next) {
                        assert_eq!(record.value, record.position.to_string().as_bytes());
                    }
                    assert!(batch.base() <= next && batch.end() > next);
                    next = batch.end();
                }
            }
        };
        scope.spawn(reader);
        scope.spawn(reader);
        for first in (0..TOTAL).step_by(4) {
            append(&*subject.log, vec![append_of(to, (first..first + 4).map(|position| record(&position.to_string())).collect())]).unwrap();
        }
    });
}

fn one_process_owns_all(subject: &Subject) {
    let (send, assignments) = mpsc::channel();
    let partitions = topic(subject, "ownership", 4).len() as u32;
    subject.log.join(partitions, Arc::new(move |assignment| drop(send.send(assignment))));
    let started = Instant::now();
    while assignments.recv_timeout(PATIENCE).expect("no assignment").partitions != (0..partitions).collect() {
        assert!(started.elapsed() < PATIENCE);
    }
}
