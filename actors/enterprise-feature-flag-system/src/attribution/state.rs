//! What is remembered about a customer or a service: the fold of the system's own events.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tol_events::flags::{DeploymentAttributed, Exclusion, ExposureFollowed, ExposureForgotten, OutcomeAttributed, OutcomeNoted, ServiceFollowed};
use tol_events::{EventTime, EventView};
use tol_system::{Error, Evolution, read};

use super::{DEPLOYMENT_ATTRIBUTED, EXPOSURE_FOLLOWED, EXPOSURE_FORGOTTEN, OUTCOME_ATTRIBUTED, OUTCOME_NOTED, SERVICE_FOLLOWED};
use crate::decide::bounded;

/// After it was reported, an exposure is remembered this long, so that the same customer does not count twice.
pub(crate) const REMEMBERED_MICROS: i64 = 90 * 86_400_000_000;

/// Of a subject `customer/…` its exposures, of `service/…` the flags that name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed {
    /// Exposures by flag, then trial.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exposures: BTreeMap<String, BTreeMap<String, Exposure>>,
    /// Flags that are told of this service.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub flags: BTreeSet<String>,
}

/// An arm that a customer met, and what happened since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// Where.
    pub environment: String,
    /// The arm that was met first.
    pub arm: String,
    /// When.
    pub exposed_at: EventTime,
    /// What happens until then counts.
    pub until: EventTime,
    /// Each metric; empty once it is reported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, i64>,
    /// Whether another arm was met meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crossed: bool,
    /// Whether it is reported; it is remembered only, so that it is not counted again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
}

impl Attributed {
    /// All exposures as (flag, trial, exposure).
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str, &Exposure)> {
        self.exposures.iter().flat_map(|(key, trials)| trials.iter().map(move |(trial, exposure)| (key.as_str(), trial.as_str(), exposure)))
    }

    pub(crate) fn exposure(&self, key: &str, trial: &str) -> Option<&Exposure> {
        self.exposures.get(key)?.get(trial)
    }

    fn known(&mut self, event: &EventView<'_>, key: &str, trial: &str) -> Result<&mut Exposure, Error> {
        let found = self.exposures.get_mut(key).and_then(|trials| trials.get_mut(trial));
        found.ok_or_else(|| Error::malformed(event, format!("no exposure to {trial} of flag {key} is known")))
    }

    pub(super) fn evolve(&mut self, event: &EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        match event.event_type() {
            EXPOSURE_FOLLOWED => {
                let followed: ExposureFollowed<'_> = read(event)?;
                evolution.set_timer(closes(&followed.key, &followed.trial), followed.closes_at);
                let exposure = Exposure {
                    environment: followed.environment.into_owned(),
                    arm: followed.arm.into_owned(),
                    exposed_at: followed.exposed_at,
                    until: followed.until,
                    values: followed.metrics.into_iter().map(|metric| (metric, 0)).collect(),
                    crossed: false,
                    reported: false,
                };
                self.exposures.entry(followed.key.into_owned()).or_default().insert(followed.trial.into_owned(), exposure);
            }
            OUTCOME_NOTED => {
                let noted: OutcomeNoted<'_> = read(event)?;
                for outcome in &noted.outcomes {
                    let exposure = self.known(event, &outcome.key, &outcome.trial)?;
                    exposure.crossed |= outcome.crossed;
                    for (metric, more) in &outcome.values {
                        let sum = exposure.values.entry(metric.clone()).or_default();
                        *sum = sum.saturating_add(*more);
                    }
                }
            }
            OUTCOME_ATTRIBUTED => {
                let attributed: OutcomeAttributed<'_> = read(event)?;
                // One that was dropped was never followed.
                if attributed.excluded != Some(Exclusion::Dropped) {
                    let exposure = self.known(event, &attributed.key, &attributed.trial)?;
                    (exposure.reported, exposure.values) = (true, BTreeMap::new());
                    let due = event.time().unwrap_or_default().plus_micros(REMEMBERED_MICROS);
                    evolution.set_timer(forgets(&attributed.key, &attributed.trial), bounded(due));
                }
            }
            EXPOSURE_FORGOTTEN => {
                let forgotten: ExposureForgotten<'_> = read(event)?;
                if let Some(trials) = self.exposures.get_mut(forgotten.key.as_ref()) {
                    trials.remove(forgotten.trial.as_ref());
                    if trials.is_empty() {
                        self.exposures.remove(forgotten.key.as_ref());
                    }
                }
            }
            SERVICE_FOLLOWED => {
                let followed: ServiceFollowed<'_> = read(event)?;
                if followed.followed {
                    self.flags.insert(followed.key.into_owned());
                } else {
                    self.flags.remove(followed.key.as_ref());
                }
            }
            DEPLOYMENT_ATTRIBUTED => {
                let _: DeploymentAttributed<'_> = read(event)?;
            }
            unknown => return Err(Error::UnknownOwnEvent(unknown.to_owned())),
        }
        Ok(())
    }
}

/// The timer at which an exposure is reported. With the flag's length, as keys and ids may hold slashes.
pub(super) fn closes(key: &str, trial: &str) -> String {
    format!("close/{}/{key}/{trial}", key.len())
}

/// The timer at which it is forgotten.
pub(super) fn forgets(key: &str, trial: &str) -> String {
    format!("forget/{}/{key}/{trial}", key.len())
}
