use super::*;
use tol_kafka::{Faults, MemoryLog, TopicSpec};

fn stop(id: &str) -> Stop {
    Stop { id: id.into(), node: "asked".into(), reason: "fire".into(), by: "ann".into(), time: EventTime::from_secs(2) }
}

fn log() -> MemoryLog {
    let log = MemoryLog::new(1, Faults { auto: true, ..Faults::default() });
    log.ensure_topics(&[TopicSpec { name: "control".into(), partitions: 1, retention: None }]).unwrap();
    log
}

fn node(log: &MemoryLog, name: &str) -> (ControlLine, ControlGate) {
    let gate = ControlGate::default();
    (ControlLine::new(log.client(name), gate.clone(), name), gate)
}

fn release(line: &ControlLine, id: &str) {
    line.release(id.into(), "done", "bob", EventTime::from_secs(3), Box::new(|recorded| recorded.unwrap()));
}

/// Ids of what `control` holds.
fn recorded(log: &MemoryLog) -> Vec<String> {
    let batches = log.read(&topic(), 0, usize::MAX).unwrap();
    batches.iter().flat_map(|batch| batch.events_from(0)).map(|(_, event)| event.id().to_owned()).collect()
}

#[test]
fn a_pause_is_known_to_nodes_that_start_later_until_the_system_is_resumed() {
    let log = log();
    let say = |line: &ControlLine, id: &str, system: &str, paused| {
        line.pause(id.into(), system, paused, "ann", EventTime::from_secs(1), Box::new(|recorded| recorded.unwrap()));
    };
    let (line, gate) = node(&log, "a");
    say(&line, "1", "revenue", true);
    say(&line, "2", "hub", true);
    assert!(!gate.is_paused("revenue"), "only what the log has counts");
    // A stop that is not recorded yet hides older stops, not pauses.
    log.set_reachable(false);
    line.engage(&stop("s"), Box::new(|recorded| assert!(recorded.is_err())));
    log.set_reachable(true);
    line.read(0, 500).unwrap();
    assert!(gate.is_paused("revenue") && gate.is_paused("hub") && gate.is_closed());
    say(&line, "3", "hub", false);
    let (later_line, later) = node(&log, "b");
    later_line.read(0, 500).unwrap();
    assert!(later.is_paused("revenue") && !later.is_paused("hub"));
    say(&later_line, "4", "revenue", false);
    line.read(0, 500).unwrap();
    assert!(!gate.is_paused("revenue") && !gate.is_paused("hub"));
}

#[test]
fn a_stop_that_the_log_refused_is_recorded_when_the_log_is_back() {
    let log = log();
    let ((line, gate), (other_line, other)) = (node(&log, "a"), node(&log, "b"));
    log.set_reachable(false);
    line.engage(&stop("s"), Box::new(|recorded| assert!(recorded.is_err())));
    assert!(gate.is_closed() && line.read(0, 500).is_err());
    log.set_reachable(true);
    line.read(0, 500).unwrap();
    other_line.read(0, 500).unwrap();
    assert!(gate.is_closed() && other.is_closed());
    line.read(0, 500).unwrap();
    release(&other_line, "r");
    line.read(0, 500).unwrap();
    other_line.read(0, 500).unwrap();
    assert!(!gate.is_closed() && !other.is_closed());
}

#[test]
fn who_is_told_of_a_stop_is_not_let_go_by_an_older_release() {
    let log = log();
    let ((asked, _), (line, gate)) = (node(&log, "asked"), node(&log, "a"));
    release(&asked, "older");
    line.told(&stop("s")).unwrap();
    line.read(0, 500).unwrap();
    assert!(gate.is_closed(), "the release was there before the stop");
    asked.engage(&stop("s"), Box::new(|recorded| recorded.unwrap()));
    line.read(LEFT_TO_OTHERS_MS, 500).unwrap();
    assert!(gate.is_closed());
    asked.read(0, 500).unwrap();
    release(&asked, "newer");
    line.read(2 * LEFT_TO_OTHERS_MS, 500).unwrap();
    assert!(!gate.is_closed());
    assert_eq!(recorded(&log), ["older", "s", "newer"], "the node that was asked recorded it");
}

