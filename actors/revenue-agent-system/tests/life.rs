//! One customer whose facts are decided and folded one after the other, as the runtime does it.

use std::collections::BTreeMap;

use tol_events::{Attribute, Event, EventTime};
use tol_revenue_agent_system::{Customer, RevenueAgentSystem};
use tol_system::{Decision, Error, Evolution, Input, System};

/// 2026-03-01T00:00:00Z.
pub const MARCH: EventTime = EventTime::from_secs(1_772_323_200);

/// `minutes` after the beginning of March.
pub fn minute(minutes: i64) -> EventTime {
    MARCH.plus_micros(minutes * 60_000_000)
}

/// A fact of customer 7.
pub fn fact(id: &str, event_type: &str, at: EventTime, mut data: serde_json::Value) -> Event {
    data["customer_id"] = "7".into();
    let mut fact = Event::new(id, "/test", event_type, "customer/7").at(at);
    fact.data = data.to_string().into_bytes();
    fact
}

pub fn subscribed(id: &str, what: &str, at: EventTime, subscription: &str, minor: i64) -> Event {
    let price = serde_json::json!({"minor": minor, "currency": "USD"});
    let data = serde_json::json!({"subscription_id": subscription, "plan": "p", "interval": "month", "quantity": 1, "unit_price": price});
    fact(id, &format!("billing.subscription_{what}.v1"), at, data)
}

pub fn cancelled(id: &str, at: EventTime, subscription: &str) -> Event {
    fact(id, "billing.subscription_cancelled.v1", at, serde_json::json!({ "subscription_id": subscription }))
}

pub fn ordered(id: &str, at: EventTime, order: &str, minor: i64, currency: &str) -> Event {
    fact(id, "commerce.order_placed.v1", at, serde_json::json!({"order_id": order, "total": {"minor": minor, "currency": currency}}))
}

pub fn paid(id: &str, at: EventTime, payment: &str, (minor, currency): (i64, &str), order: Option<&str>) -> Event {
    let mut data = serde_json::json!({"payment_id": payment, "amount": {"minor": minor, "currency": currency}});
    if let Some(order) = order {
        data["order_id"] = order.into();
    }
    fact(id, "billing.payment_succeeded.v1", at, data)
}

pub fn refunded_by_shop(id: &str, at: EventTime, refund: &str, order: &str, (minor, currency): (i64, &str)) -> Event {
    let data = serde_json::json!({"refund_id": refund, "order_id": order, "amount": {"minor": minor, "currency": currency}});
    fact(id, "commerce.order_refunded.v1", at, data)
}

pub fn refunded_by_provider(id: &str, at: EventTime, refund: &str, payment: &str, (minor, currency): (i64, &str)) -> Event {
    let data = serde_json::json!({"refund_id": refund, "payment_id": payment, "amount": {"minor": minor, "currency": currency}});
    fact(id, "billing.refund_issued.v1", at, data)
}

#[derive(Default)]
pub struct Life {
    pub state: Customer,
    pub timers: BTreeMap<String, EventTime>,
    pub emitted: Vec<Event>,
    /// Whether amounts are larger than admission takes: a log of an older version may hold them.
    pub beyond_bounds: bool,
}

impl Life {
    pub fn decide(&self, input: Input<'_>, source: &str, cause: &str) -> Result<Vec<Event>, Error> {
        let mut decision = Decision::new("revenue-agent-system", source, cause);
        RevenueAgentSystem.decide(&self.state, input, &mut decision)?;
        let drafts = decision.finish()?.into_iter().enumerate();
        Ok(drafts
            .map(|(index, draft)| {
                let mut own = Event::new(format!("{cause}/{index}"), "/systems/revenue-agent-system", draft.event_type, "customer/7");
                own = own.at(draft.time.unwrap_or(input.time()));
                own.set(Attribute::CausationId, cause);
                own.data = draft.data;
                let encoded = own.encode();
                if !self.beyond_bounds {
                    let validity = tol_events::registry::validate(&encoded.view());
                    assert!(
                        validity.is_ok() && tol_events::registry::known(draft.event_type).is_some(),
                        "{validity:?}: {}",
                        String::from_utf8_lossy(&own.data)
                    );
                }
                own
            })
            .collect())
    }

    pub fn fold(&mut self, own: Vec<Event>) -> Vec<String> {
        let said = own.iter().map(shown).collect();
        for event in own {
            let mut evolution = Evolution::default();
            RevenueAgentSystem.evolve(&mut self.state, event.encode().view(), &mut evolution).unwrap();
            for timer in evolution.timers {
                match timer.due {
                    Some(due) => self.timers.insert(timer.id, due),
                    None => self.timers.remove(&timer.id),
                };
            }
            self.emitted.push(event);
        }
        said
    }

    /// Publishes a fact; what it leads to, each as "type what amount currency", with the day where that is not the fact's.
    pub fn publish(&mut self, fact: &Event) -> Vec<String> {
        let encoded = fact.encode();
        let own = self.decide(Input::Event(encoded.view()), fact.get(Attribute::Source), fact.get(Attribute::Id)).unwrap();
        self.fold(own)
    }

