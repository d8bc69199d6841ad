//! What the agent remembers about one customer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tol_events::revenue::MrrClass;
use tol_events::{Currency, EventTime, Money};

/// Movements of recurring revenue kept for each customer, the latest.
pub const MOVEMENTS: usize = 24;

/// One customer. It grows with the customer's orders, payments and refunds: their ids are kept for ever, because recognising
/// exactly once has no safe moment to forget one. A customer with 10,000 orders takes some 400 KB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Recurring revenue by currency. A currency stays when its total falls to zero: that it is here at all means there was some
    /// before, which tells a reactivation from new business.
    pub recurring: BTreeMap<Currency, Recurring>,
    /// Orders that were recognised when they were placed: a payment for one adds nothing.
    pub recognized_orders: BTreeSet<String>,
    /// Orders that a recognised payment paid for: the order adds nothing when it comes later.
    pub paid_orders: BTreeSet<String>,
    /// Payments that were recognised.
    pub recognized_payments: BTreeSet<String>,
    /// Refunds that were taken off.
    pub refunds: BTreeSet<String>,
    /// How recurring revenue moved, in the order it was decided; the last [`MOVEMENTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub movements: Vec<Movement>,
}

/// One movement of recurring revenue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// When.
    pub at: EventTime,
    /// The subscription.
    pub subscription_id: String,
    /// Why.
    pub class: MrrClass,
    /// By how much a month.
    pub amount: Money,
    /// The total in that currency afterwards.
    pub mrr_after: Money,
}

/// Recurring revenue in one currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurring {
    /// Minor units a month by subscription; one that brings nothing is left out.
    pub subscriptions: BTreeMap<String, i64>,
}

impl Recurring {
    /// The customer's total a month, in minor units.
    pub fn total(&self) -> i128 {
        self.subscriptions.values().map(|minor| i128::from(*minor)).sum()
    }
}

impl Customer {
    /// The total a month in `currency`, in minor units.
    pub fn mrr(&self, currency: Currency) -> i128 {
        self.recurring.get(&currency).map_or(0, Recurring::total)
    }

    pub(crate) fn subscription_minor(&self, currency: Currency, subscription_id: &str) -> i64 {
        self.recurring.get(&currency).and_then(|recurring| recurring.subscriptions.get(subscription_id)).copied().unwrap_or(0)
    }

    /// Currencies in which a subscription brings something now.
    pub(crate) fn currencies_of(&self, subscription_id: &str) -> Vec<Currency> {
        self.recurring.iter().filter(|(_, recurring)| recurring.subscriptions.contains_key(subscription_id)).map(|(currency, _)| *currency).collect()
    }

    /// Recurring revenue now and how it came to be, of one currency or all.
    pub(crate) fn mrr_with_movements(&self, only: Option<Currency>) -> serde_json::Value {
        let wanted = |currency: Currency| only.is_none_or(|only| only == currency);
        let of = |(currency, recurring): (&Currency, &Recurring)| {
            let minor = i64::try_from(recurring.total()).unwrap_or(i64::MAX);
            serde_json::json!({"minor": minor, "currency": currency, "subscriptions": recurring.subscriptions})
        };
        let mrr: Vec<serde_json::Value> = self.recurring.iter().filter(|(currency, _)| wanted(**currency)).map(of).collect();
        let movements: Vec<&Movement> = self.movements.iter().filter(|movement| wanted(movement.amount.currency)).collect();
        serde_json::json!({ "mrr": mrr, "movements": movements })
    }

    /// What people see: totals and counts instead of every id.
    pub(crate) fn observe(&self) -> serde_json::Value {
        let mrr: Vec<serde_json::Value> = self
            .recurring
            .iter()
            .map(|(currency, recurring)| {
                let minor = i64::try_from(recurring.total()).unwrap_or(i64::MAX);
                serde_json::json!({"mrr": {"minor": minor, "currency": currency}, "subscriptions": recurring.subscriptions})
            })
            .collect();
        serde_json::json!({
            "recurring": mrr,
            "recognized_orders": self.recognized_orders.len(),
            "recognized_payments": self.recognized_payments.len(),
            "refunds": self.refunds.len(),
        })
    }
}
