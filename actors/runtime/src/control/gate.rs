//! Decides what this node may do now. The emergency stop closes the gate, at once on the node that was asked and on every node that reads it from
//! `control`; a pause closes it for one system. Effects start only under a short lease, which reading `control` to its end renews.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use tol_events::{EventTime, EventView, reserved};

use crate::metric_definitions;
use crate::owner::{Mutation, breaks};

/// Says whether the emergency stop is engaged, why and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopState {
    /// Whether the stop is engaged.
    pub engaged: bool,
    /// The reason given last.
    pub reason: Option<String>,
    /// Who engaged or released it last.
    pub by: Option<String>,
    /// When it was engaged or released last.
    pub since: Option<EventTime>,
}

/// Tells whether a decision may be made or an effect may start. All owners and effects of a node share one; clones are cheap, and so is asking.
#[derive(Clone, Debug)]
pub struct ControlGate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engaged: AtomicBool,
    /// `control` was read to its end at least once: before that nothing is decided.
    informed: AtomicBool,
    /// Monotonic milliseconds until which effects may start.
    lease_until_ms: AtomicU64,
    /// Effects that were allowed to start and have not ended.
    effects: AtomicU64,
    /// The slots of all owners that may still decide, among them owners whose thread was given up.
    slots: Mutex<Vec<Weak<SlotState>>>,
    state: Mutex<StopState>,
    /// The stop that `state` tells of was released, and another one is awaited: the next one that is engaged tells its own reason.
    outlived: AtomicBool,
    paused: Mutex<BTreeSet<String>>,
    /// Whether `paused` has any system; read before each decision, without a lock.
    any_paused: AtomicBool,
    /// Called at each stop and each release.
    listeners: Listeners,
}

/// The data of a record of `control`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Recorded {
    reason: String,
    by: String,
    system: String,
}

/// Functions that are called with true at each stop and with false at each release. They must not block.
#[derive(Default)]
struct Listeners(Mutex<Vec<Listener>>);

type Listener = Box<dyn Fn(bool) + Send + Sync>;

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listeners")
    }
}

impl Listeners {
    fn tell(&self, engaged: bool) {
        for listener in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            listener(engaged);
        }
    }
}

/// What the gate knows of one owner.
#[derive(Debug)]
struct SlotState {
    system: String,
    deciding: AtomicBool,
}

/// Registers an owner, so that a stop can wait until no decision is running.
#[derive(Debug)]
pub(crate) struct DecisionSlot {
    gate: ControlGate,
    state: Arc<SlotState>,
}

impl DecisionSlot {
    /// Marks the owner as deciding until the guard is dropped. Call it before [`DecisionSlot::is_closed`]: then a system that
    /// [`ControlGate::deciding`] does not name once the gate is closed decides nothing.
    pub(crate) fn begin(&self) -> DecisionGuard {
        self.state.deciding.store(!breaks(Mutation::DecisionsUncounted), Ordering::SeqCst);
        DecisionGuard(self.state.clone())
    }

    /// Tells whether the owner's system may decide nothing now: the gate is closed, or the system is paused.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed() || (self.gate.is_paused(&self.state.system) && !breaks(Mutation::PauseUnheeded))
    }
}

/// Marks its owner as deciding until it is dropped.
#[derive(Debug)]
pub(crate) struct DecisionGuard(Arc<SlotState>);

impl Drop for DecisionGuard {
    fn drop(&mut self) {
        self.0.deciding.store(false, Ordering::SeqCst);
    }
}

