//! Random flags of each format, put through import and export.

use proptest::prelude::*;

use super::*;

fn constraint_json(operator: &str, values: &[String], inverted: bool) -> Value {
    json!({"contextName": "plan", "operator": operator, "values": values, "inverted": inverted})
}

proptest! {
    #[test]
    fn string_constraints_say_the_same_in_every_format(
        operator in prop::sample::select(vec!["IN", "NOT_IN", "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS"]),
        values in prop::collection::vec("[a-c.n]{1,2}", 1..4),
        inverted: bool,
        plan in prop::option::of("[a-c.n]{1,3}"),
    ) {
        let strategy = json!({"name": "default", "constraints": [constraint_json(operator, &values, inverted)]});
        let (flags, _) = imported(Format::Unleash, &json!({"features": [{"name": "f", "enabled": true, "strategies": [strategy]}]}));
        let attributes = plan.as_ref().map_or(json!({}), |plan| json!({"plan": plan}));
        let answers = FORMATS.map(|format| {
            let exported = flags.export(format, "production");
            assert_eq!(exported.problems, []);
            ask(format, &exported.definitions, &context(format, "1", &attributes), "f").enabled
        });
        // flagd serves the value false: which is not on.
        prop_assert_eq!(answers[0], answers[1], "growthbook: {} {:?} {} {:?}", operator, values, inverted, plan);
        prop_assert_eq!(answers[0], answers[2], "flagd: {} {:?} {} {:?}", operator, values, inverted, plan);
    }

    #[test]
    fn simple_flags_born_elsewhere_say_the_same_in_every_format(
        tests in prop::collection::vec((0..4_usize, prop::collection::vec("[a-c]{1,2}", 1..3)), 1..3),
        plan in "[a-c]{1,3}",
        everyone_else: bool,
    ) {
        let var = json!({"var": "plan"});
        let flagd: Vec<Value> = tests.iter().map(|(kind, values)| match kind {
            0 => json!({"==": [var, values[0]]}),
            1 => json!({"in": [var, values]}),
            2 => json!({"starts_with": [var, values[0]]}),
            _ => json!({"!": [{"ends_with": [var, values[0]]}]}),
        }).collect();
        let default = if everyone_else { "on" } else { "off" };
        let flagd = json!({"flags": {"f": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": default,
            "targeting": {"if": [{"and": flagd}, "on"]}}}});
        let rules: Vec<Value> = tests.iter().map(|(kind, values)| match kind {
            0 => json!({"force": true, "condition": {"plan": values[0]}}),
            1 | 2 => json!({"force": true, "condition": {"plan": {"$in": values}}}),
            _ => json!({"force": true, "condition": {"plan": {"$nin": values}}}),
        }).collect();
        let growthbook = json!({"features": {"f": {"defaultValue": everyone_else, "rules": rules}}});
        for (born, json) in [(Format::Flagd, flagd), (Format::GrowthBook, growthbook)] {
            let (flags, _) = imported(born, &json);
            let answers = FORMATS.map(|format| {
                let exported = flags.export(format, "production");
                assert_eq!(exported.problems, [], "{json}");
                ask(format, &exported.definitions, &context(format, "1", &json!({"plan": plan})), "f").enabled
            });
            prop_assert!(answers[0] == answers[1] && answers[1] == answers[2], "{:?} {} {}", answers, json, plan);
        }
    }

    #[test]
    fn any_growthbook_flag_comes_out_as_it_went_in(
        default in prop::sample::select(vec![json!(null), json!(false), json!("a"), json!(1), json!(1.5), json!({"a": [1]})]),
        rules in prop::collection::vec(growthbook_rule(), 0..5),
        people in prop::collection::vec("[a-z0-9]{0,6}", 4),
    ) {
        let json = json!({"features": {"f": {"defaultValue": default, "rules": rules}}});
        let [exact, anew] = round_trips(Format::GrowthBook, &json);
        prop_assert_eq!(&exact, &json);
        for id in people {
            let context = context(Format::GrowthBook, &id, &json!({"plan": "pro", "age": id.len()}));
            prop_assert_eq!(ask(Format::GrowthBook, &json, &context, "f"), ask(Format::GrowthBook, &anew, &context, "f"));
        }
    }

    #[test]
    fn any_flagd_flag_comes_out_as_it_went_in(targeting in targeting(3), default in prop::sample::select(vec![json!("on"), json!("off"), json!(null)]), ids in prop::collection::vec("[a-z0-9]{1,6}", 4)) {
        let json = json!({"flags": {"f": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": default, "targeting": targeting}}});
        let [exact, anew] = round_trips(Format::Flagd, &json);
        prop_assert_eq!(&exact, &json);
        for id in ids {
            let context = context(Format::Flagd, &id, &json!({"plan": "pro", "age": id.len()}));
            prop_assert_eq!(ask(Format::Flagd, &json, &context, "f"), ask(Format::Flagd, &anew, &context, "f"));
        }
    }
}

proptest! {
    #[test]
    fn any_unleash_flag_comes_out_as_it_went_in(
        strategies in prop::collection::vec(unleash_strategy(), 0..4),
        variants in prop::sample::select(vec![
            json!(null),
            json!([{"name": "a", "weight": 1}, {"name": "b", "weight": 3, "payload": {"type": "json", "value": "{\"a\": 1}"}}]),
            json!([{"name": "a", "weight": 0, "payload": {"type": "string", "value": "A"}, "stickiness": "plan"}]),
            json!([{"name": "a", "weight": 5, "weightType": "fix", "overrides": [{"contextName": "userId", "values": ["a"]}]}, {"name": "c", "weight": -5}]),
        ]),
        enabled: bool,
        people in prop::collection::vec("[a-z0-9]{1,3}", 6),
    ) {
        let mut feature = json!({"name": "f", "enabled": enabled, "strategies": strategies, "impressionData": true, "type": "release"});
        if !variants.is_null() {
            feature["variants"] = variants;
        }
        let json = json!({"version": 2, "features": [feature, {"name": "g", "enabled": true, "dependencies": [{"feature": "f", "variants": ["a"]}]}]});
        let [exact, anew] = round_trips(Format::Unleash, &json);
        prop_assert_eq!(&exact, &json);
        for (id, flag) in people.iter().flat_map(|id| [(id, "f"), (id, "g")]) {
            let context = context(Format::Unleash, id, &json!({"plan": id, "age": id.len().to_string()}));
            let (before, after) = (ask(Format::Unleash, &json, &context, flag), ask(Format::Unleash, &anew, &context, flag));
            // The text of a JSON payload has other spaces when it is written anew.
            let plain = |answer: &Answer| format!("{answer:?}").replace(": 1", ":1");
            prop_assert_eq!(plain(&before), plain(&after));
        }
    }
}

fn unleash_strategy() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        json!({"name": "default"}),
        json!({"name": "flexibleRollout", "parameters": {"rollout": "40", "groupId": "g", "stickiness": "default"}}),
        json!({"name": "flexibleRollout", "parameters": {"rollout": 60, "stickiness": "plan"}}),
        json!({"name": "flexibleRollout", "parameters": {"rollout": "101"}}),
        json!({"name": "flexibleRollout", "parameters": {"rollout": "7.5"}}),
        json!({"name": "flexibleRollout", "parameters": {"rollout": "50", "groupId": 5, "stickiness": null}}),
        json!({"name": "userWithId", "parameters": {"userIds": "a, b"}}),
        json!({"name": "gradualRolloutUserId", "parameters": {"percentage": "50", "groupId": "g"}}),
        json!({"name": "own", "parameters": {"x": "y"}}),
        json!({"name": "default", "parameters": {"groupId": "g", "stickiness": "plan"}}),
    ]);
    let constraints = prop::sample::select(vec![
        json!(null),
        json!([]),
        json!([{"contextName": "plan", "operator": "STR_STARTS_WITH", "values": ["a", "b", "c"], "caseInsensitive": true}]),
        json!([{"contextName": "age", "operator": "NUM_GT", "value": 1, "inverted": true}, {"contextName": "userId", "operator": "NOT_IN", "values": ["a"]}]),
        json!([{"contextName": "age", "operator": "NUM_EQ", "value": "old"}]),
        json!([{"contextName": "plan", "operator": "ODD", "values": []}]),
        json!([{"contextName": "plan", "operator": "IN", "values": []}]),
    ]);
    let variants = prop::sample::select(vec![
        json!(null),
        json!([{"name": "a", "weight": 1, "payload": {"type": "string", "value": "other"}}]),
        json!([{"name": "s", "weight": 1, "payload": {"type": "number", "value": "1.50"}}, {"name": "t", "weight": 1, "payload": {"type": "csv", "value": "x,y"}}]),
    ]);
    (kind, constraints, variants, any::<bool>()).prop_map(|(mut strategy, constraints, variants, title)| {
        for (name, value) in [("constraints", constraints), ("variants", variants)] {
            if !value.is_null() {
                strategy[name] = value;
            }
        }
        if title {
            strategy["title"] = "for testers".into();
        }
        strategy
    })
}

