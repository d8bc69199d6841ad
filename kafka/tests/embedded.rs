//! The embedded log: the conformance suite, and what a crash, a damaged file and a full disk do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tol_kafka::conformance::{self, Subject, append, append_of, read_all, record, topic};
use tol_kafka::embedded::{backup, inspect, restore};
use tol_kafka::{DiskFaults, EmbeddedLog, EmbeddedOptions, Error, EventLog, TopicPartition, TopicSpec};

fn options() -> EmbeddedOptions {
    // Small segments and little memory, so that everything happens: rolling, reading back from files.
    EmbeddedOptions { segment_bytes: 6 << 10, recent_bytes: 8 << 10, reserve_bytes: 4096, ..EmbeddedOptions::default() }
}

fn subject(log: &Arc<EmbeddedLog>) -> Subject {
    Subject { log: log.clone(), conditional: true, prefix: String::new() }
}

fn open(folder: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(folder, options()).unwrap().0
}

/// As a crash leaves it: the files as they are now, without the log being closed.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

fn value(number: u64) -> String {
    format!("{number:08}{}", "x".repeat(number as usize % 50))
}

fn fill(log: &EmbeddedLog, to: &TopicPartition, calls: u64) {
    for _ in 0..calls {
        let end = log.bounds(to).unwrap().end;
        append(log, vec![append_of(to, (end..end + 5).map(|number| record(&value(number))).collect())]).unwrap();
    }
}

fn check(log: &dyn EventLog, of: &TopicPartition, end: u64) {
    assert_eq!(log.bounds(of).unwrap().end, end);
    let read: Vec<_> = read_all(log, of, 0).into_iter().map(|read| String::from_utf8(read.value).unwrap()).collect();
    assert_eq!(read, (0..end).map(value).collect::<Vec<_>>());
}

#[test]
fn conforms() {
    for (segment_bytes, recent_bytes) in [(128 << 20, 64 << 20), (4096, 0), (16 << 10, 8 << 10)] {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), EmbeddedOptions { segment_bytes, recent_bytes, ..options() }).unwrap().0;
        conformance::run(&subject(&log));
    }
}

#[test]
fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (log, report) = EmbeddedLog::open(folder.path(), options()).unwrap();
    assert!(report.created && report.cut.is_none());
    let partitions = topic(&subject(&log), "facts.customer", 2);
    fill(&log, &partitions[0], 200);
    fill(&log, &partitions[1], 20);
    let (identity, topics) = (log.identity(), log.topics().unwrap());
    let crashed = copy(folder.path());
    log.close();
    assert!(matches!(append(&*log, vec![append_of(&partitions[0], vec![record("late")])]), Err(Error::Closed)));
    for path in [folder.path(), crashed.path()] {
        for damage in ["none", "missing idx", "damaged idx"] {
            let idx = path.join("0000000000.idx");
            match damage {
                "missing idx" => std::fs::remove_file(&idx).unwrap(),
                "damaged idx" => std::fs::write(&idx, b"TOLIDX01nonsense").unwrap(),
                _ => assert!(idx.exists()),
            }
            let (log, report) = EmbeddedLog::open(path, options()).unwrap();
            assert_eq!((report.created, report.cut, report.records), (false, None, 1100), "{damage}");
            assert!(report.segments > 2);
            assert_eq!((log.identity(), log.topics().unwrap()), (identity.clone(), topics.clone()));
            check(&*log, &partitions[0], 1000);
            check(&*log, &partitions[1], 100);
            let middle = &log.read(&partitions[0], 500, 1).unwrap()[0];
            let time = tol_events::EventTime::from_millis(middle.appended_at_ms());
            assert!(log.position_at(&partitions[0], time).unwrap() <= middle.base());
        }
    }
    let log = open(folder.path());
    fill(&log, &partitions[0], 10);
    check(&*log, &partitions[0], 1050);
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    assert!(matches!(EmbeddedLog::open(folder.path(), options()), Err(Error::InUse(_))));
    drop(log);
    open(folder.path());
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_and_never_leaves_half_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).unwrap().0;
    let partitions = topic(&subject(&log), "t", 2);
    fill(&log, &partitions[0], 3);
    let segment = log.durable_files().pop().unwrap();
    let both = vec![append_of(&partitions[0], vec![record(&value(15))]), append_of(&partitions[1], vec![record(&value(0)), record(&value(1))])];
    append(&*log, both).unwrap();
    let whole = std::fs::read(&segment.0).unwrap();
    let crashed = copy(folder.path());
    let path = crashed.path().join(segment.0.file_name().unwrap());
    let before = segment.1 as usize;
    assert!(before < whole.len());
    for cut in before..=whole.len() {
        for zeros in [0, 100] {
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            std::fs::write(&path, &bytes).unwrap();
            let (log, report) = EmbeddedLog::open(crashed.path(), EmbeddedOptions::default()).unwrap();
            let kept = cut == whole.len();
            check(&*log, &partitions[0], if kept { 16 } else { 15 });
            check(&*log, &partitions[1], if kept { 2 } else { 0 });
            let good = if kept { whole.len() } else { before };
            match report.cut {
                Some(found) => {
                    assert_eq!(std::fs::read(found.kept_in.as_ref().unwrap()).unwrap(), bytes[good..], "what is cut off is kept beside it");
                    assert_eq!((found.file, found.at, found.bytes), (path.clone(), good as u64, (bytes.len() - good) as u64));
                }
                None => assert_eq!(bytes.len(), good),
            }
            append(&*log, vec![append_of(&partitions[1], vec![record("on")])]).unwrap();
            drop(log);
            assert_eq!(EmbeddedLog::open(crashed.path(), EmbeddedOptions::default()).unwrap().1.cut, None);
        }
    }
    // The very first write of a segment may be torn too.
    let empty = tempfile::tempdir().unwrap();
    open(empty.path()).close();
    for cut in 0..16 {
        std::fs::write(empty.path().join("0000000000.log"), &whole[..cut]).unwrap();
        let log = open(empty.path());
        topic(&subject(&log), "t", 1);
        drop(log);
        assert_eq!(open(empty.path()).topics().unwrap(), [("t".to_owned(), 1)]);
    }
}