/// Lets one effect run. Dropping it tells the gate that the effect has ended.
#[derive(Debug)]
pub struct Permit {
    gate: ControlGate,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.inner.effects.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Default for ControlGate {
    fn default() -> Self {
        let state = StopState { engaged: false, reason: None, by: None, since: None };
        Self {
            inner: Arc::new(Inner {
                engaged: AtomicBool::new(false),
                informed: AtomicBool::new(false),
                lease_until_ms: AtomicU64::new(0),
                effects: AtomicU64::new(0),
                slots: Mutex::default(),
                state: Mutex::new(state),
                outlived: AtomicBool::new(false),
                paused: Mutex::default(),
                any_paused: AtomicBool::new(false),
                listeners: Listeners::default(),
            }),
        }
    }
}

impl ControlGate {
    /// Tells whether nothing may be decided now: the stop is engaged, or `control` was not read to its end yet.
    pub fn is_closed(&self) -> bool {
        self.inner.engaged.load(Ordering::SeqCst) || !(self.inner.informed.load(Ordering::Acquire) || breaks(Mutation::StopForgotten))
    }

    /// Tells whether an effect may start now.
    pub fn may_act(&self, now_ms: u64) -> bool {
        let leased = now_ms < self.inner.lease_until_ms.load(Ordering::Acquire);
        (!self.is_closed() || breaks(Mutation::StopIgnored)) && (leased || breaks(Mutation::LeaseIgnored))
    }

    /// Permits one effect to start, or `None` where it may not. The effect is counted before the gate is read: once the gate is closed and
    /// [`ControlGate::effects`] was 0, no effect runs and none starts.
    pub fn permit(&self, now_ms: u64) -> Option<Permit> {
        self.inner.effects.fetch_add(1, Ordering::SeqCst);
        let permit = Permit { gate: self.clone() };
        self.may_act(now_ms).then_some(permit)
    }

    /// Counts the effects that run.
    pub fn effects(&self) -> u64 {
        if breaks(Mutation::EffectsUncounted) {
            return 0;
        }
        self.inner.effects.load(Ordering::SeqCst)
    }

    /// Registers one owner of a system.
    pub(crate) fn decision_slot(&self, system: &str) -> DecisionSlot {
        let state = Arc::new(SlotState { system: system.to_owned(), deciding: AtomicBool::new(false) });
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(&state));
        DecisionSlot { gate: self.clone(), state }
    }

    /// Names the systems that have a decision running.
    pub fn deciding(&self) -> BTreeSet<String> {
        let slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let deciding = slots.iter().filter_map(Weak::upgrade).filter(|slot| slot.deciding.load(Ordering::SeqCst));
        deciding.map(|slot| slot.system.clone()).collect()
    }

    /// Records that `control` was read to its end: decisions may begin, and effects may start until `until_ms`.
    pub fn renew(&self, until_ms: u64) {
        self.inner.informed.store(true, Ordering::Release);
        self.inner.lease_until_ms.store(until_ms, Ordering::Release);
    }

    /// Closes the gate now, whether the stop is in the log yet or not. Where it is closed already, the earlier stop's reason, author and time stay:
    /// they say why the business stands still.
    pub fn engage(&self, reason: &str, by: &str, since: EventTime) {
        self.inner.engaged.store(true, Ordering::SeqCst);
        self.tell_of(reason, by, since);
        self.inner.listeners.tell(true);
    }

    /// Takes the reason of the earliest stop that holds. By time, so that all nodes tell the same whichever they heard of first.
    fn tell_of(&self, reason: &str, by: &str, since: EventTime) {
        let mut state = self.lock();
        let outlived = self.inner.outlived.swap(false, Ordering::SeqCst);
        if state.engaged && !outlived && state.since.is_some_and(|first| first <= since) {
            return;
        }
        *state = StopState { engaged: true, reason: Some(reason.to_owned()), by: Some(by.to_owned()), since: Some(since) };
        metric_definitions::emergency_stop(Some(since));
    }

    /// Takes note of a record of `control` that does not open or close the gate, because a stop is awaited that is newer: it may tell of an earlier
    /// stop that holds too, or of the release of that one.
    pub(super) fn note(&self, event: EventView<'_>) {
        let recorded: Recorded = event.data_as().unwrap_or_default();
        match event.event_type() {
            reserved::STOP_ENGAGED => self.tell_of(&recorded.reason, &recorded.by, event.time().unwrap_or_default()),
            reserved::STOP_RELEASED => self.inner.outlived.store(true, Ordering::SeqCst),
            _ => {}
        }
    }

