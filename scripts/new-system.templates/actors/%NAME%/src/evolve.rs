//! The fold of the system's own events.

use tol_events::%SHORT%::%SUBJECT%Counted;
use tol_events::EventView;
use tol_system::{Error, read};

use crate::{COUNTED, %SUBJECT%};

/// Folds one own event.
pub(crate) fn evolve(state: &mut %SUBJECT%, event: &EventView<'_>) -> Result<(), Error> {
    match event.event_type() {
        COUNTED => {
            let counted: %SUBJECT%Counted<'_> = read(event)?;
            state.count = counted.count;
            Ok(())
        }
        other => Err(Error::UnknownOwnEvent(other.to_owned())),
    }
}