#[test]
fn damage_is_reported_with_its_place_and_never_cut() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let to = topic(&subject(&log), "t", 1).remove(0);
    fill(&log, &to, 100);
    log.close();
    let flip = |name: &str, at: usize| {
        let crashed = copy(folder.path());
        let path = crashed.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        (EmbeddedLog::open(crashed.path(), options()), std::fs::read(&path).unwrap() == bytes, crashed)
    };
    let last = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".log"))
        .max()
        .unwrap();
    let mut places = std::collections::BTreeSet::new();
    for at in 0..600 {
        let (opened, untouched, _crashed) = flip(&last, at);
        match opened.unwrap_err() {
            Error::Corrupt(message) => {
                assert!(message.contains(&last), "{message}");
                places.insert(message);
            }
            other => panic!("{other:?}"),
        }
        assert!(untouched);
    }
    assert!(places.len() > 1 && places.iter().any(|message| message.contains("at byte 16:")), "{places:?}");
    // In a closed segment the index file makes the start fast; the damage is found when it is read.
    let (opened, _, crashed) = flip("0000000000.log", 5000);
    let log = opened.unwrap().0;
    let error = (0..500).step_by(5).find_map(|position| log.read(&to, position, 1).err()).unwrap();
    assert!(matches!(&error, Error::Corrupt(message) if message.contains("0000000000.log at byte ") && message.contains("t/0 positions ")), "{error:?}");
    let health = log.health();
    assert!(!health.ready && health.detail.contains("t/0 positions "), "{health:?}");
    // Reading every file finds the same without opening the log, and says between which records nothing is there.
    let found = inspect(crashed.path()).unwrap();
    let [damage] = &found.damages[..] else { panic!("{found:?}") };
    let [gap] = &damage.gaps[..] else { panic!("{damage:?}") };
    assert!(damage.at <= 5000 && 5000 < damage.until && gap.of == to && gap.from < gap.to, "{damage:?}");
    assert_eq!((found.torn, found.records), (None, 500 - (gap.to - gap.from)));
    assert_eq!(log.read(&to, gap.from, 1).unwrap_err().to_string(), error.to_string());
    let served = log.read(&to, 0, usize::MAX);
    assert!(served.is_err() || served.unwrap().iter().all(|batch| batch.end() <= gap.from), "nothing behind the damage is given out with what is before it");
    drop(log);
    std::fs::remove_file(crashed.path().join("0000000000.idx")).unwrap();
    let refused = EmbeddedLog::open(crashed.path(), options()).unwrap_err();
    assert!(matches!(&refused, Error::Corrupt(message) if message.contains(&damage.to_string())), "{refused}");
    std::fs::remove_file(crashed.path().join("0000000000.log")).unwrap();
    assert!(matches!(EmbeddedLog::open(crashed.path(), options()), Err(Error::Corrupt(message)) if message.contains("missing")));
}

