//! Rollouts and experiments decided from what SDKs report, and from nothing else.

use crate::play::{Play, types};
use proptest::prelude::*;
use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::EnterpriseFeatureFlagSystem;
use tol_system::System;

const WHOLE: u64 = 10_000;

/// A report of an SDK: exposures and errors of those who have it, and of those who do not.
fn report(enabled: (u64, u64), disabled: (u64, u64)) -> Value {
    let measure = |arm: &str, value: u64| json!({"arm": arm, "metric": "errors", "measure": {"kind": "counter", "value": value}});
    json!({"environment": "production", "reporter": "unleash-node-sdk:6.12.1/shop/1",
        "exposures": [{"arm": "enabled", "count": enabled.0}, {"arm": "disabled", "count": disabled.0}],
        "measuring": ["errors"], "measures": [measure("enabled", enabled.1), measure("disabled", disabled.1)]})
}

fn begin(play: &mut Play, kind: &str, arms: Option<Value>) -> Vec<(String, Value)> {
    let step = |treatment: u64| json!({"treatment": treatment, "control": treatment, "minimum_millis": 3_600_000, "minimum_subjects": 500});
    let mut plan = json!({"steps": [step(1_000), step(5_000)], "guards": [{"metric": "errors", "harm": "increase", "kind": kind}]});
    if let Some(arms) = arms {
        plan["arms"] = arms;
    }
    let data = json!({"rollout_id": "r", "environment": "production", "rule": 0, "plan": plan, "by": "ada", "reason": "ready"});
    play.tell("flags.rollout_requested.v1", 0, data)
}

fn count(play: &mut Play, hour: i64, report: Value) -> Vec<(String, Value)> {
    play.tell("flags.counts_reported.v1", hour, report)
}

#[test]
fn a_rollout_advances_to_everyone_on_reports_of_an_sdk_alone() {
    let mut play = Play::new();
    assert_eq!(types(&begin(&mut play, "proportion", None)), ["flags.rollout_advanced.v1"]);
    assert_eq!(play.share(), 1_000);
    let told = count(&mut play, 1, report((1_000, 10), (9_000, 90)));
    assert_eq!((types(&told), play.share()), (vec!["flags.rollout_observed.v1", "flags.rollout_advanced.v1"], 5_000));
    count(&mut play, 1, report((1_000, 10), (1_000, 10)));
    assert_eq!(play.share(), 5_000, "the second step has lasted no hour");
    assert_eq!(types(&play.timer("step")), ["flags.rollout_advanced.v1"]);
    assert_eq!(u64::from(play.share()), WHOLE);
}

#[test]
fn a_rollout_rolls_itself_back_on_reports_of_an_sdk_alone_by_one_event() {
    for kind in ["proportion", "rate"] {
        let mut play = Play::new();
        begin(&mut play, kind, None);
        let told = count(&mut play, 1, report((1_000, 60), (9_000, 90)));
        assert_eq!(types(&told), ["flags.rollout_observed.v1", "flags.rollout_rolled_back.v1"], "{kind}");
        let back = &told[1].1;
        assert_eq!((play.share(), back["evidence"]["metric"].as_str()), (0, Some("errors")));
        // What comes late changes nothing.
        assert_eq!(types(&count(&mut play, 2, report((1_000, 60), (9_000, 90)))), [""; 0]);
    }
}

#[test]
fn happenings_above_one_a_subject_are_a_rate_and_a_proportion_waits_for_its_subjects() {
    let mut play = Play::new();
    begin(&mut play, "rate", None);
    let told = count(&mut play, 1, report((1_000, 4_000), (9_000, 27_000)));
    assert_eq!(types(&told).last(), Some(&"flags.rollout_rolled_back.v1"), "4 a subject instead of 3");

    let mut play = Play::new();
    begin(&mut play, "proportion", None);
    let told = count(&mut play, 1, report((0, 5), (0, 0)));
    assert_eq!(told[0].1["observation"]["metrics"], json!({}), "errors before the evaluations they belong to");
    let told = count(&mut play, 2, report((1_000, 5), (9_000, 90)));
    assert_eq!(told[0].1["observation"]["metrics"]["errors"]["treatment"], json!({"subjects": 1_000, "events": 10}));
}