fn growthbook_rule() -> impl Strategy<Value = Value> {
    let condition = prop::sample::select(vec![
        json!(null),
        json!({}),
        json!({"plan": "pro"}),
        json!({"plan": {"$in": ["free", "pro"]}, "age": {"$gt": 2}}),
        json!({"plan": {"$nin": ["pro"]}}),
        json!({"$not": {"plan": "pro"}}),
        json!({"age": {"$gte": 1, "$lt": 5}}),
    ]);
    let coverage = prop::sample::select(vec![json!(null), json!(0), json!(0.25), json!(1), json!(0.333_33), json!(2), json!("x")]);
    let serve = prop::sample::select(vec![
        json!({"force": true}),
        json!({"force": null}),
        json!({"variations": ["a", "b"]}),
        json!({"variations": [1, 2, 3], "weights": [0.3334, 0.3333, 0.3333], "key": "e", "hashVersion": 2}),
        json!({"variations": [true, false], "weights": [0.5]}),
        json!({"variations": ["a"]}),
        json!({"variations": ["a", "b"], "namespace": ["n", 0, 0.4]}),
        json!({}),
    ]);
    let extra =
        prop::sample::select(vec![json!({}), json!({"seed": "s", "hashAttribute": "plan"}), json!({"id": "r", "range": [0, 0.5]}), json!({"seed": ""})]);
    (condition, coverage, serve, extra).prop_map(|(condition, coverage, serve, extra)| {
        let mut rule = serve.as_object().unwrap().clone();
        rule.extend(extra.as_object().unwrap().clone());
        rule.extend([("condition".to_owned(), condition), ("coverage".to_owned(), coverage)].into_iter().filter(|(_, value)| !value.is_null()));
        Value::Object(rule)
    })
}

