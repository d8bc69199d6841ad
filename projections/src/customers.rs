//! `customers`: what each customer ordered and got back.
//!
//! Key: the customer's id. A payment is not an order, and a payment provider's refund is not the refund of an order; both are kept, as the revenue agent
//! keeps them, so that a refund is matched with what was paid in the same way in both.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tol_events::billing::{PaymentSucceeded, RefundIssued};
use tol_events::commerce::{CustomerRegistered, OrderPlaced, OrderRefunded};
use tol_events::{DomainEvent, Event, EventTime, EventView, Money};
use tol_money_book::{Book, Kind, Telling};
use tol_system::projection::{Error, Projection, Rows, refuse_other_version};

use crate::examples::example;

/// One customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Orders, payments and refunds.
    pub book: Book<()>,
    /// Microseconds, of the earliest registration.
    pub registered_at: Option<i64>,
}

fn written(micros: Option<i64>) -> Option<String> {
    micros.map(|micros| EventTime::from_micros(micros).to_string())
}

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Customers;

/// The event types that the fold reads.
pub(crate) const KNOWN: [&str; 5] = [OrderPlaced::TYPE, OrderRefunded::TYPE, CustomerRegistered::TYPE, PaymentSucceeded::TYPE, RefundIssued::TYPE];

/// What an event tells of an item.
fn told(event: &EventView<'_>, at: EventTime, amount: Money, order_id: Option<&str>, payment_id: Option<&str>) -> Telling {
    Telling { at, id: event.id().into(), amount, order_id: order_id.map(Into::into), payment_id: payment_id.map(Into::into) }
}

impl Projection for Customers {
    type Row = Customer;
    const NAME: &'static str = "customers";
    const VERSION: u32 = 2;
    const ROWS_SINCE: u32 = 2;
    const TOPIC: &'static str = "facts.customer";
    /// With a handful of orders.
    const ROW_BYTES: usize = 1_000;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Customer>) -> Result<(), Error> {
        let at = event.time().or_else(|| event.recorded_time()).unwrap_or_default();
        let mut tell = |kind: Kind, reference: &str, telling: Telling| -> Result<(), Error> {
            rows.get_mut(event.subject_id())?.book.tell(kind, reference, telling, event.recorded_time().unwrap_or(at));
            Ok(())
        };
        match event.event_type() {
            OrderPlaced::TYPE => {
                let order: Ordered<'_> = event.data_as()?;
                tell(Kind::Order, &order.order_id, told(&event, at, order.total, None, None))
            }
            OrderRefunded::TYPE => {
                let refund: OrderRefunded<'_> = event.data_as()?;
                tell(Kind::Refund, &refund.refund_id, told(&event, at, refund.amount, Some(&refund.order_id), None))
            }
            PaymentSucceeded::TYPE => {
                let payment: PaymentSucceeded<'_> = event.data_as()?;
                tell(Kind::Payment, &payment.payment_id, told(&event, at, payment.amount, payment.order_id.as_deref(), None))
            }
            RefundIssued::TYPE => {
                let refund: RefundIssued<'_> = event.data_as()?;
                tell(Kind::Refund, &refund.refund_id, told(&event, at, refund.amount, None, Some(&refund.payment_id)))
            }
            CustomerRegistered::TYPE => {
                let row = rows.get_mut(event.subject_id())?;
                row.registered_at = row.registered_at.into_iter().chain([at.as_micros()]).min();
                Ok(())
            }
            other => refuse_other_version(other, &KNOWN),
        }
    }

    fn merge(mut a: Customer, b: Customer) -> Customer {
        a.book.add_all(&b.book);
        a.registered_at = a.registered_at.into_iter().chain(b.registered_at).min();
        a
    }

    fn value(row: &Customer, key: &str) -> serde_json::Value {
        Self::value_at(row, key, row.book.now())
    }

    fn value_at(row: &Customer, key: &str, now: EventTime) -> serde_json::Value {
        let (come, scheduled) = row.book.totals(now);
        json!({
            "customer_id": key,
            "orders": come.orders,
            "spent": come.spent.to_json(),
            "refunded": come.refunded.to_json(),
            "refunded_unmatched": come.refunded_unmatched.to_json(),
            "first_order_at": written(come.first_order_at),
            "last_order_at": written(come.last_order_at),
            "registered_at": written(row.registered_at),
            "orders_scheduled": scheduled.orders,
            "spent_scheduled": scheduled.spent.to_json(),
        })
    }

    fn is_shown(row: &Customer) -> bool {
        row.registered_at.is_some() || row.book.is_of_shop()
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(format!("customer/{key}"))
    }

    fn examples(&self) -> Vec<Event> {
        let money = |minor: i64, currency: &str| json!({"minor": minor, "currency": currency});
        let order = |order: &str, customer: &str, total: serde_json::Value| json!({"order_id": order, "customer_id": customer, "total": total});
        let refund = json!({"order_id": "o1", "customer_id": "42", "refund_id": "r1", "amount": money(177, "USD")});
        let payment = json!({"payment_id": "p1", "customer_id": "42", "amount": money(1_177, "USD"), "order_id": "o1"});
        let issued = json!({"payment_id": "p1", "customer_id": "42", "refund_id": "r2", "amount": money(100, "USD")});
        vec![
            example(CustomerRegistered::TYPE, "e1", "customer/42", 0, &json!({"customer_id": "42"})),
            example(OrderPlaced::TYPE, "e2", "customer/42", 1, &order("o1", "42", money(1_177, "USD"))),
            example(OrderPlaced::TYPE, "e3", "customer/42", 2, &order("o2", "42", money(900, "EUR"))),
            example(OrderRefunded::TYPE, "e4", "customer/42", 3, &refund),
            example(OrderPlaced::TYPE, "e5", "customer/43", 4, &order("o3", "43", money(500, "JPY"))),
            example(PaymentSucceeded::TYPE, "e6", "customer/42", 5, &payment),
            example(RefundIssued::TYPE, "e7", "customer/42", 6, &issued),
        ]
    }
}

/// What the fold needs of [`OrderPlaced`]; items are not read, since a rebuild reads every order there ever was.
#[derive(Deserialize)]
struct Ordered<'a> {
    #[serde(borrow)]
    order_id: Cow<'a, str>,
    total: Money,
}
