//! Effects on real threads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use super::*;
use tol_system::{CancelReason, EffectOutcome};

const SOON: Duration = Duration::from_secs(10);

struct Stage {
    effects: Effects,
    gate: ControlGate,
    offers: Receiver<(String, EffectOutcome)>,
}

fn scratch() -> PathBuf {
    static STAGES: AtomicUsize = AtomicUsize::new(0);
    std::env::temp_dir().join(format!("tol-effects-{}-{}", std::process::id(), STAGES.fetch_add(1, Ordering::Relaxed)))
}

fn runner(name: &str, limits: RunnerLimits, run: impl Fn(&Effect) -> Result<Value, Failure> + Send + Sync + 'static) -> EffectRunner {
    EffectRunner { system: None, name: name.into(), limits, run: Arc::new(run) }
}

impl Stage {
    fn new(runners: Vec<EffectRunner>) -> Self {
        let gate = open_gate();
        let (sender, offers) = mpsc::channel();
        let offer_to: OfferTo = Arc::new(move |offer| sender.send((offer.key, offer.outcome)).is_ok());
        let effects = Effects::new(runners, gate.clone(), Instant::now(), scratch(), offer_to);
        effects.assign(std::collections::BTreeSet::from([0]));
        Self { effects, gate, offers }
    }

    /// The next offer, which is settled with it.
    fn result(&self) -> (String, EffectOutcome) {
        let offer = self.offers.recv_timeout(SOON).unwrap();
        self.effects.settled(&offer.0);
        offer
    }

    fn wait(&self, what: &str, holds: impl Fn(&[EffectStatus]) -> bool) {
        let until = Instant::now() + SOON;
        while !holds(&self.effects.statuses(100)) {
            assert!(Instant::now() < until, "{what}: {:?}", self.effects.statuses(100));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.effects.close(Duration::from_secs(5));
    }
}

/// Ends when it is cancelled, saying how often it was started.
fn patient(starts: &Arc<AtomicUsize>) -> impl Fn(&Effect) -> Result<Value, Failure> + use<> {
    let starts = starts.clone();
    move |effect| {
        starts.fetch_add(1, Ordering::SeqCst);
        if effect.wait_cancelled(Duration::from_secs(60)) { Err(Failure::Cancelled) } else { Ok(Value::Null) }
    }
}

#[test]
fn nothing_starts_during_a_stop_and_each_request_runs_once() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let echo = move |effect: &Effect| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(effect.key().into())
    };
    let stage = Stage::new(vec![runner("echo", LIMITS, echo)]);
    stop(&stage.gate);
    stage.effects.submit(job("s", "echo", "a"));
    stage.effects.submit(job("s", "echo", "a"));
    assert!(stage.offers.recv_timeout(Duration::from_millis(200)).is_err());
    release(&stage.gate);
    assert_eq!(stage.result(), ("a".to_owned(), EffectOutcome::Completed("a".into())));
    assert!(stage.offers.recv_timeout(Duration::from_millis(300)).is_err(), "what is settled is offered no more");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    stage.effects.submit(job("s", "echo", "b"));
    assert_eq!(stage.result().0, "b");
}

#[test]
fn a_stop_cancels_within_half_a_second_and_the_effect_runs_again_after_the_release() {
    let starts = Arc::new(AtomicUsize::new(0));
    let stage = Stage::new(vec![runner("patient", LIMITS, patient(&starts))]);
    stage.effects.submit(job("s", "patient", "a"));
    stage.wait("it runs", |statuses| statuses.iter().any(|status| status.state == EffectState::Running));
    assert_eq!(stage.gate.effects(), 1);
    let asked = Instant::now();
    stop(&stage.gate);
    while stage.gate.effects() > 0 {
        assert!(asked.elapsed() < Duration::from_secs(2), "it was not cancelled");
        std::thread::sleep(Duration::from_millis(2));
    }
    // Half a second is the rule; a busy machine gets some more.
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    stage.wait("it waits", |statuses| statuses[0].state == EffectState::Waiting && statuses[0].attempt == 1);
    assert_eq!(starts.load(Ordering::SeqCst), 1);
    release(&stage.gate);
    stage.wait("it runs again", |statuses| statuses[0].state == EffectState::Running && statuses[0].key == "a");
    assert_eq!(starts.load(Ordering::SeqCst), 2);
}

#[test]
fn one_slow_runner_delays_no_other() {
    let starts = Arc::new(AtomicUsize::new(0));
    let stage = Stage::new(vec![runner("patient", LIMITS, patient(&starts)), runner("echo", LIMITS, |effect| Ok(effect.key().into()))]);
    for number in 0..50 {
        stage.effects.submit(job("s", "patient", &format!("slow {number}")));
    }
    for number in 0..50 {
        stage.effects.submit(job("s", "echo", &format!("fast {number}")));
    }
    let done: std::collections::BTreeSet<String> = (0..50).map(|_| stage.result().0).collect();
    assert!(done.len() == 50 && done.iter().all(|key| key.starts_with("fast")), "{done:?}");
    assert_eq!(starts.load(Ordering::SeqCst), 1, "at_once is 1");
}

