//! Reading an event's data as its typed form, with an error that names the event.

use serde::Deserialize;
use tol_events::{DomainEvent, EventView};

use crate::Error;

/// The data of `event` as `T`, its rules and its subject checked.
///
/// Admission has checked facts already. It is done again because a state is folded by subject: data about another one, let in by a
/// hole elsewhere, would be booked on the wrong customer without anyone noticing.
///
/// # Errors
/// [`Error::Malformed`] when the data does not have the shape of `T`, breaks one of its rules, or is about another subject.
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
