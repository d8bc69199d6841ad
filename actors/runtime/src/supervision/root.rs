//! The root of supervision: an actor that starts every system on a thread of its own, watches it and restarts it.
//! What it sees becomes an [`Observation`], which the node publishes as a fact for the hub to decide on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Handler};
use tol_system::{AnySystem, Description};

use super::actor::{Command, Environment, SystemActor, SystemShared};
use super::handle::{Assign, Board, Ordered, Reading};
pub use super::handle::{Observation, Observer, Order, RootHandle, SystemStatus};
use super::machine::{Limits, Machine, State, Verdict};
use crate::metric_definitions;

/// Makes a system anew for every start. It may fail, and may panic.
pub type Factory = Arc<dyn Fn() -> Result<Arc<dyn AnySystem>, String> + Send + Sync>;

/// A system that passed the contract suite.
#[derive(Clone)]
pub struct Registered {
    /// What it is.
    pub description: Description,
    /// Makes it.
    pub factory: Factory,
}

/// How the root works.
#[derive(Clone)]
pub struct RootOptions {
    /// Limits, the same for all.
    pub limits: Limits,
    /// Told of what happens.
    pub observer: Observer,
}

struct Child {
    registered: Registered,
    machine: Machine,
    shared: Arc<SystemShared>,
    address: Option<Addr<SystemActor>>,
    arbiter: Option<Arbiter>,
    /// It was stopped or paused when that was looked at last.
    halted: bool,
    /// Where the constructor's thread leaves what it made.
    starting: Option<Arc<Mutex<Option<Made>>>>,
}

/// What a constructor made.
type Made = Result<SystemActor, String>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often systems look for work after a lost wake-up, in milliseconds; as often as an idle owner looks at the end of its topic (E6).
const LOOK_MS: u64 = crate::driver::WATCH_MS;

/// The root actor.
pub struct Root {
    children: BTreeMap<String, Child>,
    environment: Environment,
    options: RootOptions,
    assigned: BTreeSet<u32>,
    board: Arc<Board>,
    /// When all systems look next whether they have something to do.
    look_at_ms: u64,
}

impl Root {
    /// Starts the root on a thread of its own. Systems start at its first tick.
    pub fn start(systems: Vec<Registered>, environment: Environment, options: RootOptions) -> (RootHandle, Arbiter) {
        let board = Arc::new(Board::default());
        let arbiter = Arbiter::new();
        let children = systems
            .into_iter()
            .enumerate()
            .map(|(index, registered)| {
                let machine = Machine::new(options.limits.clone(), 0x9e37_79b9_7f4a_7c15 ^ index as u64);
                let child = Child { machine, shared: Arc::default(), address: None, arbiter: None, starting: None, halted: false, registered };
                (child.registered.description.name.to_owned(), child)
            })
            .collect();
        let root = Root { children, environment, options, assigned: BTreeSet::new(), board: board.clone(), look_at_ms: 0 };
        // Whoever asks before the first tick is told that they wait, not that there are none.
        root.publish();
        let address = Root::start_in_arbiter(&arbiter.handle(), move |_| root);
        (RootHandle { board, address }, arbiter)
    }

    fn now_ms(&self) -> u64 {
        self.environment.started.elapsed().as_millis() as u64
    }

    fn tick(&mut self) {
        let now_ms = self.now_ms();
        let names: Vec<String> = self.children.keys().cloned().collect();
        for name in names {
            self.watch(&name, now_ms);
        }
        self.wake_those_due(now_ms);
        self.publish();
    }

    /// A system sleeps until something new comes; what the clock or an operator gives it to do is found here.
    fn wake_those_due(&mut self, now_ms: u64) {
        let looks = now_ms >= self.look_at_ms;
        if looks {
            // Looking is also a sign of life.
            self.look_at_ms = now_ms + (self.options.limits.hung_after_ms / 4).clamp(50, LOOK_MS);
        }
        for (name, child) in &mut self.children {
            if child.address.is_none() {
                continue;
            }
            child.shared.wake_due(now_ms);
            let halted = self.environment.gate.is_closed() || self.environment.gate.is_paused(name);
            if std::mem::replace(&mut child.halted, halted) && !halted {
                child.shared.wake();
            }
            if looks {
                child.shared.wake_to_look();
            }
        }
    }

    fn watch(&mut self, name: &str, now_ms: u64) {
        let ready = self.children.get(name).is_some_and(|child| {
            child
                .registered
                .description
                .depends_on
                .iter()
                .all(|other| self.children.get(*other).is_none_or(|other| matches!(other.machine.state(), State::Running | State::Probing)))
        });
        let Some(child) = self.children.get_mut(name) else { return };
        let failed = child.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failed {
            self.failed(name, error, now_ms);
            return;
        }
        let made = child.starting.as_ref().and_then(|slot| lock(slot).take());
        if let Some(made) = made {
            child.starting = None;
            self.started(name, made, now_ms);
            return;
        }
        let beat = child.shared.beat.load(Ordering::Relaxed);
        match child.machine.tick(beat, ready, now_ms) {
            Some(Verdict::Start) => self.start_child(name, now_ms),
            Some(Verdict::Abandon) => {
                // The thread cannot be stopped: it is left behind, and its cache token taken away by the next generation (E10).
                if let Some(arbiter) = child.arbiter.take() {
                    std::mem::forget(arbiter);
                }
                let silent = self.options.limits.hung_after_ms;
                self.failed(name, format!("it gave no sign of life for {silent} ms; its thread was abandoned"), now_ms);
            }
            Some(Verdict::AbandonStart) => {
                let silent = self.options.limits.hung_after_ms;
                self.failed(name, format!("its constructor did not return for {silent} ms; its thread was abandoned"), now_ms);
            }
            Some(Verdict::Recovered) => (self.options.observer)(name, Observation::Recovered),
            Some(Verdict::Degraded) | None => {}
        }
    }