#[test]
fn who_is_told_of_a_stop_records_it_when_nobody_else_does() {
    let log = log();
    let ((line, gate), (other_line, other)) = (node(&log, "a"), node(&log, "b"));
    line.told(&stop("s")).unwrap();
    line.told(&stop("s")).unwrap();
    for now_ms in [50, 50 + LEFT_TO_OTHERS_MS - 1] {
        line.read(now_ms, 500).unwrap();
    }
    assert!(recorded(&log).is_empty());
    line.read(50 + LEFT_TO_OTHERS_MS, 500).unwrap();
    line.read(50 + 2 * LEFT_TO_OTHERS_MS, 500).unwrap();
    assert_eq!(recorded(&log), ["s"]);
    other_line.read(0, 500).unwrap();
    assert!(gate.is_closed() && other.is_closed());
    assert_eq!(other.state(), StopState { engaged: true, reason: Some("fire".into()), by: Some("ann".into()), since: Some(EventTime::from_secs(2)) });
}

#[test]
fn a_stop_holds_once_however_often_it_is_recorded_or_told() {
    let log = log();
    let ((line, gate), (other_line, other), (third, _)) = (node(&log, "a"), node(&log, "b"), node(&log, "c"));
    line.engage(&stop("s"), Box::new(|recorded| recorded.unwrap()));
    release(&other_line, "r");
    third.engage(&stop("s"), Box::new(|recorded| recorded.unwrap()));
    assert_eq!(recorded(&log), ["s", "r", "s"]);
    for (line, gate) in [(&line, &gate), (&other_line, &other)] {
        line.read(0, 500).unwrap();
        assert!(!gate.is_closed(), "the second record says nothing");
        line.told(&stop("s")).unwrap();
        assert!(!gate.is_closed(), "it is over");
    }
    line.engage(&stop("s2"), Box::new(|recorded| recorded.unwrap()));
    other_line.read(0, 500).unwrap();
    assert!(other.is_closed());
}

#[test]
fn a_release_lifts_the_stops_that_its_node_still_waits_for() {
    let log = log();
    let ((line, gate), (other_line, other)) = (node(&log, "a"), node(&log, "b"));
    log.set_reachable(false);
    line.engage(&stop("asked"), Box::new(|recorded| assert!(recorded.is_err())));
    log.set_reachable(true);
    line.told(&stop("told")).unwrap();
    // Another node knows of neither: what it releases is older.
    release(&other_line, "r1");
    release(&line, "r2");
    assert_eq!(recorded(&log), ["r1", "asked", "told", "r2"]);
    for (line, gate) in [(&line, &gate), (&other_line, &other)] {
        line.read(0, 500).unwrap();
        line.read(2 * LEFT_TO_OTHERS_MS, 500).unwrap();
        assert!(!gate.is_closed());
    }
    assert_eq!(recorded(&log).len(), 4, "what was read is not tried again");
}

#[test]
fn every_node_tells_the_reason_of_the_first_stop_that_holds() {
    let log = log();
    let ((a_line, a), (b_line, b)) = (node(&log, "a"), node(&log, "b"));
    let at = |id: &str, reason: &str, second| Stop { id: id.into(), reason: reason.into(), time: EventTime::from_secs(second), ..stop(id) };
    let told = |gate: &ControlGate| (gate.state().reason.unwrap(), gate.state().since.unwrap());
    let read = || [&a_line, &b_line].map(|line| line.read(0, 500).unwrap());
    // Both are asked before either reads what the other recorded.
    a_line.engage(&at("1", "fire", 5), Box::new(|recorded| recorded.unwrap()));
    b_line.engage(&at("2", "flood", 7), Box::new(|recorded| recorded.unwrap()));
    assert_eq!(told(&b), ("flood".into(), EventTime::from_secs(7)), "b knows of no other yet");
    read();
    assert_eq!([told(&a), told(&b)], [("fire".to_owned(), EventTime::from_secs(5)), ("fire".to_owned(), EventTime::from_secs(5))]);
    let (late_line, late) = node(&log, "late");
    late_line.read(0, 500).unwrap();
    assert_eq!(told(&late), told(&a));
    // A release that is older than a stop which is awaited ends the first one only.
    release(&a_line, "r");
    b_line.engage(&at("3", "storm", 9), Box::new(|recorded| recorded.unwrap()));
    read();
    late_line.read(0, 500).unwrap();
    assert_eq!([told(&a), told(&b), told(&late)].map(|(reason, _)| reason), ["storm", "storm", "storm"]);
}
