//! Random lives of customers, and the order in which their facts arrive.

use serde_json::{Value, json};
use tol_events::{Attribute, Event, EventTime};

/// SplitMix64.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A fact, with the seconds at which it happened and arrived.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) id: String,
    pub(super) source: &'static str,
    pub(super) kind: &'static str,
    pub(super) subject: String,
    pub(super) at: i64,
    pub(super) arrives: i64,
    pub(super) data: Value,
}

impl Fact {
    pub(super) fn to_event(&self) -> Event {
        let mut event = Event::new(self.id.as_str(), self.source, self.kind, self.subject.as_str()).at(EventTime::from_secs(self.at));
        event.set(Attribute::RecordedTime, EventTime::from_secs(self.arrives).to_string());
        event.data = self.data.to_string().into_bytes();
        event
    }
}

/// 2026-01-01T00:00:00Z.
const FIRST: i64 = 1_767_225_600;
const LATEST: u64 = 3 * 3_600;

struct Life<'a> {
    rng: &'a mut Rng,
    customer: u64,
    facts: Vec<Fact>,
}

impl Life<'_> {
    /// Tells a fact: late, and often once more under another id.
    fn tell(&mut self, kind: &'static str, at: i64, mut data: Value) {
        data["customer_id"] = self.customer.to_string().into();
        let times = if self.rng.one_in(3) { 2 } else { 1 };
        for time in 0..times {
            let source = if time == 0 { "/webhook" } else { "/import" };
            let id = format!("{:05}-{}-{}", self.rng.below(100_000), self.customer, self.facts.len());
            let late = if self.rng.one_in(3) { 0 } else { self.rng.below(LATEST) as i64 };
            let subject = format!("customer/{}", self.customer);
            self.facts.push(Fact { id, source, kind, subject, at, arrives: at + late, data: data.clone() });
        }
    }

    fn money(&mut self, most: u64) -> Value {
        let currency = self.rng.of(&["USD", "USD", "USD", "EUR", "JPY"]);
        json!({"minor": self.rng.below(most) + 1, "currency": currency})
    }

    fn subscription(&mut self, kind: &'static str, at: i64) {
        let interval = self.rng.of(&["day", "week", "month", "month", "month", "quarter", "year"]);
        let mut data = json!({"subscription_id": format!("s{}", self.rng.below(3)), "plan": "p", "interval": interval, "quantity": self.rng.below(4) + 1,
            "unit_price": self.money(20_000)});
        if self.rng.one_in(10) {
            data["unit_price"]["minor"] = 0.into();
        }
        if self.rng.one_in(4) {
            data["interval_count"] = (self.rng.below(7) + 1).into();
        }
        self.tell(kind, at, data);
    }

    fn step(&mut self, at: i64) {
        let number = self.rng.below(6);
        match self.rng.below(12) {
            0 | 1 => self.subscription("billing.subscription_started.v1", at),
            2 | 3 => self.subscription("billing.subscription_changed.v1", at),
            4 => {
                let data = json!({"subscription_id": format!("s{}", self.rng.below(3))});
                self.tell("billing.subscription_cancelled.v1", at, data);
            }
            5..=7 => {
                // A second telling of the same order is a correction.
                let mut total = self.money(9_000);
                if self.rng.one_in(20) {
                    total["minor"] = 0.into();
                }
                self.tell("commerce.order_placed.v1", at, json!({"order_id": format!("o{number}"), "total": total}));
            }
            8 | 9 => {
                let mut data = json!({"payment_id": format!("p{number}"), "amount": self.money(9_000)});
                if !self.rng.one_in(3) {
                    data["order_id"] = format!("o{}", self.rng.below(6)).into();
                }
                self.tell("billing.payment_succeeded.v1", at, data);
            }
            10 => {
                let data = json!({"refund_id": format!("r{}", self.rng.below(4)), "order_id": format!("o{number}"), "amount": self.money(6_000)});
                self.tell("commerce.order_refunded.v1", at, data);
            }
            _ => {
                let data = json!({"refund_id": format!("r{}", self.rng.below(4)), "payment_id": format!("p{number}"), "amount": self.money(6_000)});
                self.tell("billing.refund_issued.v1", at, data);
            }
        }
    }
}

/// A customer's life of up to half a year. In half of them much happens within hours, so that lateness changes the order.
pub(super) fn lifecycle(rng: &mut Rng, customer: u64) -> Vec<Fact> {
    let steps = rng.below(24) + 1;
    let most = if rng.one_in(2) { 90 * 60 } else { 14 * 86_400 };
    let mut at = FIRST + rng.below(60 * 86_400) as i64;
    let mut life = Life { rng, customer, facts: Vec::new() };
    if life.rng.one_in(3) {
        life.tell("commerce.customer_registered.v1", at, json!({}));
    }
    for _ in 0..steps {
        // Whole minutes, so that some are equal.
        at += life.rng.below(most) as i64 / 60 * 60 * i64::from(!life.rng.one_in(8));
        life.step(at);
    }
    life.facts
}

/// One customer to whom something happens every two minutes or so; orders and payments have ids of their own.
pub(super) fn long(rng: &mut Rng, steps: u64) -> Vec<Fact> {
    let mut life = Life { rng, customer: 1, facts: Vec::new() };
    let mut at = FIRST;
    for step in 0..steps {
        at += life.rng.below(4) as i64 * 60;
        match life.rng.below(3) {
            0 => {
                let total = life.money(9_000);
                life.tell("commerce.order_placed.v1", at, json!({"order_id": format!("o{step}"), "total": total}));
            }
            1 => {
                // Of an order of the last hour, or of one that nobody told of.
                let order = step.saturating_sub(life.rng.below(30));
                let amount = life.money(9_000);
                life.tell("billing.payment_succeeded.v1", at, json!({"payment_id": format!("p{step}"), "amount": amount, "order_id": format!("o{order}")}));
            }
            _ => {
                let kind = life.rng.of(&["billing.subscription_started.v1", "billing.subscription_changed.v1", "billing.subscription_changed.v1"]);
                if life.rng.one_in(3) {
                    let data = json!({"subscription_id": format!("s{}", life.rng.below(3))});
                    life.tell("billing.subscription_cancelled.v1", at, data);
                } else {
                    life.subscription(kind, at);
                }
            }
        }
    }
    life.facts
}
