//! What the three test systems do, as functions of an input's name alone, so that the oracle can say what must be in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::GuestReads;

/// Which of the test systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Reads facts, emits up to three events for each, some meant for other subjects.
    Counter,
    /// Reads the counter's events.
    Chain,
    /// Reads facts; sets timers and requests effects.
    Worker,
    /// A real system with a model of its own, if the run has one: [`super::Guest`].
    Guest(GuestReads),
    /// A real system of this name, without a model: [`super::guests`].
    System(&'static str),
}

impl Kind {
    /// The test systems, and the one with a model if the run has it.
    pub(super) fn all(guest: Option<GuestReads>) -> Arc<[Kind]> {
        [Kind::Counter, Kind::Chain, Kind::Worker].into_iter().chain(guest.map(Kind::Guest)).collect()
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "sim-counter",
            Kind::Chain => "sim-chain",
            Kind::Worker => "sim-worker",
            Kind::Guest(reads) => reads.system,
            Kind::System(name) => name,
        }
    }

    /// The topic and the prefix of the types it reads; none of a system that says so itself.
    pub(super) const fn reads(self) -> Option<(&'static str, &'static str)> {
        match self {
            Kind::Counter => Some((FACTS, "sim.count")),
            Kind::Chain => Some(("sim-counter.events", COUNTED)),
            Kind::Worker => Some((FACTS, "sim.job")),
            Kind::Guest(reads) => Some((reads.topic, reads.types)),
            Kind::System(_) => None,
        }
    }
}

/// Topic of the facts.
pub(super) const FACTS: &str = "facts.customer";
/// The topics that facts of every run lie in; those of a guest come besides.
pub(super) const FACTS_TOPICS: [&str; 4] = [FACTS, "facts.service", "facts.system", "facts.other"];
/// Facts for the counter.
pub(super) const COUNT_WANTED: &str = "sim.count_wanted.v1";
/// Facts for the worker.
pub(super) const JOB_WANTED: &str = "sim.job_wanted.v1";
/// By the counter.
pub(super) const COUNTED: &str = "sim.counted.v1";
/// By the chain.
pub(super) const CHAINED: &str = "sim.chained.v1";
/// By the worker: a timer is set, or moved.
pub(super) const TIMER_SET: &str = "sim.timer_set.v1";
/// By the worker: a timer is taken back.
pub(super) const TIMER_CANCELLED: &str = "sim.timer_cancelled.v1";
/// By the worker: a timer rang.
pub(super) const RANG: &str = "sim.timer_rang.v1";
/// By the worker: an effect is wanted.
pub(super) const WORK_REQUESTED: &str = "sim.work_requested.v1";
/// By the worker: an effect ended.
pub(super) const WORK_DONE: &str = "sim.work_done.v1";
/// By any: an event that `evolve` refuses.
pub(super) const REFUSED: &str = "sim.refused.v1";

/// FNV-1a with a final mix; the same everywhere.
pub(super) fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 29)
}

/// What a subject's state is: enough to notice an input that is missing, doubled or out of order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Own events so far.
    pub count: u64,
    /// Of all their causes in order.
    pub digest: u64,
}

/// Data of every event of the test systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// What led to it.
    pub cause: String,
    /// The state after it.
    pub after: Memory,
    /// The timer it sets or takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// When it is due, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
    /// How an effect ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<bool>,
}

/// An input as the rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// An event's id and its time in microseconds.
    Event { id: String, time: i64 },
    /// A timer.
    Timer { subject: String, id: String, due: i64 },
    /// An effect's result.
    Effect { request: String },
}

impl Cause {
    pub(super) fn name(&self) -> String {
        match self {
            Cause::Event { id, .. } => id.clone(),
            Cause::Timer { subject, id, due } => format!("{subject} {id} {due}"),
            Cause::Effect { request } => format!("effect {request}"),
        }
    }
}

/// One event that an input leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub event_type: &'static str,
    pub target: Option<String>,
    pub told: Told,
}

/// How an effect ends.
pub(super) fn outcome(request: &str) -> bool {
    !hash(&["outcome", request]).is_multiple_of(3)
}

/// What is wrong with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poison {
    None,
    /// Refused for ever.
    Always,
    /// Leads to an event that cannot be folded, for ever.
    Unfoldable,
    /// Refused until healed.
    UntilHealed,
    /// Panics until healed.
    PanicsUntilHealed,
    /// Refused so many times.
    Transient(u32),
}

