//! What the disk does to a node: full, a flipped byte, a torn end. Against the real binary and real files.
//!
//! A full disk needs a file system of its own, which only root may mount: elsewhere that test says that it was skipped, and the same
//! faults are played below the log by the tests of `tol-kafka` (`DiskFaults`).

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Answer, Http, Node, order, run, tol, wait};

/// A problem of that status and kind.
fn refused(answer: &Answer, status: u16, kind: &str) {
    assert_eq!((answer.status, answer.problem()), (status, kind), "{}", answer.text);
}

/// Facts about customers in the log.
fn facts(http: &Http) -> u64 {
    http.settled();
    http.rows("/projections/customers").values().map(|row| row["orders"].as_u64().unwrap()).sum()
}

/// 200 orders of as many customers, with ids of their own in each batch.
fn batch(number: u64) -> Vec<Value> {
    (0..200).map(|one| order(&format!("batch-{number}-{one}-{}", "x".repeat(200)), &format!("c{one}"), 1)).collect()
}

/// Sends until it is taken: a store that is being opened anew refuses for a moment, and the same ids are safe.
fn publish(http: &Http, events: &[Value]) -> Value {
    wait("the events to be taken", || Some(http.publish(events)).filter(|answer| answer.status == 200)).json
}

/// The metric's value, 0 where it was never counted.
fn metric(http: &Http, name: &str) -> f64 {
    let text = http.get("/metrics").text;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

fn flip(file: &Path, at: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at as usize] ^= 1;
    std::fs::write(file, &bytes).unwrap();
}

/// A small file system in memory, for as long as this lives. `None` where mounting is not allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=400m", "tol-test"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    /// Takes everything but `left` bytes, as somebody else's file.
    fn fill(&self, left: u64) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[7; 65_536]).is_ok() {}
        file.set_len(file.metadata().unwrap().len() - left).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_nothing_acknowledged_is_lost_and_the_node_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a tmpfs cannot be mounted here (it needs root)");
        return;
    };
    let data = disk.0.path().join("data");
    let arguments = ["--set", "log.partitions=2"];
    let node = Node::start(&data, &arguments);
    node.http.wait_until_ready();
    node.http.publish(&batch(0)).ok();
    disk.fill(1 << 20);
    let mut acknowledged = 1;
    let refusal = wait("the disk to be full", || {
        let answer = node.http.publish(&batch(acknowledged));
        if answer.status == 200 {
            acknowledged += 1;
        }
        (answer.status != 200).then_some(answer)
    });
    refused(&refusal, 507, "disk-full");
    assert_eq!(node.http.get("/livez").status, 200);
    // A little is kept back, so that a stop can always be written.
    let stopped = node.http.post("/emergency-stop", &json!({"reason": "the disk is full"})).ok();
    assert_eq!((&stopped["engaged"], &stopped["recorded"]), (&json!(true), &json!(true)));
    // Room again: nobody has to restart anything.
    disk.free();
    publish(&node.http, &batch(acknowledged));
    acknowledged += 1;
    node.http.wait_until_ready();
    node.http.post("/emergency-stop/release", &json!({"reason": "there is room"})).ok();
    assert_eq!(facts(&node.http), 200 * acknowledged, "what was refused and sent again is there once");
    // Full again, and killed: the restart waits for room where it needs some, says so, and goes on by itself.
    disk.fill(64 << 10);
    wait("the disk to be full again", || {
        let is_taken = node.http.publish(&batch(acknowledged)).status == 200;
        acknowledged += u64::from(is_taken);
        (!is_taken).then_some(())
    });
    node.kill();
    let node = Node::start(&data, &arguments);
    assert_eq!(node.http.get("/livez").status, 200);
    disk.free();
    node.http.wait_until_ready();
    publish(&node.http, &batch(acknowledged));
    assert_eq!(facts(&node.http), 200 * (acknowledged + 1));
    node.stop();
}

