//! The agent's rules on hand-made histories in order of time, ChartMogul's published life of a customer, and the contract suite.

use std::collections::BTreeMap;

use tol_events::{Attribute, Event, EventTime};
use tol_revenue_agent_system::RevenueAgentSystem;
use tol_system::{Input, contract, erase};

use crate::life::{self, Life, minute};

/// Publishes facts one minute after the other.
#[derive(Default)]
struct Told {
    life: Life,
    facts: i64,
}

impl Told {
    fn fact(&mut self, event_type: &str, data: serde_json::Value) -> Vec<String> {
        self.facts += 1;
        let fact = life::fact(&format!("f{}", self.facts), event_type, minute(self.facts), data);
        self.life.publish(&fact)
    }

    fn subscribe(&mut self, event_type: &str, id: &str, interval: &str, quantity: u64, minor: i64, currency: &str) -> Vec<String> {
        let price = serde_json::json!({"minor": minor, "currency": currency});
        self.fact(event_type, serde_json::json!({"subscription_id": id, "plan": "p", "interval": interval, "quantity": quantity, "unit_price": price}))
    }

    fn start(&mut self, id: &str, interval: &str, quantity: u64, minor: i64, currency: &str) -> Vec<String> {
        self.subscribe("billing.subscription_started.v1", id, interval, quantity, minor, currency)
    }

    fn change(&mut self, id: &str, interval: &str, quantity: u64, minor: i64, currency: &str) -> Vec<String> {
        self.subscribe("billing.subscription_changed.v1", id, interval, quantity, minor, currency)
    }

    fn cancel(&mut self, id: &str) -> Vec<String> {
        self.fact("billing.subscription_cancelled.v1", serde_json::json!({ "subscription_id": id }))
    }

    fn order(&mut self, id: &str, minor: i64) -> Vec<String> {
        self.fact("commerce.order_placed.v1", serde_json::json!({"order_id": id, "total": {"minor": minor, "currency": "USD"}}))
    }

    fn pay(&mut self, id: &str, minor: i64, order_id: Option<&str>) -> Vec<String> {
        let mut data = serde_json::json!({"payment_id": id, "amount": {"minor": minor, "currency": "USD"}});
        if let Some(order_id) = order_id {
            data["order_id"] = order_id.into();
        }
        self.fact("billing.payment_succeeded.v1", data)
    }
}

#[test]
fn the_contract_holds() {
    let report = contract::check(&erase(RevenueAgentSystem)).unwrap();
    assert!(report.unreached.is_empty() && report.events > 100 && report.refused > 100 && report.timers > 0, "{report:?}");
}

#[test]
fn the_first_revenue_is_new_and_revenue_after_none_is_a_reactivation() {
    let mut told = Told::default();
    assert_eq!(told.start("a", "month", 1, 1_000, "USD"), ["mrr_moved new 1000 USD"]);
    assert_eq!(told.start("b", "month", 1, 500, "USD"), ["mrr_moved expansion 500 USD"]);
    assert_eq!(told.cancel("a"), ["mrr_moved contraction -1000 USD"]);
    assert_eq!(told.cancel("b"), ["mrr_moved churn -500 USD"]);
    assert_eq!(told.start("c", "month", 1, 1, "USD"), ["mrr_moved reactivation 1 USD"]);
}

#[test]
fn a_change_without_a_difference_is_noted_and_moves_nothing() {
    let mut told = Told::default();
    told.start("a", "month", 2, 600, "USD");
    assert_eq!(told.change("a", "month", 1, 1_200, "USD"), ["fact_noted"]);
    assert_eq!(told.change("a", "year", 12, 1_200, "USD"), ["fact_noted"]);
    assert_eq!(told.change("a", "month", 1, 1_500, "USD"), ["mrr_moved expansion 300 USD"]);
}

