//! `customers`: what each customer ordered and got back.
//!
//! Key: the customer's id. Orders are `commerce.*` facts only: a payment is not an order, and billing refunds are not refunds of orders.

use serde::{Deserialize, Serialize};
use serde_json::json;
use smallvec::SmallVec;
use tol_events::commerce::{OrderPlaced, OrderRefunded};
use tol_events::{Currency, DomainEvent, Event, EventTime, EventView, Money, commerce::CustomerRegistered};
use tol_system::projection::{Error, Projection, Rows, refuse_other_version};

use crate::examples::example;

/// Amounts by currency, sorted; nearly always one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<([u8; 3], i64)>", into = "Vec<([u8; 3], i64)>")]
pub struct Amounts(SmallVec<[([u8; 3], i64); 1]>);

impl From<Vec<([u8; 3], i64)>> for Amounts {
    fn from(amounts: Vec<([u8; 3], i64)>) -> Self {
        Self(amounts.into_iter().collect())
    }
}

impl From<Amounts> for Vec<([u8; 3], i64)> {
    fn from(amounts: Amounts) -> Self {
        amounts.0.into_vec()
    }
}

impl Amounts {
    /// Adds an amount to those of its currency.
    ///
    /// # Errors
    /// When the sum does not fit 64 bits.
    pub fn add(&mut self, amount: Money) -> Result<(), Error> {
        let mut code = [0; 3];
        code.copy_from_slice(amount.currency.as_str().as_bytes());
        self.add_code(code, amount.minor).ok_or_else(|| Error::TooLarge(format!("the sum of amounts in {}", amount.currency)))
    }

    fn add_code(&mut self, code: [u8; 3], minor: i64) -> Option<()> {
        match self.0.binary_search_by_key(&code, |(code, _)| *code) {
            Ok(place) => self.0[place].1 = self.0[place].1.checked_add(minor)?,
            Err(place) => self.0.insert(place, (code, minor)),
        }
        Some(())
    }

    /// The amounts, by currency.
    pub fn iter(&self) -> impl Iterator<Item = Money> {
        self.0.iter().filter_map(|(code, minor)| Some(Money::new(*minor, std::str::from_utf8(code).ok()?.parse::<Currency>().ok()?)))
    }

    fn to_json(&self) -> serde_json::Value {
        self.iter().map(|money| json!({"minor": money.minor, "currency": money.currency.as_str()})).collect()
    }
}

/// One customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Orders placed.
    pub orders: u64,
    /// Sum of their totals.
    pub spent: Amounts,
    /// Sum of what was refunded.
    pub refunded: Amounts,
    /// Microseconds, of the earliest order.
    pub first_order_at: Option<i64>,
    /// Microseconds, of the latest order.
    pub last_order_at: Option<i64>,
    /// Microseconds, of the earliest registration.
    pub registered_at: Option<i64>,
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

fn written(micros: Option<i64>) -> Option<String> {
    micros.map(|micros| EventTime::from_micros(micros).to_string())
}

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Customers;

/// The event types that the fold reads.
pub(crate) const KNOWN: [&str; 3] = [OrderPlaced::TYPE, OrderRefunded::TYPE, CustomerRegistered::TYPE];

impl Projection for Customers {
    type Row = Customer;
    const NAME: &'static str = "customers";
    const VERSION: u32 = 1;
    const ROWS_SINCE: u32 = 1;
    const TOPIC: &'static str = "facts.customer";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Customer>) -> Result<(), Error> {
        let time = || event.time().or_else(|| event.recorded_time()).map(EventTime::as_micros);
        match event.event_type() {
            OrderPlaced::TYPE => {
                let order: Ordered = event.data_as()?;
                let row = rows.get_mut(event.subject_id())?;
                let at = time();
                row.orders += 1;
                row.spent.add(order.total)?;
                row.first_order_at = earlier(row.first_order_at, at);
                row.last_order_at = row.last_order_at.max(at);
            }
            OrderRefunded::TYPE => {
                let refund: OrderRefunded<'_> = event.data_as()?;
                rows.get_mut(event.subject_id())?.refunded.add(refund.amount)?;
            }
            CustomerRegistered::TYPE => {
                let row = rows.get_mut(event.subject_id())?;
                row.registered_at = earlier(row.registered_at, time());
            }
            other => refuse_other_version(other, &KNOWN)?,
        }
        Ok(())
    }

    fn merge(mut a: Customer, b: Customer) -> Customer {
        a.orders += b.orders;
        for (into, from) in [(&mut a.spent, &b.spent), (&mut a.refunded, &b.refunded)] {
            for (code, minor) in &from.0 {
                // Saturation would hide nothing: the fold itself refuses sums that do not fit.
                let _ = into.add_code(*code, *minor);
            }
        }
        a.first_order_at = earlier(a.first_order_at, b.first_order_at);
        a.last_order_at = a.last_order_at.max(b.last_order_at);
        a.registered_at = earlier(a.registered_at, b.registered_at);
        a
    }

    fn value(row: &Customer, key: &str) -> serde_json::Value {
        json!({
            "customer_id": key,
            "orders": row.orders,
            "spent": row.spent.to_json(),
            "refunded": row.refunded.to_json(),
            "first_order_at": written(row.first_order_at),
            "last_order_at": written(row.last_order_at),
            "registered_at": written(row.registered_at),
        })
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(format!("customer/{key}"))
    }

    fn examples(&self) -> Vec<Event> {
        let money = |minor: i64, currency: &str| json!({"minor": minor, "currency": currency});
        let order = |order: &str, customer: &str, total: serde_json::Value| json!({"order_id": order, "customer_id": customer, "total": total});
        let refund = json!({"order_id": "o1", "customer_id": "42", "refund_id": "r1", "amount": money(177, "USD")});
        vec![
            example(CustomerRegistered::TYPE, "e1", "customer/42", 0, &json!({"customer_id": "42"})),
            example(OrderPlaced::TYPE, "e2", "customer/42", 1, &order("o1", "42", money(1_177, "USD"))),
            example(OrderPlaced::TYPE, "e3", "customer/42", 2, &order("o2", "42", money(900, "EUR"))),
            example(OrderRefunded::TYPE, "e4", "customer/42", 3, &refund),
            example(OrderPlaced::TYPE, "e5", "customer/43", 4, &order("o3", "43", money(500, "JPY"))),
        ]
    }
}

/// What the fold needs of [`OrderPlaced`]; items are not read, since a rebuild reads every order there ever was.
#[derive(Deserialize)]
struct Ordered {
    total: Money,
}
