//! The business rules.

use tol_events::%SHORT%::{%SUBJECT%Counted, %SUBJECT%Noted};
use tol_events::EventView;
use tol_system::{Decision, Error, read};

use crate::{COUNTED, NOTED, %SUBJECT%};

/// Each note counts one more.
pub(crate) fn decide(state: &%SUBJECT%, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    if event.event_type() == NOTED {
        let noted: %SUBJECT%Noted<'_> = read(event)?;
        decision.emit(COUNTED, &%SUBJECT%Counted { %FIELD%_id: noted.%FIELD%_id, count: state.count + 1 });
    }
    Ok(())
}
