//! A system that does all that systems may do, and ways to break it; and one that reads its events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::{Event, EventTime, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, System};

const PAID: &str = "simtill.paid.v1";
const BOOKED: &str = "till.booked.v1";
const RECEIPT_REQUESTED: &str = "till.receipt_requested.v1";
const RECEIPT_SENT: &str = "till.receipt_sent.v1";
const REMINDED: &str = "till.reminded.v1";
/// By [`Audit`].
pub(super) const AUDITED: &str = "audit.audited.v1";

/// What is wrong with [`Till`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Nothing,
    /// `decide` numbers what it books with a counter of the process.
    CountsDecisions,
    /// `evolve` remembers the order of all subjects in the system itself.
    FoldsAcrossSubjects,
    /// `decide` lists what was bought in the order of a HashMap.
    IteratesHashMap,
    /// `decide` reads the clock.
    ReadsTheClock,
    /// What was decided here is remembered here, and not where the state is restored from the log.
    RemembersDecisions,
    /// A field of the state is not written.
    ForgetsOnWrite,
    /// What an effect is asked for differs each time that its request is folded.
    AsksOtherwise,
    /// A timer's time is counted from the last fold, not from the event.
    SetsTimersBlindly,
}

impl Broken {
    pub(super) const ALL: [Broken; 8] = [
        Broken::CountsDecisions,
        Broken::FoldsAcrossSubjects,
        Broken::IteratesHashMap,
        Broken::ReadsTheClock,
        Broken::RemembersDecisions,
        Broken::ForgetsOnWrite,
        Broken::AsksOtherwise,
        Broken::SetsTimersBlindly,
    ];
}

static DECISIONS: AtomicU64 = AtomicU64::new(0);

/// Books what customers pay, sends receipts and reminds them.
pub(super) struct Till {
    broken: Broken,
    last_folded: Mutex<(u64, Option<EventTime>)>,
    decided: Mutex<u64>,
}

/// What is remembered of a customer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Customer {
    paid: u64,
    receipts: u64,
    reminded: u64,
    note: u64,
    #[serde(skip)]
    unwritten: u64,
}

#[derive(Serialize, Deserialize)]
struct Booked {
    amount: u64,
    total: u64,
    unwritten: u64,
    note: u64,
    goods: Vec<String>,
    remind: bool,
}

impl Till {
    pub(super) fn new(broken: Broken) -> Self {
        Self { broken, last_folded: Mutex::default(), decided: Mutex::default() }
    }

    fn note(&self) -> u64 {
        match self.broken {
            Broken::CountsDecisions => DECISIONS.fetch_add(1, Ordering::Relaxed),
            Broken::ReadsTheClock => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64),
            _ => 0,
        }
    }
}

impl System for Till {
    type State = Customer;

    fn describe(&self) -> Description {
        Description {
            name: "till",
            tier: 7,
            code_version: "1",
            state_version: 3,
            about: "Books what customers pay, sends receipts and reminds them.",
            inputs: vec![InputSpec { topic: "facts.customer", types: &["simtill."] }, InputSpec { topic: "clock", types: &[] }],
            emits: &[BOOKED, RECEIPT_REQUESTED, RECEIPT_SENT, REMINDED],
            depends_on: &[],
            uptime_target: 0.99,
        }
    }