impl Poison {
    pub(super) fn of(kind: Kind, cause: &Cause) -> Poison {
        let hash = hash(&["poison", kind.name(), &cause.name()]);
        // What is parked for ever would keep all that follows from a real system, whose own refusals are enough.
        if matches!(kind, Kind::System(_)) {
            return match hash % 200 {
                0 => Poison::UntilHealed,
                1 => Poison::PanicsUntilHealed,
                2..6 => Poison::Transient((hash >> 32) as u32 % 5),
                _ => Poison::None,
            };
        }
        // The guest has few subjects with much to happen to each: parked early, they would see little of it.
        let most = if matches!(kind, Kind::Guest(_)) { 400 } else { 80 };
        match hash % most {
            0 => Poison::Always,
            1 => Poison::Unfoldable,
            2..6 => Poison::UntilHealed,
            6..10 => Poison::PanicsUntilHealed,
            10..18 => Poison::Transient((hash >> 32) as u32 % 5),
            _ => Poison::None,
        }
    }

    pub(super) fn is_for_ever(self) -> bool {
        matches!(self, Poison::Always | Poison::Unfoldable)
    }
}

pub(super) fn subject(number: u64) -> String {
    format!("customer/{number}")
}

/// What an input leads to, from the state before it.
pub(super) fn plan(kind: Kind, subjects: u64, before: &Memory, cause: &Cause) -> Vec<Planned> {
    let name = cause.name();
    let hash = hash(&[kind.name(), &name]);
    let mut planned = Vec::new();
    let mut memory = before.clone();
    let mut add = |event_type: &'static str, target: Option<String>, timer: Option<(String, Option<i64>)>, outcome: Option<bool>| {
        memory.count += 1;
        memory.digest = self::hash(&[&format!("{:x}", memory.digest), &name, event_type]);
        let (timer, due) = timer.map_or((None, None), |(timer, due)| (Some(timer), due));
        planned.push(Planned { event_type, target, told: Told { cause: name.clone(), after: memory.clone(), timer, due, outcome } });
    };
    let timer = |salt: u64| format!("t{}", (hash >> (8 + salt)) % 3);
    match (kind, cause) {
        (Kind::Counter, _) => {
            for index in 0..hash % 4 {
                let other = (hash >> (9 + index * 3)).is_multiple_of(3);
                add(COUNTED, other.then(|| subject((hash >> (20 + index)) % subjects)), None, None);
            }
        }
        (Kind::Chain, _) => {
            for _ in 0..hash % 3 {
                add(CHAINED, None, None, None);
            }
        }
        (Kind::Worker, Cause::Event { time, .. }) => {
            // Coarse, so that a timer is now and then set for a time at which it fired before.
            let due = |salt: u64| Some((time / 500_000 + ((hash >> (16 + salt)) % 5) as i64) * 500_000);
            match hash % 6 {
                0 => {}
                1 | 2 => add(TIMER_SET, None, Some((timer(0), due(0))), None),
                3 => add(WORK_REQUESTED, None, None, None),
                4 => {
                    add(TIMER_SET, None, Some((timer(1), due(1))), None);
                    add(WORK_REQUESTED, None, None, None);
                    add(TIMER_SET, None, Some((timer(2), due(2))), None);
                }
                _ => {
                    add(TIMER_CANCELLED, None, Some((timer(3), None)), None);
                    add(WORK_REQUESTED, None, None, None);
                }
            }
        }
        (Kind::Worker, Cause::Timer { id, due, .. }) => match hash % 5 {
            0 => {}
            1 | 2 => add(RANG, None, None, None),
            3 => {
                add(RANG, None, None, None);
                add(TIMER_SET, None, Some((id.clone(), Some(due + 500_000))), None);
            }
            _ => {
                add(RANG, None, None, None);
                add(WORK_REQUESTED, None, None, None);
            }
        },
        (Kind::Worker, Cause::Effect { request }) => {
            if !hash.is_multiple_of(5) {
                add(WORK_DONE, None, None, Some(outcome(request)));
            }
        }
        // The guest's judge says what it does; a system without a model is decided again.
        (Kind::Guest(_) | Kind::System(_), _) => {}
    }
    planned
}
