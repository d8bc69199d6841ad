//! One flag played event by event, as the runtime does.

use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::definition::Rule;
use tol_enterprise_feature_flag_system::{EnterpriseFeatureFlagSystem, Flag};
use tol_events::{Event, EventTime};
use tol_system::{Decision, Evolution, Input, System};

pub const HOUR: i64 = 3_600_000_000;

/// One flag, with the timers it asked for.
#[derive(Default)]
pub struct Play {
    pub flag: Flag,
    pub timers: std::collections::BTreeMap<String, EventTime>,
    pub inputs: u64,
}

impl Play {
    pub fn new() -> Self {
        let mut play = Self::default();
        let told = play.tell("flags.change_requested.v1", 0, json!({"definition": definition(100), "by": "ada", "reason": "new"}));
        assert_eq!(types(&told), ["flags.flag_changed.v1"]);
        play
    }

    pub fn tell(&mut self, event_type: &str, hour: i64, mut data: Value) -> Vec<(String, Value)> {
        self.inputs += 1;
        data["key"] = "f".into();
        let mut event = Event::new(format!("i{}", self.inputs), "/test", event_type, "flag/f").at(EventTime::from_micros(hour * HOUR));
        event.data = data.to_string().into_bytes();
        let encoded = event.encode();
        self.input(Input::Event(encoded.view()))
    }

    /// Fires the timer of that name, if it is set.
    pub fn timer(&mut self, id: &str) -> Vec<(String, Value)> {
        match self.timers.remove(id) {
            Some(due) => self.input(Input::Timer { id, subject: "flag/f", due }),
            None => Vec::new(),
        }
    }

    pub fn input(&mut self, input: Input<'_>) -> Vec<(String, Value)> {
        let mut decision = Decision::new("enterprise-feature-flag-system", "/test", "1");
        EnterpriseFeatureFlagSystem.decide(&self.flag, input, &mut decision).unwrap();
        let mut told = Vec::new();
        for draft in decision.finish().unwrap() {
            let mut event = Event::new("o", "/systems/enterprise-feature-flag-system", draft.event_type, "flag/f").at(input.time());
            event.data = draft.data;
            let encoded = event.encode();
            tol_events::registry::validate(&encoded.view()).unwrap();
            let mut evolution = Evolution::default();
            EnterpriseFeatureFlagSystem.evolve(&mut self.flag, encoded.view(), &mut evolution).unwrap();
            for timer in evolution.timers {
                match timer.due {
                    Some(due) => drop(self.timers.insert(timer.id, due)),
                    None => drop(self.timers.remove(&timer.id)),
                }
            }
            told.push((draft.event_type.to_owned(), serde_json::from_slice(&event.data).unwrap()));
        }
        told
    }

    pub fn share(&self) -> u32 {
        let environment = &self.flag.definition.as_ref().unwrap().environments["production"];
        let Rule::Targeted(rule) = &environment.rules[0] else { panic!("targeted") };
        rule.share.as_ref().unwrap().part
    }

    pub fn roll_out(&mut self, hour: i64, id: &str) -> Vec<(String, Value)> {
        let step = |treatment: u32| json!({"treatment": treatment, "control": treatment, "minimum_millis": 3_600_000, "minimum_subjects": 500});
        let guard = json!({"metric": "errors", "harm": "increase", "kind": "proportion"});
        let plan = json!({"steps": [step(100), step(1_000)], "guards": [guard]});
        let data = json!({"rollout_id": id, "environment": "production", "rule": 0, "plan": plan, "by": "ada", "reason": "ready"});
        self.tell("flags.rollout_requested.v1", hour, data)
    }

    pub fn look(&mut self, hour: i64, id: &str, control: (u64, u64), treatment: (u64, u64)) -> Vec<(String, Value)> {
        let counts = |(subjects, events): (u64, u64)| json!({"subjects": subjects, "events": events});
        let errors = json!({"kind": "proportion", "control": counts(control), "treatment": counts(treatment)});
        let observation = json!({"control_subjects": control.0, "treatment_subjects": treatment.0, "metrics": {"errors": errors}});
        self.tell("flags.metrics_observed.v1", hour, json!({"rollout_id": id, "observation": observation}))
    }

    pub fn kill(&mut self, hour: i64) -> Vec<(String, Value)> {
        self.tell("flags.kill_requested.v1", hour, json!({"by": "bob", "reason": "payments fail"}))
    }
}

pub fn definition(part: u32) -> Value {
    json!({"key": "f", "type": "boolean", "family": "unleash", "owner": "payments", "environments": {"production": {"enabled": true, "rules": [
        {"kind": "targeted", "share": {"part": part, "salt": "f"}, "serve": {"serve": "on"}}]}}})
}

/// The types of what was told.
pub fn types(told: &[(String, Value)]) -> Vec<&str> {
    told.iter().map(|(event_type, _)| event_type.as_str()).collect()
}
