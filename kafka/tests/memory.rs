//! The in-memory log: the conformance suite, and what its faults do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tol_kafka::conformance::{self, Subject, append_of, read_all, record, topic};
use tol_kafka::memory::{Faults, MemoryLog};
use tol_kafka::{Append, Appended, Assignment, Error, EventLog};

fn subject(log: &MemoryLog) -> Subject {
    Subject { log: Arc::new(log.clone()), conditional: true, prefix: String::new() }
}

#[test]
fn conforms() {
    for seed in 0..5 {
        conformance::run(&subject(&MemoryLog::new(seed, Faults::default())));
    }
}

#[test]
fn kafka_like_conforms() {
    let log = MemoryLog::new(7, Faults { kafka_like: true, ..Faults::default() });
    conformance::run(&Subject { conditional: false, ..subject(&log) });
}

/// What the writer of each call was told, if anything.
type Told = Vec<Option<Result<Vec<Appended>, Error>>>;

/// Two clients append `calls` times each under a storm; gives what each was told and what the log holds.
fn storm(seed: u64, faults: Faults, crash_at: usize) -> (Told, Vec<String>) {
    let log = MemoryLog::new(seed, faults);
    let partitions = topic(&subject(&log), "t", 2);
    let clients = [log.client("a"), log.client("b")];
    let told = Arc::new(Mutex::new(vec![None; 40]));
    for call in 0..40 {
        let appends =
            (0..3).map(|part| append_of(&partitions[part % 2], vec![record(&format!("{call:02}/{part}/0")), record(&format!("{call:02}/{part}/1"))])).collect();
        let told = told.clone();
        clients[call % 2].append(appends, Box::new(move |result| assert!(told.lock().unwrap()[call].replace(result).is_none(), "called twice")));
        if call == crash_at {
            clients[0].crash();
        }
        if call % 3 == 0 {
            log.run_one();
        }
    }
    log.run_all();
    assert_eq!(log.pending(), 0);
    let read = partitions.iter().flat_map(|partition| read_all(&log, partition, 0)).map(|read| String::from_utf8(read.value).unwrap()).collect();
    let told = told.lock().unwrap().clone();
    (told, read)
}

#[test]
fn a_storm_tells_the_truth_and_follows_from_the_seed() {
    let (mut lost, mut refused, mut crossed) = (0, 0, 0);
    for seed in 0..200 {
        for faults in [Faults::kafka_storm(), Faults::embedded_storm()] {
            let (told, read) = storm(seed, faults.clone(), usize::MAX);
            assert_eq!(format!("{:?}", storm(seed, faults.clone(), usize::MAX)), format!("{:?}", (&told, &read)), "same seed, same history");
            for (call, told) in told.iter().enumerate() {
                let count = read.iter().filter(|value| value.starts_with(&format!("{call:02}/"))).count();
                match told.as_ref().expect("an answer") {
                    Ok(appended) => assert_eq!((count, appended.len()), (6, 3)),
                    Err(_) if faults.kafka_like => assert!(count % 2 == 0),
                    Err(_) => assert!(count == 6 || count == 0),
                }
                match told {
                    Some(Err(_)) if count == 6 => lost += 1,
                    Some(Err(_)) => refused += 1,
                    _ => {}
                }
            }
            // Records of one part lie together; parts of one call need not on Kafka.
            for pair in read.chunks(2) {
                assert_eq!(pair[0][..5], pair[1][..5]);
            }
            let split = read.windows(4).any(|four| four[0][..2] == four[3][..2] && four[1][..2] != four[2][..2]);
            crossed += usize::from(faults.kafka_like && split);
            for client in 0..2 {
                let own = read.iter().filter(|value| value[..2].parse::<usize>().unwrap() % 2 == client);
                // Two partitions one after the other, each in the order of the calls.
                assert!(own.collect::<Vec<_>>().windows(2).filter(|pair| pair[0] > pair[1]).count() <= 1);
            }
        }
    }
    assert!(lost > 50 && refused > 50, "{lost} {refused} {crossed}");
}

#[test]
fn a_crashed_client_hears_nothing_and_leaves_a_prefix_in_each_partition() {
    let mut whole = 0;
    for seed in 0..200 {
        let (told, read) = storm(seed, Faults { delayed_ack: 0.5, kafka_like: true, ..Faults::stepped() }, 20);
        for call in (20..40).step_by(2) {
            assert!(told[call].is_none(), "call {call} of a crashed client was answered");
            assert!(call == 20 || !read.iter().any(|value| value.starts_with(&format!("{call:02}/"))));
        }
        for part in ["1", "0"] {
            let calls: Vec<usize> = (0..=20).step_by(2).filter(|call| read.contains(&format!("{call:02}/{part}/0"))).collect();
            assert_eq!(calls, (0..=20).step_by(2).take(calls.len()).collect::<Vec<_>>(), "a first few");
            whole += usize::from(calls.len() == 11);
        }
    }
    assert!(whole > 0, "what was in flight may reach the log after the crash");
}

#[test]
fn conflicts_are_decided_when_applied() {
    let log = MemoryLog::new(1, Faults::stepped());
    let to = topic(&subject(&log), "t", 1).remove(0);
    let conflicts = Arc::new(AtomicUsize::new(0));
    for client in [log.client("a"), log.client("b")] {
        let conflicts = conflicts.clone();
        let append = Append { to: to.clone(), expected: Some(0), records: vec![record("claim")] };
        client.append(
            vec![append],
            Box::new(move |result| {
                conflicts.fetch_add(usize::from(matches!(result, Err(Error::Conflict { .. }))), Ordering::Relaxed);
            }),
        );
    }
    assert_eq!(log.bounds(&to).unwrap().end, 0);
    log.run_all();
    assert_eq!((log.bounds(&to).unwrap().end, conflicts.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn partitions_move_when_a_client_crashes() {
    let log = MemoryLog::new(1, Faults::default());
    let (a, b) = (log.client("a"), log.client("b"));
    let seen: Arc<Mutex<Vec<(char, Assignment)>>> = Arc::default();
    for (client, name) in [(&a, 'a'), (&b, 'b')] {
        let seen = seen.clone();
        client.join(4, Arc::new(move |assignment| seen.lock().unwrap().push((name, assignment))));
    }
    a.crash();
    let last = seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.0, last.1.partitions), ('b', (0..4).collect()));
    log.set_reachable(false);
    assert!(matches!(conformance::append(&log, vec![]), Err(Error::Unavailable(_))));
    assert!(!b.health().ready);
}
