//! The log on Apache Kafka: the conformance suite and the broker's failures, against a real broker.
//!
//! `TOL_TEST_KAFKA=host:port` names a running one; otherwise one is started by `scripts/kafka.sh`. `TOL_SKIP_KAFKA=1` skips where neither can be.

use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::broker::{Broker, skipped};
use tol_kafka::conformance::{self, Subject, append, append_of, read_all, record, topic};
use tol_kafka::{Error, EventLog, KafkaLog, KafkaOptions, TopicPartition};

const PATIENCE: Duration = Duration::from_secs(60);

fn options(bootstrap: &str, prefix: &str) -> KafkaOptions {
    KafkaOptions { ownership_topic: format!("{prefix}ownership"), group: format!("{prefix}tol"), ..KafkaOptions::new(bootstrap) }
}

#[test]
fn conforms() {
    if skipped() {
        return;
    }
    let given = std::env::var("TOL_TEST_KAFKA").ok().filter(|address| !address.is_empty());
    let broker = given.is_none().then(|| Broker::start().expect("skipped only where TOL_SKIP_KAFKA is 1"));
    let address = given.unwrap_or_else(|| broker.as_ref().unwrap().address());
    let prefix = format!("t{}.", std::process::id());
    let log = KafkaLog::connect(options(&address, &prefix)).unwrap();
    conformance::run(&Subject { log: log.clone(), conditional: false, prefix: prefix.clone() });

    let identity = log.identity();
    let inbox = [tol_kafka::TopicSpec { name: "inbox".into(), partitions: 1, retention: Some(Duration::from_secs(3600)) }];
    log.ensure_topics(&inbox).unwrap();
    log.commit_inbox(0, 42);
    let started = Instant::now();
    while log.inbox_committed(0).ok().flatten() != Some(42) {
        assert!(started.elapsed() < PATIENCE);
    }
    // A second node shares the partitions, and gets all when the first leaves.
    let second = KafkaLog::connect(options(&address, &prefix)).unwrap();
    let (send, assignments) = mpsc::channel();
    second.join(
        4,
        Arc::new(move |assignment| {
            let _ = send.send(assignment.partitions.len());
        }),
    );
    let wait_for = |count| {
        let started = Instant::now();
        while assignments.recv_timeout(PATIENCE).expect("no assignment") != count {
            assert!(started.elapsed() < PATIENCE);
        }
    };
    wait_for(2);
    log.close();
    assert!(matches!(append(&*log, vec![append_of(&tol_kafka::TopicPartition::new("inbox", 0), vec![record("x")])]), Err(Error::Closed)));
    wait_for(4);
    assert_eq!(second.identity(), identity);
}

#[test]
fn a_broker_that_comes_and_goes() {
    if skipped() {
        return;
    }
    let broker = Broker::new();
    let log = KafkaLog::connect(options(&broker.address(), "")).unwrap();
    assert!(!log.health().ready);
    let to = tol_kafka::TopicPartition::new("t", 0);
    assert!(matches!(append(&*log, vec![append_of(&to, vec![record("x")])]), Err(Error::Unavailable(_))));
    broker.run("up").expect("no broker; set TOL_SKIP_KAFKA=1 where none can run");
    let to = topic(&Subject { log: log.clone(), conditional: false, prefix: String::new() }, "t", 1).remove(0);
    assert!(log.health().ready);
    append(&*log, vec![append_of(&to, (0..10).map(|number| record(&number.to_string())).collect())]).unwrap();
    assert_eq!(read_all(&*log, &to, 0).len(), 10);
    assert!(log.read(&to, 10, 1000).unwrap().is_empty());

    copies_and_retention(&broker.address());

    broker.run("crash").unwrap();
    let (send, answers) = mpsc::channel();
    for number in 10..20 {
        let send = send.clone();
        log.append(vec![append_of(&to, vec![record(&number.to_string())])], Box::new(move |result| drop(send.send(result))));
    }
    // Appends are bounded while nobody takes them.
    let mut refused = 0;
    for _ in 0..300 {
        let (send, answer) = mpsc::channel();
        log.append(vec![append_of(&to, (0..1000).map(|_| record("filler")).collect())], Box::new(move |result| drop(send.send(result))));
        refused += usize::from(matches!(answer.recv_timeout(Duration::from_millis(5)), Ok(Err(Error::Unavailable(_)))));
    }
    assert!((150..300).contains(&refused), "{refused}");
    broker.run("up").unwrap();
    for number in 10..20u64 {
        let appended = answers.recv_timeout(PATIENCE).expect("not acknowledged after the broker came back").unwrap();
        assert_eq!(appended[0].positions, [number], "nothing lost, nothing twice");
    }
    let first: Vec<_> = read_all(&*log, &to, 5).into_iter().take(15).map(|read| String::from_utf8(read.value).unwrap()).collect();
    assert_eq!(first, (5..20).map(|number: u64| number.to_string()).collect::<Vec<_>>());
    let started = Instant::now();
    while !log.health().ready {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Deletes the records of a partition below `before`, as retention does.
fn delete_before(bootstrap: &str, of: &TopicPartition, before: u64) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&of.topic, of.partition as i32, Offset::Offset(before as i64)).unwrap();
    let options = AdminOptions::new();
    let mut deleting = std::pin::pin!(admin.delete_records(&list, &options));
    loop {
        match deleting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(deleted) => return drop(deleted.unwrap()),
            Poll::Pending => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn copies_and_retention(bootstrap: &str) {
    let spec = |name: &str| tol_kafka::TopicSpec { name: name.into(), partitions: 1, retention: None };
    let copied = |copies| KafkaLog::connect(KafkaOptions { replication: copies, ..options(bootstrap, "") }).unwrap();
    let problem = copied(2).ensure_topics(&[spec("two-copies")]).unwrap_err();
    assert!(matches!(problem, Error::Unavailable(_)) && problem.to_string().contains("with 2 copies"), "one broker cannot keep two: {problem}");
    copied(1).ensure_topics(&[spec("one-copy")]).unwrap();

    let of = TopicPartition::new("one-copy", 0);
    let ten = || append_of(&of, (0..10).map(|number| record(&number.to_string())).collect());
    let deleted = |result: Result<Vec<_>, Error>, from: u64| {
        let problem = result.expect_err("what was deleted was passed over");
        assert!(matches!(problem, Error::OutOfRange { position: 0, earliest, .. } if earliest == from), "{problem}");
    };
    // A broker that is to gather a megabyte before it answers: the consumer at the tip stands still, as it does after some troubles.
    let settings = [("fetch.min.bytes", "1000000"), ("fetch.wait.max.ms", "50000")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let stalled = KafkaLog::connect(KafkaOptions { settings: settings.into(), ..options(bootstrap, "") }).unwrap();
    assert!(stalled.read(&of, 0, 1000).unwrap().is_empty(), "followed from its empty beginning");
    append(&*stalled, vec![ten()]).unwrap();
    delete_before(bootstrap, &of, 4);
    deleted(stalled.read(&of, 0, 1000), 4);
    let log = KafkaLog::connect(options(bootstrap, "")).unwrap();
    deleted(log.read(&of, 0, 1000), 4);
    assert_eq!(read_all(&*log, &of, 4).len(), 6);
    // Nothing at all is kept.
    delete_before(bootstrap, &of, 10);
    deleted(stalled.read(&of, 0, 1000), 10);
    deleted(KafkaLog::connect(options(bootstrap, "")).unwrap().read(&of, 0, 1000), 10);
    append(&*log, vec![ten()]).unwrap();
    assert_eq!(read_all(&*log, &of, 10).len(), 10);
}
