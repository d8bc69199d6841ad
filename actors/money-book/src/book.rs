//! [`Book`]: the orders, payments and refunds of one customer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tol_events::EventTime;

use crate::counting::{Counted, count};
use crate::forgotten::Forgotten;
use crate::item::{Item, Kind, Telling};
use crate::sums::Totals;

/// Items kept in full at least: the newest.
pub const KEPT: usize = 1_024;
/// Items above [`KEPT`] at which the oldest are let go, so that this is done once in many items.
const SLACK: usize = 256;
/// The end of time: what counts once all that is known has come.
pub const END: EventTime = EventTime::from_micros(i64::MAX);

/// The orders, payments and refunds of one customer.
///
/// The newest [`KEPT`] are kept in full: they can be corrected, paid, refunded, in any order. Of older ones the sums stay, and a hash of their ids:
/// such a one told again counts once and corrects nothing; a payment that names an older order counts nothing besides it; a refund of an older item is
/// matched whatever its amount. After 16,384 further ones an id is forgotten, and counts as new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "M: Serialize", deserialize = "M: Deserialize<'de>"))]
pub struct Book<M> {
    /// Sorted by kind and reference. Copies of a book share them.
    items: Vec<Arc<Item<M>>>,
    forgotten: Forgotten,
    /// What the items that are no longer kept came to.
    base: Totals,
    /// The latest moment that is known to have come, in microseconds: as text the earliest one would not read back.
    now: i64,
}

impl<M> Default for Book<M> {
    fn default() -> Self {
        Self { items: Vec::new(), forgotten: Forgotten::default(), base: Totals::default(), now: i64::MIN }
    }
}

impl<M: Clone + Default> Book<M> {
    /// Adds what was told of an item at a moment that is not before `now`. Returns whether that changes anything, now or later.
    pub fn tell(&mut self, kind: Kind, reference: &str, telling: Telling, now: EventTime) -> bool {
        self.now = self.now.max(now.as_micros());
        let now = self.now();
        match self.place(kind, reference) {
            Ok(place) => Arc::make_mut(&mut self.items[place]).tell(telling, now),
            Err(_) if self.forgotten.contains(kind, reference) => false,
            Err(mut place) => {
                // First, so that what is told is kept at least until the next one.
                if self.items.len() >= KEPT + SLACK {
                    self.let_go();
                    place = self.place(kind, reference).unwrap_or_else(|place| place);
                }
                let mut item = Item { kind, reference: reference.into(), tellings: Default::default(), mark: M::default() };
                item.tellings.push(telling);
                self.items.insert(place, Arc::new(item));
                true
            }
        }
    }

    fn place(&self, kind: Kind, reference: &str) -> Result<usize, usize> {
        self.items.binary_search_by(|item| (item.kind, &*item.reference).cmp(&(kind, reference)))
    }

    /// Finds an item.
    pub fn get(&self, kind: Kind, reference: &str) -> Option<&Item<M>> {
        self.place(kind, reference).ok().map(|place| &*self.items[place])
    }

    /// Finds the mark of an item, to change it.
    pub fn mark_mut(&mut self, kind: Kind, reference: &str) -> Option<&mut M> {
        let place = self.place(kind, reference).ok()?;
        Some(&mut Arc::make_mut(&mut self.items[place]).mark)
    }

    /// Lists the items that are kept in full.
    pub fn items(&self) -> impl Iterator<Item = &Item<M>> {
        self.items.iter().map(|item| &**item)
    }

    /// Gives the latest moment that is known to have come.
    pub fn now(&self) -> EventTime {
        EventTime::from_micros(self.now)
    }

