//! `flags`: each flag as it is served, and what an environment's flags share. Folded from what the flag system decided.
//!
//! Key: the subject, `flag/{key}` or `flag-set/{environment}`. The definition is kept as the text of its JSON: its shape is the flag system's own,
//! and rows are stored in a format that does not describe itself.
//!
//! * `examples` — events for the contract suite
//! * `row` — a row, and how it remembers
//! * `shown` — a row as people see it

mod examples;
mod row;
mod shown;

use serde_json::{Value, json};
use tol_events::flags::{
    BanditAllocated, ExperimentConcluded, ExperimentObserved, ExperimentStarted, FlagChanged, FlagKilled, FlagStale, RequestRefused, RolloutAdvanced,
    RolloutHeld, RolloutRolledBack, SampleRatioMismatchDetected, SharedChanged,
};
use tol_events::{DomainEvent, Event, EventTime, EventView};
use tol_system::projection::{Error, Projection, Rows, refuse_other_version};

pub use row::{Change, Conclusion, Experiment, FlagRow, HISTORY, REFUSED, Refused, Rollout};
use row::{keep, text};

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlagsProjection;

const KNOWN: [&str; 13] = [
    FlagChanged::TYPE,
    FlagKilled::TYPE,
    FlagStale::TYPE,
    RequestRefused::TYPE,
    RolloutAdvanced::TYPE,
    RolloutHeld::TYPE,
    RolloutRolledBack::TYPE,
    SampleRatioMismatchDetected::TYPE,
    ExperimentStarted::TYPE,
    ExperimentObserved::TYPE,
    BanditAllocated::TYPE,
    ExperimentConcluded::TYPE,
    SharedChanged::TYPE,
];

impl Projection for FlagsProjection {
    type Row = FlagRow;
    const NAME: &'static str = "flags";
    const VERSION: u32 = 2;
    const TOPIC: &'static str = "enterprise-feature-flag-system.events";
    const ROW_BYTES: usize = 4 << 10;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, FlagRow>) -> Result<(), Error> {
        let subject = event.subject();
        match event.event_type() {
            FlagChanged::TYPE => {
                let changed: FlagChanged<'_> = event.data_as()?;
                let row = rows.get_mut(subject)?;
                (row.stale_at, row.stale_since) = (changed.stale_at.map(EventTime::as_micros), None);
                row.change(&event, changed.version, Some(&changed.definition), &changed.by, &changed.reason);
            }
            FlagKilled::TYPE => {
                let killed: FlagKilled<'_> = event.data_as()?;
                let row = rows.get_mut(subject)?;
                if let Some(rollout) = row.rollout.as_mut().filter(|rollout| rollout.state == "running" && killed.environments.contains(&rollout.environment)) {
                    (rollout.state, rollout.treatment) = ("killed".to_owned(), 0);
                }
                row.change(&event, killed.version, Some(&killed.definition), &killed.by, &killed.reason);
            }
            FlagStale::TYPE => {
                let stale: FlagStale<'_> = event.data_as()?;
                rows.get_mut(subject)?.stale_since = Some(stale.since.as_micros());
            }
            RequestRefused::TYPE => {
                let refused: RequestRefused<'_> = event.data_as()?;
                let refused = Refused { request: refused.request_id.into_owned(), problem: refused.problem.into_owned() };
                keep(&mut rows.get_mut(subject)?.refused, refused, REFUSED);
            }
            RolloutAdvanced::TYPE => rows.get_mut(subject)?.advanced(&event, &event.data_as()?),
            RolloutHeld::TYPE => {
                let held: RolloutHeld<'_> = event.data_as()?;
                if let Some(rollout) = rows.get_mut(subject)?.rollout(&held.rollout_id) {
                    rollout.held = Some(text(&held.reason));
                }
            }
            RolloutRolledBack::TYPE => {
                let back: RolloutRolledBack<'_> = event.data_as()?;
                let row = rows.get_mut(subject)?;
                if let Some(rollout) = row.rollout(&back.rollout_id) {
                    (rollout.state, rollout.treatment, rollout.evidence) = ("rolled_back".to_owned(), 0, back.evidence.as_ref().map(text));
                }
                row.change(&event, back.version, Some(&back.definition), &back.by, &back.reason);
            }
            SampleRatioMismatchDetected::TYPE => {
                let detected: SampleRatioMismatchDetected<'_> = event.data_as()?;
                let (row, p_value) = (rows.get_mut(subject)?, Some(json!(detected.p_value).to_string()));
                if let Some(rollout) = detected.rollout_id.as_ref().and_then(|id| row.rollout(id)) {
                    rollout.mismatch.clone_from(&p_value);
                }
                if let Some(experiment) = detected.experiment_id.as_ref().and_then(|id| row.experiment(id)) {
                    experiment.mismatch = p_value;
                }
            }
            ExperimentStarted::TYPE => {
                let started: ExperimentStarted<'_> = event.data_as()?;
                let experiment = Experiment {
                    statement: started.statement.into_owned(),
                    details: text(&started.details),
                    version: started.version,
                    began_at: event.time().map_or(0, EventTime::as_micros),
                    by: started.by.into_owned(),
                    ..Experiment::default()
                };
                rows.get_mut(subject)?.experiments.insert(started.experiment_id.into_owned(), experiment);
            }
            ExperimentObserved::TYPE => {
                let observed: ExperimentObserved<'_> = event.data_as()?;
                if let Some(experiment) = rows.get_mut(subject)?.experiment(&observed.experiment_id) {
                    experiment.counted = Some(text(&observed.counted));
                    experiment.expected = Some(observed.expected).filter(|expected| !expected.is_empty()).map(|expected| json!(expected).to_string());
                }
            }
            BanditAllocated::TYPE => {
                let allocated: BanditAllocated<'_> = event.data_as()?;
                if let Some(experiment) = rows.get_mut(subject)?.experiment(&allocated.experiment_id) {
                    experiment.propensities = Some(json!(allocated.propensities).to_string());
                }
            }
            ExperimentConcluded::TYPE => {
                let concluded: ExperimentConcluded<'_> = event.data_as()?;
                if let Some(experiment) = rows.get_mut(subject)?.experiment(&concluded.experiment_id) {
                    let at = event.time().map_or(0, EventTime::as_micros);
                    let (statement, by) = (concluded.statement.into_owned(), concluded.by.into_owned());
                    experiment.conclusion = Some(Conclusion { statement, at, by, details: text(&concluded.details) });
                }
            }
            SharedChanged::TYPE => {
                let changed: SharedChanged<'_> = event.data_as()?;
                let row = rows.get_mut(subject)?;
                let format = changed.format.to_string();
                if changed.shared.is_empty() {
                    row.shared.remove(&format);
                } else {
                    row.shared.insert(format, text(&changed.shared));
                }
                row.change(&event, changed.version, None, &changed.by, &changed.reason);
            }
            other => refuse_other_version(other, &KNOWN)?,
        }
        Ok(())
    }

    /// A subject lies in one partition, so nothing is joined in practice.
    fn merge(a: FlagRow, b: FlagRow) -> FlagRow {
        let order = |row: &FlagRow| (row.version, row.definition.clone(), row.changes.len(), row.refused.len());
        if order(&a) >= order(&b) { a } else { b }
    }

    fn value(row: &FlagRow, key: &str) -> Value {
        shown::value(row, key)
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(key.to_owned())
    }

    fn examples(&self) -> Vec<Event> {
        examples::examples()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
