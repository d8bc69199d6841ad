//! Reads an event's data as its type, with an error that names the event.

use serde::Deserialize;
use tol_events::{DomainEvent, EventView};

use crate::Error;

/// Reads the data of `event` as `T`, and checks its rules and its subject.
///
/// Admission has checked facts already. The check is repeated because a state is folded by subject: data about another subject, let in by a
/// defect elsewhere, would be booked on the wrong customer unnoticed.
///
/// # Errors
/// [`Error::Malformed`] where the data does not have the shape of `T`, breaks one of its rules, or is about another subject.
pub fn read<'a, T: DomainEvent + Deserialize<'a>>(event: &EventView<'a>) -> Result<T, Error> {
    let data: T = event.data_as().map_err(|problem| Error::malformed(event, problem))?;
    data.validate().map_err(|problem| Error::malformed(event, problem))?;
    let names_this_subject = event.subject().split_once('/') == Some((T::SUBJECT_KIND, data.subject_id()));
    if !names_this_subject && !T::SUBJECT_KIND.is_empty() {
        let problem = format!("its data is about {}/{}, its subject is \"{}\"", T::SUBJECT_KIND, data.subject_id(), event.subject());
        return Err(Error::malformed(event, problem));
    }
    Ok(data)
}