#[test]
fn a_year_for_a_month_of_the_same_rounded_price_moves_the_annual_amount_only() {
    let mut told = Told::default();
    told.start("a", "year", 1, 10_000, "USD");
    // 833 a month both, but 10,000 a year became 9,996.
    assert_eq!(told.change("a", "month", 1, 833, "USD"), ["mrr_restated f2: nothing -> 0 USD"]);
    let data: serde_json::Value = told.life.emitted.last().unwrap().data_as().unwrap();
    assert_eq!(data["now"]["annual"], -4);
}

#[test]
fn a_second_start_of_an_active_subscription_is_a_change() {
    let mut told = Told::default();
    told.start("a", "month", 1, 1_000, "USD");
    assert_eq!(told.start("a", "month", 1, 1_000, "USD"), ["fact_noted"]);
    assert_eq!(told.start("a", "month", 1, 400, "USD"), ["mrr_moved contraction -600 USD"]);
}

#[test]
fn cancelling_the_unknown_or_twice_moves_nothing() {
    let mut told = Told::default();
    assert_eq!(told.cancel("never"), ["fact_noted"]);
    told.start("a", "month", 1, 1_000, "USD");
    assert_eq!(told.cancel("a"), ["mrr_moved churn -1000 USD"]);
    assert_eq!(told.cancel("a"), ["fact_noted"]);
}

#[test]
fn a_free_subscription_moves_nothing_until_it_costs_something() {
    let mut told = Told::default();
    assert_eq!(told.start("a", "month", 5, 0, "USD"), ["fact_noted"]);
    assert_eq!(told.change("a", "month", 5, 100, "USD"), ["mrr_moved new 500 USD"]);
    assert_eq!(told.change("a", "month", 5, 0, "USD"), ["mrr_moved churn -500 USD"]);
}

#[test]
fn another_currency_ends_the_old_and_begins_the_new() {
    let mut told = Told::default();
    told.start("a", "month", 1, 1_000, "USD");
    told.start("b", "month", 1, 200, "USD");
    assert_eq!(told.change("a", "month", 1, 900, "EUR"), ["mrr_moved contraction -1000 USD", "mrr_moved new 900 EUR"]);
    assert_eq!(told.change("b", "month", 1, 100, "EUR"), ["mrr_moved churn -200 USD", "mrr_moved expansion 100 EUR"]);
    assert_eq!(told.change("b", "month", 1, 100, "USD"), ["mrr_moved contraction -100 EUR", "mrr_moved reactivation 100 USD"]);
}

#[test]
fn an_order_is_recognized_at_its_total_and_a_payment_that_names_it_never_besides() {
    let mut told = Told::default();
    assert_eq!(told.order("o1", 1_177), ["recognized order 1177 USD"]);
    assert_eq!(told.pay("p1", 1_177, Some("o1")), ["fact_noted"]);
    assert_eq!(told.pay("p2", 200, Some("o2")), ["recognized payment 200 USD"]);
    assert_eq!(told.pay("p3", 300, Some("o2")), ["recognized payment 300 USD"]);
    assert_eq!(
        told.order("o2", 700),
        ["recognized order 700 USD", "recognition_restated p2: 200 USD -> nothing", "recognition_restated p3: 300 USD -> nothing"]
    );
    assert_eq!(told.pay("o1", 5, None), ["recognized payment 5 USD"]); // an order and a payment may share an id
    assert_eq!(told.order("free", 0), ["fact_noted"]);
    assert_eq!(told.pay("p4", 9, Some("free")), ["fact_noted"]);
}

#[test]
fn sums_beyond_64_bits_saturate_and_a_price_beyond_them_is_an_error_that_names_the_input() {
    let mut told = Told { life: Life { beyond_bounds: true, ..Life::default() }, facts: 0 };
    let most = i64::MAX / 12;
    for id in 0..12 {
        told.start(&id.to_string(), "month", 1, most, "USD");
    }
    assert_eq!(told.start("one-more", "month", 1, most, "USD"), [format!("mrr_moved expansion {most} USD")]);
    let data: serde_json::Value = told.life.emitted.last().unwrap().data_as().unwrap();
    assert_eq!(data["mrr_after"]["minor"], i64::MAX);
    let shown = tol_system::System::observe(&RevenueAgentSystem, &told.life.state);
    assert_eq!(shown["recurring"][0]["mrr"], serde_json::json!({"minor": i64::MAX, "currency": "USD", "saturated": true}));

    let fact = life::subscribed("too-much", "started", minute(99), "b", i64::MAX);
    let problem = told.life.decide(Input::Event(fact.encode().view()), "/test", "too-much").unwrap_err().to_string();
    assert!(problem.contains("too-much") && problem.contains("64 bits"), "{problem}");
}

