//! The rules of supervision for one system, as a state machine without I/O.

use std::collections::VecDeque;

use serde::Serialize;

/// Limits of supervision. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures within `window_ms` that make a system degraded.
    pub restarts: usize,
    /// The window.
    pub window_ms: u64,
    /// Wait before the first restart; doubled for each further failure in the window.
    pub backoff_ms: u64,
    /// Longest wait, and the wait before a degraded system is probed.
    pub backoff_max_ms: u64,
    /// Silence after which an actor, or its constructor, counts as hung.
    pub hung_after_ms: u64,
    /// Threads abandoned because they hung, after which this system is not tried again until an operator asks.
    pub max_abandoned: usize,
    /// How long a probe must run without failure to close the circuit.
    pub probation_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { restarts: 5, window_ms: 60_000, backoff_ms: 200, backoff_max_ms: 30_000, hung_after_ms: 10_000, max_abandoned: 3, probation_ms: 5_000 }
    }
}

/// Where a system stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not started yet, or waiting for a system it depends on.
    Waiting,
    /// Runs.
    Running,
    /// Failed; starts again when its backoff is over.
    Restarting,
    /// Failed too often: tried again from time to time.
    Degraded,
    /// A degraded system that is being tried.
    Probing,
    /// Stopped by an operator.
    Stopped,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it now.
    Start,
    /// It just became degraded.
    Degraded,
    /// Its probe held: it runs again.
    Recovered,
    /// Its thread is to be abandoned; it failed.
    Abandon,
    /// Its constructor's thread is to be abandoned; its start failed.
    AbandonStart,
}

/// One system under supervision.
#[derive(Clone, Debug)]
pub struct Machine {
    limits: Limits,
    state: State,
    /// When it failed, newest last.
    failures: VecDeque<u64>,
    /// When it may be started next.
    start_at_ms: u64,
    /// How long it waits for that after its last failure.
    backoff_ms: u64,
    /// Since when its constructor runs, if it does.
    starting_since_ms: Option<u64>,
    /// Since when it runs or is probed.
    since_ms: u64,
    last_beat: (u64, u64),
    abandoned: usize,
    restarts: u64,
    last_error: Option<String>,
    /// Draws jitter: xorshift, so that a simulation repeats it.
    seed: u64,
}

impl Machine {
    /// A system that is to be started. `seed` draws its jitter.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            state: State::Waiting,
            failures: VecDeque::new(),
            start_at_ms: 0,
            backoff_ms: 0,
            starting_since_ms: None,
            since_ms: 0,
            last_beat: (0, 0),
            abandoned: 0,
            restarts: 0,
            last_error: None,
            seed: seed | 1,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Starts after the first.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Why it failed last.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Threads abandoned.
    pub fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// How long it waited before its last start after a failure; 0 where an operator ended the wait.
    pub fn backoff_ms(&self) -> u64 {
        self.backoff_ms
    }

    /// Failures within the window: which try the next start is.
    pub fn attempt(&self) -> usize {
        self.failures.len().max(1)
    }

    /// Its constructor was called.
    pub fn starting(&mut self, now_ms: u64) {
        self.starting_since_ms = Some(now_ms);
    }

    /// It was started.
    pub fn started(&mut self, now_ms: u64) {
        self.starting_since_ms = None;
        if self.since_ms > 0 || !self.failures.is_empty() {
            self.restarts += 1;
        }
        self.state = if self.state == State::Degraded { State::Probing } else { State::Running };
        self.since_ms = now_ms.max(1);
        self.last_beat = (0, now_ms);
    }

    /// It failed. Answers [`Verdict::Degraded`] where that was once too often.
    pub fn failed(&mut self, error: String, now_ms: u64) -> Option<Verdict> {
        if self.state == State::Stopped {
            return None;
        }
        self.starting_since_ms = None;
        self.last_error = Some(error);
        self.failures.push_back(now_ms);
        while self.failures.front().is_some_and(|failure| now_ms.saturating_sub(*failure) > self.limits.window_ms) {
            self.failures.pop_front();
        }
        let again = matches!(self.state, State::Probing | State::Degraded);
        if again || self.failures.len() >= self.limits.restarts || self.abandoned >= self.limits.max_abandoned {
            self.state = State::Degraded;
            let hopeless = self.abandoned >= self.limits.max_abandoned;
            self.backoff_ms = self.jittered(self.limits.backoff_max_ms);
            self.start_at_ms = if hopeless { u64::MAX } else { now_ms + self.backoff_ms };
            return (!again).then_some(Verdict::Degraded);
        }
        self.state = State::Restarting;
        let doubled = self.limits.backoff_ms.saturating_mul(1 << (self.failures.len() - 1).min(20));
        self.backoff_ms = self.jittered(doubled.min(self.limits.backoff_max_ms));
        self.start_at_ms = now_ms + self.backoff_ms;
        None
    }

    /// Between half and the whole of `wait`: many systems that failed together do not come back together.
    fn jittered(&mut self, wait: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        wait / 2 + self.seed % (wait / 2 + 1)
    }

    /// An operator stops it; planned.
    pub fn stop(&mut self) {
        self.starting_since_ms = None;
        self.state = State::Stopped;
    }

    /// An operator (re)starts it: all earlier failures are forgiven.
    pub fn restart(&mut self, now_ms: u64) {
        self.failures.clear();
        self.abandoned = 0;
        self.backoff_ms = 0;
        self.starting_since_ms = None;
        self.state = State::Waiting;
        self.start_at_ms = now_ms;
    }

