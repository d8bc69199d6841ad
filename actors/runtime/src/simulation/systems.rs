//! The three test systems, on the rules of [`super::rules`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tol_events::{Event, EventTime, EventView};
use tol_system::{AnySystem, Decision, Description, EffectOutcome, Error, Evolution, Input, InputSpec, System, erase};

use crate::control::ControlGate;

use super::rules::{self, Cause, Kind, Memory, Poison, Told, plan};

/// Something that takes hold while a driver decides, after which it must decide no more.
pub(super) struct Closing {
    /// What its node asks before each decision.
    pub gate: ControlGate,
    /// After how many more decisions.
    pub left: u32,
    /// Has it take hold.
    pub close: Box<dyn FnMut() + Send>,
}

/// What the systems and the schedule share.
#[derive(Default)]
pub(super) struct World {
    pub healed: AtomicBool,
    /// The node that steps now is under the emergency stop, or the system of the driver that steps is paused there.
    pub stopped: AtomicBool,
    /// The driver that steps now had its cache taken over: what it folds is mixed up, and must never be written.
    pub hung: AtomicBool,
    pub subjects: u64,
    closing: Mutex<Option<Closing>>,
    tries: Mutex<BTreeMap<(Kind, String), u32>>,
    violations: Mutex<Vec<String>>,
}

impl World {
    pub(super) fn new(subjects: u64) -> Self {
        Self { subjects, ..Self::default() }
    }

    pub(super) fn violation(&self, text: String) {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    pub(super) fn first_violation(&self) -> Option<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// What takes hold in the middle of the next step.
    pub(super) fn close_after(&self, closing: Option<Closing>) {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner) = closing;
    }

    /// Whether that happened.
    pub(super) fn closed(&self) -> bool {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner).take().is_some_and(|closing| closing.left == 0)
    }

    /// One decision; whether none is allowed any more.
    fn count_decision(&self, kind: Kind) -> bool {
        match &mut *self.closing.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Closing { left: 0, .. }) => true,
            Some(closing) if !closing.gate.deciding().contains(kind.name()) => {
                self.violation(format!("a stop or a pause would be answered while {} decides", kind.name()));
                false
            }
            Some(closing) => {
                closing.left -= 1;
                if closing.left == 0 {
                    (closing.close)();
                }
                false
            }
            None => false,
        }
    }

    /// What a system meets when it decides this: poison as it acts now, or none. Nobody may decide during a stop, nor who is paused.
    pub(super) fn meet(&self, kind: Kind, cause: &Cause) -> Poison {
        if self.stopped.load(Ordering::Relaxed) | self.count_decision(kind) {
            self.violation(format!("{} decided {} while stopped or paused", kind.name(), cause.name()));
        }
        let healed = self.healed.load(Ordering::Relaxed);
        match Poison::of(kind, cause) {
            // Does not call the panic hook, which would print.
            Poison::PanicsUntilHealed if !healed => std::panic::resume_unwind(Box::new("poison")),
            Poison::UntilHealed | Poison::PanicsUntilHealed if healed => Poison::None,
            Poison::Transient(times) if healed || self.try_again(kind, cause) > times => Poison::None,
            poison => poison,
        }
    }

    fn try_again(&self, kind: Kind, cause: &Cause) -> u32 {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = tries.entry((kind, cause.name())).or_default();
        *tried += 1;
        *tried
    }
}

struct Simulated {
    kind: Kind,
    world: Arc<World>,
}

/// One of the test systems.
pub(super) fn system(kind: Kind, world: &Arc<World>) -> Arc<dyn AnySystem> {
    erase(Simulated { kind, world: world.clone() })
}

impl System for Simulated {
    type State = Memory;

    fn describe(&self) -> Description {
        let (topic, types): (&'static str, &'static [&'static str]) = match self.kind {
            Kind::Counter => (rules::FACTS, &["sim.count"]),
            Kind::Chain => ("sim-counter.events", &[rules::COUNTED]),
            Kind::Worker | Kind::Guest(_) | Kind::System(_) => (rules::FACTS, &["sim.job"]),
        };
        let mut inputs = vec![InputSpec { topic, types }];
        if self.kind == Kind::Worker {
            inputs.push(InputSpec { topic: "clock", types: &[] });
        }
        Description {
            name: self.kind.name(),
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "A test system of the simulation.",
            inputs,
            emits: match self.kind {
                Kind::Counter => &[rules::COUNTED, rules::REFUSED],
                Kind::Chain => &[rules::CHAINED, rules::REFUSED],
                Kind::Worker | Kind::Guest(_) | Kind::System(_) => {
                    &[rules::TIMER_SET, rules::TIMER_CANCELLED, rules::RANG, rules::WORK_REQUESTED, rules::WORK_DONE, rules::REFUSED]
                }
            },
            depends_on: &[],
            uptime_target: 0.99,
        }
    }

    fn decide(&self, state: &Memory, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let cause = match input {
            Input::Event(event) => Cause::Event { id: event.id().to_owned(), time: input.time().as_micros() },
            Input::Timer { id, subject, due } => Cause::Timer { subject: subject.to_owned(), id: id.to_owned(), due: due.as_micros() },
            Input::Effect { request_id, outcome, .. } => {
                if rules::outcome(request_id) != matches!(outcome, EffectOutcome::Completed(_)) {
                    self.world.violation(format!("effect {request_id} came back with another outcome"));
                }
                Cause::Effect { request: request_id.to_owned() }
            }
        };
        match self.world.meet(self.kind, &cause) {
            Poison::None => {}
            Poison::Unfoldable => {
                decision.emit(rules::REFUSED, &serde_json::json!({}));
            }
            _ => return Err(Error::Refused(format!("{} is poison", cause.name()))),
        }
        for planned in plan(self.kind, self.world.subjects, state, &cause) {
            decision.emit(planned.event_type, &planned.told).target = planned.target;
        }
        Ok(())
    }

    fn evolve(&self, state: &mut Memory, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        if event.event_type() == rules::REFUSED {
            return Err(Error::UnknownOwnEvent(event.event_type().to_owned()));
        }
        let told: Told = event.data_as().map_err(|problem| Error::malformed(&event, problem))?;
        if told.after.count != state.count + 1 && !self.world.hung.load(Ordering::Relaxed) {
            self.world.violation(format!("{} folded event {} of {} after {}", self.kind.name(), told.after.count, event.subject(), state.count));
        }
        *state = told.after;
        match (event.event_type(), told.timer, told.due) {
            (rules::TIMER_SET, Some(timer), Some(due)) => evolution.set_timer(timer, EventTime::from_micros(due)),
            (rules::TIMER_CANCELLED, Some(timer), _) => evolution.cancel_timer(timer),
            (rules::WORK_REQUESTED, ..) => evolution.request_effect("sim", serde_json::json!({ "cause": told.cause })),
            _ => {}
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}