    /// Publishes a fact that is admitted at `recorded`.
    pub fn publish_at(&mut self, fact: &Event, recorded: EventTime) -> Vec<String> {
        let mut fact = fact.clone();
        fact.set(Attribute::RecordedTime, recorded.to_string());
        self.publish(&fact)
    }

    /// Fires the timers that are due at `now`, in order.
    pub fn tick(&mut self, now: EventTime) -> Vec<String> {
        let mut said = Vec::new();
        while let Some((due, id)) = self.timers.iter().map(|(id, due)| (*due, id.clone())).min().filter(|(due, _)| *due <= now) {
            self.timers.remove(&id);
            let own = self.decide(Input::Timer { id: &id, subject: "customer/7", due }, "timer", &format!("{id}@{due}")).unwrap();
            said.extend(self.fold(own));
        }
        said
    }

    /// Sums of what was said, as a reader of sums keeps them: by name, month and currency. Sums of nothing are left out.
    pub fn sums(&self) -> BTreeMap<String, (i64, i64)> {
        let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        let mut add = |name: &str, month: &str, sign: i64, amount: &serde_json::Value| {
            let sum = sums.entry(format!("{name} {} {}", &month[..7], amount["currency"].as_str().unwrap())).or_default();
            sum.0 += sign * amount["minor"].as_i64().unwrap();
            sum.1 += sign;
        };
        for event in &self.emitted {
            let data: serde_json::Value = event.data_as().unwrap();
            let time = event.get(Attribute::Time);
            let restated = [(-1, &data["was"]), (1, &data["now"])].into_iter().filter(|(_, state)| !state.is_null());
            match event.get(Attribute::Type) {
                "revenue.mrr_moved.v1" => add(data["class"].as_str().unwrap(), time, 1, &data["amount"]),
                "revenue.mrr_restated.v1" => restated.for_each(|(sign, movement)| {
                    add(movement["class"].as_str().unwrap_or("annual"), data["corrects"]["at"].as_str().unwrap(), sign, &movement["amount"]);
                }),
                "revenue.recognized.v1" => add("recognized", time, 1, &data["amount"]),
                "revenue.recognition_restated.v1" => {
                    restated.for_each(|(sign, state)| add("recognized", state["at"].as_str().unwrap(), sign, &state["amount"]));
                }
                "revenue.refunded.v1" => {
                    let unmatched = if data["unmatched"].is_null() {
                        serde_json::json!({"minor": 0, "currency": data["amount"]["currency"]})
                    } else {
                        data["unmatched"].clone()
                    };
                    add("refunded", time, 1, &data["amount"]);
                    add("unmatched", time, 1, &unmatched);
                }
                "revenue.refund_restated.v1" => restated.for_each(|(sign, state)| {
                    add("refunded", state["at"].as_str().unwrap(), sign, &state["amount"]);
                    add(
                        "unmatched",
                        state["at"].as_str().unwrap(),
                        sign,
                        &serde_json::json!({"minor": state["unmatched"], "currency": state["amount"]["currency"]}),
                    );
                }),
                // What is to come is shown as one sum, in no month.
                "revenue.scheduled.v1" => {
                    restated.for_each(|(sign, amount)| add(&format!("scheduled-{}", data["kind"].as_str().unwrap()), "current", sign, amount));
                }
                _ => {}
            }
        }
        sums.retain(|_, sum| *sum != (0, 0));
        sums
    }
}

fn money(amount: &serde_json::Value) -> String {
    format!("{} {}", amount["minor"], amount["currency"].as_str().unwrap_or("-"))
}

fn shown(event: &Event) -> String {
    let data: serde_json::Value = event.data_as().unwrap();
    let name = event.get(Attribute::Type).trim_start_matches("revenue.").trim_end_matches(".v1");
    let state = |state: &serde_json::Value| match state {
        serde_json::Value::Null => "nothing".to_owned(),
        state if state["amount"].is_object() => {
            let class = state["class"].as_str().map(|class| format!("{class} ")).unwrap_or_default();
            let unmatched = state["unmatched"].as_i64().map(|unmatched| format!(" and {unmatched} unmatched")).unwrap_or_default();
            format!("{class}{}{unmatched}", money(&state["amount"]))
        }
        amount => money(amount),
    };
    match name {
        "mrr_restated" => format!("{name} {}: {} -> {}", data["corrects"]["id"].as_str().unwrap(), state(&data["was"]), state(&data["now"])),
        "recognition_restated" | "refund_restated" | "scheduled" => {
            format!("{name} {}: {} -> {}", data["reference"].as_str().unwrap(), state(&data["was"]), state(&data["now"]))
        }
        "refunded" if !data["unmatched"].is_null() => format!("{name} {} and {} unmatched", money(&data["amount"]), data["unmatched"]["minor"]),
        "fact_noted" => name.to_owned(),
        _ => format!(
            "{name} {}{}",
            data["class"].as_str().or(data["source"].as_str()).map(|what| format!("{what} ")).unwrap_or_default(),
            money(&data["amount"])
        ),
    }
}
