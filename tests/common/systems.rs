//! A system whose every call can be made to go wrong.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tol_events::commerce::OrderPlaced;
use tol_events::{Event, EventTime, EventView};
use tol_runtime::supervision::Registered;
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, System, read};

/// What it emits an order.
pub const SEEN: &str = "test.order_seen.v1";

/// What it asks for, when it asks for calls.
pub const ASKED: &str = "test.call_requested.v1";

/// How it misbehaves, and how often it did.
#[derive(Default)]
pub struct Behaviour {
    panics_on: Mutex<Option<String>>,
    refuses: AtomicBool,
    slow: AtomicBool,
    hangs_at_start: AtomicBool,
    calls: Mutex<Option<String>>,
    hangs_on: Mutex<Option<String>>,
    fails_to_start: AtomicBool,
    panics_at_start: AtomicBool,
    released: AtomicBool,
    /// Calls of the constructor.
    pub starts: AtomicUsize,
    /// Decisions made or refused.
    pub decided: AtomicUsize,
    /// Decisions that hung.
    pub hung: AtomicUsize,
    /// Decisions that hang now.
    pub hanging: AtomicUsize,
}

impl Behaviour {
    pub fn panics_on(&self, subject: &str) {
        *self.panics_on.lock().unwrap() = Some(subject.to_owned());
    }

    pub fn hangs_on(&self, subject: &str) {
        *self.hangs_on.lock().unwrap() = Some(subject.to_owned());
    }

    /// Every input is refused.
    pub fn refuses(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Each order asks for an HTTP call of this URL.
    pub fn calls(&self, url: &str) {
        *self.calls.lock().unwrap() = Some(url.to_owned());
    }

    /// A decision takes a millisecond.
    pub fn is_slow(&self) {
        self.slow.store(true, Ordering::SeqCst);
    }

    /// The constructor does not return until released.
    pub fn hangs_at_start(&self, hangs: bool) {
        self.hangs_at_start.store(hangs, Ordering::SeqCst);
    }

    pub fn heal(&self) {
        *self.panics_on.lock().unwrap() = None;
        *self.hangs_on.lock().unwrap() = None;
    }

    /// Decisions that hang return.
    pub fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    pub fn fails_to_start(&self, fails: bool) {
        self.fails_to_start.store(fails, Ordering::SeqCst);
    }

    pub fn panics_at_start(&self, panics: bool) {
        self.panics_at_start.store(panics, Ordering::SeqCst);
    }
}

/// Decides orders; numbers them by what it remembers.
pub struct TestSystem {
    pub name: &'static str,
    pub behaviour: Arc<Behaviour>,
}

impl System for TestSystem {
    type State = u64;

    fn describe(&self) -> Description {
        Description {
            name: self.name,
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "Counts orders of a customer, when it works",
            inputs: vec![InputSpec { topic: "facts.customer", types: &["commerce.order_placed."] }],
            emits: &[SEEN, ASKED],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, state: &u64, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let Input::Event(event) = input else { return Ok(()) };
        let is = |subject: &Mutex<Option<String>>| subject.lock().unwrap().as_deref() == Some(event.subject());
        if is(&self.behaviour.hangs_on) {
            self.behaviour.hung.fetch_add(1, Ordering::SeqCst);
            self.behaviour.hanging.fetch_add(1, Ordering::SeqCst);
            while !self.behaviour.released.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            self.behaviour.hanging.fetch_sub(1, Ordering::SeqCst);
        }
        self.behaviour.decided.fetch_add(1, Ordering::SeqCst);
        if self.behaviour.refuses.load(Ordering::SeqCst) {
            return Err(Error::Refused(format!("no rate for {}", event.subject())));
        }
        if self.behaviour.slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let panics = is(&self.behaviour.panics_on);
        assert!(!panics, "no luck with {}", event.subject());
        let order: OrderPlaced<'_> = read(&event)?;
        if let Some(url) = &*self.behaviour.calls.lock().unwrap() {
            decision.emit(ASKED, &json!({"order_id": order.order_id, "url": url}));
        }
        decision.emit(SEEN, &json!({"order_id": order.order_id, "number": state + 1}));
        Ok(())
    }

    fn evolve(&self, state: &mut u64, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        if event.event_type() == ASKED {
            let data: serde_json::Value = event.data_as().map_err(|error| Error::Refused(error.to_string()))?;
            evolution.request_effect("http", json!({"url": data["url"], "body": {"order_id": data["order_id"]}}));
            return Ok(());
        }
        if event.event_type() != SEEN {
            return Err(Error::UnknownOwnEvent(event.event_type().to_owned()));
        }
        *state += 1;
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        let mut event = Event::new("o1", "/shop", "commerce.order_placed.v1", "customer/1").at(EventTime::from_secs(1_767_268_800));
        event.data = json!({"order_id": "o1", "customer_id": "1", "total": {"minor": 1, "currency": "USD"}}).to_string().into_bytes();
        vec![event]
    }
}

/// The system for a node.
pub fn registered(name: &'static str, behaviour: &Arc<Behaviour>) -> Registered {
    let behaviour = behaviour.clone();
    let description = TestSystem { name, behaviour: behaviour.clone() }.describe();
    let factory = Arc::new(move || {
        behaviour.starts.fetch_add(1, Ordering::SeqCst);
        while behaviour.hangs_at_start.load(Ordering::SeqCst) && !behaviour.released.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!behaviour.panics_at_start.load(Ordering::SeqCst), "no memory");
        if behaviour.fails_to_start.load(Ordering::SeqCst) {
            return Err("no disk".to_owned());
        }
        Ok(tol_system::erase(TestSystem { name, behaviour: behaviour.clone() }))
    });
    Registered { description, factory }
}
