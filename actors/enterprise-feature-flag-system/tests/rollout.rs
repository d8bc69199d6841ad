//! What a guarded rollout may never do, and what it must.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tol_enterprise_feature_flag_system::rollout::{
    Counts, Decision, Direction, Error, Event, Guard, HoldReason, Kind, Metric, Observation, Phase, Plan, Rollout, Step,
};
use tol_enterprise_feature_flag_system::statistics::summary::Sums;

const DAY: u64 = 86_400_000;

fn step(treatment: u32, control: u32) -> Step {
    Step { treatment, control, minimum_millis: DAY, minimum_subjects: 100 }
}

fn guard(metric: &str, harm: Direction) -> Guard {
    Guard { metric: metric.into(), harm, kind: Kind::Proportion { tolerated_odds_ratio: 1.0, smallest_harm: Default::default() }, above: None }
}

fn plan(guards: Vec<Guard>) -> Plan {
    Plan {
        steps: vec![step(100, 100), step(1000, 1000), step(5000, 5000)],
        guards,
        alpha: 0.04,
        split_threshold: 0.001,
        arms: None,
        outcome_window_millis: 86_400_000,
    }
}

fn errors() -> Plan {
    plan(vec![guard("errors", Direction::Increase)])
}

fn look(metric: &str, control: (u64, u64), treatment: (u64, u64)) -> Event {
    let counts = |(subjects, events)| Counts { subjects, events };
    let metrics = BTreeMap::from([(metric.to_owned(), Metric::Proportion { control: counts(control), treatment: counts(treatment) })]);
    Event::Observed(Observation { control_subjects: control.0, treatment_subjects: treatment.0, everyone: false, metrics })
}

fn after(plan: Plan, events: &[Event]) -> Rollout {
    let mut rollout = Rollout::begin(plan, 0).unwrap();
    events.iter().for_each(|event| rollout.evolve(event).unwrap());
    rollout
}

#[test]
fn a_harmless_rollout_goes_through_its_steps_and_completes() {
    let mut rollout = Rollout::begin(errors(), 0).unwrap();
    for (index, share) in [(1, 1000), (2, 5000)] {
        let total = 1000 * index as u64;
        rollout.evolve(&look("errors", (total, total / 100), (total, total / 100))).unwrap();
        assert_eq!(rollout.decide(DAY * index as u64), Decision::Advance { step: index, treatment: share });
        rollout.evolve(&Event::Advanced { step: index, at_millis: DAY * index as u64 }).unwrap();
        assert_eq!(rollout.treatment(), share);
    }
    rollout.evolve(&look("errors", (3000, 30), (3000, 30))).unwrap();
    assert_eq!(rollout.decide(3 * DAY), Decision::Complete);
    rollout.evolve(&Event::Completed).unwrap();
    assert_eq!(rollout.treatment(), 10_000);
}

#[test]
fn more_errors_roll_back_with_the_numbers_that_show_it() {
    let rollout = after(errors(), &[look("errors", (2000, 20), (2000, 80))]);
    let Decision::RollBack { evidence } = rollout.decide(0) else { panic!("{:?}", rollout.decide(0)) };
    let verdict = evidence.exact.unwrap();
    assert!(evidence.metric == "errors" && verdict.observed == 80 && verdict.observed >= verdict.boundary.unwrap() && verdict.expected == 50.0);
}

#[test]
fn fewer_conversions_roll_back_and_more_do_not() {
    let conversions = || plan(vec![guard("conversions", Direction::Decrease)]);
    let fewer = after(conversions(), &[look("conversions", (2000, 200), (2000, 100))]);
    assert!(matches!(fewer.decide(0), Decision::RollBack { .. }));
    let more = after(conversions(), &[look("conversions", (2000, 100), (2000, 200))]);
    assert_eq!(more.decide(DAY), Decision::Advance { step: 1, treatment: 1000 });
}

