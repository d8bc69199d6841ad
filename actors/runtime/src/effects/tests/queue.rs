//! What starts when, what becomes of it, and how long its result is kept.

use std::collections::BTreeSet;

use super::super::running::GRACE_MS;
use super::*;
use crate::owner::Moment;
use tol_system::{CancelReason, EffectOutcome};

fn at(now_ms: u64) -> Moment {
    Moment { now_ms, wall: EventTime::from_micros(now_ms as i64 * 1_000), stopped: false }
}

fn stopped(now_ms: u64) -> Moment {
    Moment { stopped: true, ..at(now_ms) }
}

fn queue_with(limits: RunnerLimits) -> EffectQueue {
    let mut queue = EffectQueue::new(["slow", "fast"].map(|name| (None, name.to_owned(), limits)));
    assert!(queue.assign(BTreeSet::from([0]), at(0)).is_empty());
    queue
}

/// Starts one effect; its number and key.
fn start(queue: &mut EffectQueue, now_ms: u64) -> Option<(u64, String)> {
    queue.start(&open_gate(), now_ms).map(|(run, _)| (run.number, run.job.key))
}

fn offered(queue: &mut EffectQueue, now_ms: u64) -> Vec<(String, EffectOutcome)> {
    queue.take_offers(now_ms).into_iter().map(|offer| (offer.key, offer.outcome)).collect()
}

fn completed(key: &str) -> Vec<(String, EffectOutcome)> {
    vec![(key.to_owned(), EffectOutcome::Completed(Value::Null))]
}

#[test]
fn a_lane_runs_as_many_at_once_as_it_may_and_delays_no_other() {
    let mut queue = queue_with(RunnerLimits { at_once: 2, ..LIMITS });
    for key in ["a", "b", "c"] {
        assert!(queue.submit(job("s", "slow", key), at(0)));
    }
    assert!(!queue.submit(job("s", "slow", "a"), at(0)), "it waits already");
    queue.submit(job("other", "slow", "d"), at(0));
    queue.submit(job("s", "fast", "e"), at(0));
    let started: BTreeSet<String> = std::iter::from_fn(|| start(&mut queue, 1)).map(|(_, key)| key).collect();
    assert_eq!(started, BTreeSet::from(["a", "b", "d", "e"].map(str::to_owned)), "c waits for a place; the other lanes do not");
    assert!(!queue.submit(job("s", "slow", "a"), at(2)), "it runs already");
}

#[test]
fn nothing_starts_without_a_permit() {
    let mut queue = queue_with(LIMITS);
    let gate = open_gate();
    queue.submit(job("s", "slow", "a"), at(0));
    stop(&gate);
    assert!(queue.start(&gate, 1).is_none());
    release(&gate);
    let (_, permit) = queue.start(&gate, 1).unwrap();
    assert_eq!(gate.effects(), 1);
    drop(permit);
    assert_eq!(gate.effects(), 0);
}

#[test]
fn a_result_is_offered_later_each_time_until_it_is_settled() {
    let mut queue = queue_with(LIMITS);
    queue.submit(job("s", "slow", "a"), at(0));
    let (number, _) = start(&mut queue, 0).unwrap();
    assert_eq!(queue.ended(number, Ok(Value::Null), at(7)), Fate::Completed);
    let mut times = Vec::new();
    for now_ms in 7..2_000 {
        for offer in queue.take_offers(now_ms) {
            assert_eq!((offer.key.as_str(), offer.at), ("a", at(7).wall), "its time is when it ended");
            times.push(now_ms);
        }
    }
    assert_eq!(times, [7, 107, 307, 707, 1_507]);
    // An owner that was made anew asks for it: it is offered, and does not run again.
    assert!(!queue.submit(job("s", "slow", "a"), at(2_000)));
    assert_eq!(offered(&mut queue, 2_000), completed("a"));
    assert_eq!(start(&mut queue, 2_000), None);
    queue.settled("a");
    assert!(queue.is_empty() && queue.due_ms().is_none());
    assert!(queue.submit(job("s", "slow", "a"), at(2_001)), "nothing is known of it any more");
}

#[test]
fn what_fails_is_tried_again_later_each_time_and_then_fails_with_what_was_said_last() {
    let mut queue = queue_with(LIMITS);
    queue.submit(job("s", "slow", "a"), at(0));
    let mut now_ms = 0;
    for (try_number, wait_ms) in [(1, 400), (2, 9_000)] {
        let (run, _) = queue.start(&open_gate(), now_ms).unwrap();
        assert_eq!(run.attempt, try_number);
        let after = (try_number == 2).then_some(Duration::from_secs(9));
        assert_eq!(queue.ended(run.number, Err(Failure::Retry { problem: "503".into(), after }), at(now_ms)), Fate::Retried);
        assert_eq!(queue.due_ms(), Some(now_ms + wait_ms));
        queue.tick(at(now_ms + wait_ms - 1));
        assert_eq!(start(&mut queue, now_ms + wait_ms - 1), None);
        now_ms += wait_ms;
        queue.tick(at(now_ms));
    }
    let (number, _) = start(&mut queue, now_ms).unwrap();
    assert_eq!(queue.ended(number, Err(Failure::retry("the last 503")), at(now_ms)), Fate::Failed);
    assert_eq!(offered(&mut queue, now_ms), [("a".to_owned(), EffectOutcome::Failed("the last 503 (tried 3 times)".into()))]);
    queue.submit(job("s", "slow", "b"), at(now_ms));
    let (number, _) = start(&mut queue, now_ms).unwrap();
    assert_eq!(queue.ended(number, Err(Failure::permanent("no such page")), at(now_ms)), Fate::Failed);
    assert_eq!(offered(&mut queue, now_ms), [("b".to_owned(), EffectOutcome::Failed("no such page".into()))]);
}

