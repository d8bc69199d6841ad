//! [`Subscriptions`]: what a customer's subscriptions were told to bring, in the order of facts, and how that moved recurring revenue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tol_events::revenue::{FactKind, Movement, NotedFact};
use tol_events::{Currency, EventTime, Money};

use crate::mrr::class_of;

/// Facts about subscriptions kept for each customer at least: the newest.
pub const KEPT: usize = 1_024;
/// Facts above [`KEPT`] at which the oldest are let go, so that this is done once in many facts.
const SLACK: usize = 128;
/// Ended subscriptions remembered of those whose facts are let go.
const ENDED: usize = 256;

/// What a subscription brings from a fact on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Terms {
    /// The currency of its price.
    #[serde(rename = "c")]
    pub currency: Currency,
    /// Minor units a month.
    #[serde(rename = "m")]
    pub monthly: i64,
    /// Minor units a year.
    #[serde(rename = "y")]
    pub annual: i64,
}

/// One fact about a subscription, with what the agent said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionFact {
    /// When it happened.
    #[serde(rename = "a")]
    pub at: EventTime,
    /// Start, change or cancellation.
    #[serde(rename = "k")]
    pub kind: FactKind,
    /// Its event id.
    #[serde(rename = "i")]
    pub id: Box<str>,
    /// The subscription.
    #[serde(rename = "s")]
    pub subscription: Box<str>,
    /// What the subscription brings from now on; `None` of a cancellation.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Its movements as they were said, at most one a currency.
    #[serde(rename = "m", default, skip_serializing_if = "SmallVec::is_empty")]
    pub said: SmallVec<[Movement; 1]>,
    /// What was said to be scheduled of it, at most one amount a currency.
    #[serde(rename = "f", default, skip_serializing_if = "SmallVec::is_empty")]
    pub scheduled: SmallVec<[Money; 1]>,
}

/// The order of facts: time; at equal times starts, changes, cancellations; then the event id. The rest tells facts apart whose senders chose one id.
type Key<'a> = (EventTime, FactKind, &'a str, &'a str, Option<Terms>);

impl SubscriptionFact {
    /// Makes the fact that was noted; `None` of one about something else.
    pub(crate) fn of(noted: &NotedFact<'_>) -> Option<Self> {
        let terms = match noted.kind {
            FactKind::SubscriptionStarted | FactKind::SubscriptionChanged => {
                let amount = noted.amount?;
                Some(Terms { currency: amount.currency, monthly: amount.minor, annual: noted.annual? })
            }
            FactKind::SubscriptionCancelled => None,
            FactKind::OrderPlaced | FactKind::PaymentSucceeded | FactKind::OrderRefunded | FactKind::RefundIssued => return None,
        };
        let (id, subscription) = (noted.id.as_ref().into(), noted.reference.as_ref().into());
        Some(Self { at: noted.at, kind: noted.kind, id, subscription, terms, said: SmallVec::new(), scheduled: SmallVec::new() })
    }

    /// The fact as it is noted in an event.
    pub(crate) fn noted(&self) -> NotedFact<'_> {
        NotedFact {
            id: self.id.as_ref().into(),
            kind: self.kind,
            at: self.at,
            reference: self.subscription.as_ref().into(),
            amount: self.terms.map(|terms| Money::new(terms.monthly, terms.currency)),
            annual: self.terms.map(|terms| terms.annual),
            order_id: None,
            payment_id: None,
        }
    }

    fn key(&self) -> Key<'_> {
        (self.at, self.kind, &self.id, &self.subscription, self.terms)
    }
}

/// What is left of a subscription whose facts were let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Settled {
    /// Time, kind and id of the last fact let go: one in front of it changes nothing any more.
    last: (EventTime, FactKind, Box<str>),
    /// What it brought then; `None` once it had ended.
    terms: Option<Terms>,
}

/// Where the kept facts begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    subscriptions: BTreeMap<Box<str>, Settled>,
    /// Currencies in which there had been recurring revenue: it comes back as a reactivation.
    had: BTreeSet<Currency>,
}

/// The facts about the subscriptions of one customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    #[serde(default)]
    base: Base,
    /// Sorted by key. Copies of a state share them.
    facts: Vec<Arc<SubscriptionFact>>,
}

/// A movement that follows from the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The movement.
    pub movement: Movement,
    /// The customer's total in that currency afterwards, in minor units.
    pub after: i128,
}

/// What subscriptions bring after a number of facts.
struct Running<'a> {
    active: BTreeMap<&'a str, Terms>,
    totals: BTreeMap<Currency, i128>,
    had: BTreeSet<Currency>,
}

impl<'a> Running<'a> {
    fn of(base: &'a Base) -> Self {
        let active: BTreeMap<&str, Terms> = base.subscriptions.iter().filter_map(|(id, settled)| Some((&**id, settled.terms?))).collect();
        let mut totals = BTreeMap::new();
        for terms in active.values() {
            *totals.entry(terms.currency).or_default() += i128::from(terms.monthly);
        }
        Self { active, totals, had: base.had.clone() }
    }

