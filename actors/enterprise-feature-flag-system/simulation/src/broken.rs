//! Ways to break the flag system on purpose. All of them decide the same in a replay, so that it is the model that has to notice.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::{EnterpriseFeatureFlagSystem, Flag};
use tol_events::{Attribute, Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, System};

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A step's timer that is delivered twice takes the rollout two steps further.
    AdvancedTwice,
    /// Who restores a flag from the log forgets that it was killed; who killed it knows.
    KillForgotten,
    /// A rollout that was rolled back may begin again.
    RolledBackAgain,
    /// A report is counted twice.
    CountedTwice,
    /// A rollout goes on at its timer, whatever was seen.
    AdvancedBlindly,
    /// A broken split is told, and the rollout goes on.
    SplitIgnored,
    /// A rollback leaves some people in.
    SomeStay,
    /// A growing rollout draws its people anew.
    DrawnAnew,
    /// Two changes share a number.
    VersionRepeated,
    /// A scheduled change releases what was killed.
    KillReleased,
    /// An experiment may be concluded twice.
    ConcludedTwice,
    /// A refused request is not answered.
    RefusalForgotten,
}

impl Broken {
    /// All of them.
    pub const ALL: [Broken; 12] = [
        Broken::AdvancedTwice,
        Broken::KillForgotten,
        Broken::RolledBackAgain,
        Broken::CountedTwice,
        Broken::AdvancedBlindly,
        Broken::SplitIgnored,
        Broken::SomeStay,
        Broken::DrawnAnew,
        Broken::VersionRepeated,
        Broken::KillReleased,
        Broken::ConcludedTwice,
        Broken::RefusalForgotten,
    ];
}

/// The flag system with a rule left out.
pub(crate) struct BrokenFlags {
    broken: Broken,
    /// Kills that were decided here, by flag and version.
    killed: Mutex<BTreeSet<(String, u64)>>,
}

impl BrokenFlags {
    pub(crate) fn new(broken: Broken) -> Self {
        Self { broken, killed: Mutex::default() }
    }

    /// What it decides instead of `drafts`, each a type and its data.
    fn instead(&self, state: &Flag, input: &Input<'_>, mut drafts: Vec<(&'static str, Value)>) -> Vec<(&'static str, Value)> {
        let is_step = matches!(input, Input::Timer { id: "step", .. });
        let at = input.time();
        for (_, data) in drafts.iter().filter(|(of, _)| *of == "flags.flag_killed.v1") {
            let kill = (input.subject().to_owned(), data["version"].as_u64().unwrap_or(0));
            self.killed.lock().unwrap_or_else(PoisonError::into_inner).insert(kill);
        }
        let held = drafts.iter().position(|(of, _)| *of == "flags.rollout_held.v1");
        let split = drafts.iter().any(|(of, data)| *of == "flags.rollout_held.v1" && data["reason"]["reason"] == "sample_ratio");
        match self.broken {
            Broken::AdvancedTwice if is_step => {
                if let Some((of, mut again)) = drafts.last().cloned().filter(|(of, data)| *of == "flags.rollout_advanced.v1" && data["completed"] == false)
                    && let Some(next) = further(state, again["step"].as_u64().unwrap_or(0) + 1, &mut again)
                {
                    drafts.push((of, next));
                }
            }
            Broken::AdvancedBlindly | Broken::SplitIgnored => {
                let blindly = self.broken == Broken::AdvancedBlindly && is_step && held.is_some();
                if let (true, Some(at_draft), Some(ramp)) = (blindly || (self.broken == Broken::SplitIgnored && split), held, &state.rollout) {
                    let mut advanced = json!({
                        "key": drafts[at_draft].1["key"], "rollout_id": ramp.id, "environment": ramp.environment, "rule": ramp.rule, "began_at": at,
                        "completed": false, "version": state.version, "definition": state.definition, "by": "enterprise-feature-flag-system", "reason": "why not",
                    });
                    if let Some(advanced) = further(state, ramp.rollout.step() as u64 + 1, &mut advanced) {
                        drafts[at_draft] = ("flags.rollout_advanced.v1", advanced);
                    }
                }
            }
            Broken::SomeStay | Broken::DrawnAnew => {
                let (wanted, field, value) = match self.broken {
                    Broken::SomeStay => ("flags.rollout_rolled_back.v1", "part", json!(100)),
                    _ => ("flags.rollout_advanced.v1", "salt", json!("anew")),
                };
                for (_, data) in drafts.iter_mut().filter(|(of, data)| *of == wanted && data["plan"].is_null()) {
                    for rule in rules(&mut data["definition"]) {
                        rule["share"][field] = value.clone();
                    }
                }
            }
            Broken::VersionRepeated => {
                for (_, data) in drafts.iter_mut().filter(|(of, data)| *of == "flags.flag_changed.v1" && data["version"].as_u64() > Some(2)) {
                    data["version"] = state.version.into();
                }
            }
            Broken::KillReleased if matches!(input, Input::Timer { id: "schedule", .. }) => {
                for (_, data) in &mut drafts {
                    for environment in data["definition"]["environments"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
                        environment.as_object_mut().map(|environment| environment.remove("killed"));
                    }
                }
            }
            Broken::RefusalForgotten => drafts.retain(|(of, _)| *of != "flags.request_refused.v1"),
            _ => {}
        }
        drafts
    }
}

