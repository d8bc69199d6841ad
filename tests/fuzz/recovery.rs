//! Damaged files of an embedded log: it opens with what is whole, or says what is broken; it never panics and never gives what
//! was not written.

use std::path::Path;
use std::sync::Arc;

use tol_kafka::conformance::{append, append_of, record};
use tol_kafka::{EmbeddedLog, EmbeddedOptions, EventLog, TopicPartition, TopicSpec};

use super::mutate::{Draw, mutate, setting};

const DAMAGED_LOGS: u64 = 400;

fn options() -> EmbeddedOptions {
    // Small segments, so that several are closed and read back from their files; no sync, since nothing here is lost with the power.
    EmbeddedOptions { segment_bytes: 4 << 10, recent_bytes: 2 << 10, reserve_bytes: 4_096, sync: false, ..EmbeddedOptions::default() }
}

fn value(partition: u32, position: u64) -> String {
    format!("{partition}/{position:06} {}", "payload ".repeat(position as usize % 7))
}

fn written(folder: &Path) -> Vec<TopicPartition> {
    let (log, _) = EmbeddedLog::open(folder, options()).unwrap();
    log.ensure_topics(&[TopicSpec { name: "t".into(), partitions: 2, retention: None }]).unwrap();
    let partitions: Vec<TopicPartition> = (0..2).map(|partition| TopicPartition::new("t", partition)).collect();
    for call in 0..60 {
        let appends = partitions.iter().map(|at| append_of(at, (call * 5..call * 5 + 5).map(|position| record(&value(at.partition, position))).collect()));
        append(&*log, appends.collect()).unwrap();
    }
    log.close();
    partitions
}

/// How many records were read; each is the one that was written there.
fn check(log: &Arc<EmbeddedLog>, partitions: &[TopicPartition]) -> u64 {
    let mut read = 0;
    for at in partitions {
        let Ok(bounds) = log.bounds(at) else { continue };
        let mut position = bounds.earliest;
        while position < bounds.end {
            // Damage that opening did not see is told when it is read.
            let Ok(batches) = log.read(at, position, 64 << 10) else { break };
            let before = position;
            for batch in batches {
                let Ok(records) = batch.records() else { break };
                for record in records {
                    assert_eq!(String::from_utf8_lossy(record.value), value(at.partition, record.position), "{at} at {}", record.position);
                    read += 1;
                }
                position = position.max(batch.end());
            }
            assert!(position > before, "reading {at} at {before} does not get on");
        }
    }
    read
}

#[test]
fn damaged_logs_open_with_what_is_whole_or_say_what_is_broken() {
    let original = tempfile::tempdir().unwrap();
    let partitions = written(original.path());
    let mut files: Vec<(std::ffi::OsString, Vec<u8>)> = std::fs::read_dir(original.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock")
        .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() > 8, "{} files", files.len());
    let seed = setting("TOL_FUZZ_SEED", 1);
    let (mut opened, mut refused, mut cut) = (0, 0, 0);
    for iteration in 0..DAMAGED_LOGS * setting("TOL_FUZZ_TIMES", 1) {
        let mut draw = Draw::new(seed.wrapping_mul(0x1_0000_0000).wrapping_add(iteration));
        // The last segment is where crashes leave their traces.
        let last = files.iter().rposition(|(name, _)| name.to_string_lossy().ends_with(".log")).unwrap();
        let damaged = if draw.below(2) == 0 { last } else { draw.below(files.len()) };
        let folder = tempfile::tempdir().unwrap();
        for (place, (name, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if place == damaged {
                let kept = bytes.len() - draw.below(bytes.len() / 4 + 1);
                match draw.below(4) {
                    0 => bytes.truncate(kept),
                    1 => bytes[kept..].fill(0),
                    2 => bytes.extend(files[draw.below(files.len())].1.iter().take(draw.below(3_000))),
                    _ => mutate(&mut draw, &mut bytes, &files[last].1),
                }
            }
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        match EmbeddedLog::open(folder.path(), options()) {
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
            Ok((log, report)) => {
                opened += 1;
                cut += u64::from(report.cut.is_some());
                let there = check(&log, &partitions);
                assert!(there <= 600, "seed {seed}, iteration {iteration}");
                log.close();
            }
        }
    }
    println!("seed {seed}: {opened} damaged logs opened, {cut} of them after a cut, {refused} refused");
    assert!(opened > 0 && refused > 0 && cut > 0, "the damage is of too few kinds: {opened}, {refused}, {cut}");
}
