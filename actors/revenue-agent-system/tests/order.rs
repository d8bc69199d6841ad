//! Facts as they really come: late, twice, from the future, and such as cannot be.

use tol_events::{Attribute, Event};
use tol_money_book::book;
use tol_revenue_agent_system::subscriptions;
use tol_system::System;

use crate::life::*;

fn mrr_of(life: &Life) -> i64 {
    life.state.subscriptions.recurring(life.state.now).values().flat_map(|of| of.values()).sum()
}

#[test]
fn a_change_that_arrives_after_the_cancellation_it_precedes_leaves_no_revenue() {
    let mut life = Life::default();
    life.publish(&subscribed("f1", "started", minute(600), "s", 1_000));
    assert_eq!(life.publish(&cancelled("f2", minute(720), "s")), ["mrr_moved churn -1000 USD"]);
    assert_eq!(
        life.publish(&subscribed("f3", "changed", minute(660), "s", 2_000)),
        ["mrr_moved expansion 1000 USD", "mrr_restated f2: churn -1000 USD -> churn -2000 USD"]
    );
    let sums: Vec<_> = life.sums().into_iter().collect();
    let of = |name: &str, minor: i64| (format!("{name} 2026-03 USD"), (minor, 1));
    assert_eq!(sums, [of("churn", -2_000), of("expansion", 1_000), of("new", 1_000)]);
}

#[test]
fn a_start_that_arrives_after_a_change_is_new_and_the_change_an_expansion() {
    let mut life = Life::default();
    let day = 24 * 60;
    assert_eq!(life.publish(&subscribed("f1", "changed", minute(day), "s", 2_000)), ["mrr_moved new 2000 USD"]);
    assert_eq!(
        life.publish(&subscribed("f2", "started", minute(0), "s", 1_000)),
        ["mrr_moved new 1000 USD", "mrr_restated f1: new 2000 USD -> expansion 1000 USD"]
    );
}

#[test]
fn a_restatement_counts_in_the_month_of_what_it_corrects() {
    let mut life = Life::default();
    let day = 24 * 60;
    life.publish(&subscribed("f1", "changed", minute(day), "s", 2_000)); // March
    life.publish(&cancelled("f2", minute(32 * day), "s")); // April
    life.publish(&subscribed("f3", "started", minute(-day), "s", 1_000)); // February
    let sums: Vec<_> = life.sums().into_iter().collect();
    let of = |name: &str, minor: i64| (format!("{name} USD"), (minor, 1));
    assert_eq!(sums, [of("churn 2026-04", -2_000), of("expansion 2026-03", 1_000), of("new 2026-02", 1_000)]);
}

#[test]
fn at_equal_times_starts_come_before_changes_and_changes_before_cancellations_then_ids() {
    let facts = [
        subscribed("z", "started", minute(1), "s", 1_000),
        subscribed("b", "changed", minute(1), "s", 2_000),
        subscribed("c", "changed", minute(1), "s", 3_000),
        cancelled("a", minute(1), "s"),
    ];
    let mut life = Life::default();
    facts.iter().rev().for_each(|fact| drop(life.publish(fact)));
    let sums: Vec<_> = life.sums().into_iter().collect();
    assert_eq!(
        sums,
        [("churn 2026-03 USD".to_owned(), (-3_000, 1)), ("expansion 2026-03 USD".to_owned(), (2_000, 2)), ("new 2026-03 USD".to_owned(), (1_000, 1))]
    );
}

#[test]
fn a_payment_that_arrives_before_its_order_is_taken_back_when_the_order_comes() {
    let mut life = Life::default();
    assert_eq!(life.publish(&paid("f1", minute(1), "p", (4_000, "USD"), Some("o"))), ["recognized payment 4000 USD"]);
    assert_eq!(life.publish(&ordered("f2", minute(0), "o", 10_000, "USD")), ["recognized order 10000 USD", "recognition_restated p: 4000 USD -> nothing"]);
}

