//! An evaluation of a compiled flag allocates nothing. One test: the counter counts a thread's allocations.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;

use tol_enterprise_feature_flag_system::evaluation::random::Random;
use tol_enterprise_feature_flag_system::evaluation::value::Value;
use tol_enterprise_feature_flag_system::evaluation::{flagd, growthbook, unleash};

/// Allocations of `evaluate`, after once for what is made ready only once (a regular expression's cache, an arena's first chunk).
fn allocations(mut evaluate: impl FnMut()) -> u64 {
    evaluate();
    allocation_counter::measure(|| (0..1000).for_each(|_| evaluate())).count_total
}

#[test]
fn evaluations_allocate_nothing() {
    let set = unleash::CompiledFeatures::from_json(
        r#"{"features": [{"name": "f", "enabled": true, "variants": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1, "payload": {"type": "string", "value": "x"}}],
            "strategies": [
                {"name": "userWithId", "parameters": {"userIds": "a, b, c"}},
                {"name": "default", "constraints": [{"contextName": "version", "operator": "SEMVER_LT", "value": "1.0.0"}]},
                {"name": "default", "constraints": [{"contextName": "plan", "operator": "REGEX", "value": "^free-[0-9]+$"}]},
                {"name": "remoteAddress", "parameters": {"IPs": "10.0.0.0/8"}},
                {"name": "flexibleRollout", "parameters": {"rollout": "0", "stickiness": "random", "groupId": "f"}},
                {"name": "flexibleRollout", "parameters": {"rollout": "100", "stickiness": "userId", "groupId": "f"}, "constraints": [
                    {"contextName": "plan", "operator": "STR_STARTS_WITH", "values": ["pro"], "caseInsensitive": true},
                    {"contextName": "currentTime", "operator": "DATE_AFTER", "value": "2020-01-01T00:00:00Z"},
                    {"contextName": "seats", "operator": "NUM_GTE", "value": "5"}]}]}]}"#,
    )
    .unwrap();
    let context = r#"{"userId": "user-12345", "remoteAddress": "192.168.1.1", "properties": {"plan": "PROfessional", "seats": "7", "version": "2.1.0"}}"#;
    let context = unleash::Context::from_json(context, chrono::Utc::now()).unwrap();
    let mut random = Random::seeded(1);
    assert!(set.evaluate("f", &context, &mut random).variant.is_some());
    assert_eq!(allocations(|| assert!(black_box(set.evaluate("f", black_box(&context), &mut random)).enabled)), 0, "Unleash");

    let features = growthbook::Features::from_json(
        r#"{"f": {"defaultValue": "no", "rules": [
            {"force": "free", "condition": {"plan": {"$in": ["free", "trial"]}, "age": {"$lt": 18}}},
            {"force": "listed", "condition": {"tags": {"$elemMatch": {"$regex": "^x"}}}},
            {"key": "e", "variations": ["a", "b"], "hashVersion": 2, "weights": [0.3, 0.7], "condition": {"plan": "pro", "nested.seats": {"$gte": 5}}}]}}"#,
    )
    .unwrap();
    let attributes = r#"{"id": 12345.5, "plan": "pro", "age": 40, "tags": ["a", "b"], "nested": {"seats": "7"}}"#;
    let context = growthbook::Context::from_json(attributes).unwrap();
    assert!(features.evaluate("f", &context).experiment.is_some());
    assert_eq!(allocations(|| assert!(black_box(features.evaluate("f", black_box(&context))).is_on())), 0, "GrowthBook");

    let flags = flagd::CompiledFlags::from_json(
        r#"{"flags": {"f": {"state": "ENABLED", "defaultVariant": "off", "variants": {"on": true, "off": false},
            "targeting": {"if": [{"and": [{"==": [{"var": "plan"}, "pro"]}, {"starts_with": [{"var": "email"}, "a@"]}]}, {"fractional": [{"var": "email"}, ["on", 1]]}]}}}}"#,
    )
    .unwrap();
    let context = Value::parse(r#"{"targetingKey": "user-12345", "plan": "pro", "email": "a@example.com"}"#).unwrap();
    let mut scratch = flagd::Scratch::default();
    assert_eq!(flags.evaluate("f", &context, 0, &mut scratch).reason, flagd::Reason::TargetingMatch);
    let found = allocations(|| assert!(black_box(flags.evaluate("f", black_box(&context), 0, &mut scratch)).served.is_some()));
    assert_eq!(found, 0, "flagd");
}
