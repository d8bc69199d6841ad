//! The rules of the flag system, played event by event as the runtime does.

use crate::play::{Play, definition, types};
use proptest::prelude::*;
use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::definition::Definition;
use tol_enterprise_feature_flag_system::{EnterpriseFeatureFlagSystem, Flag};
use tol_events::EventTime;
use tol_system::{contract, erase};

fn refusal(told: &[(String, Value)]) -> &str {
    assert_eq!(types(told), ["flags.request_refused.v1"], "{told:?}");
    told[0].1["problem"].as_str().unwrap()
}

#[test]
fn passes_the_contract() {
    let report = contract::check(&erase(EnterpriseFeatureFlagSystem)).unwrap_or_else(|violations| panic!("{violations:#?}"));
    assert_eq!(report.unreached, [""; 0]);
    assert!(report.timers > 0 && report.malformed > 1_000 && report.queries > 0, "{report:?}");
}

#[test]
fn a_change_carries_the_whole_definition_its_number_and_who_and_why() {
    let mut play = Play::new();
    let told = play.tell("flags.change_requested.v1", 1, json!({"definition": definition(200), "base_version": 1, "by": "ada", "reason": "more"}));
    assert_eq!(types(&told), ["flags.flag_changed.v1"]);
    let data = &told[0].1;
    assert_eq!((&data["version"], &data["by"], &data["reason"]), (&json!(2), &json!("ada"), &json!("more")));
    let carried: Definition = serde_json::from_value(data["definition"].clone()).unwrap();
    assert_eq!(Some(carried), play.flag.definition);
    // The same once more changes nothing.
    assert_eq!(types(&play.tell("flags.change_requested.v1", 2, json!({"definition": definition(200), "by": "ada", "reason": "again"}))), [""; 0]);
}

#[test]
fn a_change_that_breaks_a_rule_is_refused_with_what_to_do_and_holds_nothing_up() {
    let mut play = Play::new();
    let mut ask = |definition: Value, base: u64| {
        refusal(&play.tell("flags.change_requested.v1", 1, json!({"definition": definition, "base_version": base, "by": "ada", "reason": "x"}))).to_owned()
    };
    assert!(ask(definition(200), 7).contains("read it again"));
    let mut other = definition(100);
    other["family"] = "growthbook".into();
    assert!(ask(other, 1).contains("change sides"));
    let mut other = definition(20_000);
    assert!(ask(other.clone(), 1).contains("at most the whole"));
    other["key"] = "g".into();
    assert!(ask(other, 1).contains("flag \"g\""));
    let mut other = definition(100);
    other["environments"]["production"]["rules"][0]["serve"] = json!({"serve": "variant", "name": "gone"});
    assert!(ask(other, 1).contains("\"gone\", which is no variant"));
    assert!(ask(json!({"key": "f"}), 1).contains("definition: missing field"));
    assert_eq!(play.flag.version, 1);
    assert_eq!(types(&play.kill(2)), ["flags.flag_killed.v1"]);
}

#[test]
fn a_timer_that_comes_late_says_nothing_of_a_flag_that_was_changed_since() {
    let mut play = Play::new();
    let mut scheduled = definition(100);
    scheduled["environments"]["production"]["schedule"] = json!([{"at": EventTime::from_micros(3 * crate::play::HOUR), "enabled": false}]);
    let change = |definition: &Value, stale: i64| json!({"definition": definition, "by": "ada", "reason": "x", "stale_at": EventTime::from_micros(stale * crate::play::HOUR)});
    play.tell("flags.change_requested.v1", 1, change(&scheduled, 2));
    let parked: Vec<(String, EventTime)> = ["stale", "schedule"].map(|id| (id.to_owned(), play.timers[id])).to_vec();
    play.tell("flags.change_requested.v1", 4, change(&definition(100), 9));
    for (id, due) in parked {
        assert_eq!(types(&play.input(tol_system::Input::Timer { id: &id, subject: "flag/f", due })), [""; 0], "{id}");
    }
    assert_eq!((play.flag.version, play.flag.stale), (3, false));
    assert_eq!(types(&play.timer("stale")), ["flags.flag_stale.v1"]);
}