#[test]
fn a_mean_that_gets_worse_rolls_back() {
    let kind = Kind::Mean { tolerated: 0.0, smallest_harm: 0.5 };
    let plan = plan(vec![Guard { metric: "seconds".into(), harm: Direction::Increase, kind, above: None }]);
    let sums = |mean: f64| Sums { subjects: 2000, sum: 2000.0 * mean, sum_squares: 2000.0 * (mean * mean + 4.0) };
    let observed = |treatment| {
        let metrics = BTreeMap::from([("seconds".to_owned(), Metric::Mean { control: sums(5.0), treatment: sums(treatment) })]);
        Event::Observed(Observation { control_subjects: 2000, treatment_subjects: 2000, everyone: false, metrics })
    };
    assert!(matches!(after(plan.clone(), &[observed(5.6)]).decide(0), Decision::RollBack { .. }));
    assert_eq!(after(plan, &[observed(5.0)]).decide(DAY), Decision::Advance { step: 1, treatment: 1000 });
}

#[test]
fn holds_say_why() {
    let hold = |rollout: &Rollout, now| match rollout.decide(now) {
        Decision::Hold { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(hold(&after(errors(), &[]), 9 * DAY), HoldReason::TooFewSubjects { subjects: 0, minimum: 100 });
    assert_eq!(hold(&after(errors(), &[look("errors", (500, 5), (500, 5))]), 7), HoldReason::TooEarly { until_millis: DAY });
    let silent = Event::Observed(Observation { control_subjects: 500, treatment_subjects: 500, everyone: false, metrics: BTreeMap::new() });
    assert_eq!(hold(&after(errors(), &[silent]), 9 * DAY), HoldReason::NoData { metric: "errors".into(), subjects: 0, minimum: 100 });
    assert!(matches!(hold(&after(errors(), &[look("errors", (1000, 10), (800, 8))]), 9 * DAY), HoldReason::SampleRatio { .. }));
    // What the step before saw is no data for this one.
    let advanced = after(errors(), &[look("errors", (500, 5), (500, 5)), Event::Advanced { step: 1, at_millis: DAY }]);
    assert_eq!(hold(&advanced, 9 * DAY), HoldReason::TooFewSubjects { subjects: 0, minimum: 100 });
}

#[test]
fn a_split_once_broken_is_not_mended_by_more_subjects() {
    let rollout = after(errors(), &[look("errors", (4000, 40), (3000, 30)), look("errors", (40_000, 400), (40_000, 400))]);
    assert!(matches!(rollout.decide(9 * DAY), Decision::Hold { reason: HoldReason::SampleRatio { .. } }));
}

#[test]
fn impossible_observations_are_refused_whole() {
    let mut rollout = after(errors(), &[look("errors", (500, 5), (500, 5))]);
    let before = rollout.clone();
    for event in
        [look("errors", (400, 5), (500, 5)), look("errors", (600, 4), (600, 5)), look("errors", (501, 9), (600, 5)), look("latency", (600, 5), (600, 5))]
    {
        assert!(matches!(rollout.evolve(&event), Err(Error::Observation { .. })), "{event:?}");
        assert_eq!(rollout, before);
    }
    assert!(matches!(rollout.evolve(&Event::Advanced { step: 2, at_millis: 0 }), Err(Error::Order { .. })));
}

#[test]
fn plans_that_cannot_be_carried_out_are_refused() {
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut plan = errors();
        change(&mut plan);
        Rollout::begin(plan, 0)
    };
    for result in [
        with(&|plan| plan.steps.clear()),
        with(&|plan| plan.steps[1].treatment = 100),
        with(&|plan| plan.steps[1].control = 0),
        with(&|plan| plan.steps[2].control = u32::MAX),
        with(&|plan| plan.steps[0].minimum_subjects = 0),
        with(&|plan| plan.guards.push(guard("errors", Direction::Increase))),
        with(&|plan| plan.alpha = 0.0),
        with(&|plan| plan.split_threshold = 1.0),
    ] {
        assert!(matches!(result, Err(Error::Plan(_) | Error::Statistics(_))), "{result:?}");
    }
}

#[test]
fn a_plan_is_read_with_defaults() {
    let plan: Plan = serde_json::from_str(
        r#"{"steps":[{"treatment":500,"control":500,"minimum_millis":1,"minimum_subjects":1}],
            "guards":[{"metric":"errors","harm":"increase","kind":"proportion"}]}"#,
    )
    .unwrap();
    assert_eq!((plan.alpha, plan.split_threshold), (0.04, 0.001));
}

