//! Counts facts anew in order of time, from the definition in the README of the revenue agent. It shares no code with what it checks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lifecycles::Fact;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn whole(value: &Value) -> i128 {
    i128::from(value.as_i64().unwrap())
}

/// Days since 1970 as a calendar month. Written anew: months are where amounts count.
fn month(seconds: i64) -> String {
    let mut days = seconds.div_euclid(86_400);
    let mut year = 1970;
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let of_year = if leap { 366 } else { 365 };
        if days < of_year {
            let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let mut number = 0;
            while days >= lengths[number] {
                days -= lengths[number];
                number += 1;
            }
            return format!("{year}-{:02}", number + 1);
        }
        days -= of_year;
        year += 1;
    }
}

fn time(seconds: i64) -> String {
    tol_events::EventTime::from_secs(seconds).to_string()
}

/// Half to even.
fn rounded(dividend: i128, divisor: i128) -> i128 {
    let below = dividend / divisor;
    match (2 * (dividend - below * divisor)).cmp(&divisor) {
        std::cmp::Ordering::Less => below,
        std::cmp::Ordering::Greater => below + 1,
        std::cmp::Ordering::Equal => below + below % 2,
    }
}

/// The facts of each customer, in order: time; starts, changes, cancellations; id.
fn in_order(facts: &[Fact]) -> BTreeMap<String, Vec<&Fact>> {
    let mut customers: BTreeMap<String, Vec<&Fact>> = BTreeMap::new();
    for fact in facts {
        customers.entry(fact.subject.trim_start_matches("customer/").to_owned()).or_default().push(fact);
    }
    let rank = |fact: &Fact| {
        if fact.kind.contains("_started") {
            0
        } else if fact.kind.contains("_changed") {
            1
        } else {
            2
        }
    };
    for facts in customers.values_mut() {
        facts.sort_by(|a, b| (a.at, rank(a), &a.id).cmp(&(b.at, rank(b), &b.id)));
    }
    customers
}

/// What counted of a customer's orders, payments and refunds.
#[derive(Default)]
struct Counted {
    /// Time, currency, total.
    orders: Vec<(i64, String, i128)>,
    /// Time, currency, amount, of orders and payments.
    recognized: Vec<(i64, String, i128)>,
    /// Time, currency, matched, unmatched, told by the shop.
    refunds: Vec<(i64, String, i128, i128, bool)>,
}

#[derive(Clone, Default)]
struct Refund {
    at: i64,
    id: String,
    currency: String,
    amount: i128,
    order: Option<String>,
    payment: Option<String>,
}

