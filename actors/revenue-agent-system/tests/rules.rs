//! The agent's rules on hand-made histories, ChartMogul's published life of a customer, and the contract suite.

use std::collections::BTreeMap;

use tol_events::{Attribute, Event, EventTime};
use tol_revenue_agent_system::{Customer, RevenueAgentSystem};
use tol_system::{Decision, Error, Evolution, Input, System, contract, erase};

/// One customer whose facts are decided and folded one after the other.
#[derive(Default)]
struct Life {
    state: Customer,
    facts: u64,
}

impl Life {
    fn decide(&self, fact: &Event) -> Result<Vec<(&'static str, serde_json::Value)>, Error> {
        let encoded = fact.encode();
        let mut decision = Decision::new("revenue-agent-system", fact.get(Attribute::Source), fact.get(Attribute::Id));
        RevenueAgentSystem.decide(&self.state, Input::Event(encoded.view()), &mut decision)?;
        Ok(decision.finish()?.into_iter().map(|draft| (draft.event_type, serde_json::from_slice(&draft.data).unwrap())).collect())
    }

    /// Publishes a fact under an id of its own; the emitted events, each as "type class-or-source minor currency".
    fn fact(&mut self, event_type: &str, data: serde_json::Value) -> Vec<String> {
        self.facts += 1;
        let mut fact = Event::new(format!("f{}", self.facts), "/test", event_type, "customer/7").at(EventTime::from_secs(self.facts as i64));
        fact.data = data.to_string().into_bytes();
        let emitted = self.decide(&fact).unwrap();
        for (event_type, data) in &emitted {
            let event = Event::new("own", "/systems/revenue-agent-system", *event_type, "customer/7").with_data(data).unwrap();
            RevenueAgentSystem.evolve(&mut self.state, event.encode().view(), &mut Evolution::default()).unwrap();
        }
        emitted.iter().map(|(event_type, data)| shown(event_type, data)).collect()
    }

    fn subscribe(&mut self, event_type: &str, id: &str, interval: &str, quantity: u64, minor: i64, currency: &str) -> Vec<String> {
        let price = serde_json::json!({"minor": minor, "currency": currency});
        self.fact(
            event_type,
            serde_json::json!({"subscription_id": id, "customer_id": "7", "plan": "p", "interval": interval, "quantity": quantity, "unit_price": price}),
        )
    }

    fn start(&mut self, id: &str, interval: &str, quantity: u64, minor: i64, currency: &str) -> Vec<String> {
        self.subscribe("billing.subscription_started.v1", id, interval, quantity, minor, currency)
    }

    fn change(&mut self, id: &str, interval: &str, quantity: u64, minor: i64, currency: &str) -> Vec<String> {
        self.subscribe("billing.subscription_changed.v1", id, interval, quantity, minor, currency)
    }

    fn cancel(&mut self, id: &str) -> Vec<String> {
        self.fact("billing.subscription_cancelled.v1", serde_json::json!({"subscription_id": id, "customer_id": "7"}))
    }

    fn order(&mut self, id: &str, minor: i64) -> Vec<String> {
        self.fact("commerce.order_placed.v1", serde_json::json!({"order_id": id, "customer_id": "7", "total": {"minor": minor, "currency": "USD"}}))
    }

    fn pay(&mut self, id: &str, minor: i64, order_id: Option<&str>) -> Vec<String> {
        let mut data = serde_json::json!({"payment_id": id, "customer_id": "7", "amount": {"minor": minor, "currency": "USD"}});
        if let Some(order_id) = order_id {
            data["order_id"] = order_id.into();
        }
        self.fact("billing.payment_succeeded.v1", data)
    }
}

fn shown(event_type: &str, data: &serde_json::Value) -> String {
    let kind = data["class"].as_str().or(data["source"].as_str()).unwrap_or("refund");
    let name = event_type.trim_start_matches("revenue.").trim_end_matches(".v1");
    format!("{name} {kind} {} {}", data["amount"]["minor"], data["amount"]["currency"].as_str().unwrap())
}

#[test]
fn the_contract_holds() {
    let report = contract::check(&erase(RevenueAgentSystem)).unwrap();
    assert!(report.unreached.is_empty() && report.events > 100 && report.refused > 100, "{report:?}");
}

#[test]
fn the_first_revenue_is_new_and_revenue_after_none_is_a_reactivation() {
    let mut life = Life::default();
    assert_eq!(life.start("a", "month", 1, 1_000, "USD"), ["mrr_moved new 1000 USD"]);
    assert_eq!(life.start("b", "month", 1, 500, "USD"), ["mrr_moved expansion 500 USD"]);
    assert_eq!(life.cancel("a"), ["mrr_moved contraction -1000 USD"]);
    assert_eq!(life.cancel("b"), ["mrr_moved churn -500 USD"]);
    assert_eq!(life.start("c", "month", 1, 1, "USD"), ["mrr_moved reactivation 1 USD"]);
}

#[test]
fn a_change_without_a_difference_says_nothing() {
    let mut life = Life::default();
    life.start("a", "month", 2, 600, "USD");
    assert!(life.change("a", "month", 1, 1_200, "USD").is_empty());
    assert!(life.change("a", "year", 12, 1_200, "USD").is_empty());
    assert_eq!(life.change("a", "month", 1, 1_500, "USD"), ["mrr_moved expansion 300 USD"]);
}

#[test]
fn a_second_start_of_an_active_subscription_is_a_change() {
    let mut life = Life::default();
    life.start("a", "month", 1, 1_000, "USD");
    assert!(life.start("a", "month", 1, 1_000, "USD").is_empty());
    assert_eq!(life.start("a", "month", 1, 400, "USD"), ["mrr_moved contraction -600 USD"]);
}