/// Looks of a ramp: new (control, treatment) subjects and a share of events in percent.
fn looks() -> impl Strategy<Value = Vec<(u64, u64, u64, u64)>> {
    prop::collection::vec((0u64..400, 0u64..400, 0u64..30, 0u64..30), 1..25)
}

proptest! {
    /// Whatever comes in: the share only grows or falls to nothing for good, and nothing advances without data or on a broken split.
    #[test]
    fn invariants_hold(looks in looks()) {
        let mut rollout = Rollout::begin(errors(), 0).unwrap();
        let mut events = Vec::new();
        let (mut control, mut treatment, mut in_step) = ((0, 0), (0, 0), (0, 0));
        for (index, (nc, nt, pc, pt)) in looks.into_iter().enumerate() {
            let now = DAY * index as u64;
            control = (control.0 + nc, control.1 + nc * pc / 100);
            treatment = (treatment.0 + nt, treatment.1 + nt * pt / 100);
            in_step = (in_step.0 + nc, in_step.1 + nt);
            let observed = look("errors", control, treatment);
            let before = rollout.treatment();
            if rollout.phase() == Phase::RolledBack {
                prop_assert!(rollout.evolve(&observed).is_err());
                prop_assert_eq!(rollout.treatment(), 0);
                let reason = HoldReason::Over { phase: Phase::RolledBack };
                prop_assert_eq!(rollout.decide(now), Decision::Hold { reason });
                continue;
            }
            if rollout.phase() == Phase::Completed {
                break;
            }
            rollout.evolve(&observed).unwrap();
            events.push(observed);
            let decided = match rollout.decide(now) {
                Decision::Advance { step, treatment } => {
                    prop_assert!(treatment > before && in_step.0.min(in_step.1) >= 100);
                    in_step = (0, 0);
                    Event::Advanced { step, at_millis: now }
                }
                Decision::RollBack { evidence } => Event::RolledBack { evidence: Some(evidence) },
                Decision::Complete => Event::Completed,
                Decision::Hold { .. } => continue,
            };
            rollout.evolve(&decided).unwrap();
            events.push(decided);
        }
        // A replay, through text, is the same to the last bit.
        let text = serde_json::to_string(&events).unwrap();
        let replayed = after(errors(), &serde_json::from_str::<Vec<Event>>(&text).unwrap());
        prop_assert_eq!(serde_json::to_string(&replayed).unwrap(), serde_json::to_string(&rollout).unwrap());
        let stored: Rollout = serde_json::from_str(&serde_json::to_string(&rollout).unwrap()).unwrap();
        prop_assert_eq!(stored, rollout);
    }

    /// A look is a sum: in which order its subjects came, and whether they were counted in one part or several, is not seen.
    #[test]
    fn the_order_within_a_look_does_not_matter(mut subjects in prop::collection::vec((any::<bool>(), any::<bool>()), 1..300), turn in 0usize..300) {
        let count = |subjects: &[(bool, bool)]| {
            let (mut control, mut treatment) = ((0, 0), (0, 0));
            for &(treated, event) in subjects {
                let arm = if treated { &mut treatment } else { &mut control };
                *arm = (arm.0 + 1, arm.1 + u64::from(event));
            }
            after(errors(), &[look("errors", control, treatment)])
        };
        let first = count(&subjects);
        let middle = turn % subjects.len();
        subjects.rotate_left(middle);
        subjects.reverse();
        prop_assert_eq!(count(&subjects), first);
    }

    /// However long and however lopsided: a broken split never advances.
    #[test]
    fn no_advance_on_a_broken_split(looks in prop::collection::vec((200u64..400, 0u64..120), 1..20)) {
        let mut rollout = Rollout::begin(plan(Vec::new()), 0).unwrap();
        let (mut control, mut treatment) = (1000, 500);
        for (index, (nc, nt)) in looks.into_iter().enumerate() {
            (control, treatment) = (control + nc, treatment + nt);
            let observed = Observation { control_subjects: control, treatment_subjects: treatment, everyone: false, metrics: BTreeMap::new() };
            rollout.evolve(&Event::Observed(observed)).unwrap();
            let held = matches!(rollout.decide(DAY * (2 + index as u64)), Decision::Hold { reason: HoldReason::SampleRatio { .. } });
            prop_assert!(held);
        }
    }
}