#[test]
fn a_flipped_byte_in_the_caches_is_healed_from_the_log_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    for number in 0..20 {
        publish(&node.http, &batch(number));
    }
    let digest = node.http.digest("customers");
    node.stop();
    // What lay in memory is on disk after the next opening.
    Node::ready(folder.path()).stop();
    let store = folder.path().join("projections");
    let largest = files(&store, "sst").into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    flip(&largest, 100);
    let node = Node::ready(folder.path());
    wait("the damage to be met and healed", || {
        // All that reads: repeats, rows, all events, events of a subject and of a type. A refusal meanwhile is an answer, too.
        for number in 0..20 {
            node.http.publish(&batch(number));
        }
        node.http.get("/projections/customers?limit=500");
        for query in ["", "subject=customer/c1", "type=commerce.order_placed.v1"] {
            node.http.get(&format!("/events?limit=500&{query}"));
        }
        (metric(&node.http, "tol_store_healed_total") == 1.0).then_some(())
    });
    node.http.wait_until_ready();
    for number in 0..20 {
        assert_eq!(publish(&node.http, &batch(number))["accepted"], 0, "what was admitted is still known");
    }
    assert_eq!(node.http.digest("customers"), digest);
    assert_eq!(wait("the index", || Some(node.http.events("subject=customer/c1&type=commerce.order_placed.v1")).filter(|found| found.len() == 20)).len(), 20);
    assert!(folder.path().join("projections.corrupt-1").is_dir(), "the damaged files are kept aside");
    node.stop();
}

#[test]
fn a_flipped_byte_in_the_log_is_named_with_its_positions_and_nothing_behind_it_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let small = ["--set", "log.partitions=1", "--set", "log.segment_bytes=1048576"];
    let node = Node::start(folder.path(), &small);
    node.http.wait_until_ready();
    let log = folder.path().join("log");
    let mut batches = 0;
    while files(&log, "log").len() < 3 {
        publish(&node.http, &batch(batches));
        batches += 1;
    }
    node.stop();
    let segment = files(&log, "log").remove(1);
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let len = segment.metadata().unwrap().len();
    flip(&segment, len / 2);

    let doctor = run(&["doctor", "--data", data, "--output", "json"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(!doctor.status.success() && said.contains(&name) && said.contains(" positions "), "{said}");

    // With caches at the end of the log the node works; who reads the damaged place is told.
    std::fs::remove_dir_all(folder.path().join("projections")).unwrap();
    let node = Node::start(folder.path(), &small);
    let answer = wait("the damage to be met", || Some(node.http.get("/readyz")).filter(|answer| answer.status == 503 && answer.text.contains(&name)));
    assert!(answer.text.contains(" positions ") && answer.text.contains("at byte "), "{}", answer.text);
    let projections = wait("the projections to say so", || {
        let all = node.http.get("/projections").ok();
        all.as_array().unwrap().iter().any(|one| one["failed"].as_str().is_some_and(|why| why.contains(&name))).then_some(all)
    });
    // The fold stands before the damage: nothing behind it was taken. What was written together has a checksum for each partition, so the
    // other batches of the damaged write, which the doctor names too, are whole and may be read.
    let stopped = projections.as_array().unwrap().iter().find(|one| one["failed"].as_str().is_some_and(|why| why.contains(&name))).unwrap().clone();
    let why = stopped["failed"].as_str().unwrap();
    let damaged = why.split("it holds ").nth(1).unwrap_or_else(|| panic!("{why}"));
    let (partition, first_missing) = damaged.split_once(" positions ").map(|(partition, rest)| (partition, rest.split(' ').next().unwrap())).unwrap();
    assert!(said.contains(&format!("{partition} positions {first_missing} to ")), "{why}\n{said}");
    let position = stopped["positions"][partition].as_u64().unwrap();
    assert!(position <= first_missing.parse().unwrap(), "{position} {stopped}");
    node.kill();

    // In the last segment the next start refuses to run at all.
    flip(&segment, len / 2);
    let last = files(&log, "log").pop().unwrap();
    flip(&last, 40);
    let mut refusing =
        tol(&["run", "--data", data, "--listen", "127.0.0.1:0", "--set", "log.partitions=1"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = wait("the process to end", || refusing.try_wait().unwrap());
    let mut said = String::new();
    refusing.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1));
    let name = last.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name) && said.contains("at byte 16") && said.contains("restore"), "{said}");
    // Mended (as a restored file would be), all is there.
    flip(&last, 40);
    let node = Node::start(folder.path(), &small);
    node.http.wait_until_ready();
    assert_eq!(facts(&node.http), 200 * batches);
    node.stop();
}

#[test]
fn a_torn_end_of_the_log_is_cut_kept_and_said_and_caches_ahead_of_it_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    for number in 0..5 {
        publish(&node.http, &batch(number));
    }
    node.http.settled();
    node.kill();
    let log = folder.path().join("log");
    let last = files(&log, "log").pop().unwrap();
    let len = last.metadata().unwrap().len();
    std::fs::File::options().write(true).open(&last).unwrap().set_len(len / 8).unwrap();
    let doctor = String::from_utf8_lossy(&run(&["doctor", "--data", folder.path().to_str().unwrap(), "--output", "json"]).stdout).into_owned();
    assert!(doctor.contains("does not read from byte"), "{doctor}");
    let node = Node::ready(folder.path());
    let kept = files(&log, "log").pop().unwrap();
    let cut: Vec<_> = std::fs::read_dir(&log).unwrap().filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains(".cut-")).collect();
    assert_eq!((kept, cut.len()), (last, 1));
    assert!(facts(&node.http) < 1_000, "most of the log is gone");
    for number in 0..5 {
        publish(&node.http, &batch(number));
    }
    assert_eq!(facts(&node.http), 1_000, "sent again, each is there once");
    node.stop();
}