#[test]
fn while_a_rollout_runs_its_rule_is_its_own() {
    let mut play = Play::new();
    play.roll_out(1, "r");
    let mut ask = |definition: &Value, anew: bool| {
        let told = play.tell("flags.change_requested.v1", 2, json!({"definition": definition, "by": "ada", "reason": "x", "anew": anew}));
        if types(&told) == ["flags.flag_changed.v1"] { None } else { Some(refusal(&told).to_owned()) }
    };
    let rule = |change: &dyn Fn(&mut Value)| {
        let mut definition = definition(100);
        change(&mut definition["environments"]["production"]["rules"][0]);
        definition
    };
    // Each of these has the same percentage, and other people in it.
    let others = [
        rule(&|rule| rule["share"]["salt"] = "other".into()),
        rule(&|rule| rule["share"]["by"] = "sessionId".into()),
        rule(&|rule| rule["constraints"] = json!([{"attribute": "plan", "operator": "in", "values": ["pro"]}])),
    ];
    for other in &others {
        assert!(ask(other, false).is_some_and(|problem| problem.contains("moves rule 0")), "{other}");
    }
    let mut elsewhere = definition(100);
    elsewhere["family"] = "growthbook".into();
    assert!(ask(&elsewhere, true).is_some_and(|problem| problem.contains("moves rule 0")));
    let mut described = definition(100);
    described["description"] = "what it is for".into();
    assert_eq!(ask(&described, false), None, "everything else may change");
}

#[test]
fn a_kill_is_off_everywhere_at_once_and_a_change_releases_it() {
    let mut play = Play::new();
    let told = play.kill(1);
    assert_eq!((&told[0].1["version"], &told[0].1["environments"]), (&json!(2), &json!(["production"])));
    assert!(!play.flag.definition.as_ref().unwrap().environments["production"].is_live());
    assert_eq!(types(&play.kill(2)), [""; 0], "it is off already");
    play.tell("flags.change_requested.v1", 3, json!({"definition": definition(100), "by": "ada", "reason": "mended"}));
    assert!(play.flag.definition.as_ref().unwrap().environments["production"].is_live() && play.flag.version == 3);
    assert!(refusal(&Play::default().kill(0)).contains("no such flag"));
}

#[test]
fn a_harmless_rollout_goes_step_by_step_to_everybody() {
    let mut play = Play::new();
    assert_eq!(types(&play.roll_out(1, "r")), ["flags.rollout_advanced.v1"]);
    assert_eq!(play.share(), 100);
    assert_eq!(types(&play.look(1, "r", (600, 6), (600, 6))), ["flags.rollout_observed.v1", "flags.rollout_held.v1"], "the hour is not over");
    assert_eq!(types(&play.timer("step")), ["flags.rollout_advanced.v1"]);
    assert_eq!(play.share(), 1_000);
    assert_eq!(types(&play.timer("step")), ["flags.rollout_held.v1"], "nobody was seen in this step");
    assert_eq!(play.flag.rollout.as_ref().unwrap().rollout.step(), 1);
    let told = play.look(4, "r", (2_000, 20), (2_000, 20));
    assert_eq!(types(&told), ["flags.rollout_observed.v1", "flags.rollout_advanced.v1"]);
    assert_eq!((play.share(), &told[1].1["completed"]), (10_000, &json!(true)));
    assert_eq!(play.timers.get("step"), None);
    assert_eq!(types(&play.look(5, "r", (3_000, 30), (3_000, 900))), [""; 0], "it is over");
    assert_eq!(types(&play.roll_out(6, "r")), [""; 0], "the same request again");
}

#[test]
fn harm_rolls_back_in_one_event_with_the_evidence() {
    let mut play = Play::new();
    play.roll_out(1, "r");
    let told = play.look(2, "r", (2_000, 20), (2_000, 120));
    assert_eq!(types(&told), ["flags.rollout_observed.v1", "flags.rollout_rolled_back.v1"]);
    let back = &told[1].1;
    assert_eq!((&back["evidence"]["metric"], play.share()), (&json!("errors"), 0));
    let rule = &back["definition"]["environments"]["production"]["rules"][0];
    assert_eq!(rule["share"], json!({"part": 0, "salt": "f"}), "what is hashed stays, so nobody changes sides");
    assert_eq!(play.timers.get("step"), None);
    assert_eq!(types(&play.roll_out(3, "r")), [""; 0], "a rollback is final");
    assert_eq!(types(&play.roll_out(3, "r-2")), ["flags.rollout_advanced.v1"]);
}