#[test]
fn nothing_advances_on_a_broken_split_without_data_or_without_the_metric() {
    let mut play = Play::new();
    begin(&mut play, "proportion", None);
    let told = count(&mut play, 2, report((3_000, 30), (7_000, 70)));
    assert_eq!(types(&told), ["flags.rollout_observed.v1", "flags.sample_ratio_mismatch_detected.v1", "flags.rollout_held.v1"]);
    assert_eq!(told[2].1["reason"]["reason"], "sample_ratio");

    let mut play = Play::new();
    begin(&mut play, "proportion", None);
    let told = play.timer("step");
    assert_eq!((told[0].1["reason"]["reason"].as_str(), play.share()), (Some("too_few_subjects"), 1_000));
    let mut silent = report((1_000, 0), (9_000, 0));
    (silent["measuring"], silent["measures"]) = (json!([]), json!([]));
    let told = count(&mut play, 2, silent);
    assert_eq!((told[1].1["reason"]["reason"].as_str(), play.share()), (Some("no_data"), 1_000), "nobody measured errors: that is not zero errors");
    // Zero errors are data where somebody looked.
    let mut clean = report((1_000, 0), (9_000, 0));
    clean["measures"] = json!([]);
    assert_eq!(types(&count(&mut play, 3, clean)).last(), Some(&"flags.rollout_advanced.v1"));
}

#[test]
fn a_rollout_waits_while_the_flag_is_off() {
    let mut play = Play::new();
    begin(&mut play, "proportion", None);
    let mut off = serde_json::to_value(play.flag.definition.as_ref().unwrap()).unwrap();
    off["environments"]["production"]["enabled"] = false.into();
    play.tell("flags.change_requested.v1", 1, json!({"definition": off, "by": "bob", "reason": "a pause"}));
    let told = count(&mut play, 2, report((1_000, 10), (9_000, 90)));
    assert_eq!((told[1].1["reason"]["reason"].as_str(), play.share()), (Some("off"), 1_000));
    let told = play.timer("step");
    assert_eq!((types(&told), play.share()), (vec!["flags.rollout_held.v1"], 1_000));
    off["environments"]["production"]["enabled"] = true.into();
    play.tell("flags.change_requested.v1", 4, json!({"definition": off, "by": "bob", "reason": "on again"}));
    assert_eq!(types(&play.timer("step")), ["flags.rollout_advanced.v1"]);
}

#[test]
fn a_rollout_waits_for_a_service_that_is_deployed_or_not_well_and_rolls_back_meanwhile() {
    let deployment = |play: &mut Play, hour: i64, what: &str| {
        play.tell("flags.deployment_observed.v1", hour, json!({"service": "web", "environment": "production", "deployment_id": "d-7", "what": what}))
    };
    let mut play = Play::new();
    begin(&mut play, "proportion", None);
    assert_eq!(types(&deployment(&mut play, 0, "started")), ["flags.deployment_noted.v1", "flags.rollout_held.v1"], "held, as it is too early");
    let told = count(&mut play, 2, report((1_000, 10), (9_000, 90)));
    assert_eq!(told[1].1["reason"], json!({"reason": "deployment", "services": {"web": "it is being deployed (d-7)"}}));
    assert_eq!(types(&deployment(&mut play, 3, "started")), [""; 0], "known");
    assert_eq!(types(&deployment(&mut play, 3, "failed")), ["flags.deployment_noted.v1"]);
    assert_eq!(types(&deployment(&mut play, 4, "succeeded")), ["flags.deployment_noted.v1", "flags.rollout_advanced.v1"]);
    deployment(&mut play, 5, "incident_opened");
    let told = count(&mut play, 5, report((2_000, 200), (2_000, 20)));
    assert_eq!(types(&told).last(), Some(&"flags.rollout_rolled_back.v1"), "harm does not wait");
}

