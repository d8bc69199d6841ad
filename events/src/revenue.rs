//! `revenue.*`: what the revenue agent decides from commerce and billing. Subject: `customer/{customer_id}`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{FieldError, domain_event, filled, not_negative, positive};
use crate::money::Money;
use crate::registry::known_types;

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
    /// The customer's monthly recurring revenue in that currency afterwards, 0 or more.
    pub mrr_after: Money,
}

domain_event!(MrrMoved, "revenue.mrr_moved.v1", "customer" / customer_id, |this| {
    filled("subscription_id", &this.subscription_id)?;
    let grows = matches!(this.class, MrrClass::New | MrrClass::Expansion | MrrClass::Reactivation);
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
    /// The order that a payment paid for, if any: an order is not recognized again once paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Cow<'a, str>>,
}

domain_event!(Recognized, "revenue.recognized.v1", "customer" / customer_id, |this| {
    filled("reference", &this.reference)?;
    positive("amount", this.amount)?;
});

/// `revenue.refunded.v1`: an amount that was earned went back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refunded<'a> {
    /// Who got it back.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// How much, above 0.
    pub amount: Money,
    /// The refund's id.
    #[serde(borrow)]
    pub reference: Cow<'a, str>,
}

domain_event!(Refunded, "revenue.refunded.v1", "customer" / customer_id, |this| {
    filled("reference", &this.reference)?;
    positive("amount", this.amount)?;
});

known_types![MrrMoved, Recognized, Refunded];
