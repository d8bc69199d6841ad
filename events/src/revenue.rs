//! `revenue.*`: what the revenue agent decides from commerce and billing. Subject: `customer/{customer_id}`.
//!
//! A fact that arrives late, or once more, is answered by a restatement ([`restated`]), which names what it corrects. Nothing is rewritten.

mod restated;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{FieldError, domain_event, filled, not_negative, positive};
use crate::money::Money;
use crate::registry::known_types;
use crate::time::EventTime;

pub use restated::{CorrectedFact, Movement, MrrRestated, Recognition, RecognitionRestated, RefundRestated, RefundState, Scheduled, ScheduledKind};

/// Why monthly recurring revenue moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MrrClass {
    /// A customer's first recurring revenue.
    New,
    /// A paying customer pays more.
    Expansion,
    /// A paying customer pays less, but still pays.
    Contraction,
    /// A paying customer pays no more.
    Churn,
    /// A customer who had churned pays again.
    Reactivation,
}

impl MrrClass {
    /// Tells whether movements of this class are above 0.
    pub fn grows(self) -> bool {
        matches!(self, MrrClass::New | MrrClass::Expansion | MrrClass::Reactivation)
    }
}

/// Kinds of facts that the agent takes note of. Their order is that of facts of one time: starts, changes, cancellations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// `billing.subscription_started`.
    SubscriptionStarted,
    /// `billing.subscription_changed`.
    SubscriptionChanged,
    /// `billing.subscription_cancelled`.
    SubscriptionCancelled,
    /// `commerce.order_placed`.
    OrderPlaced,
    /// `billing.payment_succeeded`.
    PaymentSucceeded,
    /// `commerce.order_refunded`.
    OrderRefunded,
    /// `billing.refund_issued`.
    RefundIssued,
}

/// A fact as the agent took note of it: what it needs to decide again when an earlier fact arrives. It is in the first event to which the fact led.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotedFact<'a> {
    /// The fact's event id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// What it is.
    pub kind: FactKind,
    /// When it happened.
    pub at: EventTime,
    /// The id of the subscription, order, payment or refund.
    #[serde(borrow)]
    pub reference: Cow<'a, str>,
    /// What the subscription brings a month, or the amount of the order, payment or refund. Absent of a cancellation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// What the subscription brings a year, in minor units, from its exact price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annual: Option<i64>,
    /// The order that a payment pays for, or that is refunded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Cow<'a, str>>,
    /// The payment that is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<Cow<'a, str>>,
}

/// `revenue.mrr_moved.v1`: a customer's monthly recurring revenue changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MrrMoved<'a> {
    /// The subscription that moved it.
    #[serde(borrow)]
    pub subscription_id: Cow<'a, str>,
    /// Whose it is.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// Why.
    pub class: MrrClass,
    /// By how much a month: above 0 for new, expansion and reactivation, below 0 for contraction and churn.
    pub amount: Money,
    /// The customer's monthly recurring revenue in that currency afterwards, 0 or more, as known when it was decided.
    pub mrr_after: Money,
    /// By how much a year, in minor units of the same currency, from exact prices. Absent of older events: 12 × `amount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annual: Option<i64>,
    /// The fact that moved it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<NotedFact<'a>>,
}

domain_event!(MrrMoved, "revenue.mrr_moved.v1", "customer" / customer_id, |this| {
    filled("subscription_id", &this.subscription_id)?;
    let grows = this.class.grows();
    if grows != (this.amount.minor > 0) || this.amount.minor == 0 {
        let right = if grows { "above 0" } else { "below 0" };
        return Err(FieldError::new("amount.minor", format!("is {}; for this class it must be {right}", this.amount.minor)));
    }
    if this.mrr_after.currency != this.amount.currency {
        return Err(FieldError::new("mrr_after.currency", format!("is {}; it must be that of amount, {}", this.mrr_after.currency, this.amount.currency)));
    }
    not_negative("mrr_after", this.mrr_after)?;
});

/// What revenue was recognized from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevenueSource {
    /// A payment.
    Payment,
    /// An order.
    Order,
}

/// `revenue.recognized.v1`: an amount counts as earned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recognized<'a> {
    /// Who paid.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// How much, above 0.
    pub amount: Money,
    /// What it was recognized from.
    pub source: RevenueSource,
    /// The payment's or order's id.
    #[serde(borrow)]
    pub reference: Cow<'a, str>,
    /// The order that a payment paid for, if any: a payment is not recognized once its order is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Cow<'a, str>>,
    /// The fact, where this is its first event.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<NotedFact<'a>>,
}

domain_event!(Recognized, "revenue.recognized.v1", "customer" / customer_id, |this| {
    filled("reference", &this.reference)?;
    positive("amount", this.amount)?;
});

/// `revenue.refunded.v1`: an amount went back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refunded<'a> {
    /// Who got it back.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// How much of it was paid before, 0 or more: this is taken off.
    pub amount: Money,
    /// How much of it is above what was paid, in another currency, or for a payment that nobody told of: this is kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Money>,
    /// The refund's id.
    #[serde(borrow)]
    pub reference: Cow<'a, str>,
    /// The fact, where this is its first event.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<NotedFact<'a>>,
}

domain_event!(Refunded, "revenue.refunded.v1", "customer" / customer_id, |this| {
    filled("reference", &this.reference)?;
    match this.unmatched {
        None => positive("amount", this.amount)?,
        Some(unmatched) => {
            positive("unmatched", unmatched)?;
            not_negative("amount", this.amount)?;
        }
    }
});

/// `revenue.fact_noted.v1`: a fact moves nothing now. It is kept, since an earlier fact that arrives late may let it move something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FactNoted<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The fact. Absent where the event says only that restating goes on.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<NotedFact<'a>>,
    /// Whether more restatements follow, as one group of events is bounded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

domain_event!(FactNoted, "revenue.fact_noted.v1", "customer" / customer_id, |_this| {});

known_types![FactNoted, MrrMoved, MrrRestated, RecognitionRestated, Recognized, RefundRestated, Refunded, Scheduled];