#[test]
fn cancelling_the_unknown_or_twice_says_nothing() {
    let mut life = Life::default();
    assert!(life.cancel("never").is_empty());
    life.start("a", "month", 1, 1_000, "USD");
    assert_eq!(life.cancel("a").len(), 1);
    assert!(life.cancel("a").is_empty());
}

#[test]
fn a_free_subscription_moves_nothing_until_it_costs_something() {
    let mut life = Life::default();
    assert!(life.start("a", "month", 5, 0, "USD").is_empty());
    assert_eq!(life.change("a", "month", 5, 100, "USD"), ["mrr_moved new 500 USD"]);
    assert_eq!(life.change("a", "month", 5, 0, "USD"), ["mrr_moved churn -500 USD"]);
}

#[test]
fn another_currency_ends_the_old_and_begins_the_new() {
    let mut life = Life::default();
    life.start("a", "month", 1, 1_000, "USD");
    life.start("b", "month", 1, 200, "USD");
    assert_eq!(life.change("a", "month", 1, 900, "EUR"), ["mrr_moved contraction -1000 USD", "mrr_moved new 900 EUR"]);
    assert_eq!(life.change("b", "month", 1, 100, "EUR"), ["mrr_moved churn -200 USD", "mrr_moved expansion 100 EUR"]);
    assert_eq!(life.change("b", "month", 1, 100, "USD"), ["mrr_moved contraction -100 EUR", "mrr_moved reactivation 100 USD"]);
}

#[test]
fn an_order_and_its_payment_are_recognized_once_in_either_order() {
    let mut life = Life::default();
    assert_eq!(life.order("o1", 1_177), ["recognized order 1177 USD"]);
    assert!(life.pay("p1", 1_177, Some("o1")).is_empty());
    assert_eq!(life.pay("p2", 500, Some("o2")), ["recognized payment 500 USD"]);
    assert!(life.order("o2", 500).is_empty());
    assert!(life.order("o1", 1_177).is_empty() && life.pay("p2", 500, Some("o2")).is_empty());
    assert_eq!(life.pay("p3", 300, Some("o2")), ["recognized payment 300 USD"]); // a second instalment of an order that was never recognised as such
    assert_eq!(life.pay("o1", 5, None), ["recognized payment 5 USD"]); // an order and a payment may share an id
    assert!(life.order("free", 0).is_empty());
}

#[test]
fn a_refund_is_taken_off_once_whoever_reports_it() {
    let mut life = Life::default();
    let money = serde_json::json!({"minor": 177, "currency": "USD"});
    let of_order = serde_json::json!({"order_id": "o1", "customer_id": "7", "refund_id": "r1", "amount": money});
    let of_payment = serde_json::json!({"payment_id": "p1", "customer_id": "7", "refund_id": "r1", "amount": money});
    assert_eq!(life.fact("commerce.order_refunded.v1", of_order.clone()), ["refunded refund 177 USD"]);
    assert!(life.fact("billing.refund_issued.v1", of_payment).is_empty());
    assert!(life.fact("commerce.order_refunded.v1", of_order).is_empty());
}

#[test]
fn what_does_not_fit_is_an_error_that_names_the_input() {
    let mut life = Life::default();
    life.start("a", "month", 1, i64::MAX, "USD");
    let price = serde_json::json!({"minor": i64::MAX, "currency": "USD"});
    let data = serde_json::json!({"subscription_id": "b", "customer_id": "7", "plan": "p", "interval": "month", "quantity": 1, "unit_price": price});
    let mut fact = Event::new("too-much", "/test", "billing.subscription_started.v1", "customer/7");
    fact.data = data.to_string().into_bytes();
    let problem = life.decide(&fact).unwrap_err().to_string();
    assert!(problem.contains("too-much") && problem.contains("64 bits"), "{problem}");
}

/// Publishes one step of a life; what it led to.
type Publish = fn(&mut Life) -> Vec<String>;

/// ChartMogul's published life of a customer, from the shared data folder; without it there is nothing to compare with.
#[test]
fn chartmoguls_published_lifecycle_is_classified_the_same() {
    let folder = std::env::var("TOL_DATA").unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned());
    let Ok(text) = std::fs::read_to_string(format!("{folder}/revenue-agent/golden_vectors.json")) else {
        println!("skipped: no revenue-agent/golden_vectors.json in {folder}; set TOL_DATA");
        return;
    };
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let steps = vectors["mrr_movements_chartmogul_lifecycle"]["steps"].as_array().unwrap();
    let mut life = Life::default();
    // Each published step as a fact: 4 Gold yearly at 500 USD; +2 Silver monthly at 30; Silver cancelled; Gold cancelled; 3 Gold monthly at 50.
    let facts: [Publish; 5] = [
        |life| life.start("gold", "year", 4, 50_000, "USD"),
        |life| life.start("silver", "month", 2, 3_000, "USD"),
        |life| life.cancel("silver"),
        |life| life.cancel("gold"),
        |life| life.start("gold-again", "month", 3, 5_000, "USD"),
    ];
    assert_eq!(steps.len(), facts.len());
    for (step, publish) in steps.iter().zip(facts) {
        let class = step[1].as_str().unwrap().replace("new_business", "new");
        assert_eq!(publish(&mut life), [format!("mrr_moved {class} {} USD", step[2])], "{step}");
    }
    assert_eq!(
        life.state.recurring.iter().map(|(currency, recurring)| (currency.to_string(), recurring.total())).collect::<BTreeMap<_, _>>(),
        BTreeMap::from([("USD".to_owned(), 15_000)])
    );
}
