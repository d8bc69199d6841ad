//! The difference between what follows from the facts and what was said, as events.

use std::collections::BTreeSet;

use tol_events::revenue::{
    CorrectedFact, FactKind, FactNoted, Movement, MrrMoved, MrrRestated, NotedFact, Recognition, RecognitionRestated, Recognized, RefundRestated, RefundState,
    Refunded, RevenueSource, Scheduled, ScheduledKind,
};
use tol_events::{Currency, EventTime, Money};
use tol_money_book::book::END;
use tol_money_book::{Counted, Item, Kind};
use tol_system::Decision;

use crate::state::{Said, SaidMoney, item_kind};
use crate::subscriptions::{Derived, SubscriptionFact};
use crate::{Customer, FACT_NOTED, MRR_MOVED, MRR_RESTATED, RECOGNITION_RESTATED, RECOGNIZED, REFUND_RESTATED, REFUNDED, SCHEDULED};

/// Events that one input leads to at most; what is left is said at the next tick of the clock.
const MOST: usize = 900;

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// What the new fact is about, what it named so far, and what has become due meanwhile.
    Around(Vec<(Kind, &'a str)>),
    /// What has become due.
    WhatIsDue,
    /// Everything that is kept.
    Everything,
}

/// An event to emit, and its time: that of the fact that makes it so.
enum Own<'a> {
    Moved(MrrMoved<'a>),
    Restated(MrrRestated<'a>),
    Recognized(Recognized<'a>),
    RecognitionRestated(RecognitionRestated<'a>),
    Refunded(Refunded<'a>),
    RefundRestated(RefundRestated<'a>),
    Scheduled(Scheduled<'a>),
    Noted(FactNoted<'a>),
}

impl<'a> Own<'a> {
    fn fact(&mut self) -> &mut Option<NotedFact<'a>> {
        match self {
            Own::Moved(event) => &mut event.fact,
            Own::Restated(event) => &mut event.fact,
            Own::Recognized(event) => &mut event.fact,
            Own::RecognitionRestated(event) => &mut event.fact,
            Own::Refunded(event) => &mut event.fact,
            Own::RefundRestated(event) => &mut event.fact,
            Own::Scheduled(event) => &mut event.fact,
            Own::Noted(event) => &mut event.fact,
        }
    }

    fn emit(&self, time: EventTime, decision: &mut Decision) {
        let draft = match self {
            Own::Moved(event) => decision.emit(MRR_MOVED, event),
            Own::Restated(event) => decision.emit(MRR_RESTATED, event),
            Own::Recognized(event) => decision.emit(RECOGNIZED, event),
            Own::RecognitionRestated(event) => decision.emit(RECOGNITION_RESTATED, event),
            Own::Refunded(event) => decision.emit(REFUNDED, event),
            Own::RefundRestated(event) => decision.emit(REFUND_RESTATED, event),
            Own::Scheduled(event) => decision.emit(SCHEDULED, event),
            Own::Noted(event) => decision.emit(FACT_NOTED, event),
        };
        draft.time = Some(time);
    }
}

/// Says how what follows from `state` at `now` differs from what was said up to `before`. `fact` is new in `state`; it travels in the first event.
pub(crate) fn say(
    state: &Customer,
    (customer_id, before, now): (&str, EventTime, EventTime),
    scope: Scope<'_>,
    fact: Option<NotedFact<'_>>,
    decision: &mut Decision,
) {
    let mut differences = Differences { customer_id, now, because: fact.as_ref().map_or(now, |fact| fact.at.min(now)), events: Vec::new() };
    let item = fact.as_ref().and_then(|fact| Some((item_kind(fact.kind)?, fact.reference.as_ref())));
    let around_subscription = matches!(scope, Scope::Around(_)) && item.is_none();
    if around_subscription || scope == Scope::Everything || state.subscriptions.any_later_than(before) {
        differences.of_subscriptions(state);
    }
    let all = scope == Scope::Everything;
    let due = state.book.items().filter(|item| all || item.mark.scheduled.is_some() || item.newest() > before).map(|item| (item.kind, &*item.reference));
    let mut seeds: Vec<(Kind, &str)> = due.collect();
    if let Scope::Around(named_before) = scope {
        seeds.extend(named_before);
        seeds.extend(item);
    }
    differences.of_items(state, seeds);
    let mut events = differences.events;
    let unfinished = events.len() > MOST;
    events.truncate(MOST);
    if unfinished {
        events.push((now, Own::Noted(FactNoted { customer_id: customer_id.into(), fact: None, unfinished })));
    }
    if let Some(fact) = &fact {
        // The first event that can: those in front of it, of other facts that have become due, need not know of it.
        let is_carried = events.iter_mut().any(|(_, event)| event.fact().as_ref() == Some(fact));
        match events.iter_mut().map(|(_, event)| event.fact()).find(|carried| carried.is_none()) {
            _ if is_carried => {}
            Some(carried) => *carried = Some(fact.clone()),
            None => {
                let noted = FactNoted { customer_id: customer_id.into(), fact: Some(fact.clone()), unfinished: false };
                events.push((fact.at.min(now), Own::Noted(noted)));
            }
        }
    }
    for (time, event) in events {
        event.emit(time, decision);
    }
}

struct Differences<'a> {
    customer_id: &'a str,
    now: EventTime,
    /// When what is new happened: a restatement holds from then on.
    because: EventTime,
    events: Vec<(EventTime, Own<'a>)>,
}

/// The amount of one currency.
fn in_currency(amounts: &[Money], currency: Currency) -> Option<Money> {
    amounts.iter().copied().find(|amount| amount.currency == currency)
}

impl<'a> Differences<'a> {
    fn of_subscriptions(&mut self, state: &'a Customer) {
        for (fact, derived) in state.subscriptions.derive() {
            let is_due = fact.at <= self.now;
            // Nearly always: nothing else follows than was said.
            if is_due && fact.scheduled.is_empty() && fact.said.iter().eq(derived.iter().map(|derived| &derived.movement)) {
                continue;
            }
            let said = fact.said.iter().map(|movement| movement.amount.currency).chain(fact.scheduled.iter().map(|amount| amount.currency));
            // What leaves a currency comes before what enters another, as it was derived.
            let mut currencies: Vec<Currency> = derived.iter().map(|derived| derived.movement.amount.currency).collect();
            for currency in said {
                if !currencies.contains(&currency) {
                    currencies.push(currency);
                }
            }
            for currency in currencies {
                let derived = derived.iter().find(|derived| derived.movement.amount.currency == currency);
                self.of_movement(fact, currency, derived.filter(|_| is_due));
                self.of_scheduled_movement(fact, currency, derived.filter(|_| !is_due));
            }
        }
    }

    fn of_movement(&mut self, fact: &'a SubscriptionFact, currency: Currency, derived: Option<&Derived>) {
        let was = fact.said.iter().copied().find(|movement| movement.amount.currency == currency);
        let now = derived.map(|derived| derived.movement);
        if was == now {
            return;
        }
        let subscription_id = fact.subscription.as_ref().into();
        let customer_id = self.customer_id.into();
        let event = match (was, derived) {
            (None, Some(Derived { movement: Movement { class: Some(class), amount, annual }, after })) => Own::Moved(MrrMoved {
                subscription_id,
                customer_id,
                class: *class,
                amount: *amount,
                mrr_after: Money::new(i64::try_from(*after).unwrap_or(i64::MAX), currency),
                annual: Some(*annual),
                fact: Some(fact.noted()),
            }),
            _ => Own::Restated(MrrRestated { subscription_id, customer_id, corrects: corrected(fact), was, now, fact: None }),
        };
        self.events.push((fact.at, event));
    }

    fn of_scheduled_movement(&mut self, fact: &'a SubscriptionFact, currency: Currency, derived: Option<&Derived>) {
        let was = in_currency(&fact.scheduled, currency);
        let now = derived.map(|derived| derived.movement.amount).filter(|amount| amount.minor != 0);
        if was != now {
            let scheduled = Scheduled {
                customer_id: self.customer_id.into(),
                kind: ScheduledKind::Mrr,
                reference: fact.subscription.as_ref().into(),
                of: corrected(fact),
                was,
                now,
                fact: None,
            };
            self.events.push((self.now, Own::Scheduled(scheduled)));
        }
    }

    fn of_items(&mut self, state: &'a Customer, seeds: Vec<(Kind, &'a str)>) {
        if seeds.is_empty() {
            return;
        }
        let items = state.book.together(seeds);
        let counted = state.book.count(&items, self.now);
        let now = self.now;
        let is_scheduled: BTreeSet<usize> =
            items.iter().enumerate().filter(|(_, item)| item.newest() > now || item.mark.scheduled.is_some()).map(|(place, _)| place).collect();
        let later = if is_scheduled.is_empty() { Vec::new() } else { state.book.count(&items, END) };
        for (place, item) in items.into_iter().enumerate() {
            self.of_item(item, counted.get(place).copied().flatten());
            if is_scheduled.contains(&place) {
                self.of_scheduled_item(item, later.get(place).copied().flatten().filter(|counted| counted.at > now));
            }
        }
    }

    fn of_item(&mut self, item: &'a Item<Said>, counted: Option<Counted>) {
        let counts = counted.filter(|counted| counted.amount.minor != 0 || counted.unmatched != 0);
        let now = counts.map(|counted| SaidMoney { at: counted.at, amount: counted.amount, unmatched: counted.unmatched });
        let was = item.mark.counts;
        if was == now {
            return;
        }
        let time = [was, now].into_iter().flatten().map(|said| said.at).fold(self.because, EventTime::max);
        let customer_id = self.customer_id.into();
        let reference = item.reference.as_ref().into();
        let event = match (item.kind, was, now) {
            (Kind::Refund, None, Some(now)) => {
                let unmatched = (now.unmatched != 0).then(|| Money::new(now.unmatched, now.amount.currency));
                self.events.push((now.at, Own::Refunded(Refunded { customer_id, amount: now.amount, unmatched, reference, fact: None })));
                return;
            }
            (Kind::Refund, was, now) => {
                let state = |said: SaidMoney| RefundState { amount: said.amount, unmatched: said.unmatched, at: said.at };
                Own::RefundRestated(RefundRestated { customer_id, reference, was: was.map(state), now: now.map(state), fact: None })
            }
            (kind, None, Some(now)) => {
                let (source, order_id) = match kind {
                    Kind::Payment => (RevenueSource::Payment, item.current(self.now).and_then(|current| current.order_id)),
                    _ => (RevenueSource::Order, Some(&*item.reference)),
                };
                let order_id = order_id.map(Into::into);
                self.events.push((now.at, Own::Recognized(Recognized { customer_id, amount: now.amount, source, reference, order_id, fact: None })));
                return;
            }
            (kind, was, now) => {
                let source = if kind == Kind::Payment { RevenueSource::Payment } else { RevenueSource::Order };
                let state = |said: SaidMoney| Recognition { amount: said.amount, at: said.at };
                Own::RecognitionRestated(RecognitionRestated { customer_id, source, reference, was: was.map(state), now: now.map(state), fact: None })
            }
        };
        self.events.push((time, event));
    }

    fn of_scheduled_item(&mut self, item: &'a Item<Said>, later: Option<Counted>) {
        let now = later.map(|counted| Money::new(counted.amount.minor + counted.unmatched, counted.amount.currency)).filter(|amount| amount.minor != 0);
        let was = item.mark.scheduled;
        if was == now {
            return;
        }
        let kind = match item.kind {
            Kind::Order => ScheduledKind::Order,
            Kind::Payment => ScheduledKind::Payment,
            Kind::Refund => ScheduledKind::Refund,
        };
        let Some(current) = item.current(END) else { return };
        let of = CorrectedFact { id: current.id.into(), kind: fact_kind(item.kind, current.payment_id.is_some()), at: current.at };
        // A correction into another currency ends what was scheduled in the old one first.
        let steps = match (was, now) {
            (Some(was), Some(now)) if was.currency != now.currency => vec![(Some(was), None), (None, Some(now))],
            both => vec![both],
        };
        for (was, now) in steps {
            let reference = item.reference.as_ref().into();
            let scheduled = Scheduled { customer_id: self.customer_id.into(), kind, reference, of: of.clone(), was, now, fact: None };
            self.events.push((self.now, Own::Scheduled(scheduled)));
        }
    }
}

fn corrected(fact: &SubscriptionFact) -> CorrectedFact<'_> {
    CorrectedFact { id: fact.id.as_ref().into(), kind: fact.kind, at: fact.at }
}

fn fact_kind(kind: Kind, of_provider: bool) -> FactKind {
    match kind {
        Kind::Order => FactKind::OrderPlaced,
        Kind::Payment => FactKind::PaymentSucceeded,
        Kind::Refund if of_provider => FactKind::RefundIssued,
        Kind::Refund => FactKind::OrderRefunded,
    }
}
