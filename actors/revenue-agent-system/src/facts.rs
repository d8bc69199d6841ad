//! Reads `commerce.*` and `billing.*` facts as the agent notes them.

use std::borrow::Cow;

use tol_events::billing::{Interval, PaymentSucceeded, RefundIssued, SubscriptionCancelled, SubscriptionChanged, SubscriptionStarted};
use tol_events::commerce::{OrderPlaced, OrderRefunded};
use tol_events::revenue::{FactKind, NotedFact};
use tol_events::{DomainEvent, EventTime, EventView, Money};
use tol_system::{Error, read};

use crate::mrr::Price;

const STARTED: &str = SubscriptionStarted::<'static>::TYPE;
const CHANGED: &str = SubscriptionChanged::<'static>::TYPE;
const CANCELLED: &str = SubscriptionCancelled::<'static>::TYPE;
const PAID: &str = PaymentSucceeded::<'static>::TYPE;
const REFUND_ISSUED: &str = RefundIssued::<'static>::TYPE;
const ORDERED: &str = OrderPlaced::<'static>::TYPE;
const ORDER_REFUNDED: &str = OrderRefunded::<'static>::TYPE;

/// Reads a fact; `None` of one that moves no revenue, such as a registration or a failed payment.
pub(crate) fn noted<'a>(event: &EventView<'a>) -> Result<Option<NotedFact<'a>>, Error> {
    let fact = |kind: FactKind, reference: Cow<'a, str>| NotedFact {
        id: event.id().into(),
        kind,
        at: happened(event),
        reference,
        amount: None,
        annual: None,
        order_id: None,
        payment_id: None,
    };
    Ok(Some(match event.event_type() {
        STARTED => {
            let started: SubscriptionStarted<'a> = read(event)?;
            let (amount, annual) = price(event, (started.interval, started.interval_count), started.quantity, started.unit_price)?;
            NotedFact { amount, annual, ..fact(FactKind::SubscriptionStarted, started.subscription_id) }
        }
        CHANGED => {
            let changed: SubscriptionChanged<'a> = read(event)?;
            let (amount, annual) = price(event, (changed.interval, changed.interval_count), changed.quantity, changed.unit_price)?;
            NotedFact { amount, annual, ..fact(FactKind::SubscriptionChanged, changed.subscription_id) }
        }
        CANCELLED => fact(FactKind::SubscriptionCancelled, read::<SubscriptionCancelled<'a>>(event)?.subscription_id),
        ORDERED => {
            let order: OrderPlaced<'a> = read(event)?;
            NotedFact { amount: Some(order.total), ..fact(FactKind::OrderPlaced, order.order_id) }
        }
        PAID => {
            let payment: PaymentSucceeded<'a> = read(event)?;
            NotedFact { amount: Some(payment.amount), order_id: payment.order_id, ..fact(FactKind::PaymentSucceeded, payment.payment_id) }
        }
        ORDER_REFUNDED => {
            let refund: OrderRefunded<'a> = read(event)?;
            NotedFact { amount: Some(refund.amount), order_id: Some(refund.order_id), ..fact(FactKind::OrderRefunded, refund.refund_id) }
        }
        REFUND_ISSUED => {
            let refund: RefundIssued<'a> = read(event)?;
            NotedFact { amount: Some(refund.amount), payment_id: Some(refund.payment_id), ..fact(FactKind::RefundIssued, refund.refund_id) }
        }
        _ => return Ok(None),
    }))
}

/// When a fact happened.
pub(crate) fn happened(event: &EventView<'_>) -> EventTime {
    event.time().or_else(|| event.recorded_time()).unwrap_or_default()
}

fn price(event: &EventView<'_>, (interval, count): (Interval, u32), quantity: u64, unit_price: Money) -> Result<(Option<Money>, Option<i64>), Error> {
    let price = Price { interval, count, quantity, unit_minor: unit_price.minor };
    match (price.monthly(), price.annual()) {
        (Some(monthly), Some(annual)) => Ok((Some(Money::new(monthly, unit_price.currency)), Some(annual))),
        _ => Err(Error::malformed(event, format!("{quantity} × {unit_price} a year does not fit in 64 bits of minor units"))),
    }
}