    fn failed(&mut self, name: &str, error: String, now_ms: u64) {
        let Some(child) = self.children.get_mut(name) else { return };
        tracing::warn!(system = name, error, "system failed");
        end(child);
        self.board.forget(name);
        (self.options.observer)(name, Observation::Failed { error: error.clone() });
        if child.machine.failed(error.clone(), now_ms) == Some(Verdict::Degraded) {
            tracing::error!(system = name, error, "system is degraded");
            (self.options.observer)(name, Observation::Degraded { reason: error });
        }
    }

    /// Makes a system on a thread of its own: a constructor that hangs must not keep the root from the others.
    fn start_child(&mut self, name: &str, now_ms: u64) {
        let Some(child) = self.children.get_mut(name) else { return };
        let shared: Arc<SystemShared> = Arc::default();
        let slot = Arc::new(Mutex::new(None));
        let (factory, environment, of_actor, made) = (child.registered.factory.clone(), self.environment.clone(), shared.clone(), slot.clone());
        child.shared = shared;
        child.starting = Some(slot);
        child.machine.starting(now_ms);
        let spawned = std::thread::Builder::new().name(format!("start {name}")).spawn(move || {
            let system = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| factory()))
                .unwrap_or_else(|panic| Err(format!("its constructor panicked: {}", crate::owner::panic_text(&*panic))));
            // One that was given up must not take the caches from its successor (E10).
            if !of_actor.abandoned.load(Ordering::Acquire) {
                let actor = system.and_then(|system| SystemActor::new(system, environment, of_actor).map_err(|error| error.to_string()));
                *lock(&made) = Some(actor);
            }
        });
        if let Err(error) = spawned {
            self.failed(name, format!("it did not start: {error}"), now_ms);
        }
    }

    /// Runs what the constructor made, or counts its failure.
    fn started(&mut self, name: &str, made: Made, now_ms: u64) {
        let Some(child) = self.children.get_mut(name) else { return };
        child.machine.started(now_ms);
        let actor = match made {
            Ok(actor) => actor,
            Err(error) => return self.failed(name, format!("it did not start: {error}"), now_ms),
        };
        let shared = child.shared.clone();
        let restarts = child.machine.restarts();
        let arbiter = Arbiter::new();
        let address = SystemActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        child.arbiter = Some(arbiter);
        let sent = address.try_send(Command::Assign(self.assigned.clone())).is_ok();
        child.address = Some(address.clone());
        let reading = reading_of(&child.registered.description, shared);
        lock(&self.board.addresses).insert(name.to_owned(), address);
        lock(&self.board.shared).insert(name.to_owned(), reading);
        if !sent {
            return self.failed(name, "its mailbox took nothing".to_owned(), now_ms);
        }
        metric_definitions::system_restarts(child.registered.description.name).absolute(restarts);
        let (attempt, backoff_ms) = (child.machine.attempt() as u64, child.machine.backoff_ms());
        (self.options.observer)(name, if restarts == 0 { Observation::Started } else { Observation::Restarted { attempt, backoff_ms } });
    }

    fn publish(&self) {
        let mut statuses = lock(&self.board.statuses);
        for (name, child) in &self.children {
            let state = child.machine.state();
            metric_definitions::system_state(child.registered.description.name).set(f64::from(state as u8));
            let status = SystemStatus {
                description: child.registered.description.clone(),
                state,
                paused: self.environment.gate.is_paused(name),
                restarts: child.machine.restarts(),
                abandoned: child.machine.abandoned(),
                last_error: child.machine.last_error().map(str::to_owned),
                partitions: child.shared.snapshot(),
            };
            statuses.insert(name.clone(), status);
        }
    }
}

/// Ends a generation: it does nothing more, and its thread stops if it can.
fn end(child: &mut Child) {
    child.shared.abandoned.store(true, Ordering::Release);
    child.shared.wake();
    child.address = None;
    child.starting = None;
    if let Some(arbiter) = child.arbiter.take() {
        arbiter.stop();
    }
}

fn reading_of(description: &Description, shared: Arc<SystemShared>) -> Reading {
    let inputs = description.inputs.iter().map(|spec| spec.topic.to_owned()).chain(["clock".to_owned()]).collect();
    Reading { shared, own: format!("{}.events", description.name), inputs }
}

impl Actor for Root {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(256);
        context.run_interval(Duration::from_millis(50), |root, _| root.tick());
    }
}

impl Handler<Assign> for Root {
    type Result = ();

    fn handle(&mut self, Assign(partitions): Assign, _: &mut Self::Context) {
        self.assigned = partitions;
        for child in self.children.values() {
            if let Some(address) = &child.address {
                address.do_send(Command::Assign(self.assigned.clone()));
            }
        }
    }
}

impl Handler<Ordered> for Root {
    type Result = ();

    fn handle(&mut self, Ordered { system, order }: Ordered, _: &mut Self::Context) {
        let now_ms = self.now_ms();
        let Some(child) = self.children.get_mut(&system) else { return };
        if matches!(order, Order::Restart | Order::Stop) {
            self.board.forget(&system);
        }
        match order {
            Order::Restart => {
                end(child);
                child.machine.restart(now_ms);
            }
            Order::Stop => {
                end(child);
                child.machine.stop();
                (self.options.observer)(&system, Observation::Stopped);
            }
        }
        self.publish();
    }
}
