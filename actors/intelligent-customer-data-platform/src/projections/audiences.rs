//! Conditions of audiences, by name.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::cdp::AudienceDefined;
use tol_events::{DomainEvent as _, Event, EventView};
use tol_system::projection::{Error, refuse_other_version};
use tol_system::{Projection, Rows};

use super::{OWN_TOPIC, SOURCE};
use crate::types;

/// One audience.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its condition as JSON.
    pub condition: String,
    /// Counts its definitions, from 1.
    pub version: u64,
}

/// The projection `audiences`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audiences;

impl Projection for Audiences {
    type Row = Row;
    const NAME: &'static str = "audiences";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = OWN_TOPIC;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Row>) -> Result<(), Error> {
        refuse_other_version(event.event_type(), &[types::AUDIENCE_DEFINED])?;
        if event.event_type() == types::AUDIENCE_DEFINED {
            let defined: AudienceDefined<'_> = event.data_as()?;
            *rows.get_mut(&defined.audience)? = Row { condition: defined.r#where.to_string(), version: defined.version };
        }
        Ok(())
    }

    fn merge(a: Row, b: Row) -> Row {
        if (a.version, &a.condition) >= (b.version, &b.condition) { a } else { b }
    }

    fn value(row: &Row, key: &str) -> Value {
        json!({"audience": key, "where": serde_json::from_str::<Value>(&row.condition).unwrap_or_default(), "version": row.version})
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(format!("audience/{key}"))
    }

    fn examples(&self) -> Vec<Event> {
        let defined = |version: u64| AudienceDefined { audience: "vip".into(), r#where: json!({"trait": "plan", "equals": "pro"}), version };
        [defined(1).to_event("1", SOURCE), defined(2).to_event("2", SOURCE)].into_iter().flatten().collect()
    }
}
