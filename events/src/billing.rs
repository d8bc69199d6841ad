//! `billing.*`: subscriptions, payments and refunds. Subject: `customer/{customer_id}`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{at_least_one, domain_event, filled, filled_if_present, not_negative, positive};
use crate::money::Money;
use crate::registry::known_types;

/// How often a subscription is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// Every day.
    Day,
    /// Every week.
    Week,
    /// Every month.
    Month,
    /// Every quarter of a year, three months.
    Quarter,
    /// Every year.
    Year,
}

/// The `interval_count` of a sender who gives none.
fn one_interval() -> u32 {
    1
}

fn is_one(count: &u32) -> bool {
    *count == 1
}

/// `billing.subscription_started.v1`: a customer subscribed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionStarted<'a> {
    /// The subscription.
    #[serde(borrow)]
    pub subscription_id: Cow<'a, str>,
    /// Who subscribed.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The plan's name.
    #[serde(borrow)]
    pub plan: Cow<'a, str>,
    /// How often it is billed.
    pub interval: Interval,
    /// How many intervals lie between two bills, 1 or more: 2 and `week` is every two weeks.
    #[serde(default = "one_interval", skip_serializing_if = "is_one")]
    pub interval_count: u32,
    /// Seats or units, 1 or more.
    pub quantity: u64,
    /// Price of one unit for `interval_count` intervals, 0 or more.
    pub unit_price: Money,
}

domain_event!(SubscriptionStarted, "billing.subscription_started.v1", "customer" / customer_id, |this| {
    filled("subscription_id", &this.subscription_id)?;
    filled("plan", &this.plan)?;
    at_least_one("interval_count", this.interval_count.into())?;
    at_least_one("quantity", this.quantity)?;
    not_negative("unit_price", this.unit_price)?;
});

/// `billing.subscription_changed.v1`: plan, interval, quantity or price changed; all as they are from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionChanged<'a> {
    /// The subscription.
    #[serde(borrow)]
    pub subscription_id: Cow<'a, str>,
    /// Whose it is.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The plan's name from now on.
    #[serde(borrow)]
    pub plan: Cow<'a, str>,
    /// How often it is billed from now on.
    pub interval: Interval,
    /// How many intervals lie between two bills from now on, 1 or more.
    #[serde(default = "one_interval", skip_serializing_if = "is_one")]
    pub interval_count: u32,
    /// Seats or units from now on, 1 or more.
    pub quantity: u64,
    /// Price of one unit for `interval_count` intervals from now on, 0 or more.
    pub unit_price: Money,
}

domain_event!(SubscriptionChanged, "billing.subscription_changed.v1", "customer" / customer_id, |this| {
    filled("subscription_id", &this.subscription_id)?;
    filled("plan", &this.plan)?;
    at_least_one("interval_count", this.interval_count.into())?;
    at_least_one("quantity", this.quantity)?;
    not_negative("unit_price", this.unit_price)?;
});

/// `billing.subscription_cancelled.v1`: a subscription ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubscriptionCancelled<'a> {
    /// The subscription.
    #[serde(borrow)]
    pub subscription_id: Cow<'a, str>,
    /// Whose it was.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// Why, as the sender puts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
}

domain_event!(SubscriptionCancelled, "billing.subscription_cancelled.v1", "customer" / customer_id, |this| {
    filled("subscription_id", &this.subscription_id)?;
});

/// `billing.payment_succeeded.v1`: money came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentSucceeded<'a> {
    /// The payment.
    #[serde(borrow)]
    pub payment_id: Cow<'a, str>,
    /// Who paid.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// How much, above 0.
    pub amount: Money,
    /// The subscription it pays for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<Cow<'a, str>>,
    /// The order it pays for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Cow<'a, str>>,
}

domain_event!(PaymentSucceeded, "billing.payment_succeeded.v1", "customer" / customer_id, |this| {
    filled("payment_id", &this.payment_id)?;
    positive("amount", this.amount)?;
    filled_if_present("subscription_id", this.subscription_id.as_deref())?;
    filled_if_present("order_id", this.order_id.as_deref())?;
});

/// `billing.payment_failed.v1`: an attempt to collect money failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentFailed<'a> {
    /// The payment.
    #[serde(borrow)]
    pub payment_id: Cow<'a, str>,
    /// Who should have paid.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// How much, above 0.
    pub amount: Money,
    /// The subscription it was for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<Cow<'a, str>>,
    /// The order it was for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<Cow<'a, str>>,
    /// Why it failed, as the payment provider puts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
}

domain_event!(PaymentFailed, "billing.payment_failed.v1", "customer" / customer_id, |this| {
    filled("payment_id", &this.payment_id)?;
    positive("amount", this.amount)?;
    filled_if_present("subscription_id", this.subscription_id.as_deref())?;
    filled_if_present("order_id", this.order_id.as_deref())?;
});

/// `billing.refund_issued.v1`: a payment was given back, in whole or in part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RefundIssued<'a> {
    /// The refund; a payment can have several.
    #[serde(borrow)]
    pub refund_id: Cow<'a, str>,
    /// The payment.
    #[serde(borrow)]
    pub payment_id: Cow<'a, str>,
    /// Who had paid.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// How much was given back, above 0.
    pub amount: Money,
}

domain_event!(RefundIssued, "billing.refund_issued.v1", "customer" / customer_id, |this| {
    filled("refund_id", &this.refund_id)?;
    filled("payment_id", &this.payment_id)?;
    positive("amount", this.amount)?;
});

known_types![PaymentFailed, PaymentSucceeded, RefundIssued, SubscriptionCancelled, SubscriptionChanged, SubscriptionStarted];
