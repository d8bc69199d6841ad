#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn flag(targeting: Json) -> Json {
    json!({"flags": {"f": {"state": "ENABLED", "defaultVariant": "off", "variants": {"on": true, "off": false, "1": "one", "true": "yes"}, "targeting": targeting}}})
}

fn evaluate(file: &Json, key: &str, context: &Json) -> (Option<String>, &'static str, Option<&'static str>) {
    let flags = CompiledFlags::from_json(&file.to_string()).unwrap();
    let context = context.to_string();
    let found = flags.evaluate(key, &Value::parse(&context).unwrap(), 1_700_000_000, &mut Scratch::default());
    (found.served.map(|(variant, _)| variant.to_owned()), found.reason.as_str(), found.error.map(ErrorCode::as_str))
}

#[test]
fn reasons_are_those_of_flagd() {
    let file = json!({"metadata": {"a": 1, "b": 2}, "flags": {
        "static": {"state": "ENABLED", "defaultVariant": "on", "variants": {"on": true}, "metadata": {"b": 3}},
        "disabled": {"state": "DISABLED", "defaultVariant": "on", "variants": {"on": true}},
        "empty": {"state": "ENABLED", "defaultVariant": "on", "variants": {"on": true}, "targeting": {}},
        "no default": {"state": "ENABLED", "defaultVariant": null, "variants": {"on": true}},
        "nothing chosen": {"state": "ENABLED", "variants": {"on": true}, "targeting": {"if": [{"var": "x"}, "on"]}},
        "broken": {"state": "ENABLED", "defaultVariant": "on", "variants": {"on": true}, "targeting": {"no_such_operator": [1]}},
        "strange": {"state": "ENABLED", "defaultVariant": "on", "variants": {"on": true}, "targeting": {"if": [true, "nowhere"]}}}});
    for (key, expected) in [
        ("static", (Some("on"), "STATIC", None)),
        ("disabled", (None, "DISABLED", None)),
        ("empty", (Some("on"), "STATIC", None)),
        ("no default", (None, "DEFAULT", None)),
        ("nothing chosen", (None, "DEFAULT", None)),
        ("broken", (None, "ERROR", Some("PARSE_ERROR"))),
        ("strange", (None, "ERROR", Some("GENERAL"))),
        ("unknown", (None, "ERROR", Some("FLAG_NOT_FOUND"))),
    ] {
        let found = evaluate(&file, key, &json!({}));
        assert_eq!((found.0.as_deref(), found.1, found.2), expected, "{key}");
    }
    let flags = CompiledFlags::from_json(&file.to_string()).unwrap();
    let found = flags.evaluate_as(Kind::String, "static", &Value::Null, 0, &mut Scratch::default());
    assert_eq!((found.error, Value::Object(found.metadata.clone()).to_json()), (Some(ErrorCode::TypeMismatch), r#"{"a":1,"b":3}"#.to_owned()));
}

#[test]
fn targeting_chooses_by_text_boolean_or_number() {
    for (targeting, expected) in [(json!({"var": "v"}), "on"), (json!({"==": [1, 1]}), "true"), (json!({"+": [0, 1]}), "1")] {
        assert_eq!(evaluate(&flag(targeting), "f", &json!({"v": "on"})).0.as_deref(), Some(expected));
    }
    let time = json!({"if": [{">=": [{"var": "$flagd.timestamp"}, 1_700_000_000]}, "on", "off"]});
    assert_eq!(evaluate(&flag(time), "f", &json!({"$flagd": {"timestamp": 5}})).0.as_deref(), Some("on"), "the context cannot set flagd's properties");
    let key = json!({"if": [{"==": [{"var": "$flagd.flagKey"}, "f"]}, "on", "off"]});
    assert_eq!(evaluate(&flag(key), "f", &json!({})).0.as_deref(), Some("on"));
}

#[test]
fn versions_and_affixes_are_compared_as_flagd_does() {
    for (rule, expected) in [
        (json!({"sem_ver": ["v1.2", "=", "1.2.0"]}), Some(true)),
        (json!({"sem_ver": [1, "^", "1.9.9"]}), Some(true)),
        (json!({"sem_ver": ["1.2.3+a", "=", "1.2.3+b"]}), Some(true)),
        (json!({"sem_ver": ["1.2.3-rc.1", "<", "1.2.3"]}), Some(true)),
        (json!({"sem_ver": ["1.2.3", "~", "1.3.0"]}), Some(false)),
        (json!({"sem_ver": ["2.0.0.0", "=", "2.0.0"]}), None),
        (json!({"sem_ver": ["1.2.3", "?", "1.2.3"]}), None),
        (json!({"starts_with": [{"var": "s"}, "ab"]}), Some(true)),
        (json!({"ends_with": [{"var": "s"}, "ab"]}), Some(false)),
        (json!({"starts_with": [{"var": "none"}, "ab"]}), None),
        (json!({"starts_with": ["ab"]}), None),
    ] {
        let found = evaluate(&flag(json!({"if": [{"===": [rule.clone(), null]}, "off", {"if": [rule, "on", "1"]}]})), "f", &json!({"s": "abc"})).0.unwrap();
        assert_eq!(found, expected.map_or("off", |holds| if holds { "on" } else { "1" }));
    }
}

#[test]
fn fractions_are_split_by_hash_and_weight() {
    let rule = json!({"fractional": [{"var": "email"}, ["on", 50], ["off", 50]]});
    // From flagd's documentation of the operator: MurmurHash3 of the text, times the sum of the weights, shifted by 32 bits.
    for email in ["a@x", "b@x", "c@x", "d@x", "e@x"] {
        let place = (u64::from(mur3::murmurhash3_x86_32(email.as_bytes(), 0)) * 100) >> 32;
        let expected = if place < 50 { "on" } else { "off" };
        assert_eq!(evaluate(&flag(rule.clone()), "f", &json!({"email": email})).0.as_deref(), Some(expected));
    }
    let keyed = json!({"fractional": [["on", 1], ["1", 1]]});
    let place = (u64::from(mur3::murmurhash3_x86_32(b"fuser", 0)) * 2) >> 32;
    assert_eq!(evaluate(&flag(keyed.clone()), "f", &json!({"targetingKey": "user"})).0.as_deref(), Some(["on", "1"][usize::try_from(place).unwrap()]));
    assert_eq!(evaluate(&flag(keyed), "f", &json!({})).1, "DEFAULT", "nothing to hash");
    for broken in [
        json!({"fractional": ["x", ["on", 2_147_483_647], ["off", 1]]}),
        json!({"fractional": ["x", ["on", 1.5]]}),
        json!({"fractional": ["x", "on"]}),
        json!({"fractional": ["x", ["on", -1]]}),
        json!({"fractional": ["x", ["on", 1, 2]]}),
        json!({"fractional": []}),
    ] {
        assert_eq!(evaluate(&flag(broken.clone()), "f", &json!({})).1, "DEFAULT", "{broken}");
    }
    assert_eq!(evaluate(&flag(json!({"fractional": ["x", ["on"]]})), "f", &json!({})).0.as_deref(), Some("on"));
    assert_eq!(evaluate(&flag(json!({"fractional": ["x", ["on", 2_147_483_647]]})), "f", &json!({})).0.as_deref(), Some("on"));
}

/// What `@openfeature/flagd-core` 4.0.1 answers to the same: `on` if the condition holds, `off` if not, or an error.
#[test]
fn comparisons_are_those_of_flagds_core() {
    let var = |name: &str| json!({"var": name});
    for (rule, expected) in [
        (json!({"==": ["1", 1]}), Some(true)),
        (json!({"==": ["", null]}), Some(false)),
        (json!({"==": [0, null]}), Some(true)),
        (json!({"==": [null, var("missing")]}), Some(true)),
        (json!({"==": [true, 1]}), Some(true)),
        (json!({"==": ["", 0]}), Some(true)),
        (json!({"==": [var("plan"), 1]}), None),
        (json!({"==": [1, var("plan")]}), Some(false)),
        (json!({"==": [var("list"), 1]}), None),
        (json!({"==": [0, var("missing")]}), Some(false)),
        (json!({"==": [var("missing"), 0]}), Some(true)),
        (json!({"!=": [var("plan"), "pro"]}), Some(false)),
        (json!({"<": [var("plan"), "q"]}), Some(true)),
        (json!({">": [var("plan"), "q"]}), Some(false)),
        (json!({">": [var("plan"), 5]}), None),
        (json!({">": [5, var("plan")]}), Some(false)),
        (json!({"<": [1, var("age"), 30]}), Some(true)),
        (json!({">=": [var("age"), null]}), Some(true)),
        (json!({"<": [var("age")]}), None),
        (json!({"===": [var("list"), var("list")]}), Some(true)),
        (json!({"===": [var("age"), 18.0]}), Some(true)),
        (json!({"===": [var("age"), "18"]}), Some(false)),
        (json!({"in": [var("missing"), ["a", null]]}), Some(true)),
        (json!({"in": [1, "a1"]}), Some(true)),
        (json!({"in": ["a", var("missing")]}), Some(false)),
        (json!({"in": ["a", var("age")]}), None),
        (json!({"all": [var("missing"), false]}), Some(true)),
        (json!({"some": [var("missing"), true]}), Some(false)),
        (json!({"some": [var("age"), true]}), None),
        (json!({"/": [var("age"), 0]}), None),
        (json!({"+": [var("plan"), 1]}), None),
        (json!({"max": [var("plan"), 1]}), None),
    ] {
        let found = evaluate(&flag(json!({"if": [rule, "on", "off"]})), "f", &json!({"plan": "pro", "age": 18, "list": [1]})).0;
        assert_eq!(found.as_deref(), expected.map(|holds| if holds { "on" } else { "off" }), "{rule}");
    }
}

#[test]
fn results_are_written_as_flagds_core_writes_them() {
    let mut file = flag(json!(null));
    for (rule, expected) in [
        (json!({"cat": ["a", {"var": "missing"}, 1.50, true, [1, null, "b"]]}), "anull1.5true1,,b"),
        // An `if` without an `else` is walked through, where null is left out.
        (json!({"if": [true, {"cat": ["a", {"var": "missing"}]}]}), "a"),
        (json!({"if": [true, {"cat": [{"var": "list"}]}]}), "1"),
        (json!({"cat": ["a", null, "b"]}), "ab"),
        (json!({"var": ["none", "d"]}), "d"),
        (json!({"var": ["null", "d"]}), "d"),
        (json!({"merge": [{"var": "list"}, {"var": "missing"}]}), "1,"),
        (json!({"missing": ["list", "a", "b"]}), "a,b"),
        (json!({"map": [{"var": "list"}, {"+": [{"var": ""}, 1]}]}), "2"),
        (json!({"-": [{"var": "list.0"}]}), "-1"),
        (json!({"%": [-7, 3]}), "-1"),
        (json!({"/": [4]}), "0.25"),
        (json!({"min": [3, {"var": "list.0"}]}), "1"),
        (json!({"substr": ["onward", -4, -2]}), "wa"),
        (json!({"substr": ["onward", 2]}), "ward"),
        (json!({"reduce": [{"var": "missing"}, {"var": "current"}, "none"]}), "none"),
    ] {
        file["flags"]["f"] = json!({"state": "ENABLED", "variants": {expected: 1}, "targeting": rule});
        assert_eq!(evaluate(&file, "f", &json!({"list": [1], "null": null})).0.as_deref(), Some(expected), "{rule}");
    }
    file["flags"]["f"]["targeting"] = json!({"if": [true, {"var": ["null", "d"]}]});
    assert_eq!(evaluate(&file, "f", &json!({"null": null})).1, "DEFAULT", "walked through, null is no missing value");
    file["flags"]["f"]["targeting"] = json!({"if": [true, {"cat": [{"var": "missing"}]}]});
    assert_eq!(evaluate(&file, "f", &json!({})).1, "ERROR", "walked through, null alone has no text");
}

#[test]
fn shared_rules_are_referred_to_and_may_not_refer_to_each_other() {
    let mut file = flag(json!({"if": [{"$ref": "adult"}, "on"]}));
    file["$evaluators"] = json!({"adult": {"and": [{"$ref": "aged"}, {">": [{"var": "age"}, 17]}]}, "aged": {"!!": {"var": "age"}}});
    assert_eq!(evaluate(&file, "f", &json!({"age": 18})).0.as_deref(), Some("on"));
    assert_eq!(evaluate(&file, "f", &json!({"age": 17})).1, "DEFAULT");
    file["$evaluators"]["aged"] = json!({"$ref": "adult"});
    assert_eq!(evaluate(&file, "f", &json!({"age": 18})).2, Some("PARSE_ERROR"));
}

#[test]
fn a_list_of_flags_is_read_and_a_wrong_file_is_refused() {
    let file = json!({"flags": [{"key": "f", "state": "ENABLED", "defaultVariant": "on", "variants": {"on": 1}}]});
    assert_eq!(evaluate(&file, "f", &json!({})).0.as_deref(), Some("on"));
    for wrong in [
        json!({"flags": {"f": {"state": "ON", "variants": {}}}}),
        json!({"flags": {"f": {"state": "ENABLED"}}}),
        json!({"flags": {"f": {"state": "ENABLED", "defaultVariant": "x", "variants": {"on": 1}}}}),
        json!({"flags": [{"state": "ENABLED"}]}),
        json!([]),
    ] {
        assert!(CompiledFlags::from_json(&wrong.to_string()).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused_without_panic(text in "\\PC{0,60}") {
        let _ = CompiledFlags::from_json(&text);
    }

    #[test]
    fn any_weights_split_without_panic(weights in proptest::collection::vec(any::<i64>(), 0..6), key in "[a-z]{1,3}") {
        let mut buckets = vec![json!(key)];
        buckets.extend(weights.iter().map(|weight| json!(["on", weight])));
        let found = evaluate(&flag(json!({"fractional": buckets})), "f", &json!({}));
        let total: i128 = weights.iter().map(|weight| i128::from((*weight).max(0))).sum();
        let expected = if (1..=2_147_483_647).contains(&total) { "TARGETING_MATCH" } else { "DEFAULT" };
        prop_assert_eq!(found.1, expected);
    }
}