#[test]
fn what_an_older_version_said_is_known_and_can_be_corrected() {
    let mut life = Life::default();
    let own = |id: &str, event_type: &str, at: EventTime, mut data: serde_json::Value| {
        data["customer_id"] = "7".into();
        let mut event = Event::new(id, "/systems/revenue-agent-system", event_type, "customer/7").at(at);
        event.set(Attribute::CausationId, format!("cause-of-{id}"));
        event.data = data.to_string().into_bytes();
        event
    };
    let usd = |minor: i64| serde_json::json!({"minor": minor, "currency": "USD"});
    life.fold(vec![
        own(
            "e1",
            "revenue.mrr_moved.v1",
            minute(1),
            serde_json::json!({"subscription_id": "s1", "class": "new", "amount": usd(1_000), "mrr_after": usd(1_000)}),
        ),
        own(
            "e2",
            "revenue.mrr_moved.v1",
            minute(5),
            serde_json::json!({"subscription_id": "s1", "class": "expansion", "amount": usd(500), "mrr_after": usd(1_500)}),
        ),
        own("e3", "revenue.recognized.v1", minute(6), serde_json::json!({"source": "order", "reference": "o1", "order_id": "o1", "amount": usd(900)})),
        own("e4", "revenue.refunded.v1", minute(7), serde_json::json!({"reference": "r1", "amount": usd(90)})),
    ]);
    assert_eq!(
        life.publish(&life::subscribed("late", "changed", minute(3), "s1", 1_200)),
        ["mrr_moved expansion 200 USD", "mrr_restated e2: expansion 500 USD -> expansion 300 USD"]
    );
    assert_eq!(life.publish(&life::paid("f1", minute(8), "p1", (900, "USD"), Some("o1"))), ["fact_noted"], "its order was recognised");
    assert!(
        life.publish(&life::refunded_by_shop("f2", minute(7), "r1", "o1", (90, "USD"))).iter().all(|said| said == "fact_noted"),
        "the refund was taken off"
    );
    assert_eq!(life.publish(&life::cancelled("f3", minute(9), "s1")), ["mrr_moved churn -1500 USD"]);
}

/// Publishes one step of a life; what it led to.
type Publish = fn(&mut Told) -> Vec<String>;

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
    let mut told = Told::default();
    // Each published step as a fact: 4 Gold yearly at 500 USD; +2 Silver monthly at 30; Silver cancelled; Gold cancelled; 3 Gold monthly at 50.
    let facts: [Publish; 5] = [
        |told| told.start("gold", "year", 4, 50_000, "USD"),
        |told| told.start("silver", "month", 2, 3_000, "USD"),
        |told| told.cancel("silver"),
        |told| told.cancel("gold"),
        |told| told.start("gold-again", "month", 3, 5_000, "USD"),
    ];
    assert_eq!(steps.len(), facts.len());
    for (step, publish) in steps.iter().zip(facts) {
        let class = step[1].as_str().unwrap().replace("new_business", "new");
        assert_eq!(publish(&mut told), [format!("mrr_moved {class} {} USD", step[2])], "{step}");
    }
    let recurring = told.life.state.subscriptions.recurring(told.life.state.now);
    let totals: BTreeMap<String, i64> = recurring.iter().map(|(currency, of)| (currency.to_string(), of.values().sum())).collect();
    assert_eq!(totals, BTreeMap::from([("USD".to_owned(), 15_000)]));
}
