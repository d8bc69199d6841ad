//! [`Item`]: an order, payment or refund under its business id, with what was told about it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use tol_events::{EventTime, Money};

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An order, by `order_id`.
    Order,
    /// A payment, by `payment_id`.
    Payment,
    /// A refund, by `refund_id`: shop and payment provider name the same refund by the same id.
    Refund,
}

/// One fact about an item. A webhook and a nightly import tell the same item twice, under other event ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// When it happened.
    pub at: EventTime,
    /// The fact's event id, which orders tellings of the same time.
    pub id: Box<str>,
    /// An order's total, a payment's or refund's amount.
    pub amount: Money,
    /// The order that a payment pays for, or that the shop refunds.
    pub order_id: Option<Box<str>>,
    /// The payment that a payment provider refunds.
    pub payment_id: Option<Box<str>>,
}

impl Telling {
    /// The order of tellings: time, then event id.
    pub(crate) fn key(&self) -> (EventTime, &str) {
        (self.at, &self.id)
    }

    /// Tells whether a payment provider told it, of a refund. The last telling of either side is kept, since each names something else that it gives back.
    fn is_of_provider(&self) -> bool {
        self.payment_id.is_some()
    }
}

// Written as tuples: a book is stored with every change, so names of fields would be most of it.
impl Serialize for Telling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.at.as_micros(), &self.id, self.amount.minor, self.amount.currency.as_str(), &self.order_id, &self.payment_id).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Telling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, id, minor, currency, order_id, payment_id) = Deserialize::deserialize(deserializer)?;
        Ok(Self { at: EventTime::from_micros(at), id, amount: Money::new(minor, currency), order_id, payment_id })
    }
}

/// An order, payment or refund. `M` is what the keeper of the book remembers of it besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<M> {
    /// What it is.
    pub kind: Kind,
    /// Its business id.
    pub reference: Box<str>,
    /// What holds now, and what will hold from a time in the future on; sorted.
    pub(crate) tellings: SmallVec<[Telling; 1]>,
    /// What the keeper of the book remembers of it.
    pub mark: M,
}

impl<M: Serialize> Serialize for Item<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.kind, &self.reference, &self.tellings, &self.mark).serialize(serializer)
    }
}

impl<'de, M: Deserialize<'de>> Deserialize<'de> for Item<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (kind, reference, tellings, mark) = Deserialize::deserialize(deserializer)?;
        Ok(Self { kind, reference, tellings, mark })
    }
}

/// What holds of an item at a moment: of several tellings the last in the order of facts, in all its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current<'a> {
    /// When it happened.
    pub at: EventTime,
    /// The event id of the telling that holds.
    pub id: &'a str,
    /// Its amount.
    pub amount: Money,
    /// The order that it names.
    pub order_id: Option<&'a str>,
    /// The payment that a refund gives back.
    pub payment_id: Option<&'a str>,
}

impl<M> Item<M> {
    /// Gives what holds at `now`; `None` where everything told is still to come.
    pub fn current(&self, now: EventTime) -> Option<Current<'_>> {
        let told = || self.tellings.iter().rev().filter(|telling| telling.at <= now);
        let last = told().next()?;
        let (order_id, payment_id) = match self.kind {
            Kind::Order | Kind::Payment => (last.order_id.as_deref(), None),
            Kind::Refund => (told().find_map(|telling| telling.order_id.as_deref()), told().find_map(|telling| telling.payment_id.as_deref())),
        };
        Some(Current { at: last.at, id: &last.id, amount: last.amount, order_id, payment_id })
    }

    /// When the item happens at last, with what is told of the future.
    pub fn newest(&self) -> EventTime {
        self.tellings.last().map(|telling| telling.at).unwrap_or_default()
    }

    /// Lists the orders and payments that its tellings name.
    pub fn names(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.tellings.iter().flat_map(|telling| {
            let order = telling.order_id.as_deref().map(|id| (Kind::Order, id));
            let payment = telling.payment_id.as_deref().map(|id| (Kind::Payment, id));
            order.into_iter().chain(payment)
        })
    }

    /// Adds a telling; `false` where it changes nothing, now or later.
    pub(crate) fn tell(&mut self, telling: Telling, now: EventTime) -> bool {
        let place = self.tellings.partition_point(|told| told.key() < telling.key());
        if self.tellings.get(place).is_some_and(|told| *told == telling) {
            return false;
        }
        let before = self.tellings.clone();
        self.tellings.insert(place, telling);
        self.prune(now);
        self.tellings != before
    }

    /// Drops tellings that can never hold again: those in front of the last one of the same side that has happened.
    fn prune(&mut self, now: EventTime) {
        let last = |of_provider: bool| self.tellings.iter().rposition(|telling| telling.at <= now && telling.is_of_provider() == of_provider);
        let holds = [last(false), last(true)];
        let mut place = 0;
        self.tellings.retain(|telling| {
            let keeps = telling.at > now || holds.contains(&Some(place));
            place += 1;
            keeps
        });
    }
}
