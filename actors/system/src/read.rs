//! Reading an event's data as its typed form, with an error that names the event.

use serde::Deserialize;
use tol_events::{DomainEvent, EventView};

use crate::Error;

/// The data of `event` as `T`, its rules checked.
///
/// # Errors
/// [`Error::Malformed`] when the data does not have the shape of `T` or breaks one of its rules.
pub fn read<'a, T: DomainEvent + Deserialize<'a>>(event: &EventView<'a>) -> Result<T, Error> {
    let data: T = event.data_as().map_err(|problem| Error::malformed(event, problem))?;
    data.validate().map_err(|problem| Error::malformed(event, problem))?;
    Ok(data)
}
