//! Own events to cache rows: what `evolve` says, and what the runtime's own marks mean.
//! The same function serves live decisions and reading back, so that both remember the same.

use tol_events::{Attribute, EventView, reserved};
use tol_kafka::{Cursor, Position, TopicPartition};
use tol_system::{AnySystem, Evolution, State};

use super::Error;
use super::cache::{Cache, Meta, PendingEffect, Positions, SetTimer};
use super::parking::{RedriveFailed, Removed, row_after_failure, row_of_parked};
use super::{Mutation, breaks};

/// Extension of the first event of a group that a timer led to: the timer's id (its subject is the event's).
pub(super) const TIMER_MARK: &str = "timerid";
/// Extension of the first event of a group that an effect's result led to: the request's id.
pub(super) const EFFECT_MARK: &str = "effectid";

/// Folds one accepted own event into the cache.
pub(super) fn fold(cache: &mut Cache, meta: &mut Meta, system: &dyn AnySystem, event: EventView<'_>, position: Position, sequence: u64) -> Result<(), Error> {
    if let Some(text) = event.attribute(Attribute::InputPosition) {
        // E9: set, not maximised.
        for part in text.split(',') {
            set_position(&mut meta.inputs, part).ok_or(Error::Internal("inputposition does not read"))?;
        }
    }
    event.id().clone_into(&mut meta.last_id);
    meta.last_position = position;
    cache.grew(event.data().len());
    marks(cache, event)?;
    match event.event_type() {
        reserved::CHECKPOINTED | reserved::TIMER_FIRED | reserved::EFFECT_SETTLED => Ok(()),
        event_type if parking(event_type) => fold_parking(cache, event, sequence),
        _ => {
            let mut evolution = Evolution::default();
            evolve(system, cache.state_mut(event.subject())?, event, &mut evolution)?;
            apply(cache, event, evolution)?;
            Ok(())
        }
    }
}

/// Whether events of this type change what is parked.
pub(super) fn parking(event_type: &str) -> bool {
    matches!(event_type, reserved::INPUT_PARKED | reserved::INPUT_REDRIVEN | reserved::REDRIVE_FAILED | reserved::INPUT_DISCARDED)
}

/// Folds one event for which [`parking`] holds.
pub(super) fn fold_parking(cache: &mut Cache, event: EventView<'_>, sequence: u64) -> Result<(), Error> {
    if let Some((order, row)) = parking_change(event, sequence, |subject, order| cache.parked_row(subject, order))? {
        cache.set_parked(event.subject(), order, row);
    }
    Ok(())
}

/// A parked input's order and its row after the event; `None` where nothing changes.
type ParkingChange = Option<(u64, Option<Vec<u8>>)>;

/// What such an event changes, given the rows there are.
pub(super) fn parking_change(
    event: EventView<'_>,
    sequence: u64,
    row_at: impl FnOnce(&str, u64) -> Result<Option<Vec<u8>>, Error>,
) -> Result<ParkingChange, Error> {
    Ok(match event.event_type() {
        reserved::INPUT_PARKED => Some((sequence, Some(row_of_parked(event)?))),
        reserved::REDRIVE_FAILED => {
            let failed: RedriveFailed = event.data_as().map_err(|_| Error::Internal("a failed redrive does not read"))?;
            let order = failed.order;
            row_at(event.subject(), order)?.map(|row| row_after_failure(&row, failed)).transpose()?.map(|row| (order, Some(row)))
        }
        _ => {
            let removed: Removed = event.data_as().map_err(|_| Error::Internal("a redrive or discard does not read"))?;
            Some((removed.order, None))
        }
    })
}

/// Removes the timer or effect that the event's group consumed. Returns the effect's request.
pub(super) fn marks(cache: &mut Cache, event: EventView<'_>) -> Result<Option<String>, Error> {
    let mut settled = None;
    for (name, value) in event.extensions() {
        match name {
            TIMER_MARK if breaks(Mutation::TimerKept) => {}
            TIMER_MARK => cache.set_timer(event.subject(), value, None)?,
            EFFECT_MARK => {
                cache.set_effect(value, None)?;
                settled = Some(value.to_owned());
            }
            _ => {}
        }
    }
    Ok(settled)
}

/// Runs `evolve` with a panic turned into an error.
pub(super) fn evolve(system: &dyn AnySystem, state: &mut State, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| system.evolve(state, event, evolution)));
    match outcome {
        Ok(result) => Ok(result?),
        Err(panic) => Err(tol_system::Error::Refused(format!("evolve panicked on {} {}: {}", event.event_type(), event.id(), panic_text(&*panic))).into()),
    }
}

/// Stores the timers and the effect an event asked for. Returns the effect, for the shell to run once it is committed.
pub(super) fn apply(cache: &mut Cache, event: EventView<'_>, evolution: Evolution) -> Result<Option<(String, PendingEffect)>, Error> {
    for timer in evolution.timers {
        let set = timer.due.map(|due| SetTimer { due, set_by: event.id(), correlation: event.correlation_id() });
        cache.set_timer(event.subject(), &timer.id, set)?;
    }
    let Some(request) = evolution.effect else { return Ok(None) };
    let pending = PendingEffect { subject: event.subject().to_owned(), request, correlation: event.correlation_id().to_owned() };
    cache.set_effect(event.id(), Some(&pending))?;
    Ok(Some((event.id().to_owned(), pending)))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// `topic/partition@position:epoch:sequence`, comma-separated.
pub(super) fn write_positions<'a>(positions: impl Iterator<Item = (&'a TopicPartition, &'a Cursor)>) -> String {
    let parts: Vec<String> = positions.map(|(partition, cursor)| format!("{partition}@{cursor}")).collect();
    parts.join(",")
}

/// The reverse of [`write_positions`] for one part. Nearly always of a partition that is known, whose name is not made again for it.
fn set_position(inputs: &mut Positions, part: &str) -> Option<()> {
    let (name, cursor) = part.split_once('@')?;
    let said: Cursor = cursor.parse().ok()?;
    let (topic, number) = name.rsplit_once('/')?;
    let number: u32 = number.parse().ok()?;
    match inputs.iter_mut().find(|(partition, _)| partition.partition == number && &*partition.topic == topic) {
        Some((_, known)) if *known > said && breaks(Mutation::PositionsMaximised) => {}
        Some((_, known)) => *known = said,
        None => drop(inputs.insert(name.parse().ok()?, said)),
    }
    Some(())
}