#[test]
fn a_broken_split_is_told_once_and_nothing_advances() {
    let mut play = Play::new();
    play.roll_out(1, "r");
    let told = play.look(2, "r", (3_000, 30), (1_000, 10));
    assert_eq!(types(&told), ["flags.rollout_observed.v1", "flags.sample_ratio_mismatch_detected.v1", "flags.rollout_held.v1"]);
    assert_eq!(types(&play.look(3, "r", (6_000, 60), (2_000, 20))), ["flags.rollout_observed.v1"], "the same reason is not told again");
    assert_eq!(types(&play.timer("step")), ["flags.rollout_held.v1"], "a timer always leaves an event");
    assert_eq!(play.share(), 100);
    let stop = json!({"rollout_id": "r", "by": "ada", "reason": "the split is broken"});
    assert_eq!(types(&play.tell("flags.rollback_requested.v1", 4, stop.clone())), ["flags.rollout_rolled_back.v1"]);
    assert_eq!(types(&play.tell("flags.rollback_requested.v1", 5, stop)), [""; 0]);
}

#[test]
fn a_rollout_that_cannot_be_is_refused() {
    let mut play = Play::new();
    let mut ask = |change: &dyn Fn(&mut Value)| {
        let steps = json!([{"treatment": 100, "control": 100, "minimum_millis": 1, "minimum_subjects": 1}]);
        let mut data = json!({"rollout_id": "r", "environment": "production", "rule": 0, "plan": {"steps": steps, "guards": []}, "by": "ada", "reason": "x"});
        change(&mut data);
        refusal(&play.tell("flags.rollout_requested.v1", 1, data)).to_owned()
    };
    assert!(ask(&|data| data["environment"] = "mars".into()).contains("no such environment"));
    assert!(ask(&|data| data["rule"] = 3.into()).contains("rule 3"));
    assert!(ask(&|data| data["plan"]["steps"] = json!([])).contains("no steps"));
    assert!(ask(&|data| data["plan"]["steps"][0]["treatment"] = 150.into()).contains("whole percents"));
    assert!(ask(&|data| data["plan"] = json!({})).contains("plan: missing field"));
    play.roll_out(2, "r");
    assert!(refusal(&play.roll_out(2, "r-2")).contains("one at a time"));
    let by_hand = play.tell("flags.change_requested.v1", 3, json!({"definition": definition(5_000), "by": "ada", "reason": "faster"}));
    assert!(refusal(&by_hand).contains("roll it back or wait"));
}

#[test]
fn a_flag_is_stale_by_timer_unless_it_was_changed() {
    let mut play = Play::new();
    let change = |part: u32, stale_at: Value| json!({"definition": definition(part), "by": "ada", "reason": "x", "stale_at": stale_at});
    play.tell("flags.change_requested.v1", 1, change(200, json!("1970-02-01T00:00:00Z")));
    assert_eq!(types(&play.timer("stale")), ["flags.flag_stale.v1"]);
    assert!(play.flag.stale);
    play.tell("flags.change_requested.v1", 2, change(300, json!("1970-03-01T00:00:00Z")));
    assert!(!play.flag.stale && play.timers.contains_key("stale"));
    play.tell("flags.change_requested.v1", 3, change(400, Value::Null));
    assert_eq!(play.timers.get("stale"), None);
}

#[test]
fn a_kill_takes_the_running_rollout_back() {
    let mut play = Play::new();
    play.roll_out(1, "r");
    assert_eq!(types(&play.kill(2)), ["flags.flag_killed.v1"]);
    assert_eq!((play.share(), play.timers.get("step")), (0, None));
    play.tell("flags.change_requested.v1", 3, json!({"definition": definition(0), "by": "ada", "reason": "mended"}));
    assert_eq!(types(&play.look(4, "r", (2_000, 20), (2_000, 20))), [""; 0], "it is over");
}