    /// Lists the items on which the count of `seeds` can depend: those that name each other, directly or not.
    pub fn together<'a>(&'a self, seeds: impl IntoIterator<Item = (Kind, &'a str)>) -> Vec<&'a Item<M>> {
        let mut names: BTreeSet<(Kind, &str)> = seeds.into_iter().collect();
        let mut found = vec![false; self.items.len()];
        if names.is_empty() {
            return Vec::new();
        }
        loop {
            let mut grew = false;
            for (place, item) in self.items.iter().enumerate() {
                if found[place] || !(names.contains(&(item.kind, &*item.reference)) || item.names().any(|name| names.contains(&name))) {
                    continue;
                }
                found[place] = true;
                for name in item.names().chain([(item.kind, &*item.reference)]) {
                    grew |= names.insert(name);
                }
            }
            if !grew {
                return self.items.iter().zip(found).filter_map(|(item, found)| found.then_some(&**item)).collect();
            }
        }
    }

    /// Gives what each of `items` counts at `now`. They must come from [`Book::together`], or be all.
    pub fn count(&self, items: &[&Item<M>], now: EventTime) -> Vec<Option<Counted>> {
        count(items, &self.forgotten, now)
    }

    /// Gives what has come by `now`, and what is told of the time after it.
    pub fn totals(&self, now: EventTime) -> (Totals, Totals) {
        let now = self.now().max(now);
        let items: Vec<&Item<M>> = self.items().collect();
        let mut come = self.base.clone();
        sum(&mut come, &items, &self.count(&items, now));
        let mut scheduled = Totals::default();
        if items.iter().any(|item| item.newest() > now) {
            let later: Vec<Option<Counted>> = self.count(&items, END).into_iter().map(|counted| counted.filter(|counted| counted.at > now)).collect();
            sum(&mut scheduled, &items, &later);
        }
        (come, scheduled)
    }

    /// Tells whether the shop told of anything: an order, or a refund of one.
    pub fn is_of_shop(&self) -> bool {
        let of_shop = |item: &Item<M>| match item.kind {
            Kind::Order => true,
            Kind::Payment => false,
            Kind::Refund => item.tellings.iter().any(|telling| telling.order_id.is_some()),
        };
        self.base != Totals::default() || self.items().any(of_shop)
    }

    /// Adds another book of the same customer. The result does not depend on which is added to which.
    pub fn add_all(&mut self, other: &Self) {
        self.now = self.now.max(other.now);
        self.base.add_all(&other.base);
        self.forgotten.add_all(&other.forgotten);
        for item in &other.items {
            match self.place(item.kind, &item.reference) {
                Ok(place) => {
                    let own = Arc::make_mut(&mut self.items[place]);
                    item.tellings.iter().for_each(|telling| {
                        own.tell(telling.clone(), EventTime::from_micros(self.now));
                    });
                }
                Err(place) => self.items.insert(place, item.clone()),
            }
        }
    }

    /// Lets the oldest items go, until [`KEPT`] are left. Those that name each other go together.
    fn let_go(&mut self) {
        let groups = self.groups();
        let mut newest: BTreeMap<usize, EventTime> = BTreeMap::new();
        for (item, group) in self.items.iter().zip(&groups) {
            let newest = newest.entry(*group).or_insert(item.newest());
            *newest = (*newest).max(item.newest());
        }
        let mut oldest_first: Vec<(EventTime, usize)> = newest.into_iter().map(|(group, at)| (at, group)).collect();
        oldest_first.sort_unstable();
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        groups.iter().for_each(|group| *sizes.entry(*group).or_default() += 1);
        let mut gone: BTreeSet<usize> = BTreeSet::new();
        let mut left = self.items.len();
        for (_, group) in oldest_first {
            if left <= KEPT {
                break;
            }
            left -= sizes.get(&group).copied().unwrap_or_default();
            gone.insert(group);
        }
        let (kept, let_go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.items).into_iter().zip(groups).partition(|(_, group)| !gone.contains(group));
        self.items = kept.into_iter().map(|(item, _)| item).collect();
        let let_go: Vec<Arc<Item<M>>> = let_go.into_iter().map(|(item, _)| item).collect();
        let items: Vec<&Item<M>> = let_go.iter().map(|item| &**item).collect();
        sum(&mut self.base, &items, &count(&items, &self.forgotten, END));
        for item in items {
            self.forgotten.insert(item.kind, &item.reference);
        }
    }

    /// Numbers the items so that those which name each other have the same number.
    fn groups(&self) -> Vec<usize> {
        let mut parent: Vec<usize> = (0..self.items.len()).collect();
        fn root(parent: &mut [usize], mut at: usize) -> usize {
            while parent[at] != at {
                parent[at] = parent[parent[at]];
                at = parent[at];
            }
            at
        }
        let mut first: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
        for (place, item) in self.items.iter().enumerate() {
            for name in item.names().chain([(item.kind, &*item.reference)]) {
                let other = *first.entry(name).or_insert(place);
                let (a, b) = (root(&mut parent, other), root(&mut parent, place));
                parent[a.max(b)] = a.min(b);
            }
        }
        (0..self.items.len()).map(|place| root(&mut parent, place)).collect()
    }
}

fn sum<M>(totals: &mut Totals, items: &[&Item<M>], counted: &[Option<Counted>]) {
    for (item, counted) in items.iter().zip(counted).filter_map(|(item, counted)| Some((item, (*counted)?))) {
        match item.kind {
            Kind::Order => totals.add_order(counted.at, counted.amount),
            Kind::Payment => {}
            Kind::Refund if counted.of_shop => {
                if counted.amount.minor != 0 {
                    totals.refunded.add(counted.amount);
                }
                if counted.unmatched != 0 {
                    totals.refunded_unmatched.add(tol_events::Money::new(counted.unmatched, counted.amount.currency));
                }
            }
            Kind::Refund => {} // of a payment: not of an order
        }
    }
}
