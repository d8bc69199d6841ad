//! The model of one partition: every answer of the flag system against what the model expects of it, and the rules that nothing may break.
//!
//! * `ramp` — of a rollout
//! * `counted` — of what is counted, and of experiments

mod counted;
mod ramp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tol_runtime::simulation::{Judge, Recorded, TimerSet, Why};

use crate::flag::{Flag, WHOLE, arms, environments, micros, text};
use crate::requests::{Expected, expected, killed, kind, subjects, trouble};

/// How often each kind of event was told.
pub(crate) type Tally = Arc<Mutex<BTreeMap<String, usize>>>;

const BY_ITSELF: &str = "enterprise-feature-flag-system";

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
}