#[test]
fn a_full_disk_loses_nothing_lets_a_stop_through_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let options = EmbeddedOptions { faults: Some(faults.clone()), ..options() };
    let log = EmbeddedLog::open(folder.path(), options).unwrap().0;
    let to = topic(&subject(&log), "t", 1).remove(0);
    let control = topic(&subject(&log), "control", 1).remove(0);
    fill(&log, &to, 100);
    faults.capacity.store(30_000, Ordering::SeqCst);
    let refused = || append(&*log, vec![append_of(&to, (0..400).map(|number| record(&format!("{number}{}", "noise".repeat(number % 9)))).collect())]);
    let mut acknowledged = log.bounds(&to).unwrap().end;
    let error = loop {
        let records = (acknowledged..acknowledged + 5).map(|number| record(&value(number))).collect();
        match append(&*log, vec![append_of(&to, records)]) {
            Ok(_) => acknowledged += 5,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull(_)), "{error:?}");
    assert!(acknowledged > 500 && !log.health().ready);
    assert!(matches!(refused(), Err(Error::DiskFull(_))));
    append(&*log, vec![append_of(&control, vec![record("stop")])]).unwrap();
    check(&*log, &to, acknowledged);
    let crashed = copy(folder.path());
    assert_eq!(read_all(&*open(crashed.path()), &control, 0)[0].value, b"stop");
    faults.capacity.store(u64::MAX, Ordering::SeqCst);
    let before = log.bounds(&control).unwrap().end;
    append(&*log, vec![append_of(&control, vec![record("go")])]).unwrap();
    assert!(log.health().ready);
    log.close();
    let (log, report) = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).unwrap();
    assert_eq!(report.cut, None);
    assert_eq!(log.bounds(&control).unwrap().end, before + 1);
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(DiskFaults::default());
    let log = EmbeddedLog::open(folder.path(), EmbeddedOptions { faults: Some(faults.clone()), ..options() }).unwrap().0;
    let to = topic(&subject(&log), "t", 1).remove(0);
    fill(&log, &to, 2);
    faults.fail_sync.store(true, Ordering::SeqCst);
    let one = || append(&*log, vec![append_of(&to, vec![record("x")])]);
    assert!(matches!(one(), Err(Error::Unavailable(_))));
    faults.fail_sync.store(false, Ordering::SeqCst);
    assert!(matches!(one(), Err(Error::Unavailable(message)) if message.contains("syncing")));
    assert!(!log.health().ready);
    check(&*log, &to, 10);
    assert!(log.ensure_topics(&[TopicSpec { name: "u".into(), partitions: 1, retention: None }]).is_err());
}

#[test]
fn a_full_queue_refuses_instead_of_growing() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedOptions { queue_bytes: 1000, ..options() }).unwrap().0;
    let to = topic(&subject(&log), "t", 1).remove(0);
    let (send, answers) = std::sync::mpsc::channel();
    let (block, blocked) = std::sync::mpsc::channel::<()>();
    // Holds the writer thread in a callback, so that the queue fills for certain.
    let blocked = std::sync::Mutex::new(blocked);
    log.append(vec![append_of(&to, vec![record("first")])], Box::new(move |_| blocked.lock().unwrap().recv().unwrap()));
    for number in 0..100 {
        let send = send.clone();
        log.append(vec![append_of(&to, vec![record(&value(number))])], Box::new(move |result| drop(send.send(result))));
    }
    drop(send);
    block.send(()).unwrap();
    let answers: Vec<_> = answers.iter().collect();
    let full = answers.iter().filter(|answer| matches!(answer, Err(Error::Unavailable(message)) if message.contains("queue is full"))).count();
    assert_eq!(answers.len(), 100);
    assert!(full > 50 && full < 100, "{full}");
    assert_eq!(log.bounds(&to).unwrap().end, 1 + 100 - full as u64);
}

