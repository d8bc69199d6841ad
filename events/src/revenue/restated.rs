//! Restatements: what a fact that arrived late, or once more, corrects; and what facts of the future will bring.
//!
//! Each says what held before (`was`) and what holds (`now`), with the moment in whose month that counts. A reader of sums takes off `was` and adds `now`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FactKind, MrrClass, RevenueSource};
use crate::domain::{FieldError, domain_event, filled};
use crate::money::Money;
use crate::time::EventTime;

/// The fact whose consequences are corrected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CorrectedFact<'a> {
    /// Its event id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// What it is.
    pub kind: FactKind,
    /// When it happened.
    pub at: EventTime,
}

/// A movement of recurring revenue in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Movement {
    /// Its class. Absent where only the annual amount moves: 10.00 a month instead of 120.01 a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<MrrClass>,
    /// By how much a month.
    pub amount: Money,
    /// By how much a year, in minor units.
    pub annual: i64,
}

/// `revenue.mrr_restated.v1`: a movement of recurring revenue was another one, since an earlier fact arrived late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MrrRestated<'a> {
    /// The subscription.
    #[serde(borrow)]
    pub subscription_id: Cow<'a, str>,
    /// Whose it is.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The fact whose movement is corrected. It counts in the month of its time.
    #[serde(borrow)]
    pub corrects: CorrectedFact<'a>,
    /// What was said; absent where the fact had moved nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Movement>,
    /// What holds; absent where the fact moves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Movement>,
    /// The fact that is new, where this is its first event.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<super::NotedFact<'a>>,
}

/// Refuses a restatement that says nothing, or of two currencies.
fn one_currency(was: Option<Money>, now: Option<Money>) -> Result<(), FieldError> {
    match (was, now) {
        (None, None) => Err(FieldError::new("now", "is absent as `was` is; a restatement must say what it corrects")),
        (Some(was), Some(now)) if was.currency != now.currency => {
            Err(FieldError::new("now", format!("is in {}, `was` in {}; restate each currency by itself", now.currency, was.currency)))
        }
        _ => Ok(()),
    }
}

domain_event!(MrrRestated, "revenue.mrr_restated.v1", "customer" / customer_id, |this| {
    filled("subscription_id", &this.subscription_id)?;
    one_currency(this.was.map(|movement| movement.amount), this.now.map(|movement| movement.amount))?;
});

/// What is recognized of an order or payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recognition {
    /// How much.
    pub amount: Money,
    /// When; it counts in that month.
    pub at: EventTime,
}

/// `revenue.recognition_restated.v1`: something else is recognized of an order or payment than was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecognitionRestated<'a> {
    /// Who paid.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// What it is recognized from.
    pub source: RevenueSource,
    /// The payment's or order's id: what is corrected.
    #[serde(borrow)]
    pub reference: Cow<'a, str>,
    /// What was said; absent where nothing was recognized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Recognition>,
    /// What holds; absent where nothing is recognized, for example of a payment whose order is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Recognition>,
    /// The fact that is new, where this is its first event.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<super::NotedFact<'a>>,
}

domain_event!(RecognitionRestated, "revenue.recognition_restated.v1", "customer" / customer_id, |this| {
    filled("reference", &this.reference)?;
    if this.was.is_none() && this.now.is_none() {
        return Err(FieldError::new("now", "is absent as `was` is; a restatement must say what it corrects"));
    }
});

/// What a refund takes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundState {
    /// How much of it was paid before.
    pub amount: Money,
    /// How much of it is unmatched, in minor units of the same currency.
    pub unmatched: i64,
    /// When; it counts in that month.
    pub at: EventTime,
}

/// `revenue.refund_restated.v1`: a refund takes off something else than was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundRestated<'a> {
    /// Who got it back.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The refund's id: what is corrected.
    #[serde(borrow)]
    pub reference: Cow<'a, str>,
    /// What was said; absent where it had taken off nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<RefundState>,
    /// What holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<RefundState>,
    /// The fact that is new, where this is its first event.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<super::NotedFact<'a>>,
}

domain_event!(RefundRestated, "revenue.refund_restated.v1", "customer" / customer_id, |this| {
    filled("reference", &this.reference)?;
    if this.was.is_none() && this.now.is_none() {
        return Err(FieldError::new("now", "is absent as `was` is; a restatement must say what it corrects"));
    }
});

/// What is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduledKind {
    /// A movement of recurring revenue.
    Mrr,
    /// An order that will be recognized.
    Order,
    /// A payment that will be recognized.
    Payment,
    /// A refund, whether matched or not.
    Refund,
}

/// `revenue.scheduled.v1`: a fact has a time in the future. It takes effect when that has come; until then it is shown apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scheduled<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// What it will move.
    pub kind: ScheduledKind,
    /// The id of the subscription, order, payment or refund.
    #[serde(borrow)]
    pub reference: Cow<'a, str>,
    /// The fact that takes effect.
    #[serde(borrow)]
    pub of: CorrectedFact<'a>,
    /// What was scheduled so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Money>,
    /// What is scheduled: by how much it will move. Absent where nothing is any more, for example once it took effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Money>,
    /// The fact that is new, where this is its first event.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<super::NotedFact<'a>>,
}

domain_event!(Scheduled, "revenue.scheduled.v1", "customer" / customer_id, |this| {
    filled("reference", &this.reference)?;
    one_currency(this.was, this.now)?;
});