    fn decide(&self, state: &Customer, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        match input {
            Input::Event(event) => {
                let data: Value = event.data_as().map_err(|problem| Error::malformed(&event, problem))?;
                let amount = data["amount"].as_u64().ok_or_else(|| Error::Refused("no amount".to_owned()))?;
                let mut goods: Vec<String> = data["goods"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
                if self.broken == Broken::IteratesHashMap {
                    let counted: HashMap<String, usize> = goods.into_iter().map(|good| (good, 1)).collect();
                    goods = counted.into_keys().collect();
                }
                if self.broken == Broken::RemembersDecisions {
                    *self.decided.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                }
                let booked = Booked {
                    amount,
                    total: state.paid + amount,
                    unwritten: state.unwritten,
                    note: self.note() + state.note,
                    goods,
                    remind: amount.is_multiple_of(4),
                };
                decision.emit(BOOKED, &booked).target = amount.is_multiple_of(5).then(|| "customer/1".to_owned());
                if amount.is_multiple_of(3) {
                    decision.emit(RECEIPT_REQUESTED, &json!({"amount": amount}));
                }
            }
            Input::Timer { id, .. } => {
                decision.emit(REMINDED, &json!({"timer": id, "paid": state.paid}));
            }
            Input::Effect { request_id, outcome, at, .. } => {
                if matches!(outcome, tol_system::EffectOutcome::Completed(_)) {
                    decision.emit(RECEIPT_SENT, &json!({"request": request_id, "at": at, "receipts": state.receipts}));
                }
            }
        }
        Ok(())
    }

    fn evolve(&self, state: &mut Customer, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        let time = event.time().unwrap_or_default();
        let mut last = self.last_folded.lock().unwrap_or_else(PoisonError::into_inner);
        last.0 += 1;
        match event.event_type() {
            BOOKED => {
                let booked: Booked = event.data_as().map_err(|problem| Error::malformed(&event, problem))?;
                state.paid = booked.total;
                match self.broken {
                    Broken::FoldsAcrossSubjects => state.note = last.0,
                    Broken::RemembersDecisions => state.note = *self.decided.lock().unwrap_or_else(PoisonError::into_inner),
                    Broken::ForgetsOnWrite => state.unwritten += 1,
                    _ => {}
                }
                if booked.remind {
                    let since = if self.broken == Broken::SetsTimersBlindly { last.1.unwrap_or(time) } else { time };
                    evolution.set_timer(format!("remind {}", booked.amount % 3), since.plus_micros(3_600_000_000));
                }
            }
            RECEIPT_REQUESTED => {
                let asked = if self.broken == Broken::AsksOtherwise { last.0 } else { 0 };
                evolution.request_effect("mail", json!({"to": event.subject(), "asked": asked}));
            }
            RECEIPT_SENT => state.receipts += 1,
            REMINDED => state.reminded += 1,
            other => return Err(Error::UnknownOwnEvent(other.to_owned())),
        }
        last.1 = Some(time);
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        let paid = |number: u64| {
            let subject = format!("customer/{}", number % 4);
            let data = json!({"amount": number * 7 % 60, "goods": ["tea", "milk", "bread", "salt"]});
            let mut event = Event::new(format!("p{number}"), "/shop", PAID, &subject).at(EventTime::from_secs(1_760_000_000 + number as i64 * 60));
            event.data = data.to_string().into_bytes();
            event
        };
        (0..24).map(paid).collect()
    }
}

/// Reads what the till booked, also for others than it was booked of.
pub(super) struct Audit;

impl System for Audit {
    type State = u64;

    fn describe(&self) -> Description {
        Description {
            name: "audit",
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "Counts what was booked.",
            inputs: vec![InputSpec { topic: "till.events", types: &[BOOKED] }],
            emits: &[AUDITED],
            depends_on: &["till"],
            uptime_target: 0.99,
        }
    }

    fn decide(&self, state: &u64, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        if let Input::Event(event) = input {
            let booked: Booked = event.data_as().map_err(|problem| Error::malformed(&event, problem))?;
            if !booked.amount.is_multiple_of(2) {
                decision.emit(AUDITED, &json!({"of": event.subject(), "seen": state + 1}));
            }
        }
        Ok(())
    }

    fn evolve(&self, state: &mut u64, _: EventView<'_>, _: &mut Evolution) -> Result<(), Error> {
        *state += 1;
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        let booked = |number: u64| {
            let data = Booked { amount: number, total: number, unwritten: 0, note: 0, goods: Vec::new(), remind: false };
            let mut event =
                Event::new(format!("b{number}"), "/systems/till", BOOKED, format!("customer/{}", number % 4)).at(EventTime::from_secs(1_760_000_000));
            event.data = serde_json::to_vec(&data).unwrap_or_default();
            event
        };
        (0..20).map(booked).collect()
    }
}
