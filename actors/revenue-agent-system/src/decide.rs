//! The business rules, from facts about a customer to `revenue.*` events.

use tol_events::billing::{Interval, PaymentSucceeded, RefundIssued, SubscriptionCancelled, SubscriptionChanged, SubscriptionStarted};
use tol_events::commerce::{OrderPlaced, OrderRefunded};
use tol_events::revenue::{MrrMoved, Recognized, Refunded, RevenueSource};
use tol_events::{Currency, DomainEvent, EventView, Money};
use tol_system::{Decision, Error, read};

use crate::mrr::{class_of, monthly_minor};
use crate::{Customer, MRR_MOVED, RECOGNIZED, REFUNDED};

const STARTED: &str = SubscriptionStarted::<'static>::TYPE;
const CHANGED: &str = SubscriptionChanged::<'static>::TYPE;
const CANCELLED: &str = SubscriptionCancelled::<'static>::TYPE;
const PAID: &str = PaymentSucceeded::<'static>::TYPE;
const REFUND_ISSUED: &str = RefundIssued::<'static>::TYPE;
const ORDERED: &str = OrderPlaced::<'static>::TYPE;
const ORDER_REFUNDED: &str = OrderRefunded::<'static>::TYPE;

pub(crate) fn decide(state: &Customer, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    match event.event_type() {
        STARTED => {
            let started: SubscriptionStarted<'_> = read(event)?;
            let monthly = monthly_price(event, started.interval, started.quantity, started.unit_price)?;
            subscription_brings(state, event, &started.subscription_id, monthly, decision)
        }
        // A change says how the subscription is from now on, so it needs no start before it: a log may begin in the middle of a life.
        CHANGED => {
            let changed: SubscriptionChanged<'_> = read(event)?;
            let monthly = monthly_price(event, changed.interval, changed.quantity, changed.unit_price)?;
            subscription_brings(state, event, &changed.subscription_id, monthly, decision)
        }
        CANCELLED => {
            let cancelled: SubscriptionCancelled<'_> = read(event)?;
            for currency in state.currencies_of(&cancelled.subscription_id) {
                move_mrr(state, event, &cancelled.subscription_id, Money::new(0, currency), decision)?;
            }
            Ok(())
        }
        PAID => payment_succeeded(state, event, &read(event)?, decision),
        ORDERED => order_placed(state, event, &read(event)?, decision),
        REFUND_ISSUED => {
            let refund: RefundIssued<'_> = read(event)?;
            refunded(state, event, &refund.refund_id, refund.amount, decision)
        }
        ORDER_REFUNDED => {
            let refund: OrderRefunded<'_> = read(event)?;
            refunded(state, event, &refund.refund_id, refund.amount, decision)
        }
        _ => Ok(()), // registrations and failed payments move no revenue
    }
}

fn monthly_price(event: &EventView<'_>, interval: Interval, quantity: u64, unit_price: Money) -> Result<Money, Error> {
    let minor = monthly_minor(interval, quantity, unit_price.minor)
        .ok_or_else(|| Error::malformed(event, format!("{quantity} × {unit_price} a month does not fit in 64 bits of minor units")))?;
    Ok(Money::new(minor, unit_price.currency))
}

/// A subscription brings `monthly` from now on. In another currency than before, the old one loses it first.
fn subscription_brings(state: &Customer, event: &EventView<'_>, subscription_id: &str, monthly: Money, decision: &mut Decision) -> Result<(), Error> {
    let left_behind = state.currencies_of(subscription_id).into_iter().filter(|currency| *currency != monthly.currency);
    for currency in left_behind {
        move_mrr(state, event, subscription_id, Money::new(0, currency), decision)?;
    }
    move_mrr(state, event, subscription_id, monthly, decision)
}

/// Sets what a subscription brings in one currency, and says how that moved the customer's total in it.
fn move_mrr(state: &Customer, event: &EventView<'_>, subscription_id: &str, monthly: Money, decision: &mut Decision) -> Result<(), Error> {
    let currency = monthly.currency;
    let before = total(event, state.mrr(currency), currency)?;
    let amount = monthly.minor - state.subscription_minor(currency, subscription_id); // neither is negative
    let after = total(event, i128::from(before) + i128::from(amount), currency)?;
    if let Some(class) = class_of(before, after, state.recurring.contains_key(&currency)) {
        let moved = MrrMoved {
            subscription_id: subscription_id.into(),
            customer_id: event.subject_id().into(),
            class,
            amount: Money::new(amount, currency),
            mrr_after: Money::new(after, currency),
        };
        decision.emit(MRR_MOVED, &moved);
    }
    Ok(())
}

fn total(event: &EventView<'_>, minor: i128, currency: Currency) -> Result<i64, Error> {
    i64::try_from(minor)
        .map_err(|_| Error::malformed(event, format!("the customer's total of {minor} minor units of {currency} a month does not fit in 64 bits")))
}

/// A payment is revenue, unless it pays for an order that was recognised when it was placed.
fn payment_succeeded(state: &Customer, event: &EventView<'_>, payment: &PaymentSucceeded<'_>, decision: &mut Decision) -> Result<(), Error> {
    let order_was_recognized = payment.order_id.as_ref().is_some_and(|order_id| state.recognized_orders.contains(order_id.as_ref()));
    if order_was_recognized || state.recognized_payments.contains(payment.payment_id.as_ref()) {
        return Ok(());
    }
    let recognized = Recognized {
        customer_id: event.subject_id().into(),
        amount: payment.amount,
        source: RevenueSource::Payment,
        reference: payment.payment_id.as_ref().into(),
        order_id: payment.order_id.clone(),
    };
    decision.emit(RECOGNIZED, &recognized);
    Ok(())
}

/// An order is revenue, unless it costs nothing or a payment for it was recognised before it came.
fn order_placed(state: &Customer, event: &EventView<'_>, order: &OrderPlaced<'_>, decision: &mut Decision) -> Result<(), Error> {
    let order_id = order.order_id.as_ref();
    if order.total.minor == 0 || state.recognized_orders.contains(order_id) || state.paid_orders.contains(order_id) {
        return Ok(());
    }
    let recognized = Recognized {
        customer_id: event.subject_id().into(),
        amount: order.total,
        source: RevenueSource::Order,
        reference: order_id.into(),
        order_id: Some(order_id.into()),
    };
    decision.emit(RECOGNIZED, &recognized);
    Ok(())
}

/// A refund is taken off once, whichever side reports it: shop and payment provider name the same refund by the same id.
fn refunded(state: &Customer, event: &EventView<'_>, refund_id: &str, amount: Money, decision: &mut Decision) -> Result<(), Error> {
    if !state.refunds.contains(refund_id) {
        decision.emit(REFUNDED, &Refunded { customer_id: event.subject_id().into(), amount, reference: refund_id.into() });
    }
    Ok(())
}
