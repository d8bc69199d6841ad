//! One flag as the model knows it: plain JSON and sums, written down from the documentation and not from the flag system's code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use tol_events::EventTime;

/// The whole, in ten-thousandths.
pub(crate) const WHOLE: u64 = 10_000;

/// Subjects and events of (control, treatment).
pub(crate) type Arms = [(u64, u64); 2];

/// A flag, or what an environment's flags share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flag {
    pub version: u64,
    pub definition: Option<Value>,
    pub stale_at: Value,
    /// Every rollout there was.
    pub rollouts: BTreeSet<String>,
    /// The one that runs.
    pub running: Option<Ramp>,
    pub experiments: BTreeMap<String, Experiment>,
    pub shared: BTreeMap<String, Value>,
}

/// A rollout that runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ramp {
    pub id: String,
    pub environment: String,
    pub rule: u64,
    pub plan: Value,
    pub step: usize,
    /// When the step began, in microseconds.
    pub began: i64,
    /// Subjects of (control, treatment): all, and in this step.
    pub seen: [u64; 2],
    pub in_step: [u64; 2],
    /// Of the guard metric: all, and subjects in this step.
    pub errors: Arms,
    /// What the last look brought of it.
    pub fresh: Arms,
    pub errors_in_step: [u64; 2],
    /// Whether its control is everyone else.
    pub everyone: bool,
    /// What reports say, added up: exposed (disabled, enabled), and of those who measure errors: exposed and errors.
    pub counted: [u64; 2],
    pub measured: Arms,
    pub measures: bool,
    pub held: String,
    pub mismatch_told: bool,
    pub troubles: BTreeMap<String, String>,
}

/// An experiment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Experiment {
    pub concluded: bool,
    /// Whether it says what is counted.
    pub counts: bool,
    pub bandit: Option<u64>,
    pub counted: [u64; 2],
    pub mismatch_told: bool,
}

pub(crate) fn text<'v>(data: &'v Value, name: &str) -> &'v str {
    data[name].as_str().unwrap_or_default()
}

pub(crate) fn micros(time: &Value) -> Option<i64> {
    serde_json::from_value::<EventTime>(time.clone()).ok().map(EventTime::as_micros)
}

/// Counts of the arms `disabled` and `enabled` in a list of a report.
pub(crate) fn exposed(data: &Value) -> [u64; 2] {
    let of =
        |arm: &str| data["exposures"].as_array().into_iter().flatten().filter(|entry| entry["arm"] == arm).filter_map(|entry| entry["count"].as_u64()).sum();
    [of("disabled"), of("enabled")]
}

/// Errors that a report says happened in the arms; none where it does not measure them.
pub(crate) fn errors(data: &Value) -> Option<[u64; 2]> {
    data.get("measuring")?;
    let of = |arm: &str| {
        data["measures"].as_array().into_iter().flatten().filter(|entry| entry["arm"] == arm).filter_map(|entry| entry["measure"]["value"].as_u64()).sum()
    };
    Some([of("disabled"), of("enabled")])
}

/// Subjects and events of a metric in a look.
pub(crate) fn arms(metric: &Value) -> Option<Arms> {
    let of = |arm: &str| Some((metric[arm]["subjects"].as_u64()?, metric[arm]["events"].as_u64()?));
    Some([of("control")?, of("treatment")?])
}

pub(crate) fn environments(definition: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    definition["environments"].as_object().unwrap_or(&NONE)
}

pub(crate) fn is_live(environment: &Value) -> bool {
    environment["enabled"] == true && environment["killed"] != true
}

