//! How much was noted about each %KIND%.

use serde_json::{Value, json};
use tol_events::%SHORT%::%SUBJECT%Counted;
use tol_events::{DomainEvent as _, Event, EventView};
use tol_system::projection::{Error, refuse_other_version};
use tol_system::{Projection, Rows};

use crate::COUNTED;

/// Counts by %KIND%; the key is the subject.
#[derive(Clone, Copy, Debug, Default)]
pub struct %SUBJECT%Counts;

impl Projection for %SUBJECT%Counts {
    type Row = u64;
    const NAME: &'static str = "%SHORT%";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = "%NAME%.events";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, u64>) -> Result<(), Error> {
        refuse_other_version(event.event_type(), &[COUNTED])?;
        if event.event_type() == COUNTED {
            let counted: %SUBJECT%Counted<'_> = event.data_as()?;
            *rows.get_mut(event.subject())? = counted.count;
        }
        Ok(())
    }

    fn merge(a: u64, b: u64) -> u64 {
        a.max(b)
    }

    fn value(row: &u64, key: &str) -> Value {
        json!({"id": key.split_once('/').map_or(key, |(_, id)| id), "count": row})
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(key.to_owned())
    }

    fn examples(&self) -> Vec<Event> {
        let counted = |count: u64| %SUBJECT%Counted { %FIELD%_id: "42".into(), count }.to_event(count.to_string(), "/systems/%NAME%");
        [counted(1), counted(2)].into_iter().flatten().collect()
    }
}