#[test]
fn a_stop_cancels_what_may_be_cancelled_and_it_runs_again_with_the_same_key() {
    let finishing = RunnerLimits { on_stop: OnStop::Finish, tries: 1, ..LIMITS };
    let mut queue = EffectQueue::new([(None, "slow".into(), RunnerLimits { tries: 1, ..LIMITS }), (None, "fast".into(), finishing)]);
    queue.assign(BTreeSet::from([0]), at(0));
    queue.submit(job("s", "slow", "a"), at(0));
    queue.submit(job("s", "fast", "b"), at(0));
    let ((b, _), (a, _)) = (start(&mut queue, 0).unwrap(), start(&mut queue, 0).unwrap());
    assert_eq!(queue.tick(stopped(1)), [RunOrder::Cancel(a, CancelReason::Stopped)]);
    assert!(queue.tick(stopped(2)).is_empty(), "once");
    assert_eq!(queue.ended(a, Err(Failure::permanent("the child was killed")), stopped(3)), Fate::Again);
    assert_eq!(queue.ended(b, Ok(Value::Null), stopped(3)), Fate::Completed);
    assert_eq!(offered(&mut queue, 3), completed("b"));
    let (run, _) = queue.start(&open_gate(), 4).unwrap();
    assert_eq!((run.job.key.as_str(), run.attempt), ("a", 1), "the cancelled try does not count");
    // What completed in spite of the cancellation is done.
    queue.tick(stopped(5));
    assert_eq!(queue.ended(run.number, Ok(Value::Null), stopped(6)), Fate::Completed);
}

#[test]
fn one_that_overruns_fails_by_name_and_one_that_does_not_end_gives_its_place_up() {
    let mut queue = queue_with(LIMITS);
    for key in ["a", "b", "c"] {
        queue.submit(job("s", "slow", key), at(0));
    }
    let (a, _) = start(&mut queue, 0).unwrap();
    assert!(queue.tick(at(9_999)).is_empty());
    assert_eq!(queue.tick(at(10_000)), [RunOrder::Cancel(a, CancelReason::Overrun)]);
    assert_eq!(queue.ended(a, Err(Failure::Cancelled), at(10_001)), Fate::Failed);
    let failed = offered(&mut queue, 10_001);
    let EffectOutcome::Failed(problem) = &failed[0].1 else { panic!("{failed:?}") };
    assert_eq!(problem, "effect a of runner slow for customer/1 ran longer than 10 s, its runner's limit");
    queue.settled("a");

    let (b, _) = start(&mut queue, 20_000).unwrap();
    queue.tick(at(30_000));
    assert!(queue.tick(at(30_000 + GRACE_MS - 1)).is_empty() && start(&mut queue, 31_000).is_none());
    let orders = queue.tick(at(30_000 + GRACE_MS));
    assert!(matches!(&orders[..], [RunOrder::Abandon(number, _)] if *number == b), "{orders:?}");
    assert_eq!(offered(&mut queue, 40_000)[0].0, "b");
    // The next has its place, but no more than one may be given up at a time.
    let (c, _) = start(&mut queue, 40_000).unwrap();
    queue.tick(at(50_000));
    assert!(queue.tick(at(60_000)).is_empty());
    assert_eq!(queue.ended(b, Ok(Value::Null), at(60_001)), Fate::Late);
    assert!(matches!(&queue.tick(at(60_002))[..], [RunOrder::Abandon(number, _)] if *number == c));
}

#[test]
fn what_is_another_nodes_is_dropped_and_what_comes_back_runs_again() {
    let mut queue = queue_with(RunnerLimits { at_once: 2, ..LIMITS });
    for key in ["a", "b", "c", "d"] {
        queue.submit(job("s", "slow", key), at(0));
    }
    let ((a, _), (b, _)) = (start(&mut queue, 0).unwrap(), start(&mut queue, 0).unwrap());
    queue.ended(a, Ok(Value::Null), at(1));
    let (c, _) = start(&mut queue, 1).unwrap();
    let mut orders = queue.assign(BTreeSet::from([1]), at(2));
    orders.sort_by_key(|order| if let RunOrder::Cancel(number, _) = order { *number } else { 0 });
    assert_eq!(orders, [RunOrder::Cancel(b, CancelReason::Moved), RunOrder::Cancel(c, CancelReason::Moved)]);
    assert!(offered(&mut queue, 10_000).is_empty(), "the result of a is the other node's to find");
    assert!(!queue.submit(job("s", "slow", "d"), at(3)), "an owner that does not know yet");
    assert_eq!(queue.ended(b, Ok(Value::Null), at(4)), Fate::Dropped);
    queue.assign(BTreeSet::from([0, 1]), at(5));
    assert!(!queue.submit(job("s", "slow", "c"), at(5)), "its try has not ended yet");
    assert_eq!(queue.ended(c, Err(Failure::Cancelled), at(6)), Fate::Again);
    assert_eq!(start(&mut queue, 6).unwrap().1, "c");
    assert_eq!(start(&mut queue, 6), None);
}

#[test]
fn a_request_of_a_runner_that_is_not_there_fails_by_name() {
    let mut queue = EffectQueue::new([(Some("s".to_owned()), "own".to_owned(), LIMITS)]);
    queue.assign(BTreeSet::from([0]), at(0));
    queue.submit(job("other", "own", "a"), at(0));
    let failed = offered(&mut queue, 0);
    assert_eq!(failed[0].1, EffectOutcome::Failed("there is no effect runner called own for other on this node".into()));
    queue.submit(job("s", "own", "b"), at(0));
    assert_eq!(start(&mut queue, 0).unwrap().1, "b");
}