#[test]
fn what_is_scheduled_happens_by_timer_in_order() {
    let mut play = Play::new();
    let mut later = definition(100);
    let (on, off) = ("1970-01-05T00:00:00Z", "1970-01-09T00:00:00Z");
    later["environments"]["production"]["enabled"] = false.into();
    later["environments"]["production"]["schedule"] = json!([{"at": on, "enabled": true}, {"at": off, "enabled": false}]);
    play.tell("flags.change_requested.v1", 1, json!({"definition": later, "by": "ada", "reason": "sale"}));
    for (at, enabled) in [(on, true), (off, false)] {
        assert_eq!(play.timers.get("schedule").copied(), EventTime::parse(at));
        let told = play.timer("schedule");
        assert_eq!((types(&told), &told[0].1["reason"]), (vec!["flags.flag_changed.v1"], &json!("it was scheduled")));
        assert_eq!(play.flag.definition.as_ref().unwrap().environments["production"].enabled, enabled);
    }
    assert_eq!(play.timers.get("schedule"), None);
    let mut wrong = later.clone();
    wrong["environments"]["production"]["schedule"].as_array_mut().unwrap().reverse();
    let told = play.tell("flags.change_requested.v1", 300, json!({"definition": wrong, "by": "ada", "reason": "sale"}));
    assert!(refusal(&told).contains("order of time"));
}

#[test]
fn an_experiment_begins_once_and_ends_once() {
    let mut play = Play::new();
    let mut ask = |action: &str| {
        let data = json!({"experiment_id": "e", "action": action, "statement": "more", "details": {"n": 1}, "by": "ada"});
        types(&play.tell("flags.experiment_requested.v1", 1, data)).join(" ")
    };
    assert_eq!(ask("conclude"), "flags.request_refused.v1");
    assert_eq!([ask("start"), ask("start")], ["flags.experiment_started.v1", ""]);
    assert_eq!([ask("conclude"), ask("conclude")], ["flags.experiment_concluded.v1", ""]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever comes in whatever order: versions count up by one, the share grows but by a rollback, and folding the events again gives the state.
    #[test]
    fn any_history_keeps_the_rules(steps in prop::collection::vec((0..7_u8, 0..2_000_u64, 0..2_000_u64, 0..100_u64), 1..40)) {
        let mut play = Play::new();
        let (mut control, mut treatment) = ((0, 0), (0, 0));
        let mut version = play.flag.version;
        for (hour, (what, a, b, events)) in (1..).zip(steps) {
            let share = play.share();
            let told = match what {
                0 => {
                    (control, treatment) = ((0, 0), (0, 0));
                    play.roll_out(hour, &format!("r{hour}"))
                }
                1 | 2 => {
                    (control, treatment) = ((control.0 + a, control.1 + events.min(a)), (treatment.0 + b, treatment.1 + (events / 2).min(b)));
                    let id = play.flag.rollout.as_ref().map_or("none".to_owned(), |ramp| ramp.id.clone());
                    play.look(hour, &id, control, treatment)
                }
                3 | 4 => play.timer("step"),
                5 => play.kill(hour),
                _ => play.tell("flags.change_requested.v1", hour, json!({"definition": definition(u32::try_from(a).unwrap() / 100 * 100), "by": "ada", "reason": "x"})),
            };
            let mut moved_down = false;
            for (event_type, data) in &told {
                if let Some(new) = data.get("version").and_then(Value::as_u64).filter(|_| event_type != "flags.experiment_started.v1") {
                    prop_assert_eq!(new, version + 1);
                    version = new;
                }
                moved_down |= event_type.ends_with("rolled_back.v1") || event_type.ends_with("flag_changed.v1") || event_type.ends_with("flag_killed.v1") || (what == 0 && event_type.ends_with("advanced.v1"));
            }
            prop_assert!(play.share() >= share || moved_down);
            let written = serde_json::to_vec(&play.flag).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Flag>(&written).unwrap(), &play.flag);
        }
        prop_assert_eq!(play.flag.version, version);
    }
}
