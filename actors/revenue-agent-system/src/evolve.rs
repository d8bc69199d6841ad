//! The fold of the agent's own events into a customer's state.

use tol_events::revenue::{
    FactKind, FactNoted, Movement, MrrMoved, MrrRestated, NotedFact, Recognition, RecognitionRestated, Recognized, RefundRestated, Refunded, RevenueSource,
    Scheduled, ScheduledKind,
};
use tol_events::{Currency, EventTime, EventView, Money};
use tol_money_book::{Kind, Telling};
use tol_system::{Error, Evolution, read};

use crate::mrr::MONTHS;
use crate::state::SaidMoney;
use crate::{Customer, FACT_NOTED, MRR_MOVED, MRR_RESTATED, RECOGNITION_RESTATED, RECOGNIZED, REFUND_RESTATED, REFUNDED, RESTATE_TIMER, SCHEDULED};

pub(crate) fn evolve(state: &mut Customer, event: &EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
    let at = event.time().unwrap_or_default();
    state.now = state.now.max(at);
    match event.event_type() {
        MRR_MOVED => {
            let moved: MrrMoved<'_> = read(event)?;
            let fact = match &moved.fact {
                Some(fact) => fact.clone(),
                None => fact_of_older(state, event, &moved)?,
            };
            take(state, Some(&fact), at, evolution);
            let annual = moved.annual.unwrap_or_else(|| moved.amount.minor.saturating_mul(MONTHS));
            let movement = Movement { class: Some(moved.class), amount: moved.amount, annual };
            said_of_fact(state, (fact.at, fact.kind, &fact.id), &moved.subscription_id, moved.amount.currency, Some(movement));
        }
        MRR_RESTATED => {
            let restated: MrrRestated<'_> = read(event)?;
            take(state, restated.fact.as_ref(), at, evolution);
            let of = &restated.corrects;
            if let Some(movement) = restated.now.or(restated.was) {
                said_of_fact(state, (of.at, of.kind, &of.id), &restated.subscription_id, movement.amount.currency, restated.now);
            }
        }
        RECOGNIZED => {
            let recognized: Recognized<'_> = read(event)?;
            let kind = kind_of(recognized.source);
            take(state, recognized.fact.as_ref(), at, evolution);
            if state.book.get(kind, &recognized.reference).is_none() {
                let order_id = recognized.order_id.as_deref().filter(|_| kind == Kind::Payment);
                tell_of_older(state, event, kind, &recognized.reference, recognized.amount, order_id);
            }
            said_of_item(state, kind, &recognized.reference, Some(SaidMoney { at, amount: recognized.amount, unmatched: 0 }));
        }
        RECOGNITION_RESTATED => {
            let restated: RecognitionRestated<'_> = read(event)?;
            take(state, restated.fact.as_ref(), at, evolution);
            let said = |now: Recognition| SaidMoney { at: now.at, amount: now.amount, unmatched: 0 };
            said_of_item(state, kind_of(restated.source), &restated.reference, restated.now.map(said));
        }
        REFUNDED => {
            let refunded: Refunded<'_> = read(event)?;
            take(state, refunded.fact.as_ref(), at, evolution);
            if state.book.get(Kind::Refund, &refunded.reference).is_none() {
                tell_of_older(state, event, Kind::Refund, &refunded.reference, refunded.amount, None);
            }
            let unmatched = refunded.unmatched.map_or(0, |unmatched| unmatched.minor);
            said_of_item(state, Kind::Refund, &refunded.reference, Some(SaidMoney { at, amount: refunded.amount, unmatched }));
        }
        REFUND_RESTATED => {
            let restated: RefundRestated<'_> = read(event)?;
            take(state, restated.fact.as_ref(), at, evolution);
            let said = restated.now.map(|now| SaidMoney { at: now.at, amount: now.amount, unmatched: now.unmatched });
            said_of_item(state, Kind::Refund, &restated.reference, said);
        }
        SCHEDULED => {
            let scheduled: Scheduled<'_> = read(event)?;
            take(state, scheduled.fact.as_ref(), at, evolution);
            said_to_come(state, &scheduled);
        }
        FACT_NOTED => {
            let noted: FactNoted<'_> = read(event)?;
            take(state, noted.fact.as_ref(), at, evolution);
            if noted.unfinished {
                evolution.set_timer(RESTATE_TIMER, at);
            }
        }
        unknown => return Err(Error::UnknownOwnEvent(unknown.to_owned())),
    }
    Ok(())
}