#[test]
fn what_is_told_twice_counts_once_and_a_correction_replaces() {
    let mut life = Life::default();
    life.publish(&ordered("webhook-1", minute(1), "o", 10_000, "USD"));
    assert_eq!(life.publish(&ordered("import-1", minute(1), "o", 10_000, "USD")), Vec::<String>::new(), "an id before the one that holds");
    assert_eq!(life.publish(&ordered("x-import", minute(1), "o", 10_000, "USD")), ["fact_noted"], "the last telling holds, and says the same");
    assert_eq!(life.publish(&ordered("correction", minute(2), "o", 8_000, "EUR")), ["recognition_restated o: 10000 USD -> 8000 EUR"]);
    assert_eq!(life.publish(&ordered("y", minute(1), "o", 1, "USD")), Vec::<String>::new(), "an earlier telling corrects nothing");
    life.publish(&paid("f1", minute(3), "p", (500, "USD"), None));
    assert_eq!(life.publish(&paid("f2", minute(3), "p", (500, "USD"), None)), ["fact_noted"]);
    assert_eq!(life.publish(&refunded_by_provider("f3", minute(4), "r", "p", (200, "USD"))), ["refunded 200 USD"]);
    assert_eq!(life.publish(&refunded_by_provider("f4", minute(4), "r", "p", (200, "USD"))), ["fact_noted"]);
    let sums: Vec<_> = life.sums().into_iter().filter(|(name, sum)| !name.starts_with("unmatched") || sum.0 != 0).collect();
    assert_eq!(
        sums,
        [("recognized 2026-03 EUR".to_owned(), (8_000, 1)), ("recognized 2026-03 USD".to_owned(), (500, 1)), ("refunded 2026-03 USD".to_owned(), (200, 1))]
    );
}

#[test]
fn a_refund_that_shop_and_provider_tell_is_one() {
    let mut life = Life::default();
    life.publish(&ordered("f1", minute(1), "o", 10_000, "USD"));
    life.publish(&paid("f2", minute(2), "p", (10_000, "USD"), Some("o")));
    assert_eq!(life.publish(&refunded_by_shop("f3", minute(3), "r", "o", (177, "USD"))), ["refunded 177 USD"]);
    assert_eq!(
        life.publish(&refunded_by_provider("f4", minute(4), "r", "p", (177, "USD"))),
        ["refund_restated r: 177 USD and 0 unmatched -> 177 USD and 0 unmatched"],
        "it happened when the last telling says"
    );
    assert_eq!(life.sums()["refunded 2026-03 USD"], (177, 1));
}

#[test]
fn refunds_beyond_what_was_paid_are_unmatched() {
    let mut life = Life::default();
    assert_eq!(life.publish(&refunded_by_shop("f1", minute(9), "r1", "o", (60, "USD"))), ["refunded 0 USD and 60 unmatched"], "of an order nobody told of");
    assert_eq!(
        life.publish(&ordered("f2", minute(1), "o", 100, "USD")),
        ["recognized order 100 USD", "refund_restated r1: 0 USD and 60 unmatched -> 60 USD and 0 unmatched"]
    );
    assert_eq!(life.publish(&refunded_by_shop("f3", minute(10), "r2", "o", (60, "USD"))), ["refunded 40 USD and 20 unmatched"], "above what is left");
    assert_eq!(life.publish(&refunded_by_shop("f4", minute(10), "r3", "o", (5, "EUR"))), ["refunded 0 EUR and 5 unmatched"], "in another currency");
    assert_eq!(life.publish(&refunded_by_provider("f5", minute(11), "r4", "p", (7, "USD"))), ["refunded 0 USD and 7 unmatched"], "without a payment");
    life.publish(&paid("f6", minute(12), "p2", (50, "USD"), Some("o")));
    assert_eq!(
        life.publish(&refunded_by_provider("f7", minute(13), "r5", "p2", (10, "USD"))),
        ["refunded 0 USD and 10 unmatched"],
        "its order was given back already"
    );
    life.publish(&paid("f8", minute(14), "p3", (50, "USD"), None));
    assert_eq!(life.publish(&refunded_by_provider("f9", minute(15), "r6", "p3", (60, "USD"))), ["refunded 50 USD and 10 unmatched"]);
    // An earlier refund takes first.
    assert_eq!(
        life.publish(&refunded_by_shop("f10", minute(8), "r0", "o", (50, "USD"))),
        [
            "refunded 50 USD",
            "refund_restated r1: 60 USD and 0 unmatched -> 50 USD and 10 unmatched",
            "refund_restated r2: 40 USD and 20 unmatched -> 0 USD and 60 unmatched"
        ]
    );
}