fn count(facts: &[&Fact]) -> Counted {
    // The last telling of each id holds.
    let mut orders: BTreeMap<String, (i64, String, i128)> = BTreeMap::new();
    let mut payments: BTreeMap<String, (i64, String, i128, Option<String>)> = BTreeMap::new();
    let mut refunds: BTreeMap<String, Refund> = BTreeMap::new();
    for fact in facts {
        let data = &fact.data;
        match fact.kind {
            "commerce.order_placed.v1" => {
                drop(orders.insert(text(&data["order_id"]), (fact.at, text(&data["total"]["currency"]), whole(&data["total"]["minor"]))))
            }
            "billing.payment_succeeded.v1" => {
                let order = data["order_id"].as_str().map(str::to_owned);
                payments.insert(text(&data["payment_id"]), (fact.at, text(&data["amount"]["currency"]), whole(&data["amount"]["minor"]), order));
            }
            "commerce.order_refunded.v1" | "billing.refund_issued.v1" => {
                let refund = refunds.entry(text(&data["refund_id"])).or_default();
                refund.at = fact.at;
                refund.id = fact.id.clone();
                refund.currency = text(&data["amount"]["currency"]);
                refund.amount = whole(&data["amount"]["minor"]);
                if let Some(order) = data["order_id"].as_str() {
                    refund.order = Some(order.to_owned());
                }
                if let Some(payment) = data["payment_id"].as_str() {
                    refund.payment = Some(payment.to_owned());
                }
            }
            _ => {}
        }
    }
    let mut counted = Counted { orders: orders.values().cloned().collect(), ..Counted::default() };
    counted.recognized.extend(orders.values().filter(|order| order.2 > 0).cloned());
    for (at, currency, amount, order) in payments.values() {
        if order.as_ref().is_none_or(|order| !orders.contains_key(order)) {
            counted.recognized.push((*at, currency.clone(), *amount));
        }
    }
    // What is left to give back: "order o", "payment p", "paid for o", each by currency.
    let mut left: BTreeMap<(String, String), i128> = BTreeMap::new();
    for (id, (_, currency, total)) in &orders {
        left.insert((format!("order {id}"), currency.clone()), *total);
    }
    for (id, (_, currency, amount, order)) in &payments {
        left.insert((format!("payment {id}"), currency.clone()), *amount);
        if let Some(order) = order {
            *left.entry((format!("paid for {order}"), currency.clone())).or_default() += amount;
        }
    }
    let of_order = |order: &String| -> Option<String> {
        if orders.contains_key(order) {
            return Some(format!("order {order}"));
        }
        payments.values().any(|payment| payment.3.as_ref() == Some(order)).then(|| format!("paid for {order}"))
    };
    let mut sorted: Vec<(&String, &Refund)> = refunds.iter().collect();
    sorted.sort_by(|a, b| (a.1.at, &a.1.id).cmp(&(b.1.at, &b.1.id)));
    for (_, refund) in sorted {
        let mut limits: Vec<String> = Vec::new();
        limits.extend(refund.order.as_ref().and_then(&of_order));
        if let Some((id, payment)) = refund.payment.as_ref().and_then(|id| Some((id, payments.get(id)?))) {
            limits.push(format!("payment {id}"));
            limits.extend(payment.3.as_ref().and_then(&of_order));
        }
        limits.sort();
        limits.dedup();
        let in_currency = |limit: &String| (limit.clone(), refund.currency.clone());
        let matched = limits.iter().map(|limit| left.get(&in_currency(limit)).copied().unwrap_or(0)).min().unwrap_or(0).min(refund.amount);
        for limit in &limits {
            if let Some(left) = left.get_mut(&in_currency(limit)) {
                *left -= matched;
            }
        }
        counted.refunds.push((refund.at, refund.currency.clone(), matched, refund.amount - matched, refund.order.is_some()));
    }
    counted
}

fn money(minor: i128, currency: &str) -> Value {
    json!({"minor": i64::try_from(minor).unwrap(), "currency": currency})
}

fn by_currency(amounts: impl Iterator<Item = (String, i128)>) -> Value {
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    amounts.for_each(|(currency, minor)| *sums.entry(currency).or_default() += minor);
    sums.iter().map(|(currency, minor)| money(*minor, currency)).collect()
}

/// Rows of `customers`.
pub(super) fn customers(facts: &[Fact]) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for (customer, facts) in in_order(facts) {
        let counted = count(&facts);
        let registered = facts.iter().filter(|fact| fact.kind.contains("registered")).map(|fact| fact.at).min();
        let of_shop: Vec<_> = counted.refunds.iter().filter(|refund| refund.4).collect();
        if registered.is_none() && counted.orders.is_empty() && of_shop.is_empty() {
            continue;
        }
        let row = json!({
            "customer_id": customer,
            "orders": counted.orders.len(),
            "spent": by_currency(counted.orders.iter().map(|order| (order.1.clone(), order.2))),
            "refunded": by_currency(of_shop.iter().filter(|refund| refund.2 > 0).map(|refund| (refund.1.clone(), refund.2))),
            "refunded_unmatched": by_currency(of_shop.iter().filter(|refund| refund.3 > 0).map(|refund| (refund.1.clone(), refund.3))),
            "first_order_at": counted.orders.iter().map(|order| order.0).min().map(time),
            "last_order_at": counted.orders.iter().map(|order| order.0).max().map(time),
            "registered_at": registered.map(time),
            "orders_scheduled": 0,
            "spent_scheduled": [],
        });
        rows.insert(customer, row);
    }
    rows
}

#[derive(Default)]
struct Sums {
    moved: BTreeMap<&'static str, i128>,
    recognized: i128,
    refunded: i128,
    unmatched: i128,
    annual: i128,
    months: BTreeMap<String, i128>,
}

impl Sums {
    fn to_json(&self, currency: &str) -> Value {
        let of = |class: &str| money(self.moved.get(class).copied().unwrap_or(0), currency);
        json!({
            "currency": currency,
            "net_mrr_movement": money(self.moved.values().sum(), currency),
            "mrr_movements": {"new": of("new"), "expansion": of("expansion"), "contraction": of("contraction"), "churn": of("churn"), "reactivation": of("reactivation")},
            "recognized": money(self.recognized, currency),
            "refunded": money(self.refunded, currency),
            "refunded_unmatched": money(self.unmatched, currency),
        })
    }
}

