//! Parked inputs, as the model remembers them.

use super::super::cluster::operators::FORCED;
use super::super::rules::Cause;
use super::Recorded;

/// A parked input.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub id: String,
    pub order: u64,
    pub cause: Cause,
    /// Redrives it failed again in.
    pub failed_in: Vec<String>,
}

impl Parked {
    /// What the event of a redrive says of who asked and why tells whether it should have tried this one.
    pub(super) fn may_be_redriven(&self, event: &Recorded, limit: u32) -> Result<(), String> {
        let (by, reason) = (event.field("by")?, event.field("reason")?);
        if self.failed_in.len() >= limit as usize && !by.is_empty() && by != FORCED {
            return Err(format!("{} was redriven although it failed {} times", self.id, self.failed_in.len()));
        }
        match reason.strip_prefix("through ").map(str::parse::<u64>) {
            Some(Ok(through)) if through < self.order => Err(format!("{} was redriven although it comes after {through}", self.id)),
            _ => Ok(()),
        }
    }
}