#[test]
fn a_fact_of_the_future_takes_effect_when_its_time_comes() {
    let mut life = Life::default();
    life.publish_at(&subscribed("f1", "started", minute(0), "s", 1_000), minute(0));
    assert_eq!(life.publish_at(&subscribed("f2", "changed", minute(60), "s", 1_500), minute(1)), ["scheduled s: nothing -> 500 USD"]);
    assert_eq!(life.publish_at(&cancelled("f3", minute(120), "s"), minute(2)), ["scheduled s: nothing -> -1500 USD"]);
    assert_eq!(life.publish_at(&ordered("f4", minute(60), "o", 900, "USD"), minute(3)), ["scheduled o: nothing -> 900 USD"]);
    let recurring = |life: &Life| mrr_of(life);
    assert_eq!(recurring(&life), 1_000);
    // What comes meanwhile changes what is scheduled.
    assert_eq!(
        life.publish_at(&subscribed("f5", "changed", minute(4), "s", 1_200), minute(4)),
        ["mrr_moved expansion 200 USD", "scheduled s: 500 USD -> 300 USD"]
    );
    assert_eq!(life.tick(minute(59)), Vec::<String>::new());
    assert_eq!(
        life.tick(minute(60)),
        ["mrr_moved expansion 300 USD", "scheduled s: 300 USD -> nothing", "recognized order 900 USD", "scheduled o: 900 USD -> nothing"]
    );
    assert_eq!(recurring(&life), 1_500);
    assert_eq!(life.tick(minute(600)), ["mrr_moved churn -1500 USD", "scheduled s: -1500 USD -> nothing"]);
    assert!(life.sums().keys().all(|name| !name.starts_with("scheduled")), "{:?}", life.sums());
    assert_eq!(recurring(&life), 0);
    assert!(life.timers.is_empty());
}

#[test]
fn what_has_become_due_counts_with_the_next_fact_even_before_its_timer() {
    let mut life = Life::default();
    life.publish_at(&subscribed("f1", "started", minute(10), "s", 1_000), minute(0));
    assert_eq!(
        life.publish_at(&ordered("f2", minute(11), "o", 5, "USD"), minute(11)),
        ["mrr_moved new 1000 USD", "scheduled s: 1000 USD -> nothing", "recognized order 5 USD"]
    );
    assert_eq!(life.tick(minute(12)), Vec::<String>::new());
    // A clock of another node that is behind takes nothing back.
    assert_eq!(
        life.publish_at(&subscribed("f3", "started", minute(1), "t", 10), minute(2)),
        ["mrr_moved new 10 USD", "mrr_restated f1: new 1000 USD -> expansion 1000 USD"]
    );
}