    /// Opens the gate. Call it only for a release that is in the log.
    pub fn release(&self, reason: &str, by: &str, since: EventTime) {
        *self.lock() = StopState { engaged: false, reason: Some(reason.to_owned()), by: Some(by.to_owned()), since: Some(since) };
        self.inner.outlived.store(false, Ordering::SeqCst);
        self.inner.engaged.store(false, Ordering::SeqCst);
        metric_definitions::emergency_stop(None);
        self.inner.listeners.tell(false);
    }

    /// Calls `listener` with true at each stop and with false at each release from now on. `listener` must not block.
    pub fn on_change(&self, listener: impl Fn(bool) + Send + Sync + 'static) {
        self.inner.listeners.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Tells whether an operator paused the decisions of this system. A pause stops no effect that the system requested before.
    pub fn is_paused(&self, system: &str) -> bool {
        self.inner.any_paused.load(Ordering::SeqCst) && self.paused().contains(system)
    }

    fn pause(&self, system: String, paused: bool) {
        let mut all = self.paused();
        if paused {
            all.insert(system);
        } else {
            all.remove(&system);
        }
        self.inner.any_paused.store(!all.is_empty(), Ordering::SeqCst);
    }

    /// Tells whether the event pauses or resumes one system.
    pub(crate) fn is_of_a_system(event: &EventView<'_>) -> bool {
        matches!(event.event_type(), reserved::SYSTEM_PAUSED | reserved::SYSTEM_RESUMED)
    }

    /// Folds one record of `control`.
    pub fn fold(&self, event: EventView<'_>) {
        let recorded: Recorded = event.data_as().unwrap_or_default();
        let time = event.time().unwrap_or_default();
        match event.event_type() {
            reserved::STOP_ENGAGED => self.engage(&recorded.reason, &recorded.by, time),
            reserved::STOP_RELEASED => self.release(&recorded.reason, &recorded.by, time),
            reserved::SYSTEM_PAUSED => self.pause(recorded.system, true),
            reserved::SYSTEM_RESUMED if !breaks(Mutation::ResumeLost) => self.pause(recorded.system, false),
            _ => {}
        }
    }

    /// Shows the state to people.
    pub fn state(&self) -> StopState {
        self.lock().clone()
    }

    fn paused(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.inner.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StopState> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tol_events::Event;

    #[test]
    fn closed_until_informed_and_while_engaged() {
        let gate = ControlGate::default();
        assert!(gate.is_closed());
        gate.renew(100);
        assert!(!gate.is_closed() && gate.may_act(99) && !gate.may_act(100));
        assert!(gate.permit(100).is_none() && gate.effects() == 0);
        let running = gate.permit(99);
        assert_eq!((running.is_some(), gate.effects()), (true, 1));
        let said =
            |event_type| Event::new("1", "/nodes/a", event_type, "node/a").with_data(&serde_json::json!({"reason": "fire", "by": "ann"})).unwrap().encode();
        gate.fold(said(reserved::STOP_ENGAGED).view());
        assert!(gate.is_closed() && !gate.may_act(1) && gate.permit(1).is_none());
        drop(running);
        assert_eq!(gate.effects(), 0);
        assert_eq!(gate.state().reason.as_deref(), Some("fire"));
        let first = gate.state();
        gate.engage("flood", "bob", EventTime::from_secs(9));
        assert_eq!(gate.state(), first, "a second stop keeps the first's reason and time");
        gate.fold(said(reserved::STOP_RELEASED).view());
        assert!(!gate.is_closed());
        gate.engage("flood", "bob", EventTime::from_secs(9));
        assert_eq!(gate.state().reason.as_deref(), Some("flood"), "the first stop is over");
    }
}
