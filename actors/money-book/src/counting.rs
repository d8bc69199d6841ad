//! What items count.
//!
//! * An order counts its total, once, at its time.
//! * A payment that names an order which was placed counts nothing besides; any other payment counts its amount.
//! * A refund counts within what is left of what it gives back: of the order, of the payment, and of the order that the payment names, in its currency.
//!   What is above that, or gives back what nobody told of, is unmatched. Refunds take from what is left in the order of their facts.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;
use tol_events::{Currency, EventTime, Money};

use crate::forgotten::Forgotten;
use crate::item::{Current, Item, Kind};

/// What one item counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// When it counts.
    pub at: EventTime,
    /// Of an order or payment what is recognised, of a refund what is matched; 0 or more.
    pub amount: Money,
    /// Of a refund what is not matched, in the currency of `amount`.
    pub unmatched: i64,
    /// Whether a refund was told by the shop, of an order.
    pub of_shop: bool,
}

/// What may be given back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pool<'a> {
    /// The total of an order.
    Order(&'a str),
    /// The payments for an order that nobody told of.
    Paid(&'a str),
    /// A payment.
    Payment(&'a str),
}

struct Pools<'a> {
    left: BTreeMap<Pool<'a>, SmallVec<[(Currency, i128); 1]>>,
    /// The order that a payment names.
    order_of: BTreeMap<&'a str, &'a str>,
    forgotten: &'a Forgotten,
}

impl<'a> Pools<'a> {
    fn add(&mut self, pool: Pool<'a>, amount: Money) {
        let left = self.left.entry(pool).or_default();
        match left.iter_mut().find(|(currency, _)| *currency == amount.currency) {
            Some((_, minor)) => *minor += i128::from(amount.minor),
            None => left.push((amount.currency, i128::from(amount.minor))),
        }
    }

    fn has_order(&self, order: &str) -> bool {
        self.left.contains_key(&Pool::Order(order)) || self.forgotten.contains(Kind::Order, order)
    }

    /// The pools of an order. `None`: nobody told of it. Empty: it is no longer kept, so that nothing limits it.
    fn of_order(&self, order: &'a str) -> Option<Vec<Pool<'a>>> {
        let kept = [Pool::Order(order), Pool::Paid(order)].into_iter().find(|pool| self.left.contains_key(pool));
        kept.map(|pool| vec![pool]).or_else(|| self.forgotten.contains(Kind::Order, order).then(Vec::new))
    }

    fn of_payment(&self, payment: &'a str) -> Option<Vec<Pool<'a>>> {
        if !self.left.contains_key(&Pool::Payment(payment)) {
            return self.forgotten.contains(Kind::Payment, payment).then(Vec::new);
        }
        let of_order = self.order_of.get(payment).and_then(|order| self.of_order(order));
        Some(of_order.into_iter().flatten().chain([Pool::Payment(payment)]).collect())
    }

    /// Takes a refund from all that it gives back, as far as it goes. Returns what was taken.
    fn take(&mut self, refund: &Current<'a>) -> i64 {
        if refund.order_id.is_none() && refund.payment_id.is_none() {
            return refund.amount.minor; // noted by a version that did not keep what a refund gives back
        }
        let named = [refund.order_id.and_then(|order| self.of_order(order)), refund.payment_id.and_then(|payment| self.of_payment(payment))];
        if named.iter().all(Option::is_none) {
            return 0;
        }
        let pools: BTreeSet<Pool<'a>> = named.into_iter().flatten().flatten().collect();
        let currency = refund.amount.currency;
        let left_in = |pool: &Pool<'a>| self.left.get(pool).and_then(|left| left.iter().find(|(of, _)| *of == currency)).map_or(0, |(_, minor)| *minor);
        let limit = pools.iter().map(left_in).min().unwrap_or(i128::MAX);
        let taken = limit.clamp(0, i128::from(refund.amount.minor));
        for pool in &pools {
            if let Some((_, minor)) = self.left.get_mut(pool).and_then(|left| left.iter_mut().find(|(of, _)| *of == currency)) {
                *minor -= taken;
            }
        }
        i64::try_from(taken).unwrap_or(refund.amount.minor)
    }
}

/// Gives what each of `items` counts at `now`; `None` for what is still to come. Items that name each other must come together.
pub fn count<M>(items: &[&Item<M>], forgotten: &Forgotten, now: EventTime) -> Vec<Option<Counted>> {
    let currents: Vec<Option<Current<'_>>> = items.iter().map(|item| item.current(now)).collect();
    let told = |kind: Kind| {
        items.iter().zip(&currents).enumerate().filter_map(move |(place, (item, current))| (item.kind == kind).then_some((place, *item, (*current)?)))
    };
    let mut pools = Pools { left: BTreeMap::new(), order_of: BTreeMap::new(), forgotten };
    let mut counted: Vec<Option<Counted>> = vec![None; items.len()];
    for (place, item, order) in told(Kind::Order) {
        pools.add(Pool::Order(&item.reference), order.amount);
        counted[place] = Some(Counted { at: order.at, amount: order.amount, unmatched: 0, of_shop: false });
    }
    for (place, item, payment) in told(Kind::Payment) {
        let mut amount = payment.amount;
        if let Some(order) = payment.order_id {
            pools.order_of.insert(&item.reference, order);
            if pools.has_order(order) {
                amount.minor = 0;
            } else {
                pools.add(Pool::Paid(order), payment.amount);
            }
        }
        pools.add(Pool::Payment(&item.reference), payment.amount);
        counted[place] = Some(Counted { at: payment.at, amount, unmatched: 0, of_shop: false });
    }
    let mut refunds: Vec<(usize, &Item<M>, Current<'_>)> = told(Kind::Refund).collect();
    refunds.sort_by_key(|(_, item, refund)| (refund.at, refund.id, &item.reference));
    for (place, _, refund) in refunds {
        let matched = pools.take(&refund);
        let amount = Money::new(matched, refund.amount.currency);
        counted[place] = Some(Counted { at: refund.at, amount, unmatched: refund.amount.minor - matched, of_shop: refund.order_id.is_some() });
    }
    counted
}
