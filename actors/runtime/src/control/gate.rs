//! What one node may do now: the emergency stop, engaged at once where it was asked for and wherever `control` says so, and the systems
//! that are paused. Effects start only under a short lease, renewed by reading the end of `control`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use tol_events::{EventTime, EventView, reserved};

use crate::owner::{Mutation, breaks};

/// Why and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopState {
    /// Whether the stop is engaged.
    pub engaged: bool,
    /// The reason given last.
    pub reason: Option<String>,
    /// Who engaged or released it last.
    pub by: Option<String>,
    /// When.
    pub since: Option<EventTime>,
}

/// Shared by everything that decides or acts. Cheap to clone and to ask.
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
    /// The seats of owners that may still decide: also of those whose thread was given up.
    places: Mutex<Vec<Weak<Place>>>,
    state: Mutex<StopState>,
    paused: Mutex<BTreeSet<String>>,
    /// Whether any system is: asked before each decision.
    any_paused: AtomicBool,
    /// Told of each stop and each release.
    told: Told,
}

/// Functions that are told of each stop (true) and each release (false). They must not block.
#[derive(Default)]
struct Told(Mutex<Vec<Tell>>);

type Tell = Box<dyn Fn(bool) + Send + Sync>;

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl Told {
    fn tell(&self, engaged: bool) {
        for told in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            told(engaged);
        }
    }
}

#[derive(Debug)]
struct Place {
    system: String,
    deciding: AtomicBool,
}

/// Where an owner sits down to decide, for those to see who wait until nobody does.
#[derive(Debug)]
pub(crate) struct Seat {
    gate: ControlGate,
    place: Arc<Place>,
}

impl Seat {
    /// Taken until the answer is dropped. It is taken before the gate is looked at: once the gate is closed and
    /// [`ControlGate::deciding`] did not name the system, it decides nothing.
    pub(crate) fn take(&self) -> Taken {
        self.place.deciding.store(!breaks(Mutation::DecisionsUncounted), Ordering::SeqCst);
        Taken(self.place.clone())
    }

    /// Whether its system may decide nothing now.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed() || (self.gate.is_paused(&self.place.system) && !breaks(Mutation::PauseUnheeded))
    }
}

/// An owner decides; until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken(Arc<Place>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.deciding.store(false, Ordering::SeqCst);
    }
}

/// An effect that may run; it has ended when this is dropped.
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
                places: Mutex::default(),
                state: Mutex::new(state),
                paused: Mutex::default(),
                any_paused: AtomicBool::new(false),
                told: Told::default(),
            }),
        }
    }
}

impl ControlGate {
    /// Whether nothing may be decided now: engaged, or `control` was not read yet.
    pub fn is_closed(&self) -> bool {
        self.inner.engaged.load(Ordering::SeqCst) || !(self.inner.informed.load(Ordering::Acquire) || breaks(Mutation::StopForgotten))
    }

    /// Whether an effect may start now.
    pub fn may_act(&self, now_ms: u64) -> bool {
        let leased = now_ms < self.inner.lease_until_ms.load(Ordering::Acquire);
        (!self.is_closed() || breaks(Mutation::StopIgnored)) && (leased || breaks(Mutation::LeaseIgnored))
    }

    /// Lets one effect start, if it may. It is counted before the gate is looked at: once the gate is closed and
    /// [`ControlGate::effects`] was 0, no effect runs and none starts.
    pub fn permit(&self, now_ms: u64) -> Option<Permit> {
        self.inner.effects.fetch_add(1, Ordering::SeqCst);
        let permit = Permit { gate: self.clone() };
        self.may_act(now_ms).then_some(permit)
    }

    /// Effects under way.
    pub fn effects(&self) -> u64 {
        if breaks(Mutation::EffectsUncounted) {
            return 0;
        }
        self.inner.effects.load(Ordering::SeqCst)
    }

    /// A seat for one owner of a system.
    pub(crate) fn seat(&self, system: &str) -> Seat {
        let place = Arc::new(Place { system: system.to_owned(), deciding: AtomicBool::new(false) });
        let mut places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| place.strong_count() > 0);
        places.push(Arc::downgrade(&place));
        Seat { gate: self.clone(), place }
    }

    /// Systems that decide at this moment.
    pub fn deciding(&self) -> BTreeSet<String> {
        let places = self.inner.places.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.iter().filter_map(Weak::upgrade).filter(|place| place.deciding.load(Ordering::SeqCst));
        taken.map(|place| place.system.clone()).collect()
    }

    /// `control` was read to its end: decisions may begin, effects may start until `until_ms`.
    pub fn renew(&self, until_ms: u64) {
        self.inner.informed.store(true, Ordering::Release);
        self.inner.lease_until_ms.store(until_ms, Ordering::Release);
    }

    /// Closes the gate now, log or no log.
    pub fn engage(&self, reason: &str, by: &str, since: EventTime) {
        self.inner.engaged.store(true, Ordering::SeqCst);
        *self.lock() = StopState { engaged: true, reason: Some(reason.to_owned()), by: Some(by.to_owned()), since: Some(since) };
        self.inner.told.tell(true);
    }

    /// Opens the gate: only for a release that is in the log.
    pub fn release(&self, reason: &str, by: &str, since: EventTime) {
        *self.lock() = StopState { engaged: false, reason: Some(reason.to_owned()), by: Some(by.to_owned()), since: Some(since) };
        self.inner.engaged.store(false, Ordering::SeqCst);
        self.inner.told.tell(false);
    }

    /// Has `told` called with each stop (true) and each release (false) from now on. It must not block.
    pub fn on_change(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        self.inner.told.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(told));
    }

    /// Whether an operator wants this system to decide nothing. What it may outside is another matter: effects it asked for go on.
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

    /// Whether the event is about one system, and says nothing of the emergency stop.
    pub(crate) fn is_of_a_system(event: &EventView<'_>) -> bool {
        matches!(event.event_type(), reserved::SYSTEM_PAUSED | reserved::SYSTEM_RESUMED)
    }

    /// Folds one record of `control`.
    pub fn fold(&self, event: EventView<'_>) {
        #[derive(Default, Deserialize)]
        struct Said {
            #[serde(default)]
            reason: String,
            #[serde(default)]
            by: String,
            #[serde(default)]
            system: String,
        }
        let said: Said = event.data_as().unwrap_or_default();
        let time = event.time().unwrap_or_default();
        match event.event_type() {
            reserved::STOP_ENGAGED => self.engage(&said.reason, &said.by, time),
            reserved::STOP_RELEASED => self.release(&said.reason, &said.by, time),
            reserved::SYSTEM_PAUSED => self.pause(said.system, true),
            reserved::SYSTEM_RESUMED if !breaks(Mutation::ResumeLost) => self.pause(said.system, false),
            _ => {}
        }
    }

    /// For people.
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
        gate.fold(said(reserved::STOP_RELEASED).view());
        assert!(!gate.is_closed());
    }
}