/// The rules of all environments.
fn rules(definition: &mut Value) -> impl Iterator<Item = &mut Value> {
    let environments = definition["environments"].as_object_mut().into_iter().flat_map(|all| all.values_mut());
    environments.filter_map(|environment| environment["rules"].as_array_mut()).flatten().filter(|rule| rule["share"].is_object())
}

/// The event that takes the running rollout to this step, if it has one.
fn further(state: &Flag, step: u64, advanced: &mut Value) -> Option<Value> {
    let ramp = state.rollout.as_ref()?;
    let treatment = ramp.rollout.plan().steps.get(usize::try_from(step).ok()?)?.treatment;
    (advanced["step"], advanced["treatment"]) = (step.into(), treatment.into());
    advanced["version"] = (advanced["version"].as_u64()? + 1).into();
    let rule = usize::try_from(ramp.rule).ok()?;
    advanced["definition"]["environments"][&ramp.environment]["rules"].get_mut(rule)?["share"]["part"] = treatment.into();
    Some(advanced.take())
}

impl System for BrokenFlags {
    type State = Flag;

    fn describe(&self) -> Description {
        EnterpriseFeatureFlagSystem.describe()
    }

    fn decide(&self, state: &Flag, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let doubled = match input {
            Input::Event(event) if self.broken == Broken::CountedTwice && event.event_type() == "flags.counts_reported.v1" => Some(twice(event)),
            _ => None,
        };
        let encoded = doubled.as_ref().map(Event::encode);
        let asked = encoded.as_ref().map_or(input, |event| Input::Event(event.view()));
        let mut sound = Decision::new("enterprise-feature-flag-system", "broken", input.subject());
        EnterpriseFeatureFlagSystem.decide(state, asked, &mut sound)?;
        let drafts = sound.finish()?.into_iter().map(|draft| (draft.event_type, serde_json::from_slice(&draft.data).unwrap_or_default())).collect();
        for (event_type, data) in self.instead(state, &input, drafts) {
            decision.emit(event_type, &data);
        }
        Ok(())
    }

    fn evolve(&self, state: &mut Flag, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        EnterpriseFeatureFlagSystem.evolve(state, event, evolution)?;
        match (self.broken, event.event_type()) {
            (Broken::KillForgotten, "flags.flag_killed.v1") => {
                let kill = (event.subject().to_owned(), state.version);
                if !self.killed.lock().unwrap_or_else(PoisonError::into_inner).contains(&kill) {
                    let environments = state.definition.iter_mut().flat_map(|definition| definition.environments.values_mut());
                    environments.for_each(|environment| environment.killed = false);
                }
            }
            (Broken::RolledBackAgain, "flags.rollout_rolled_back.v1") => drop(state.rollouts.pop()),
            (Broken::ConcludedTwice, "flags.experiment_concluded.v1") => state.experiments.values_mut().for_each(|experiment| experiment.concluded = false),
            _ => {}
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}

/// A report that says everything twice.
fn twice(event: EventView<'_>) -> Event {
    let mut doubled = Event::new(event.id(), event.source(), event.event_type(), event.subject());
    doubled.set(Attribute::Time, event.time().unwrap_or_default().to_string());
    let mut data: Value = event.data_as().unwrap_or_default();
    if let Some(exposures) = data["exposures"].as_array_mut() {
        exposures.extend(exposures.clone());
    }
    doubled.data = data.to_string().into_bytes();
    doubled
}
