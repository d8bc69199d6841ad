//! One turn of a system: its partitions stepped one after the other, or several at a time while they catch up.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::driver::{Driver, Output, Progress};
use crate::owner::{Moment, panic_text};

/// What a turn steps.
pub(super) trait Partition: Send {
    /// Its number.
    fn number(&self) -> u32;
    /// Does what there is to do.
    fn step(&mut self, moment: Moment) -> Result<Progress, String>;
    /// Whether it has so much to fold that it is better done beside others.
    fn is_far_behind(&self) -> bool;
}

impl Partition for Driver {
    fn number(&self) -> u32 {
        self.owner().partition()
    }

    fn step(&mut self, moment: Moment) -> Result<Progress, String> {
        Self::step(self, moment).map_err(|error| error.to_string())
    }

    fn is_far_behind(&self) -> bool {
        Self::is_far_behind(self)
    }
}

/// One turn of a system.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    /// The time, asked for at each step.
    pub moment: &'a (dyn Fn() -> Moment + Sync),
    /// Set when this generation was replaced: nothing is stepped any more.
    pub abandoned: &'a AtomicBool,
    /// Counts up while the system works; a watch tells from it whether the system hangs.
    pub beat: &'a AtomicU64,
    /// Told of each partition that moved.
    pub moved: &'a (dyn Fn(u32) + Sync),
    /// Its end, for those that catch up.
    pub until: Instant,
}

/// What its steps left.
#[derive(Default)]
pub(super) struct Stepped {
    /// Something moved.
    pub moved: bool,
    /// What partitions give out, also those that stepped before another one failed.
    pub outputs: Vec<(u32, Output)>,
    /// The first failure; nothing was stepped after it.
    pub problem: Option<String>,
}

impl Stepped {
    fn add(&mut self, more: Self) {
        self.moved |= more.moved;
        self.outputs.extend(more.outputs);
        self.problem = self.problem.take().or(more.problem);
    }
}

