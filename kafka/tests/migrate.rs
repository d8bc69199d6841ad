//! Moving a log: positions kept, gone on with after an interruption, refused where positions would differ.

use std::sync::Arc;

use tol_kafka::conformance::{append, append_of, read_all, record};
use tol_kafka::migrate::{Moved, migrate};
use tol_kafka::{EmbeddedLog, EmbeddedOptions, Error, EventLog, Faults, MemoryLog, TopicPartition, TopicSpec};

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn value(number: u64) -> String {
    format!("{number:06}{}", "x".repeat(number as usize % 90))
}

fn fill(log: &dyn EventLog, of: &TopicPartition, records: u64) {
    let end = log.bounds(of).unwrap().end;
    for first in (end..end + records).step_by(7) {
        let last = (first + 7).min(end + records);
        append(log, vec![append_of(of, (first..last).map(|number| record(&value(number))).collect())]).unwrap();
    }
}

fn embedded(folder: &std::path::Path) -> Arc<EmbeddedLog> {
    let options = EmbeddedOptions { segment_bytes: 8 << 10, recent_bytes: 0, ..EmbeddedOptions::default() };
    let log = EmbeddedLog::open(folder, options).unwrap().0;
    let spec = |name: &str, partitions| TopicSpec { name: name.into(), partitions, retention: None };
    log.ensure_topics(&[spec("facts.customer", 2), spec("control", 1), spec("empty", 3)]).unwrap();
    fill(&*log, &at("facts.customer", 0), 500);
    fill(&*log, &at("facts.customer", 1), 60);
    fill(&*log, &at("control", 0), 1);
    log
}

fn equal(left: &dyn EventLog, right: &dyn EventLog) {
    assert_eq!(left.topics().unwrap(), right.topics().unwrap());
    for (topic, partitions) in left.topics().unwrap() {
        for partition in 0..partitions {
            assert_eq!(read_all(left, &at(&topic, partition), 0), read_all(right, &at(&topic, partition), 0));
        }
    }
}

#[test]
fn everything_is_moved_once_and_an_interrupted_move_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let source = embedded(folder.path());
    let target = MemoryLog::new(1, Faults::default());
    let mut last = None;
    let moved = migrate(&*source, &target, &mut |progress| last = Some(progress)).unwrap();
    assert_eq!(moved, Moved { partitions: 6, found: 0, appended: 561 });
    assert_eq!(last.map(|last| (last.done, last.of)), Some((1122, 1122)));
    equal(&*source, &target);
    assert_eq!(migrate(&*source, &target, &mut |_| {}).unwrap(), Moved { partitions: 6, found: 561, appended: 0 }, "again, nothing is appended");
    equal(&*source, &target);
    // Interrupted in the middle of a partition.
    let interrupted = MemoryLog::new(2, Faults::default());
    let spec = |name: &str, partitions| TopicSpec { name: name.into(), partitions, retention: None };
    interrupted.ensure_topics(&[spec("facts.customer", 2), spec("control", 1)]).unwrap();
    fill(&interrupted, &at("facts.customer", 0), 123);
    assert_eq!(migrate(&*source, &interrupted, &mut |_| {}).unwrap(), Moved { partitions: 6, found: 123, appended: 438 });
    equal(&*source, &interrupted);
}

#[test]
fn where_positions_would_differ_nothing_is_appended() {
    let folder = tempfile::tempdir().unwrap();
    let source = embedded(folder.path());
    let refused = |prepare: &dyn Fn(&MemoryLog)| {
        let target = MemoryLog::new(1, Faults::default());
        target.ensure_topics(&[TopicSpec { name: "control".into(), partitions: 1, retention: None }]).unwrap();
        prepare(&target);
        let before = target.bounds(&at("control", 0)).unwrap();
        let error = migrate(&*source, &target, &mut |_| {}).unwrap_err();
        assert_eq!(target.bounds(&at("control", 0)).unwrap(), before);
        assert_eq!(target.bounds(&at("facts.customer", 1)).map_or(0, |bounds| bounds.end), 0);
        error.to_string()
    };
    let other = refused(&|target| drop(append(target, vec![append_of(&at("control", 0), vec![record("another")])]).unwrap()));
    assert!(other.contains("control/0: another record is at position 0"), "{other}");
    let more = refused(&|target| fill(target, &at("control", 0), 2));
    assert!(more.contains("control/0: 2 records are there"), "{more}");
    let target = MemoryLog::new(1, Faults::default());
    target.ensure_topics(&[TopicSpec { name: "facts.customer".into(), partitions: 4, retention: None }]).unwrap();
    assert!(matches!(migrate(&*source, &target, &mut |_| {}), Err(Error::PartitionMismatch { .. })));
}