#[test]
fn people_whom_the_rule_cannot_reach_are_no_control() {
    let mut play = Play::new();
    let mut targeted = crate::play::definition(100);
    targeted["environments"]["production"]["rules"][0]["constraints"] = json!([{"attribute": "plan", "operator": "in", "values": ["pro"]}]);
    play.tell("flags.change_requested.v1", 0, json!({"definition": targeted, "by": "ada", "reason": "pros first"}));
    begin(&mut play, "proportion", None);
    let told = count(&mut play, 1, report((1_000, 100), (9_000, 90)));
    assert_eq!((types(&told), told[0].1["reason"]["reason"].as_str()), (vec!["flags.rollout_held.v1"], Some("incomparable")));
    assert_eq!(types(&count(&mut play, 1, report((1_000, 100), (9_000, 90)))), [""; 0], "told once");
}

#[test]
fn arms_named_in_the_plan_are_compared_by_their_own_shares() {
    let mut play = Play::new();
    begin(&mut play, "proportion", Some(json!({"treatment": ["new"], "control": ["old"]})));
    let variant = |name: &str, count: u64, errors: u64| {
        (json!({"arm": name, "count": count}), json!({"arm": name, "metric": "errors", "measure": {"kind": "counter", "value": errors}}))
    };
    let ((new, new_errors), (old, old_errors)) = (variant("new", 1_000, 80), variant("old", 1_000, 10));
    let told = count(&mut play, 1, json!({"variants": [new, old, {"arm": "other", "count": 70_000}], "measures": [new_errors, old_errors]}));
    assert_eq!(types(&told), ["flags.rollout_observed.v1", "flags.rollout_rolled_back.v1"]);
}

#[test]
fn reports_that_cannot_be_are_refused_and_change_nothing() {
    let mut play = Play::new();
    begin(&mut play, "proportion", None);
    let mut wrong = report((10, 1), (90, 9));
    wrong["measures"][0]["measure"] = json!({"kind": "proportion", "subjects": 1, "successes": 2});
    let before = play.flag.rollout.clone();
    assert_eq!(types(&count(&mut play, 1, wrong)), ["flags.request_refused.v1"]);
    assert_eq!(play.flag.rollout, before);
    let mut elsewhere = report((1_000, 60), (9_000, 90));
    elsewhere["environment"] = "staging".into();
    assert_eq!(types(&count(&mut play, 1, elsewhere)), [""; 0]);
}

fn start(play: &mut Play, details: Value) -> Vec<(String, Value)> {
    play.tell(
        "flags.experiment_requested.v1",
        0,
        json!({"experiment_id": "e", "action": "start", "statement": "people buy more", "details": details, "by": "ada"}),
    )
}

fn results(play: &Play) -> Value {
    EnterpriseFeatureFlagSystem.query(&play.flag, "results", &[("experiment".to_owned(), "e".to_owned())].into()).unwrap()["experiments"][0].clone()
}