impl Ramp {
    /// The rule whose share it moves.
    pub fn rule_of<'v>(&self, definition: &'v Value) -> Option<&'v Value> {
        environments(definition).get(&self.environment)?["rules"].get(usize::try_from(self.rule).ok()?)
    }

    /// The definition with another share, and with nothing else changed.
    pub fn with_share(&self, definition: &Value, part: u64) -> Value {
        let mut definition = definition.clone();
        if let Some(rule) = definition["environments"][&self.environment]["rules"].get_mut(usize::try_from(self.rule).unwrap_or(usize::MAX)) {
            if rule["share"].is_object() {
                rule["share"]["part"] = part.into();
            } else {
                rule["share"] = serde_json::json!({"part": part});
            }
        }
        definition
    }

    pub fn step_of(&self, step: usize, field: &str) -> u64 {
        self.plan["steps"][step][field].as_u64().unwrap_or(0)
    }

    pub fn steps(&self) -> usize {
        self.plan["steps"].as_array().map_or(0, Vec::len)
    }

    pub fn is_guarded(&self) -> bool {
        self.plan["guards"].as_array().is_some_and(|guards| !guards.is_empty())
    }

    /// Why this look cannot be: counts that fall, or more events than subjects.
    pub fn falls(&self, seen: [u64; 2]) -> bool {
        seen[0] < self.seen[0] || seen[1] < self.seen[1]
    }

    pub fn errors_fall(&self, errors: &Arms) -> bool {
        errors.iter().zip(&self.errors).any(|(now, before)| now.0 < before.0 || now.1 < before.1 || now.1 - before.1 > now.0 - before.0)
    }

    /// Takes a look.
    pub fn look(&mut self, seen: [u64; 2], errors: Option<Arms>, everyone: bool) {
        self.fresh = Arms::default();
        for arm in 0..2 {
            self.in_step[arm] += seen[arm] - self.seen[arm];
            if let Some(errors) = errors {
                self.fresh[arm] = (errors[arm].0 - self.errors[arm].0, errors[arm].1 - self.errors[arm].1);
                self.errors_in_step[arm] += self.fresh[arm].0;
            }
        }
        (self.seen, self.everyone) = (seen, everyone);
        self.errors = errors.unwrap_or(self.errors);
    }

    /// Adds a report.
    pub fn report(&mut self, data: &Value) {
        let (exposed, errors) = (exposed(data), errors(data));
        self.measures |= errors.is_some();
        for arm in 0..2 {
            self.counted[arm] += exposed[arm];
            if let Some(errors) = errors {
                self.measured[arm] = (self.measured[arm].0 + exposed[arm], self.measured[arm].1 + errors[arm]);
            }
        }
    }

    /// What no rollout may go on with, whatever the statistics say: no data in the step, too early, or a split that is plainly broken.
    pub fn must_wait(&self, at: i64) -> Option<String> {
        let minimum = self.step_of(self.step, "minimum_subjects").max(1);
        if self.in_step.iter().any(|subjects| *subjects < minimum) {
            return Some(format!("{:?} subjects were seen in the step, of {minimum}", self.in_step));
        }
        if self.is_guarded() && self.errors_in_step.iter().any(|subjects| *subjects < minimum) {
            return Some(format!("{:?} subjects of the guard metric were seen in the step, of {minimum}", self.errors_in_step));
        }
        let until = self.began / 1_000 + self.step_of(self.step, "minimum_millis") as i64;
        if at / 1_000 < until {
            return Some(format!("the step lasts until {until}, and it is {}", at / 1_000));
        }
        let treatment = self.step_of(self.step, "treatment");
        let control = if self.everyone { WHOLE - treatment } else { self.step_of(self.step, "control") };
        let all = (self.in_step[0] + self.in_step[1]) as f64;
        let expected = [control, treatment].map(|weight| all * weight as f64 / (control + treatment) as f64);
        let squares: f64 = self.in_step.iter().zip(expected).map(|(seen, expected)| (*seen as f64 - expected).powi(2) / expected).sum();
        // 10.83 is the thousandth of chi squared with one degree of freedom; below five expected it says nothing.
        (expected.iter().all(|expected| *expected >= 5.0) && squares > 11.0).then(|| format!("the split {:?} is not {expected:?}", self.in_step))
    }

    /// Harm that no test could miss, in what one look brought of both arms: looks are compared each for itself, so a look at one arm says nothing.
    pub fn is_plainly_harmful(&self) -> bool {
        let [control, treatment] = self.fresh;
        control.0 >= 150 && treatment.0 >= 150 && 50 * control.1 <= control.0 && 20 * treatment.1 >= 7 * treatment.0
    }
}