#[test]
fn more_restatements_than_a_group_holds_go_on_with_the_clock() {
    let mut life = Life::default();
    // Every second one is a churn, as there is nothing besides.
    for index in 0..1_000 {
        let at = minute(100 + index);
        let fact = if index % 2 == 0 { subscribed(&format!("f{index:04}"), "started", at, "s", 1_000) } else { cancelled(&format!("f{index:04}"), at, "s") };
        life.publish(&fact);
    }
    // With another subscription before all, none is: each is restated.
    let said = life.publish(&subscribed("early", "started", minute(0), "t", 10));
    assert!(said.len() <= 1_000 && said.last().unwrap() == "fact_noted", "{}", said.len());
    let rest = life.tick(minute(2_000));
    assert_eq!(said.len() + rest.len(), 1_002, "one for each fact, and the note that more follow");
    let sums = life.sums();
    assert_eq!((sums["new 2026-03 USD"], sums["expansion 2026-03 USD"], sums["contraction 2026-03 USD"]), ((10, 1), (500_000, 500), (-500_000, 500)));
    assert!(life.timers.is_empty() && !sums.contains_key("churn 2026-03 USD"));
}

#[test]
fn a_customer_with_many_facts_has_a_bounded_state_and_what_is_later_than_it_keeps_the_sums_right() {
    let mut life = Life::default();
    const FACTS: i64 = 3_000;
    for index in 0..FACTS {
        let id = format!("f{index:05}");
        life.publish(&subscribed(&id, "changed", minute(index), &format!("s{}", index % 3), 1_000 + index));
        life.publish(&ordered(&format!("o{id}"), minute(index), &format!("o{index}"), 10, "USD"));
        life.emitted.clear();
    }
    let state = serde_json::to_vec(&life.state).unwrap();
    assert!(life.state.subscriptions.facts().count() <= subscriptions::KEPT + 128 && life.state.book.items().count() <= book::KEPT + 256);
    assert!(state.len() < 500_000, "{} bytes", state.len());
    let again: tol_revenue_agent_system::Customer = serde_json::from_slice(&state).unwrap();
    assert_eq!(again, life.state);
    let mrr = |life: &Life| mrr_of(life);
    let before: i64 = (FACTS - 3..FACTS).map(|index| 1_000 + index).sum();
    assert_eq!(mrr(&life), before);
    // Of a subscription whose later facts are known, a fact before the bound changes nothing any more.
    assert_eq!(life.publish(&subscribed("late-1", "changed", minute(5), "s0", 7)), Vec::<String>::new());
    // Another subscription's fact counts, in its own month.
    assert_eq!(life.publish(&subscribed("late-2", "started", minute(5), "new", 7)), ["mrr_moved expansion 7 USD"]);
    assert_eq!(mrr(&life), before + 7);
    // An order let go counts once, though told again; so does its payment.
    assert_eq!(life.publish(&ordered("again", minute(5), "o5", 10, "USD")), Vec::<String>::new());
    assert_eq!(life.publish(&paid("p", minute(FACTS), "p5", (10, "USD"), Some("o5"))), ["fact_noted"]);
    assert_eq!(life.publish(&refunded_by_shop("r", minute(FACTS), "r5", "o5", (10, "USD"))), ["refunded 10 USD"]);
    // One that was never told counts, however late.
    assert_eq!(life.publish(&ordered("older", minute(-1), "older", 10, "USD")), ["recognized order 10 USD"]);
}

#[test]
fn an_own_event_of_every_type_names_its_fact_once() {
    let mut life = Life::default();
    let facts = [
        paid("f1", minute(1), "p", (4_000, "USD"), Some("o")),
        ordered("f2", minute(0), "o", 10_000, "USD"),
        subscribed("f3", "changed", minute(9), "s", 2_000),
        subscribed("f4", "started", minute(8), "s", 1_000),
    ];
    facts.iter().for_each(|fact| drop(life.publish(fact)));
    let carried = |event: &Event| event.data_as::<serde_json::Value>().unwrap()["fact"]["id"].as_str().map(str::to_owned);
    let carried: Vec<String> = life.emitted.iter().filter_map(carried).collect();
    assert_eq!(carried, ["f1", "f2", "f3", "f4"]);
    let restated = life.emitted.iter().filter(|event| event.get(Attribute::Type).ends_with("restated.v1")).count();
    assert_eq!(restated, 2);
    assert_eq!(tol_revenue_agent_system::RevenueAgentSystem.describe().emits.len(), 8);
}