#[test]
fn an_experiment_has_results_at_every_moment_and_concludes_with_them() {
    let mut play = Play::new();
    let metrics = json!([{"name": "purchases", "primary": true}, {"name": "seconds", "goal": "decrease"}, "revenue"]);
    start(&mut play, json!({"variations": ["old", "new"], "metrics": metrics}));
    assert_eq!(results(&play)["results"]["decision"]["decision"], "collecting");
    let arm = |name: &str, bought: u64, seconds: f64| {
        let one = |metric: &str, measure: Value| json!({"arm": name, "metric": metric, "measure": measure});
        vec![
            one("purchases", json!({"kind": "proportion", "subjects": 10_000, "successes": bought})),
            one("seconds", json!({"kind": "mean", "subjects": 10_000, "sum": seconds * 10_000.0, "sum_squares": (seconds * seconds + 1.0) * 10_000.0})),
            one(
                "revenue",
                json!({"kind": "adjusted", "subjects": 10_000, "sum": 50_000.0 + bought as f64, "sum_squares": 900_000.0,
                "before": 40_000.0, "before_squares": 700_000.0, "products": 600_000.0}),
            ),
        ]
    };
    let mut measures = [arm("old", 1_000, 2.0), arm("new", 1_200, 2.2)].concat();
    for (segment, new) in [("country=DE", 180), ("country=FR", 60)] {
        for (name, bought) in [("old", 100), ("new", new)] {
            measures.push(
                json!({"arm": name, "metric": "purchases", "segment": segment, "measure": {"kind": "proportion", "subjects": 1_000, "successes": bought}}),
            );
        }
    }
    let served = json!([{"arm": "old", "count": 10_000}, {"arm": "new", "count": 10_000}]);
    let told = count(&mut play, 1, json!({"variants": served, "measures": measures}));
    assert_eq!(types(&told), ["flags.experiment_observed.v1"]);
    let shown = results(&play)["results"].clone();
    assert_eq!(shown["decision"], json!({"decision": "better", "variation": "new", "worse_in": ["seconds"]}));
    let [purchases, seconds, revenue] = [0, 1, 2].map(|index| shown["metrics"][index]["variations"][0].clone());
    // gbstats' two-sided t of .10 against .12 of 10,000 each; the sequential interval is wider, and the correction only makes p-values larger.
    assert!((purchases["fixed_horizon"]["effect"].as_f64().unwrap() - 0.2).abs() < 1e-12);
    let width = |kind: &str| purchases[kind]["interval"][1].as_f64().unwrap() - purchases[kind]["interval"][0].as_f64().unwrap();
    assert!(width("sequential") > width("fixed_horizon"));
    assert!(purchases["adjusted_p_value"].as_f64() >= purchases["sequential"]["p_value"].as_f64());
    assert!(purchases["bayesian"]["chance_to_win"].as_f64().unwrap() > 0.99);
    assert!(seconds["bayesian"]["chance_to_win"].as_f64().unwrap() < 0.01, "more seconds are worse");
    assert!(revenue["theta"].as_f64().unwrap() > 0.0);
    assert_eq!(purchases["heterogeneity"]["status"], "exploratory");
    assert!(purchases["heterogeneity"]["p_value"].as_f64().unwrap() < 0.001);
    let told = play.tell(
        "flags.experiment_requested.v1",
        2,
        json!({"experiment_id": "e", "action": "conclude", "statement": "they do", "details": {"note": "seconds to be looked at"}, "by": "ada"}),
    );
    assert_eq!(types(&told), ["flags.experiment_concluded.v1"]);
    assert_eq!((&told[0].1["details"]["results"], &told[0].1["details"]["note"]), (&shown, &json!("seconds to be looked at")));
    assert_eq!(types(&count(&mut play, 3, json!({"variants": served}))), [""; 0], "it is over");
    assert_eq!(results(&play)["results"], shown);
}

#[test]
fn a_broken_split_decides_nothing_and_is_told_once() {
    let mut play = Play::new();
    start(&mut play, json!({"variations": ["old", {"name": "new", "weight": 1}], "metrics": ["purchases"]}));
    let served = json!({"variants": [{"arm": "old", "count": 5_000}, {"arm": "new", "count": 5_600}]});
    let told = count(&mut play, 1, served.clone());
    assert_eq!(types(&told), ["flags.experiment_observed.v1", "flags.sample_ratio_mismatch_detected.v1"]);
    assert_eq!((told[1].1["experiment_id"].as_str(), results(&play)["results"]["decision"]["decision"].as_str()), (Some("e"), Some("sample_ratio_mismatch")));
    assert_eq!(types(&count(&mut play, 2, served)), ["flags.experiment_observed.v1"]);
}

#[test]
fn experiments_that_cannot_be_read_are_refused() {
    let mut play = Play::new();
    for details in [
        json!({"variations": []}),
        json!({"variations": ["one"]}),
        json!({"variations": ["a", "a"]}),
        json!({"variations": ["a", "b"], "alpha": 2.0}),
        json!({"variations": ["a", "b"], "bandit": {"policy": "thompson", "floor": 0.1}}),
    ] {
        assert_eq!(types(&start(&mut play, details.clone())), ["flags.request_refused.v1"], "{details}");
    }
}