/// A movement: time, currency, class, by how much a month, by how much a year.
type Moved = (i64, String, Option<&'static str>, i128, i128);

fn movements(facts: &[&Fact]) -> Vec<Moved> {
    let mut active: BTreeMap<String, (String, i128, i128)> = BTreeMap::new();
    let mut had: BTreeMap<String, bool> = BTreeMap::new();
    let mut moved = Vec::new();
    for fact in facts.iter().filter(|fact| fact.kind.starts_with("billing.subscription_")) {
        let data = &fact.data;
        let id = text(&data["subscription_id"]);
        let before = active.get(&id).cloned();
        let after = (!fact.kind.contains("cancelled")).then(|| {
            let bills = match data["interval"].as_str().unwrap() {
                "day" => 365,
                "week" => 52,
                "month" => 12,
                "quarter" => 4,
                _ => 1,
            };
            let count = data["interval_count"].as_i64().map_or(1, i128::from);
            let year = whole(&data["quantity"]) * whole(&data["unit_price"]["minor"]) * bills;
            (text(&data["unit_price"]["currency"]), rounded(year, 12 * count), rounded(year, count))
        });
        let mut currencies: Vec<String> = Vec::new();
        currencies.extend(before.iter().chain(after.iter()).map(|terms| terms.0.clone()));
        currencies.dedup();
        for currency in currencies {
            let total =
                |active: &BTreeMap<String, (String, i128, i128)>| -> i128 { active.values().filter(|terms| terms.0 == currency).map(|terms| terms.1).sum() };
            let brings = |terms: &Option<(String, i128, i128)>| terms.as_ref().filter(|terms| terms.0 == currency).map_or((0, 0), |terms| (terms.1, terms.2));
            let (from, to) = (brings(&before), brings(&after));
            let total_before = total(&active);
            match &after {
                Some(terms) if terms.0 == currency => drop(active.insert(id.clone(), terms.clone())),
                _ => drop(active.remove(&id)),
            }
            let total_after = total(&active);
            let class = match (total_before, total_after) {
                (a, b) if a == b => None,
                (0, _) if had.contains_key(&currency) => Some("reactivation"),
                (0, _) => Some("new"),
                (_, 0) => Some("churn"),
                (a, b) if b > a => Some("expansion"),
                _ => Some("contraction"),
            };
            if total_after > 0 {
                had.insert(currency.clone(), true);
            }
            if from != to {
                moved.push((fact.at, currency, class, to.0 - from.0, to.1 - from.1));
            }
        }
    }
    moved
}

/// Rows of `revenue`.
pub(super) fn revenue(facts: &[Fact]) -> BTreeMap<String, Value> {
    let mut rows: BTreeMap<(String, String), Sums> = BTreeMap::new();
    let mut add = |at: i64, currency: &str, add: &dyn Fn(&mut Sums)| {
        for period in [month(at), "current".to_owned()] {
            add(rows.entry((period, currency.to_owned())).or_default());
        }
    };
    for facts in in_order(facts).values() {
        for (at, currency, class, minor, annual) in movements(facts) {
            add(at, &currency, &|sums| {
                if let Some(class) = class {
                    *sums.moved.entry(class).or_default() += minor;
                }
                sums.annual += annual;
                *sums.months.entry(month(at)).or_default() += minor;
            });
        }
        let counted = count(facts);
        counted.recognized.iter().for_each(|(at, currency, minor)| add(*at, currency, &|sums| sums.recognized += minor));
        for (at, currency, matched, unmatched, _) in &counted.refunds {
            add(*at, currency, &|sums| {
                sums.refunded += matched;
                sums.unmatched += unmatched;
            });
        }
    }
    let shown = |((period, currency), sums): ((String, String), Sums)| {
        let mut value = sums.to_json(&currency);
        if period == "current" {
            let mut mrr = 0;
            let months = sums.months.iter().map(|(month, net)| {
                mrr += net;
                json!({"month": month, "net": money(*net, &currency), "mrr_at_end": money(mrr, &currency)})
            });
            value["months"] = months.collect();
            value["mrr"] = money(mrr, &currency);
            value["arr"] = money(sums.annual, &currency);
            for field in ["mrr_scheduled", "recognized_scheduled", "refunded_scheduled"] {
                value[field] = money(0, &currency);
            }
        } else {
            value["month"] = period.as_str().into();
        }
        (format!("{period}/{currency}"), value)
    };
    rows.into_iter().map(shown).collect()
}
