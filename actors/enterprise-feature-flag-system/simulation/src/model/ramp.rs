//! What a rollout may do: begin, go on, wait, and be taken back once.

use serde_json::Value;
use tol_events::EventTime;

use super::{BY_ITSELF, Group, Outcome, must};
use crate::flag::{Ramp, WHOLE, environments, is_live, micros, text};
use crate::requests::kind;

const HOUR: i64 = 3_600_000_000;

impl Group<'_> {
    pub(super) fn begin(&mut self, data: &Value) -> Outcome {
        let advanced = self.need("rollout_advanced")?;
        let id = text(data, "rollout_id").to_owned();
        let ramp = Ramp {
            id: id.clone(),
            environment: text(data, "environment").to_owned(),
            rule: data["rule"].as_u64().unwrap_or(0),
            plan: data["plan"].clone(),
            began: self.at(),
            ..Ramp::default()
        };
        must(advanced["rollout_id"] == id.as_str() && advanced["step"] == 0 && advanced["completed"] == false && advanced["plan"].is_object(), || {
            "it did not begin".to_owned()
        })?;
        let definition = ramp.with_share(self.flag.definition.as_ref().unwrap_or(&Value::Null), ramp.step_of(0, "treatment"));
        self.flag.rollouts.insert(id);
        self.step_timer(&ramp);
        self.flag.running = Some(ramp);
        self.version(advanced, definition)
    }

    fn step_timer(&mut self, ramp: &Ramp) {
        let least = (ramp.step_of(ramp.step, "minimum_millis") as i64 * 1_000).max(1);
        self.timer("step", Some(ramp.began + least));
    }

    /// Once, to nobody, and for ever.
    pub(super) fn rolled_back(&mut self, by_hand: bool) -> Outcome {
        let event = self.need("rollout_rolled_back")?;
        let Some(ramp) = self.flag.running.take() else { return Err("no rollout runs that could be rolled back".to_owned()) };
        must(event["rollout_id"] == ramp.id.as_str() && event["evidence"].is_object() != by_hand, || format!("rollout {} is rolled back otherwise", ramp.id))?;
        let [control, treatment] = ramp.errors;
        let worse = treatment.1 * control.0 > control.1 * treatment.0;
        must(by_hand || worse, || format!("errors of {:?} show no harm", ramp.errors))?;
        let definition = ramp.with_share(self.flag.definition.as_ref().unwrap_or(&Value::Null), 0);
        self.timer("step", None);
        self.version(event, definition)
    }

    /// What follows from a look, a timer, or a service that is well again.
    pub(super) fn go_on(&mut self, by_timer: bool) -> Outcome {
        let Some(ramp) = self.flag.running.clone() else { return must(!by_timer, || "no rollout runs".to_owned()) };
        if self.events.get(self.next).is_some_and(|event| kind(&event.event_type) == "rollout_rolled_back") {
            return self.rolled_back(false);
        }
        must(!(ramp.is_guarded() && ramp.is_plainly_harmful()), || format!("it is not rolled back although errors are {:?}", ramp.errors))?;
        if let Some(event) = self.take("rollout_advanced") {
            return self.advanced(ramp, event);
        }
        if self.take("sample_ratio_mismatch_detected").is_some() {
            must(!ramp.mismatch_told, || "the broken split is told twice".to_owned())?;
            self.flag.running.iter_mut().for_each(|ramp| ramp.mismatch_told = true);
        }
        self.held(by_timer)
    }

    pub(super) fn held(&mut self, by_timer: bool) -> Outcome {
        let Some(held) = self.take("rollout_held") else {
            return must(!by_timer, || "a timer leaves an event".to_owned());
        };
        let (reason, at) = (text(&held["reason"], "reason").to_owned(), self.at());
        let Some(ramp) = &mut self.flag.running else { return Err("no rollout runs that could be held".to_owned()) };
        must(by_timer || ramp.held != reason, || format!("{reason} is told again"))?;
        let again = match reason.as_str() {
            "too_early" => (ramp.began / 1_000 + ramp.step_of(ramp.step, "minimum_millis") as i64) * 1_000,
            _ => at + HOUR,
        };
        must(micros(&held["again_at"]) == Some(again) && held["step"] == ramp.step, || format!("it is looked at again at {}", EventTime::from_micros(again)))?;
        ramp.held = reason;
        self.timer("step", Some(again));
        Ok(())
    }

    /// One step further: never in the dark, in trouble, without data, too early or on a broken split; never to fewer people.
    fn advanced(&mut self, mut ramp: Ramp, event: &Value) -> Outcome {
        let definition = self.flag.definition.clone().unwrap_or_default();
        must(environments(&definition).get(&ramp.environment).is_some_and(is_live), || "it advances although nobody is reached".to_owned())?;
        must(ramp.troubles.is_empty(), || format!("it advances although {:?}", ramp.troubles))?;
        if let Some(problem) = ramp.must_wait(self.at()) {
            return Err(format!("it advances although {problem}"));
        }
        let before = ramp.step_of(ramp.step, "treatment");
        let step = ramp.step + 1;
        let completed = step == ramp.steps();
        let treatment = if completed { WHOLE } else { ramp.step_of(step, "treatment") };
        must(treatment > before, || format!("from {before} it goes to {treatment}"))?;
        let said = event["step"] == step && event["treatment"] == treatment && event["completed"] == completed && event["by"] == BY_ITSELF;
        must(said && event["rollout_id"] == ramp.id.as_str() && micros(&event["began_at"]) == Some(self.at()), || {
            format!("after step {} it is to be {treatment}", ramp.step)
        })?;
        let definition = ramp.with_share(&definition, treatment);
        (ramp.step, ramp.began, ramp.in_step, ramp.errors_in_step) = (step, self.at(), [0, 0], [0, 0]);
        ramp.held.clear();
        if completed {
            self.timer("step", None);
            self.flag.running = None;
        } else {
            self.step_timer(&ramp);
            self.flag.running = Some(ramp);
        }
        self.version(event, definition)
    }
}
