//! The fold of the agent's own events into a customer's state.

use tol_events::EventView;
use tol_events::revenue::{MrrMoved, Recognized, Refunded, RevenueSource};
use tol_system::{Error, read};

use crate::state::{MOVEMENTS, Movement};
use crate::{Customer, MRR_MOVED, RECOGNIZED, REFUNDED};

pub(crate) fn evolve(state: &mut Customer, event: &EventView<'_>) -> Result<(), Error> {
    match event.event_type() {
        MRR_MOVED => mrr_moved(state, event, &read(event)?),
        RECOGNIZED => {
            recognized(state, &read(event)?);
            Ok(())
        }
        REFUNDED => {
            let refunded: Refunded<'_> = read(event)?;
            state.refunds.insert(refunded.reference.into_owned());
            Ok(())
        }
        unknown => Err(Error::UnknownOwnEvent(unknown.to_owned())),
    }
}

fn mrr_moved(state: &mut Customer, event: &EventView<'_>, moved: &MrrMoved<'_>) -> Result<(), Error> {
    let before = state.subscription_minor(moved.amount.currency, &moved.subscription_id);
    let after = before.checked_add(moved.amount.minor).ok_or_else(|| Error::malformed(event, "the subscription's amount does not fit in 64 bits"))?;
    let subscriptions = &mut state.recurring.entry(moved.amount.currency).or_default().subscriptions;
    if after == 0 {
        subscriptions.remove(moved.subscription_id.as_ref());
    } else {
        subscriptions.insert(moved.subscription_id.clone().into_owned(), after);
    }
    state.movements.push(Movement {
        at: event.time().unwrap_or_default(),
        subscription_id: moved.subscription_id.clone().into_owned(),
        class: moved.class,
        amount: moved.amount,
        mrr_after: moved.mrr_after,
    });
    let excess = state.movements.len().saturating_sub(MOVEMENTS);
    state.movements.drain(..excess);
    Ok(())
}

fn recognized(state: &mut Customer, recognized: &Recognized<'_>) {
    let reference = recognized.reference.clone().into_owned();
    match recognized.source {
        RevenueSource::Order => {
            state.recognized_orders.insert(reference);
        }
        RevenueSource::Payment => {
            state.recognized_payments.insert(reference);
            state.paid_orders.extend(recognized.order_id.iter().map(|order_id| order_id.clone().into_owned()));
        }
    }
}