/// Adds the fact that an event carries. One of the future takes effect by a timer.
fn take(state: &mut Customer, fact: Option<&NotedFact<'_>>, now: EventTime, evolution: &mut Evolution) {
    let Some(fact) = fact else { return };
    state.take(fact, now);
    if fact.at > now {
        evolution.set_timer(format!("due-{}", fact.at.as_micros()), fact.at);
    }
}

fn kind_of(source: RevenueSource) -> Kind {
    match source {
        RevenueSource::Order => Kind::Order,
        RevenueSource::Payment => Kind::Payment,
    }
}

fn said_of_fact(state: &mut Customer, key: (EventTime, FactKind, &str), subscription: &str, currency: Currency, movement: Option<Movement>) {
    if let Some(fact) = state.subscriptions.fact_mut(key, subscription) {
        fact.said.retain(|said| said.amount.currency != currency);
        fact.said.extend(movement);
    }
}

fn said_of_item(state: &mut Customer, kind: Kind, reference: &str, said: Option<SaidMoney>) {
    if let Some(mark) = state.book.mark_mut(kind, reference) {
        mark.counts = said;
    }
}

fn said_to_come(state: &mut Customer, scheduled: &Scheduled<'_>) {
    let Some(currency) = scheduled.now.or(scheduled.was).map(|amount| amount.currency) else { return };
    let kind = match scheduled.kind {
        ScheduledKind::Mrr => {
            let of = &scheduled.of;
            if let Some(fact) = state.subscriptions.fact_mut((of.at, of.kind, &of.id), &scheduled.reference) {
                fact.scheduled.retain(|amount| amount.currency != currency);
                fact.scheduled.extend(scheduled.now);
            }
            return;
        }
        ScheduledKind::Order => Kind::Order,
        ScheduledKind::Payment => Kind::Payment,
        ScheduledKind::Refund => Kind::Refund,
    };
    if let Some(mark) = state.book.mark_mut(kind, &scheduled.reference) {
        mark.scheduled = scheduled.now;
    }
}

/// Makes the fact behind a movement that was said before facts were noted: the subscription brings what it brought and the movement.
fn fact_of_older<'a>(state: &Customer, event: &EventView<'a>, moved: &MrrMoved<'a>) -> Result<NotedFact<'a>, Error> {
    let (at, currency) = (event.time().unwrap_or_default(), moved.amount.currency);
    let before = state.subscriptions.recurring(EventTime::from_micros(i64::MAX)).get(&currency).and_then(|of| of.get(moved.subscription_id.as_ref()).copied());
    let after = before.unwrap_or(0).checked_add(moved.amount.minor);
    let after = after.ok_or_else(|| Error::malformed(event, "the subscription's amount does not fit in 64 bits"))?;
    let brings = after != 0;
    Ok(NotedFact {
        id: event.id().into(),
        kind: if brings { FactKind::SubscriptionChanged } else { FactKind::SubscriptionCancelled },
        at,
        reference: moved.subscription_id.clone(),
        amount: brings.then(|| Money::new(after, currency)),
        annual: brings.then(|| after.saturating_mul(MONTHS)),
        order_id: None,
        payment_id: None,
    })
}

/// Adds an item that was counted before facts were noted.
fn tell_of_older(state: &mut Customer, event: &EventView<'_>, kind: Kind, reference: &str, amount: Money, order_id: Option<&str>) {
    let at = event.time().unwrap_or_default();
    let telling = Telling { at, id: event.id().into(), amount, order_id: order_id.map(Into::into), payment_id: None };
    state.book.tell(kind, reference, telling, at);
}