    /// Looks at the clock: `beat` is the actor's counter, `ready` whether what it depends on runs.
    pub fn tick(&mut self, beat: u64, ready: bool, now_ms: u64) -> Option<Verdict> {
        if let Some(since) = self.starting_since_ms {
            let hangs = now_ms.saturating_sub(since) >= self.limits.hung_after_ms;
            self.abandoned += usize::from(hangs);
            return hangs.then_some(Verdict::AbandonStart);
        }
        match self.state {
            State::Waiting | State::Restarting | State::Degraded => (ready && now_ms >= self.start_at_ms).then_some(Verdict::Start),
            State::Running | State::Probing => {
                if beat != self.last_beat.0 {
                    self.last_beat = (beat, now_ms);
                } else if now_ms.saturating_sub(self.last_beat.1) >= self.limits.hung_after_ms {
                    self.abandoned += 1;
                    return Some(Verdict::Abandon);
                }
                if self.state == State::Probing && now_ms.saturating_sub(self.since_ms) >= self.limits.probation_ms {
                    self.state = State::Running;
                    self.failures.clear();
                    return Some(Verdict::Recovered);
                }
                None
            }
            State::Stopped => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine::new(Limits { restarts: 3, ..Limits::default() }, 7)
    }

    /// Ticks until it is to be started; how long that took.
    fn wait_for_start(machine: &mut Machine, from: u64) -> u64 {
        let at = (from..from + 100_000).find(|now| machine.tick(0, true, *now) == Some(Verdict::Start)).unwrap();
        machine.started(at);
        at
    }

    #[test]
    fn failures_wait_longer_each_time_and_then_degrade() {
        let mut machine = machine();
        let first = wait_for_start(&mut machine, 0);
        assert_eq!(machine.failed("a".into(), first), None);
        let second = wait_for_start(&mut machine, first);
        assert!((100..=200).contains(&(second - first)), "{}", second - first);
        assert_eq!(machine.failed("b".into(), second), None);
        let third = wait_for_start(&mut machine, second);
        assert!((200..=400).contains(&(third - second)));
        assert_eq!(machine.failed("c".into(), third), Some(Verdict::Degraded));
        assert_eq!((machine.state(), machine.restarts()), (State::Degraded, 2));
    }

    #[test]
    fn a_probe_that_holds_closes_the_circuit_and_one_that_fails_does_not() {
        let mut machine = machine();
        let mut now = wait_for_start(&mut machine, 0);
        for _ in 0..3 {
            machine.failed("x".into(), now);
            now = wait_for_start(&mut machine, now);
        }
        assert_eq!(machine.state(), State::Probing);
        assert_eq!(machine.failed("again".into(), now), None);
        assert_eq!(machine.state(), State::Degraded);
        now = wait_for_start(&mut machine, now);
        assert_eq!(machine.tick(1, true, now + 4_999), None);
        assert_eq!(machine.tick(2, true, now + 5_000), Some(Verdict::Recovered));
        assert_eq!(machine.state(), State::Running);
    }

    #[test]
    fn silence_is_a_hang_and_too_many_leave_it_to_the_operator() {
        let mut machine = machine();
        let mut now = wait_for_start(&mut machine, 0);
        assert_eq!(machine.tick(1, true, now + 9_999), None);
        for round in 1..=3 {
            now += 20_000;
            assert_eq!(machine.tick(1, true, now), Some(Verdict::Abandon));
            let verdict = machine.failed("hung".into(), now);
            assert_eq!(verdict == Some(Verdict::Degraded), round == 3, "round {round}");
            if round < 3 {
                now = wait_for_start(&mut machine, now);
                machine.tick(1, true, now);
            }
        }
        assert_eq!(machine.tick(1, true, u64::MAX - 1), None);
        machine.restart(now);
        assert_eq!(machine.tick(1, true, now), Some(Verdict::Start));
    }

    #[test]
    fn a_constructor_that_hangs_is_a_failed_start_and_its_thread_counts() {
        let mut machine = machine();
        let mut now = 0;
        for round in 1..=3 {
            now = (now..now + 100_000).find(|now| machine.tick(0, true, *now) == Some(Verdict::Start)).unwrap();
            machine.starting(now);
            assert_eq!(machine.tick(0, true, now + 9_999), None);
            now += 10_000;
            assert_eq!(machine.tick(0, true, now), Some(Verdict::AbandonStart));
            assert_eq!(machine.failed("hung".into(), now) == Some(Verdict::Degraded), round == 3, "round {round}");
        }
        assert_eq!((machine.abandoned(), machine.tick(0, true, u64::MAX - 1)), (3, None));
    }

    #[test]
    fn the_wait_before_a_restart_is_told() {
        let mut machine = machine();
        let first = wait_for_start(&mut machine, 0);
        machine.failed("a".into(), first);
        let second = wait_for_start(&mut machine, first);
        assert_eq!((machine.backoff_ms(), machine.attempt()), (second - first, 1));
        machine.restart(second);
        assert_eq!(machine.backoff_ms(), 0);
    }

    #[test]
    fn a_system_waits_for_what_it_depends_on() {
        let mut machine = machine();
        assert_eq!(machine.tick(0, false, 1_000_000), None);
        assert_eq!(machine.tick(0, true, 1_000_000), Some(Verdict::Start));
    }
}
