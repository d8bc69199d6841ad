//! What is counted: for the rollout that runs, and for experiments.

use serde_json::Value;

use super::{Group, Outcome, must};
use crate::flag::{Experiment, arms, exposed, micros, text};
use crate::requests::{counted_by, is_comparable, subjects, takeable};

impl Group<'_> {
    /// Adds a report to whatever counts; whether the rollout refuses it.
    pub(super) fn counts(&mut self, data: &Value) -> Result<Option<()>, String> {
        let ids: Vec<String> = self.flag.experiments.iter().filter(|(_, known)| !known.concluded && known.counts).map(|(id, _)| id.clone()).collect();
        for id in ids {
            let observed = self.need("experiment_observed")?;
            let detected = self.take("sample_ratio_mismatch_detected").is_some();
            let Some(known) = self.flag.experiments.get_mut(&id) else { continue };
            (0..2).for_each(|arm| known.counted[arm] += exposed(data)[arm]);
            let said = ["disabled", "enabled"].map(|arm| observed["counted"]["exposures"][arm].as_u64().unwrap_or(0));
            must(observed["experiment_id"] == id.as_str() && said == known.counted, || {
                format!("experiment {id} counts {said:?} instead of {:?}", known.counted)
            })?;
            must(!(detected && known.mismatch_told), || "the broken split is told twice".to_owned())?;
            known.mismatch_told |= detected;
        }
        let Some(ramp) = counted_by(&self.flag, data).cloned() else { return Ok(None) };
        if !is_comparable(&self.flag, &ramp) {
            return self.held(false).map(|()| None);
        }
        let errors = takeable(&ramp, data);
        let mut next = ramp;
        next.report(data);
        if next.falls(next.counted) {
            return Ok(Some(()));
        }
        let observed = self.need("rollout_observed")?;
        let said = ["disabled", "enabled"].map(|arm| observed["counted"]["exposures"][arm].as_u64().unwrap_or(0));
        must(said == next.counted && subjects(&observed["observation"]) == next.counted, || format!("it counts {said:?} instead of {:?}", next.counted))?;
        let told = observed["observation"]["metrics"].get("errors").and_then(arms);
        must(told == errors, || format!("errors are {told:?} instead of {errors:?}"))?;
        next.look(next.counted, errors, true);
        self.flag.running = Some(next);
        self.go_on(false).map(|()| None)
    }

    /// An experiment begins once, and ends once.
    pub(super) fn experiment(&mut self, data: &Value) -> Outcome {
        let id = text(data, "experiment_id").to_owned();
        if text(data, "action") == "start" {
            let started = self.need("experiment_started")?;
            must(started["experiment_id"] == id.as_str() && started["version"] == self.flag.version, || format!("experiment {id} is to begin"))?;
            let bandit = data["details"]["bandit"]["every_millis"].as_u64();
            if let Some(every) = bandit {
                self.timer(format!("bandit/{id}"), Some(self.at() + every as i64 * 1_000));
            }
            let experiment = Experiment { counts: data["details"].get("variations").is_some(), bandit, ..Experiment::default() };
            must(self.flag.experiments.insert(id.clone(), experiment).is_none(), || format!("experiment {id} begins twice"))
        } else {
            let concluded = self.need("experiment_concluded")?;
            self.timer(format!("bandit/{id}"), None);
            let known = self.flag.experiments.get_mut(&id).filter(|known| !known.concluded).ok_or_else(|| format!("experiment {id} ends twice"))?;
            known.concluded = true;
            must(concluded["details"]["results"].is_object() == known.counts, || "its results are missing".to_owned())
        }
    }

    pub(super) fn weighed(&mut self, id: &str, due: i64) -> Outcome {
        let every = self.flag.experiments.get(id).filter(|known| !known.concluded).and_then(|known| known.bandit);
        let Some(every) = every else { return Ok(()) };
        let allocated = self.need("bandit_allocated")?;
        let again = due + every as i64 * 1_000;
        let sum: f64 = allocated["propensities"].as_array().into_iter().flatten().filter_map(|one| one["probability"].as_f64()).sum();
        must((sum - 1.0).abs() < 1e-9 && micros(&allocated["again_at"]) == Some(again), || format!("the probabilities add up to {sum}"))?;
        self.timer(format!("bandit/{id}"), Some(again));
        Ok(())
    }
}