/// Batches of a partition as one text, to compare two logs.
fn all(log: &dyn EventLog, of: &TopicPartition) -> Vec<String> {
    read_all(log, of, 0).into_iter().map(|read| String::from_utf8(read.value).unwrap()).collect()
}

#[test]
fn backups_made_while_writing_are_whole_cheap_and_can_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let to = topic(&subject(&log), "t", 1).remove(0);
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| fill(&log, &to, 400));
        let mut spared = 0;
        while !writer.is_finished() {
            let acknowledged = log.bounds(&to).unwrap().end;
            let copied = backup(folder.path(), &copy, false, &mut |_, _| {}).unwrap();
            assert!(copied.ends[&to] >= acknowledged, "{} {acknowledged}", copied.ends[&to]);
            assert!(copied.spared >= spared && copied.segments > copied.spared);
            spared = copied.spared;
            let (opened, report) = EmbeddedLog::open(&copy, options()).unwrap();
            assert_eq!((report.cut, opened.identity()), (None, log.identity()));
            check(&*opened, &to, copied.ends[&to]);
        }
        assert!(spared > 2, "what gets no more batches is copied once");
    });
    // Segments may have been begun since the last copy: once to catch up, and then only the last one is left to copy.
    backup(folder.path(), &copy, false, &mut |_, _| {}).unwrap();
    let copied = backup(folder.path(), &copy, false, &mut |_, _| {}).unwrap();
    assert_eq!((copied.ends[&to], copied.records, copied.segments), (2000, 2000, copied.spared + 1));
    // Linked, nothing but the last segment is copied.
    let linked = backup(folder.path(), &copies.path().join("linked"), true, &mut |_, _| {}).unwrap();
    assert_eq!((linked.spared, &linked.ends), (copied.spared, &copied.ends));
    assert!(linked.copied_bytes <= options().segment_bytes);
    // Restored elsewhere, and over a log that has gone on.
    let elsewhere = copies.path().join("elsewhere");
    let restored = restore(&copy, &elsewhere, false, &mut |_, _| {}).unwrap();
    assert_eq!((restored.copied.ends, restored.moved_aside), (copied.ends.clone(), None));
    assert_eq!(all(&*open(&elsewhere), &to), all(&*log, &to));
    fill(&log, &to, 10);
    assert!(matches!(restore(&copy, folder.path(), true, &mut |_, _| {}), Err(Error::InUse(_))));
    log.close();
    assert!(matches!(restore(&copy, folder.path(), false, &mut |_, _| {}), Err(Error::Invalid(_))));
    let replaced = restore(&copy, folder.path(), true, &mut |_, _| {}).unwrap().moved_aside.unwrap();
    check(&*open(folder.path()), &to, 2000);
    check(&*open(&replaced), &to, 2050);
    // Another log's backup is not mixed in, and a damaged one restores nothing.
    let other = tempfile::tempdir().unwrap();
    open(other.path()).close();
    assert!(matches!(backup(other.path(), &copy, false, &mut |_, _| {}), Err(Error::Invalid(_))));
    let segment = copy.join("0000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[3000] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let target = copies.path().join("nothing");
    assert!(
        matches!(restore(&copy, &target, false, &mut |_, _| {}), Err(Error::Corrupt(message)) if message.contains("0000000001.log") && message.contains("t/0 positions"))
    );
    assert!(!target.exists());
    std::fs::remove_dir_all(&replaced).unwrap();
}

#[test]
fn a_copy_made_while_writing_opens_with_all_that_was_durable() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let to = topic(&subject(&log), "t", 1).remove(0);
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&log, &to, 300));
        for _ in 0..10 {
            let acknowledged = log.bounds(&to).unwrap().end;
            let backup = tempfile::tempdir().unwrap();
            for (path, durable) in log.durable_files() {
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(backup.path().join(path.file_name().unwrap()), &bytes[..durable as usize]).unwrap();
            }
            let (copy, report) = EmbeddedLog::open(backup.path(), options()).unwrap();
            assert_eq!(report.cut, None);
            let end = copy.bounds(&to).unwrap().end;
            assert!(end >= acknowledged);
            check(&*copy, &to, end);
        }
    });
}
