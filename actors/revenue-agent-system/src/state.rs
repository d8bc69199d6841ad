//! What the agent remembers about one customer.

use serde::{Deserialize, Serialize};
use tol_events::revenue::{FactKind, NotedFact};
use tol_events::{Currency, EventTime, Money};
use tol_money_book::{Book, Kind, Telling, shown};

use crate::subscriptions::{SubscriptionFact, Subscriptions};

/// Movements of recurring revenue that the query `mrr` shows, the latest.
pub const MOVEMENTS: usize = 24;

/// One customer: facts in their own order, each with what was said of it. Both histories are bounded, see [`Subscriptions`] and [`Book`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// The latest moment that is known to have come. What is later is scheduled.
    pub now: EventTime,
    /// Facts about subscriptions.
    #[serde(default)]
    pub subscriptions: Subscriptions,
    /// Orders, payments and refunds.
    #[serde(default)]
    pub book: Book<Said>,
}

impl Default for Customer {
    fn default() -> Self {
        // The earliest moment that can be written.
        Self { now: EventTime::from_secs(-62_135_596_800), subscriptions: Subscriptions::default(), book: Book::default() }
    }
}

/// What was said of an order, payment or refund.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// What it counts.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<SaidMoney>,
    /// What it will count.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Money>,
}

/// An amount that was said to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidMoney {
    /// When it counts.
    #[serde(rename = "a")]
    pub at: EventTime,
    /// What is recognised, or matched of a refund.
    #[serde(rename = "m")]
    pub amount: Money,
    /// What is not matched of a refund.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    pub unmatched: i64,
}

fn is_zero(minor: &i64) -> bool {
    *minor == 0
}

/// What an item of the book is, by the kind of a fact about it; `None` of a fact about a subscription.
pub(crate) fn item_kind(kind: FactKind) -> Option<Kind> {
    match kind {
        FactKind::OrderPlaced => Some(Kind::Order),
        FactKind::PaymentSucceeded => Some(Kind::Payment),
        FactKind::OrderRefunded | FactKind::RefundIssued => Some(Kind::Refund),
        FactKind::SubscriptionStarted | FactKind::SubscriptionChanged | FactKind::SubscriptionCancelled => None,
    }
}

impl Customer {
    /// Adds a fact, at a moment that has come. Returns whether that changes anything, now or later.
    pub(crate) fn take(&mut self, fact: &NotedFact<'_>, now: EventTime) -> bool {
        if let Some(fact) = SubscriptionFact::of(fact) {
            return self.subscriptions.take(fact);
        }
        let (Some(kind), Some(amount)) = (item_kind(fact.kind), fact.amount) else { return false };
        let order_id = fact.order_id.as_deref().map(Into::into);
        let payment_id = fact.payment_id.as_deref().map(Into::into);
        self.book.tell(kind, &fact.reference, Telling { at: fact.at, id: fact.id.as_ref().into(), amount, order_id, payment_id }, now)
    }

    /// Recurring revenue now and how it came to be, of one currency or all.
    pub(crate) fn mrr_with_movements(&self, only: Option<Currency>) -> serde_json::Value {
        let wanted = |currency: Currency| only.is_none_or(|only| only == currency);
        let recurring = self.subscriptions.recurring(self.now);
        let mrr: Vec<serde_json::Value> = recurring
            .iter()
            .filter(|(currency, _)| wanted(**currency))
            .map(|(currency, subscriptions)| {
                let mut of = shown(subscriptions.values().map(|minor| i128::from(*minor)).sum(), currency.as_str());
                of["subscriptions"] = serde_json::json!(subscriptions);
                of
            })
            .collect();
        let (mut movements, mut scheduled) = (Vec::new(), Vec::new());
        for (fact, derived) in self.subscriptions.derive() {
            for derived in derived.into_iter().filter(|derived| wanted(derived.movement.amount.currency)) {
                let Some(class) = derived.movement.class else { continue };
                let after = shown(derived.after, derived.movement.amount.currency.as_str());
                let movement = serde_json::json!({"at": fact.at, "subscription_id": fact.subscription, "class": class, "amount": derived.movement.amount, "mrr_after": after});
                if fact.at <= self.now { &mut movements } else { &mut scheduled }.push(movement);
            }
        }
        movements.drain(..movements.len().saturating_sub(MOVEMENTS));
        scheduled.truncate(MOVEMENTS);
        serde_json::json!({ "mrr": mrr, "movements": movements, "scheduled": scheduled })
    }

    /// What people see: totals and counts instead of every id.
    pub(crate) fn observe(&self) -> serde_json::Value {
        let recurring = self.subscriptions.recurring(self.now);
        let mrr = recurring.iter().map(|(currency, subscriptions)| {
            let total = subscriptions.values().map(|minor| i128::from(*minor)).sum();
            serde_json::json!({"mrr": shown(total, currency.as_str()), "subscriptions": subscriptions})
        });
        let count = |kind: Kind| self.book.items().filter(|item| item.kind == kind && item.mark.counts.is_some()).count();
        serde_json::json!({
            "recurring": mrr.collect::<Vec<_>>(),
            "recognized_orders": count(Kind::Order),
            "recognized_payments": count(Kind::Payment),
            "refunds": count(Kind::Refund),
        })
    }
}