/// `tol` with these arguments must succeed; its JSON.
fn done(arguments: &[&str]) -> Value {
    let output = run(&[&["--output", "json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_backup_made_under_load_is_restored_elsewhere_with_the_same_digests() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    let (data_text, copy_text) = (data.to_str().unwrap(), copy.to_str().unwrap());
    let arguments = ["--set", "log.partitions=4", "--set", "log.segment_bytes=65536"];
    let node = Node::start(&data, &arguments);
    node.http.wait_until_ready();
    let mut acknowledged = 0;
    let spared = std::thread::scope(|scope| {
        let backups = scope.spawn(|| {
            let mut spared = 0;
            wait("a segment that gets no more batches", || {
                spared = done(&["backup", copy_text, "--data", data_text])["segments_spared"].as_u64().unwrap();
                (spared > 1).then_some(())
            });
            spared
        });
        while !backups.is_finished() {
            publish(&node.http, &batch(acknowledged));
            acknowledged += 1;
        }
        backups.join().unwrap()
    });
    assert!(spared > 0, "segments that get no more batches are copied once");
    // A backup of the quiet node is what the node shows.
    let digests: Vec<_> = ["customers", "revenue", "deployments"].map(|projection| node.http.digest(projection)).to_vec();
    // A blob as the node names it: by the SHA-256 of its bytes, here of "abc".
    let blob = Path::new("blobs/ba/7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    std::fs::create_dir_all(data.join(blob).parent().unwrap()).unwrap();
    std::fs::write(data.join(blob), b"abc").unwrap();
    assert_eq!(done(&["backup", copy_text, "--data", data_text])["blobs"], 1);
    let elsewhere = folder.path().join("elsewhere");
    std::fs::write(copy.join(blob), b"abd").unwrap();
    let damaged = run(&["restore", copy_text, "--data", elsewhere.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("blob ba7816bf"), "{}", String::from_utf8_lossy(&damaged.stderr));
    assert!(!elsewhere.join("log").exists(), "a damaged blob of the backup changes nothing");
    std::fs::write(copy.join(blob), b"abc").unwrap();
    done(&["restore", copy_text, "--data", elsewhere.to_str().unwrap()]);
    assert_eq!(std::fs::read(elsewhere.join(blob)).unwrap(), b"abc");
    let restored = Node::start(&elsewhere, &arguments);
    restored.http.wait_until_ready();
    let after: Vec<_> = ["customers", "revenue", "deployments"].map(|projection| restored.http.digest(projection)).to_vec();
    assert_eq!(after.iter().map(|(digest, rows)| (digest.clone(), *rows)).collect::<Vec<_>>(), digests);
    assert_eq!(publish(&restored.http, &batch(0))["accepted"], 0, "what was admitted before the backup is known");
    restored.stop();
    // The node goes on; then its log is put back to the backup: caches, admission's memory and systems are ahead of it.
    for number in 0..3 {
        publish(&node.http, &batch(acknowledged + number));
    }
    assert_eq!(facts(&node.http), 200 * (acknowledged + 3));
    let running = run(&["restore", copy_text, "--data", data_text, "--replace"]);
    assert!(!running.status.success() && String::from_utf8_lossy(&running.stderr).contains("in use"), "not under a running node");
    node.stop();
    let there = run(&["restore", copy_text, "--data", data_text]);
    assert!(String::from_utf8_lossy(&there.stderr).contains("--replace"), "{}", String::from_utf8_lossy(&there.stderr));
    done(&["restore", copy_text, "--data", data_text, "--replace"]);
    assert!(data.join("log.replaced-1").is_dir() && data.join("projections").is_dir());
    let node = Node::start(&data, &arguments);
    node.http.wait_until_ready();
    assert_eq!(facts(&node.http), 200 * acknowledged);
    let after: Vec<_> = ["customers", "revenue", "deployments"].map(|projection| node.http.digest(projection)).to_vec();
    assert_eq!(after, digests);
    // What came after the backup is not taken for known.
    assert_eq!(publish(&node.http, &batch(acknowledged))["accepted"], 200);
    assert_eq!(facts(&node.http), 200 * (acknowledged + 1));
    node.stop();
}