#[test]
fn a_bandit_weighs_the_rules_variants_and_logs_every_propensity_as_it_is_served() {
    let mut play = Play::new();
    let part = |name: &str| json!({"variant": name, "weight": 500});
    let mut split = crate::play::definition(10_000);
    split["variants"] = json!({"old": null, "new": null});
    split["environments"]["production"]["rules"][0]["serve"] = json!({"serve": "split", "of": 1000, "parts": [part("old"), part("new")]});
    play.tell("flags.change_requested.v1", 0, json!({"definition": split, "by": "ada", "reason": "two variants"}));
    let bandit = json!({"policy": "thompson", "floor": 0.1, "every_millis": 3_600_000});
    start(&mut play, json!({"variations": ["old", "new"], "metrics": ["purchases"], "environment": "production", "rule": 0, "bandit": bandit}));
    let served = |old: u64, new: u64, bought: (u64, u64)| {
        let measure = |arm: &str, subjects: u64, successes: u64| json!({"arm": arm, "metric": "purchases", "measure": {"kind": "proportion", "subjects": subjects, "successes": successes}});
        json!({"variants": [{"arm": "old", "count": old}, {"arm": "new", "count": new}], "measures": [measure("old", old, bought.0), measure("new", new, bought.1)]})
    };
    count(&mut play, 0, served(1_000, 1_000, (50, 90)));
    let told = play.timer("bandit/e");
    assert_eq!(types(&told), ["flags.flag_changed.v1", "flags.bandit_allocated.v1"]);
    let allocated = &told[1].1;
    let probability = |index: usize| allocated["propensities"][index]["probability"].as_f64().unwrap();
    assert!(probability(0) >= 0.05 && probability(1) > 0.9 && (probability(0) + probability(1) - 1.0).abs() < 1e-12, "{allocated}");
    let parts = &told[0].1["definition"]["environments"]["production"]["rules"][0]["serve"]["parts"];
    assert_eq!(parts[0]["weight"].as_f64().unwrap() / 1000.0, probability(0), "what is logged is what is served");
    assert_eq!(allocated["version"], told[0].1["version"]);
    // Who comes now comes by the new weights: no broken split, until it is one by them.
    let told = count(&mut play, 2, served((2_000.0 * probability(0)) as u64, (2_000.0 * probability(1)) as u64, (2, 150)));
    assert_eq!(types(&told), ["flags.experiment_observed.v1"]);
    assert_eq!(types(&count(&mut play, 3, served(2_000, 2_000, (100, 180)))), ["flags.experiment_observed.v1", "flags.sample_ratio_mismatch_detected.v1"]);
    assert_eq!(types(&play.timer("bandit/e")).last(), Some(&"flags.bandit_allocated.v1"), "each timer leaves an event");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What was counted does not depend on the order of the reports, nor does what they show once all are in; and folding again gives the same.
    #[test]
    fn reports_count_the_same_in_any_order(reports in prop::collection::vec((1u64..400, 0u64..4, 0u64..30), 1..12), seed in any::<u64>()) {
        let of = |(subjects, events, more): (u64, u64, u64)| report((subjects, events.min(subjects)), (9 * subjects, (9 * events + more).min(9 * subjects)));
        let mut shuffled = reports.clone();
        let length = shuffled.len();
        shuffled.rotate_left((seed as usize) % length);
        shuffled.reverse();
        let [forwards, backwards] = [reports.clone(), shuffled].map(|order| {
            let mut play = Play::new();
            begin(&mut play, "proportion", None);
            start(&mut play, json!({"variations": ["disabled", {"name": "enabled", "weight": 0.111}], "metrics": [{"name": "errors", "goal": "decrease"}]}));
            for values in order {
                count(&mut play, 0, of(values));
            }
            play
        });
        prop_assert_eq!(&forwards.flag.experiments["e"].counted, &backwards.flag.experiments["e"].counted);
        prop_assert_eq!(results(&forwards)["results"].clone(), results(&backwards)["results"].clone());
        let (a, b) = (forwards.flag.rollout.as_ref().unwrap(), backwards.flag.rollout.as_ref().unwrap());
        if a.rollout.phase() == b.rollout.phase() && a.rollout.evidence().is_none() {
            prop_assert_eq!(&a.counted, &b.counted);
        }
        // A cached state goes on as the one that was folded.
        let kept: tol_enterprise_feature_flag_system::Flag = serde_json::from_str(&serde_json::to_string(&forwards.flag).unwrap()).unwrap();
        prop_assert_eq!(kept, forwards.flag);
    }
}
