//! The model of one partition: every answer of the flag system against what the model expects of it, and the rules that nothing may break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tol_events::EventTime;
use tol_runtime::simulation::{Judge, Recorded, TimerSet, Why};

use crate::flag::{Experiment, Flag, Ramp, WHOLE, arms, environments, exposed, is_live, micros, text};
use crate::requests::{Expected, counted_by, expected, is_comparable, killed, kind, subjects, takeable, trouble};

/// How often each kind of event was told.
pub(crate) type Tally = Arc<Mutex<BTreeMap<String, usize>>>;

const BY_ITSELF: &str = "enterprise-feature-flag-system";
const HOUR: i64 = 3_600_000_000;

/// See the module.
pub(crate) struct Model {
    flags: BTreeMap<String, Flag>,
    /// What subjects were since the last fact was decided, where they changed.
    earlier: BTreeMap<String, Vec<Flag>>,
    /// Requests that were answered, and whether with a refusal.
    answered: BTreeSet<(String, bool)>,
    tally: Tally,
}

type Outcome = Result<(), String>;

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Model {
    pub(crate) fn new(tally: Tally) -> Self {
        Self { flags: BTreeMap::new(), earlier: BTreeMap::new(), answered: BTreeSet::new(), tally }
    }
}

impl Judge for Model {
    fn decided(&mut self, subject: &str, why: Why<'_>, events: &[Recorded]) -> Result<Vec<TimerSet>, String> {
        let before = self.flags.get(subject).cloned().unwrap_or_default();
        let mut group = Group { flag: before.clone(), why, events, next: 0, timers: Vec::new() };
        group.judge()?;
        must(group.next == events.len(), || {
            format!("{} follow for no reason", events[group.next..].iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>().join(", "))
        })?;
        if let Why::Fact(fact) = why {
            for refusal in events.iter().map(|event| kind(&event.event_type) == "request_refused").collect::<BTreeSet<_>>() {
                must(self.answered.insert((fact.id.clone(), refusal)), || format!("{} is answered twice", fact.id))?;
            }
        }
        let Group { flag, timers, .. } = group;
        self.earlier.entry(subject.to_owned()).or_default().push(before);
        self.flags.insert(subject.to_owned(), flag);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| *tally.entry(kind(&event.event_type).to_owned()).or_default() += 1);
        Ok(timers)
    }

    fn passed(&mut self, fact: &Recorded) -> Outcome {
        let now = self.flags.get(&fact.subject).cloned().unwrap_or_default();
        let mut states = self.earlier.get(&fact.subject).into_iter().flatten().chain([&now]);
        must(states.any(|flag| expected(flag, fact) == Expected::Silent), || format!("it is to be {:?}", expected(&now, fact)))
    }

    fn mark(&mut self) {
        self.earlier.clear();
    }
}

/// A group being judged.
struct Group<'a> {
    flag: Flag,
    why: Why<'a>,
    events: &'a [Recorded],
    next: usize,
    timers: Vec<TimerSet>,
}

impl<'a> Group<'a> {
    /// When it is decided.
    fn at(&self) -> i64 {
        match self.why {
            Why::Fact(fact) => fact.time,
            Why::Timer(_, due) => due,
        }
    }