impl Turn<'_> {
    /// Steps each once; those far behind, where there are several, until they have caught up or the turn is over.
    pub fn steps<P: Partition>(self, partitions: Vec<&mut P>) -> Stepped {
        let (mut behind, mut others): (Vec<&mut P>, Vec<&mut P>) = partitions.into_iter().partition(|partition| partition.is_far_behind());
        if behind.len() < 2 {
            others.append(&mut behind);
        }
        let mut stepped = self.catch_up(behind);
        for partition in others {
            self.step(partition, &mut stepped);
        }
        stepped
    }

    /// Steps one partition; whether it moved. Nothing once this generation was replaced or a step failed.
    fn step<P: Partition>(&self, partition: &mut P, stepped: &mut Stepped) -> bool {
        if stepped.problem.is_some() || self.abandoned.load(Ordering::Acquire) {
            return false;
        }
        let (number, moment) = (partition.number(), (self.moment)());
        let progress = match std::panic::catch_unwind(AssertUnwindSafe(|| partition.step(moment))) {
            Ok(Ok(progress)) => progress,
            Ok(Err(problem)) => {
                stepped.problem = Some(format!("partition {number}: {problem}"));
                return false;
            }
            Err(panic) => {
                stepped.problem = Some(format!("partition {number} panicked: {}", panic_text(&*panic)));
                return false;
            }
        };
        if progress.moved {
            stepped.moved = true;
            (self.moved)(number);
        }
        stepped.outputs.extend(progress.outputs.into_iter().map(|output| (number, output)));
        progress.moved
    }

    /// Partitions that have much to do before they can be owned have nothing to do with each other: twice as many threads as there are
    /// processors, as a read may wait for the log, step them until the turn is over or they have caught up. The system's own thread is one of
    /// them, and waits for the others.
    fn catch_up<P: Partition>(self, partitions: Vec<&mut P>) -> Stepped {
        if partitions.is_empty() {
            return Stepped::default();
        }
        let threads = std::thread::available_parallelism().map_or(1, |processors| 2 * usize::from(processors)).min(partitions.len());
        let mut shares: Vec<Vec<&mut P>> = (0..threads).map(|_| Vec::new()).collect();
        for (place, partition) in partitions.into_iter().enumerate() {
            shares[place % threads].push(partition);
        }
        let own = shares.pop().unwrap_or_default();
        std::thread::scope(|scope| {
            let spawn = |share| std::thread::Builder::new().name("tol-catch-up".into()).spawn_scoped(scope, move || self.catch_up_share(share));
            let helpers: Vec<_> = shares.into_iter().map(spawn).collect();
            let mut stepped = self.catch_up_share(own);
            // One that could not be started is made up for in the next turn.
            for helper in helpers.into_iter().flatten() {
                stepped.add(helper.join().unwrap_or_else(|panic| Stepped { problem: Some(panic_text(&*panic)), ..Stepped::default() }));
            }
            stepped
        })
    }

    fn catch_up_share<P: Partition>(self, mut partitions: Vec<&mut P>) -> Stepped {
        let mut stepped = Stepped::default();
        while !partitions.is_empty() && Instant::now() < self.until {
            partitions.retain_mut(|partition| self.step(*partition, &mut stepped) && partition.is_far_behind());
            self.beat.fetch_add(1, Ordering::Relaxed);
        }
        stepped
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// Gives out an answer with each step, as long as it is behind.
    struct Fake {
        number: u32,
        behind: u64,
        steps: u64,
        fails_at: Option<u64>,
        panics: bool,
    }

    impl Fake {
        fn new(number: u32, behind: u64) -> Self {
            Self { number, behind, steps: 0, fails_at: None, panics: false }
        }

        fn failing(self, at: u64) -> Self {
            Self { fails_at: Some(at), ..self }
        }
    }

    impl Partition for Fake {
        fn number(&self) -> u32 {
            self.number
        }

        fn step(&mut self, _: Moment) -> Result<Progress, String> {
            self.steps += 1;
            if self.fails_at == Some(self.steps) {
                assert!(!self.panics, "an order of -1");
                return Err("no disk".to_owned());
            }
            self.behind = self.behind.saturating_sub(1);
            let outputs = vec![Output::Answer(self.steps, Err(String::new()))];
            Ok(Progress { moved: true, outputs })
        }

        fn is_far_behind(&self) -> bool {
            self.behind > 0
        }
    }

    /// Steps them; with the partitions that moved.
    fn turn(fakes: &mut [Fake], abandoned: bool) -> (Stepped, BTreeSet<u32>) {
        let moment = || Moment { now_ms: 0, wall: chrono::Utc::now().into(), stopped: false };
        let moved = Mutex::new(BTreeSet::new());
        let (abandoned, beat) = (AtomicBool::new(abandoned), AtomicU64::new(0));
        let turn = Turn {
            moment: &moment,
            abandoned: &abandoned,
            beat: &beat,
            moved: &|number| {
                moved.lock().unwrap().insert(number);
            },
            until: Instant::now() + Duration::from_secs(60),
        };
        let stepped = turn.steps(fakes.iter_mut().collect());
        (stepped, moved.into_inner().unwrap())
    }

    fn outputs_of(stepped: &Stepped, number: u32) -> usize {
        stepped.outputs.iter().filter(|(partition, _)| *partition == number).count()
    }

    #[test]
    fn those_at_the_tip_take_one_step() {
        let mut fakes = [Fake::new(0, 0), Fake::new(1, 0), Fake::new(2, 5)];
        let (stepped, moved) = turn(&mut fakes, false);
        assert_eq!(fakes.map(|fake| fake.steps), [1, 1, 1], "a single one behind has nobody to be stepped beside");
        assert_eq!((stepped.moved, moved, stepped.problem), (true, BTreeSet::from([0, 1, 2]), None));
    }

    #[test]
    fn those_far_behind_catch_up_on_several_threads_and_lose_nothing() {
        let mut fakes: Vec<Fake> = (0..13).map(|number| Fake::new(number, u64::from(number) * 40)).collect();
        let (stepped, moved) = turn(&mut fakes, false);
        for fake in &fakes {
            assert_eq!(fake.steps, u64::from(fake.number * 40).max(1), "partition {}", fake.number);
            assert_eq!(outputs_of(&stepped, fake.number) as u64, fake.steps, "partition {}", fake.number);
        }
        assert_eq!((moved.len(), stepped.problem), (13, None));
    }

    #[test]
    fn what_was_given_out_before_a_failure_is_not_lost() {
        let mut fakes = [Fake::new(0, 0), Fake::new(1, 0).failing(1), Fake::new(2, 0)];
        let (stepped, moved) = turn(&mut fakes, false);
        assert_eq!(stepped.problem.as_deref(), Some("partition 1: no disk"));
        assert_eq!((outputs_of(&stepped, 0), fakes[2].steps, moved), (1, 0, BTreeSet::from([0])));
    }

    #[test]
    fn a_failure_on_one_thread_keeps_what_all_gave_out_and_ends_the_turn() {
        for panics in [false, true] {
            let mut fakes: Vec<Fake> = (0..8).map(|number| Fake::new(number, 200)).collect();
            fakes[3] = Fake { panics, ..Fake::new(3, 200).failing(150) };
            fakes.push(Fake::new(8, 0));
            let (stepped, _) = turn(&mut fakes, false);
            let problem = stepped.problem.as_deref().unwrap();
            assert!(problem.starts_with("partition 3") && problem.ends_with(if panics { "an order of -1" } else { "no disk" }), "{problem}");
            assert_eq!(outputs_of(&stepped, 3), 149);
            for fake in fakes.iter().filter(|fake| fake.number != 3) {
                assert_eq!(outputs_of(&stepped, fake.number) as u64, fake.steps, "partition {}", fake.number);
            }
            assert_eq!(fakes[8].steps, 0, "one at the tip was stepped after the failure");
        }
    }

    #[test]
    fn a_replaced_generation_does_nothing() {
        let mut fakes = [Fake::new(0, 0), Fake::new(1, 9), Fake::new(2, 9)];
        let (stepped, moved) = turn(&mut fakes, true);
        assert_eq!((fakes.map(|fake| fake.steps), stepped.moved, moved.len()), ([0, 0, 0], false, 0));
    }
}