fn targeting(depth: u32) -> BoxedStrategy<Value> {
    let served = prop::sample::select(vec![
        json!("on"),
        json!("off"),
        json!("gone"),
        json!(null),
        json!({"fractional": [["on", 30], ["off", 70]]}),
        json!({"fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "plan"}]}, ["on", 1], ["off", 1]]}),
        json!({"fractional": [["on"], ["off"]]}),
    ]);
    let condition = prop::sample::select(vec![
        json!(true),
        json!({"==": [{"var": "plan"}, "pro"]}),
        json!({"in": [{"var": "plan"}, ["free", "pro"]]}),
        json!({"!": [{"starts_with": [{"var": "plan"}, "p"]}]}),
        json!({"and": [{"<": [{"var": "age"}, 4]}, {"in": ["r", {"var": "plan"}]}]}),
        json!({"or": [{"<": [{"var": "age"}, 4]}, {"==": [{"var": "plan"}, "x"]}]}),
        json!({"sem_ver": [{"var": "plan"}, ">=", "1.0.0"]}),
    ]);
    let end = if depth == 0 { served.clone().boxed() } else { prop_oneof![served.clone(), targeting(depth - 1)].boxed() };
    let branches = prop::collection::vec((condition, served), 1..3);
    (branches, prop::option::of(end))
        .prop_map(|(branches, end)| {
            let mut all: Vec<Value> = branches.into_iter().flat_map(|(condition, served)| [condition, served]).collect();
            all.extend(end);
            json!({"if": all})
        })
        .boxed()
}