    /// The next event, if it is of this kind.
    fn take(&mut self, wanted: &str) -> Option<&'a Value> {
        let event = self.events.get(self.next).filter(|event| kind(&event.event_type) == wanted)?;
        self.next += 1;
        Some(&event.data)
    }

    fn need(&mut self, wanted: &str) -> Result<&'a Value, String> {
        self.take(wanted).ok_or_else(|| format!("{wanted} is missing"))
    }

    fn timer(&mut self, id: impl Into<String>, due: Option<i64>) {
        self.timers.push((self.next - 1, id.into(), due));
    }

    /// Versions count up by one with each event that changes the definition, which then is this.
    fn version(&mut self, data: &Value, definition: Value) -> Outcome {
        must(data["version"] == self.flag.version + 1, || format!("version {} follows {}", data["version"], self.flag.version))?;
        must(data["definition"] == definition, || format!("the definition is not {definition}"))?;
        (self.flag.version, self.flag.definition) = (self.flag.version + 1, Some(definition));
        self.never_rebucketed()
    }

    /// Whom a running rollout reaches is what its step says, drawn as it was when it began.
    fn never_rebucketed(&self) -> Outcome {
        let (Some(ramp), Some(definition)) = (&self.flag.running, &self.flag.definition) else { return Ok(()) };
        let part = ramp.rule_of(definition).map(|rule| rule["share"].get("part").and_then(Value::as_u64).unwrap_or(WHOLE));
        let wanted = ramp.step_of(ramp.step, "treatment");
        must(part == Some(wanted), || format!("{part:?} are reached by rollout {} instead of {wanted}", ramp.id))
    }

    fn judge(&mut self) -> Outcome {
        let fact = match self.why {
            Why::Timer(id, due) => return self.due(id, due),
            Why::Fact(fact) => fact,
        };
        let expectation = expected(&self.flag, fact);
        match expectation {
            Expected::Silent => return must(self.events.is_empty(), || "nothing was to be said".to_owned()),
            Expected::Refused => return self.refusal(fact),
            Expected::Granted | Expected::Both => {}
        }
        let data = &fact.data;
        match kind(&fact.event_type) {
            "change_requested" => {
                let changed = self.need("flag_changed")?;
                must(changed["by"] == data["by"] && changed["reason"] == data["reason"] && changed["stale_at"] == data["stale_at"], || {
                    "it is another's change".to_owned()
                })?;
                self.version(changed, data["definition"].clone())?;
                self.changed(data["stale_at"].clone());
                Ok(())
            }
            "kill_requested" => self.kill(data),
            "rollout_requested" => self.begin(data),
            "rollback_requested" => self.rolled_back(true),
            "metrics_observed" => {
                let observed = self.need("rollout_observed")?;
                let look = &data["observation"];
                must(subjects(&observed["observation"]) == subjects(look), || "it observed something else".to_owned())?;
                let errors = look["metrics"].get("errors").and_then(arms);
                if let Some(ramp) = &mut self.flag.running {
                    ramp.look(subjects(look), errors, false);
                }
                self.go_on(false)
            }
            "counts_reported" => self.counts(data)?.map_or(Ok(()), |()| self.refusal(fact)),
            "experiment_requested" => self.experiment(data),
            "deployment_observed" => {
                let noted = self.need("deployment_noted")?;
                must(noted["trouble"].is_string() == trouble(data).is_some() && noted["service"] == data["service"], || "it noted something else".to_owned())?;
                if let Some(ramp) = &mut self.flag.running {
                    match trouble(data) {
                        Some(trouble) => drop(ramp.troubles.insert(text(data, "service").to_owned(), trouble)),
                        None => drop(ramp.troubles.remove(text(data, "service"))),
                    }
                }
                self.go_on(false)
            }
            "shared_change_requested" => {
                let changed = self.need("shared_changed")?;
                must(changed["version"] == self.flag.version + 1 && changed["shared"] == data["shared"], || "it is another's change".to_owned())?;
                self.flag.version += 1;
                let format = text(data, "format").to_owned();
                match data["shared"].as_object().is_some_and(serde_json::Map::is_empty) {
                    true => drop(self.flag.shared.remove(&format)),
                    false => drop(self.flag.shared.insert(format, data["shared"].clone())),
                }
                Ok(())
            }
            other => Err(format!("nobody knows what {other} leads to")),
        }
    }

    fn refusal(&mut self, fact: &Recorded) -> Outcome {
        let refused = self.need("request_refused")?;
        must(refused["request_id"] == fact.id.as_str() && refused["request"] == fact.event_type.as_str(), || "another request is refused".to_owned())
    }

    /// Timers of a definition that somebody wanted.
    fn changed(&mut self, stale_at: Value) {
        self.timer("stale", micros(&stale_at));
        let definition = self.flag.definition.clone().unwrap_or_default();
        let next = environments(&definition).values().filter_map(|environment| micros(&environment["schedule"][0]["at"])).min();
        self.timer("schedule", next);
        self.flag.stale_at = stale_at;
    }

    /// Off until released, and whatever grows there is taken back with it.
    fn kill(&mut self, data: &Value) -> Outcome {
        let event = self.need("flag_killed")?;
        let mut definition = self.flag.definition.clone().unwrap_or_default();
        let off = killed(&definition, data);
        must(event["environments"] == serde_json::json!(off), || format!("{off:?} are to be killed"))?;
        for name in &off {
            definition["environments"][name]["killed"] = true.into();
        }
        if let Some(ramp) = self.flag.running.take_if(|ramp| off.contains(&ramp.environment)) {
            definition = ramp.with_share(&definition, 0);
            self.timer("step", None);
        }
        self.version(event, definition)
    }

    fn begin(&mut self, data: &Value) -> Outcome {
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
    fn rolled_back(&mut self, by_hand: bool) -> Outcome {
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
    fn go_on(&mut self, by_timer: bool) -> Outcome {
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

    fn held(&mut self, by_timer: bool) -> Outcome {
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

    /// Adds a report to whatever counts; whether the rollout refuses it.
    fn counts(&mut self, data: &Value) -> Result<Option<()>, String> {
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
    fn experiment(&mut self, data: &Value) -> Outcome {
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

    /// What is due by the clock. One that was parked may come when nobody waits for it any more.
    fn due(&mut self, id: &str, due: i64) -> Outcome {
        if let Some(id) = id.strip_prefix("bandit/") {
            return self.weighed(id, due);
        }
        match id {
            "step" if self.flag.running.is_none() => Ok(()),
            "step" => self.go_on(true),
            "stale" if micros(&self.flag.stale_at) != Some(due) => Ok(()),
            "stale" => {
                let stale = self.need("flag_stale")?;
                must(stale["version"] == self.flag.version && micros(&stale["since"]) == Some(due), || "another version is stale".to_owned())
            }
            "schedule" => {
                let mut definition = self.flag.definition.clone().unwrap_or_default();
                for environment in definition["environments"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
                    let Some(schedule) = environment.get("schedule").and_then(Value::as_array) else { continue };
                    let (now, later): (Vec<&Value>, Vec<&Value>) = schedule.iter().partition(|entry| micros(&entry["at"]) <= Some(due));
                    let (enabled, later) = (now.last().map(|entry| entry["enabled"].clone()), serde_json::json!(later));
                    environment["enabled"] = enabled.unwrap_or_else(|| environment["enabled"].clone());
                    environment["schedule"] = later;
                    if let Some(environment) = environment.as_object_mut().filter(|environment| environment["schedule"] == serde_json::json!([])) {
                        environment.remove("schedule");
                    }
                }
                if self.flag.definition.as_ref() == Some(&definition) {
                    return Ok(());
                }
                let changed = self.need("flag_changed")?;
                must(changed["by"] == BY_ITSELF, || "somebody else scheduled it".to_owned())?;
                self.version(changed, definition)?;
                self.changed(self.flag.stale_at.clone());
                Ok(())
            }
            other => Err(format!("timer {other} is nobody's")),
        }
    }

    fn weighed(&mut self, id: &str, due: i64) -> Outcome {
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