#[test]
fn a_lane_runs_several_at_once_on_threads_of_its_own_which_it_has_only_while_there_is_work() {
    let together = Arc::new(std::sync::Barrier::new(3));
    let meeting = together.clone();
    let limits = RunnerLimits { at_once: 3, ..LIMITS };
    let stage = Stage::new(vec![runner("meet", limits, move |_| {
        meeting.wait();
        Ok(Value::Null)
    })]);
    for key in ["a", "b", "c"] {
        stage.effects.submit(job("s", "meet", key));
    }
    let done: std::collections::BTreeSet<String> = (0..3).map(|_| stage.result().0).collect();
    assert_eq!(done.len(), 3, "they waited for each other");
}

#[test]
fn an_effect_longer_than_its_limit_fails_by_name_even_if_its_runner_never_ends() {
    let limits = RunnerLimits { limit: Duration::from_millis(100), ..LIMITS };
    let ends = Arc::new(AtomicUsize::new(0));
    let (reasons, ended) = (Arc::new(std::sync::Mutex::new(Vec::new())), ends.clone());
    let noted = reasons.clone();
    let heeding = move |effect: &Effect| {
        effect.wait_cancelled(Duration::from_secs(60));
        noted.lock().unwrap().extend(effect.cancel_reason());
        Err(Failure::Cancelled)
    };
    let deaf = move |_: &Effect| {
        while ended.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Value::Null)
    };
    let stage = Stage::new(vec![runner("heeding", limits, heeding), runner("deaf", limits, deaf)]);
    stage.effects.submit(job("s", "heeding", "a"));
    let (key, EffectOutcome::Failed(problem)) = stage.result() else { panic!("it completed") };
    assert!(key == "a" && problem.contains("runner heeding") && problem.contains("longer than 0.1 s"), "{problem}");
    assert_eq!(*reasons.lock().unwrap(), [CancelReason::Overrun]);
    stage.effects.submit(job("s", "deaf", "b"));
    stage.effects.submit(job("s", "deaf", "c"));
    let (key, EffectOutcome::Failed(problem)) = stage.result() else { panic!("it completed") };
    assert!(key == "b" && problem.contains("has not ended since"), "{problem}");
    assert!(stage.gate.effects() > 0, "it is still under way: a stop must say so");
    stage.wait("the next has its place", |statuses| statuses.iter().any(|status| status.key == "c" && status.state == EffectState::Running));
    ends.store(1, Ordering::SeqCst);
    assert_eq!(stage.result().0, "c");
}

#[test]
fn a_result_is_offered_until_its_owner_has_taken_it() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = refusals.clone();
    let (sender, taken) = mpsc::channel();
    // A full mailbox, twice.
    let offer_to: OfferTo = Arc::new(move |offer| counted.fetch_add(1, Ordering::SeqCst) >= 2 && sender.send(offer.key).is_ok());
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let once = runner("once", LIMITS, move |_| Ok(counted.fetch_add(1, Ordering::SeqCst).into()));
    let effects = Effects::new(vec![once], open_gate(), Instant::now(), scratch(), offer_to);
    effects.assign(std::collections::BTreeSet::from([0]));
    effects.submit(job("s", "once", "a"));
    assert_eq!(taken.recv_timeout(SOON).unwrap(), "a");
    assert_eq!(effects.statuses(9)[0].state, EffectState::Ended, "taken, and not yet committed");
    assert_eq!(taken.recv_timeout(SOON).unwrap(), "a", "perhaps the owner was ended before it committed");
    effects.settled("a");
    assert!(effects.statuses(9).is_empty());
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    effects.close(SOON);
}

#[test]
fn a_failed_try_is_seen_with_its_problem_and_progress_with_its_age() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let stage = Stage::new(vec![runner("halting", LIMITS, move |effect| {
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            panic!("no disk");
        }
        effect.progress(0.5, "half of it");
        std::fs::write(effect.scratch().map_err(|error| Failure::retry(error.to_string()))?.join("part"), "x")
            .map_err(|error| Failure::retry(error.to_string()))?;
        if effect.wait_cancelled(Duration::from_secs(60)) { Err(Failure::Cancelled) } else { Ok(Value::Null) }
    })]);
    stage.effects.submit(job("s", "halting", "a"));
    stage.wait("the second try tells of itself", |statuses| {
        let status = &statuses[0];
        let said = status.progress == Some(0.5) && status.text.as_deref() == Some("half of it") && status.silent_ms.is_some();
        said && status.attempt == 2 && status.problem.as_deref() == Some("runner halting panicked: no disk")
    });
}

#[test]
fn the_end_of_a_node_cancels_what_runs_and_removes_its_scratch_folder() {
    let root = scratch();
    std::fs::create_dir_all(root.join("left by a killed node")).unwrap();
    let made = runner("made", LIMITS, |effect| {
        effect.scratch().unwrap();
        effect.wait_cancelled(Duration::from_secs(60));
        assert_eq!(effect.cancel_reason(), Some(CancelReason::Closing));
        Err(Failure::Cancelled)
    });
    let effects = Effects::new(vec![made], open_gate(), Instant::now(), root.clone(), Arc::new(|_| true));
    assert!(!root.exists());
    effects.assign(std::collections::BTreeSet::from([0]));
    effects.submit(job("s", "made", "a"));
    let until = Instant::now() + SOON;
    while std::fs::read_dir(&root).map_or(0, Iterator::count) == 0 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Instant::now();
    effects.close(Duration::from_secs(30));
    assert!(asked.elapsed() < SOON, "it waits for no more than what runs");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    std::fs::remove_dir_all(&root).unwrap();
}