    /// Takes the next fact. A second start is a change, and a change of a subscription that nobody started is a start: it says how the subscription is
    /// from now on. Cancelling an unknown one moves nothing. In another currency than before, the old one loses it first.
    fn take(&mut self, fact: &'a SubscriptionFact) -> SmallVec<[Derived; 1]> {
        let before = self.active.get(&*fact.subscription).copied();
        match fact.terms {
            Some(terms) => self.active.insert(&fact.subscription, terms),
            None => self.active.remove(&*fact.subscription),
        };
        let mut moved = SmallVec::new();
        match (before, fact.terms) {
            (Some(before), Some(terms)) if before.currency == terms.currency => {
                moved.extend(self.moves(terms.currency, (before.monthly, before.annual), (terms.monthly, terms.annual)));
            }
            (before, terms) => {
                moved.extend(before.and_then(|before| self.moves(before.currency, (before.monthly, before.annual), (0, 0))));
                moved.extend(terms.and_then(|terms| self.moves(terms.currency, (0, 0), (terms.monthly, terms.annual))));
            }
        }
        moved
    }

    fn moves(&mut self, currency: Currency, (monthly, annual): (i64, i64), (to_monthly, to_annual): (i64, i64)) -> Option<Derived> {
        // Neither is negative, so differences fit.
        let (amount, annual) = (to_monthly - monthly, to_annual - annual);
        let total = self.totals.entry(currency).or_default();
        let before = *total;
        *total += i128::from(amount);
        let after = *total;
        let class = class_of(before, after, self.had.contains(&currency));
        if after > 0 {
            self.had.insert(currency);
        }
        let moves = amount != 0 || annual != 0;
        moves.then(|| Derived { movement: Movement { class, amount: Money::new(amount, currency), annual }, after })
    }
}

impl Subscriptions {
    /// Adds a fact. Returns whether that changes anything, now or later.
    pub(crate) fn take(&mut self, fact: SubscriptionFact) -> bool {
        if let Some(settled) = self.base.subscriptions.get(&fact.subscription) {
            let (at, kind, id) = &settled.last;
            if (fact.at, fact.kind, &*fact.id) <= (*at, *kind, &**id) {
                return false;
            }
        }
        if self.facts.len() >= KEPT + SLACK {
            self.let_go();
        }
        match self.facts.binary_search_by(|other| other.key().cmp(&fact.key())) {
            Ok(_) => false,
            Err(place) => {
                self.facts.insert(place, Arc::new(fact));
                true
            }
        }
    }

    /// Settles the oldest facts, until [`KEPT`] are left.
    fn let_go(&mut self) {
        let settled: Vec<Arc<SubscriptionFact>> = self.facts.drain(..self.facts.len() - KEPT).collect();
        let had = {
            let mut running = Running::of(&self.base);
            settled.iter().for_each(|fact| drop(running.take(fact)));
            running.had
        };
        self.base.had = had;
        for fact in settled {
            let settled = Settled { last: (fact.at, fact.kind, fact.id.clone()), terms: fact.terms };
            self.base.subscriptions.insert(fact.subscription.clone(), settled);
        }
        let mut ended: Vec<(EventTime, Box<str>)> =
            self.base.subscriptions.iter().filter(|(_, settled)| settled.terms.is_none()).map(|(id, settled)| (settled.last.0, id.clone())).collect();
        ended.sort_unstable();
        for (_, id) in ended.iter().take(ended.len().saturating_sub(ENDED)) {
            self.base.subscriptions.remove(id);
        }
    }

    /// Lists the facts that are kept, in order.
    pub fn facts(&self) -> impl DoubleEndedIterator<Item = &SubscriptionFact> {
        self.facts.iter().map(|fact| &**fact)
    }

    /// Finds a fact, to note what was said of it.
    pub(crate) fn fact_mut(&mut self, (at, kind, id): (EventTime, FactKind, &str), subscription: &str) -> Option<&mut SubscriptionFact> {
        let first = self.facts.partition_point(|fact| (fact.at, fact.kind, &*fact.id) < (at, kind, id));
        let same = self.facts.get_mut(first..)?.iter_mut().take_while(|fact| (fact.at, fact.kind, &*fact.id) == (at, kind, id));
        let found = same.into_iter().find(|fact| &*fact.subscription == subscription)?;
        Some(Arc::make_mut(found))
    }

    /// Gives the movements of each kept fact, in their order.
    pub fn derive(&self) -> Vec<(&SubscriptionFact, SmallVec<[Derived; 1]>)> {
        let mut running = Running::of(&self.base);
        self.facts().map(|fact| (fact, running.take(fact))).collect()
    }

    /// Gives what each subscription brings a month, in minor units, by currency, at `now`. A currency stays when its total falls to zero.
    pub fn recurring(&self, now: EventTime) -> BTreeMap<Currency, BTreeMap<String, i64>> {
        let mut running = Running::of(&self.base);
        self.facts().filter(|fact| fact.at <= now).for_each(|fact| drop(running.take(fact)));
        let mut recurring: BTreeMap<Currency, BTreeMap<String, i64>> = running.had.iter().map(|currency| (*currency, BTreeMap::new())).collect();
        for (id, terms) in running.active.iter().filter(|(_, terms)| terms.monthly != 0) {
            recurring.entry(terms.currency).or_default().insert((*id).to_owned(), terms.monthly);
        }
        recurring
    }

    /// Tells whether a fact is later than `now`.
    pub(crate) fn any_later_than(&self, now: EventTime) -> bool {
        self.facts.last().is_some_and(|fact| fact.at > now)
    }
}
