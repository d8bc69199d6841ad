//! The audiences of each profile that is in one, for counting in memory.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tol_events::cdp::{AudienceEntered, AudienceExited};
use tol_events::{DomainEvent as _, Event, EventView};
use tol_system::projection::{Error, refuse_other_version};
use tol_system::{Projection, Rows};

use super::{OWN_TOPIC, SOURCE};
use crate::types;

/// The projection `audience-members`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AudienceMembers;

impl Projection for AudienceMembers {
    type Row = BTreeSet<String>;
    const NAME: &'static str = "audience-members";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = OWN_TOPIC;
    const ROW_BYTES: usize = 128;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, BTreeSet<String>>) -> Result<(), Error> {
        refuse_other_version(event.event_type(), &[types::AUDIENCE_ENTERED, types::AUDIENCE_EXITED])?;
        match event.event_type() {
            types::AUDIENCE_ENTERED => {
                let entered: AudienceEntered<'_> = event.data_as()?;
                rows.get_mut(&entered.profile_id)?.insert(entered.audience.into_owned());
            }
            types::AUDIENCE_EXITED => {
                let exited: AudienceExited<'_> = event.data_as()?;
                let row = rows.get_mut(&exited.profile_id)?;
                row.remove(&*exited.audience);
                if row.is_empty() {
                    rows.remove(&exited.profile_id)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn merge(mut a: BTreeSet<String>, b: BTreeSet<String>) -> BTreeSet<String> {
        a.extend(b);
        a
    }

    fn value(row: &BTreeSet<String>, key: &str) -> Value {
        json!({"profile_id": key, "audiences": row})
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(format!("profile/{key}"))
    }

    fn examples(&self) -> Vec<Event> {
        let entered = |id: &str, audience: &'static str| AudienceEntered { profile_id: "p1".into(), audience: audience.into() }.to_event(id, SOURCE);
        let exited = |id: &str, audience: &'static str| AudienceExited { profile_id: "p1".into(), audience: audience.into() }.to_event(id, SOURCE);
        [entered("1", "vip"), entered("2", "new"), exited("3", "new")].into_iter().flatten().collect()
    }
}
