//! Calls, profiles, audiences and erasures, on a node in memory.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tol_events::cdp::SuppressionRequested;
use tol_events::{DomainEvent as _, EventTime};
use tol_intelligent_customer_data_platform::Cdp;
use tol_plug::testing::{TestAnswer, TestServer};
use tol_plug::{Effect, Platform, Problem};
use tol_system::EffectInfo;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn server() -> TestServer {
    TestServer::start::<Cdp>(&json!({"identifier_key": KEY})).unwrap()
}

fn batch(server: &TestServer, calls: Value) -> TestAnswer {
    server.post_json("/compat/segment/v1/batch", &json!({"batch": calls, "sentAt": "2026-11-29T12:00:00Z"}).to_string())
}

fn lookup(server: &TestServer, kind: &str, value: &str) -> Value {
    let answer = server.get(&format!("/cdp/profiles/lookup?type={kind}&value={value}"));
    assert_eq!(answer.status, 200, "{kind} {value}: {}", answer.text());
    answer.json()
}

fn ids(profile: &Value) -> Vec<String> {
    profile["identifiers"].as_array().unwrap().iter().map(|one| format!("{}={}", one["type"].as_str().unwrap(), one["value"].as_str().unwrap())).collect()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn identify(user: &str, anonymous: &str, id: &str, second: u32, traits: Value) -> Value {
    json!({"type": "identify", "userId": user, "anonymousId": anonymous, "messageId": id, "timestamp": format!("2026-11-29T10:00:{second:02}Z"), "traits": traits})
}

fn track(user: Option<&str>, anonymous: Option<&str>, event: &str, id: &str, second: u32, properties: Value) -> Value {
    let at = format!("2026-11-29T10:00:{second:02}Z");
    json!({"type": "track", "userId": user, "anonymousId": anonymous, "event": event, "messageId": id, "timestamp": at, "properties": properties})
}

#[test]
fn an_identify_call_makes_a_profile_with_its_traits() {
    let server = server();
    let answer = batch(&server, json!([identify("u1", "a1", "m1", 1, json!({"email": " Ada@Example.com ", "plan": "pro", "age": 41}))]));
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
    let profile = lookup(&server, "user_id", "u1");
    assert_eq!(ids(&profile), ["user_id=u1", "email=ada@example.com", "anonymous_id=a1"]);
    let platform: Arc<dyn Platform> = server.platform.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ask = |value: &str| runtime.block_on(platform.ask("cdp.lookup", "identifier/any", json!({"type": "user_id", "value": value}))).unwrap();
    assert_eq!((ask("u1"), ask("u2")), (profile.clone(), Value::Null), "another system asks for the same");
    assert_eq!(profile["traits"], json!({"email": " Ada@Example.com ", "plan": "pro", "age": 41}));
    assert_eq!((&profile["merges"], &profile["audiences"], &profile["consent"]), (&json!([]), &json!([]), &json!([])));
    for (kind, value) in [("anonymous_id", "a1"), ("email", "ADA@example.com")] {
        assert_eq!(lookup(&server, kind, value), profile);
    }
    server.get("/cdp/profiles/lookup?type=user_id&value=u2").problem("row-not-found");
    server.get("/cdp/profiles/lookup?type=email&value=u1").problem("row-not-found");
    let subjects: String = server.platform.events().iter().map(|event| event.get(tol_events::Attribute::Subject).to_owned()).collect();
    assert!(!subjects.contains("ada") && !subjects.contains("u1"), "{subjects}");
}

#[test]
fn a_visitor_who_says_who_they_are_is_merged_and_parted_again_without_a_trace() {
    let server = server();
    batch(&server, json!([track(None, Some("a1"), "Visited", "m1", 1, json!({})), track(None, Some("a1"), "Visited", "m2", 2, json!({}))]));
    batch(&server, json!([{"type": "identify", "anonymousId": "a1", "messageId": "m3", "timestamp": "2026-11-29T10:00:03Z", "traits": {"colour": "green"}}]));
    batch(&server, json!([{"type": "identify", "userId": "u1", "messageId": "m4", "timestamp": "2026-11-29T10:00:04Z", "traits": {"plan": "pro"}}]));
    let (visitor, user) = (lookup(&server, "anonymous_id", "a1"), lookup(&server, "user_id", "u1"));
    assert_ne!(visitor["profile_id"], user["profile_id"]);
    batch(&server, json!([track(Some("u1"), Some("a1"), "Signed In", "m5", 5, json!({}))]));
    let merged = lookup(&server, "anonymous_id", "a1");
    assert_eq!((&merged["profile_id"], &merged["traits"]), (&user["profile_id"], &json!({"colour": "green", "plan": "pro"})));
    assert_eq!(merged["merges"][0]["merged"], visitor["profile_id"]);
    let path = format!("/cdp/profiles/{}/unmerge", user["profile_id"].as_str().unwrap());
    server.post_json(&path, &json!({"merge_id": "nothing"}).to_string()).problem("row-not-found");
    let undone = server.post_json(&path, &json!({"merge_id": merged["merges"][0]["merge_id"]}).to_string());
    assert_eq!(undone.status, 200, "{}", undone.text());
    assert_eq!(lookup(&server, "anonymous_id", "a1"), visitor, "as it was");
    assert_eq!(lookup(&server, "user_id", "u1"), user, "as it was");
    server.post_json(&path, &json!({"merge_id": merged["merges"][0]["merge_id"]}).to_string()).problem("row-not-found");
    batch(&server, json!([track(Some("u1"), Some("a1"), "Signed In", "m6", 6, json!({}))]));
    assert_eq!(lookup(&server, "anonymous_id", "a1"), visitor, "the same device does not merge them again");
}

#[test]
fn nothing_is_merged_on_a_value_that_says_nothing() {
    let server = server();
    for (number, blocked) in ["null", "NULL", "-1", "0", "000", "0000-0000", "anonymous", "undefined", " none ", "[object Object]"].into_iter().enumerate() {
        let call = |user: &str, id: String| identify(user, blocked, &id, 1, json!({"email": blocked}));
        batch(&server, json!([call(&format!("x{number}"), format!("b{number}")), call(&format!("y{number}"), format!("c{number}"))]));
        assert_eq!(ids(&lookup(&server, "user_id", &format!("x{number}"))), [format!("user_id=x{number}")], "{blocked}");
    }
    let refused = batch(&server, json!([track(Some("null"), None, "Seen", "m1", 1, json!({}))]));
    assert_eq!(refused.status, 400, "{}", refused.text());
}

#[test]
fn letters_that_look_alike_are_two_people_and_a_recycled_address_stays_with_the_first() {
    let server = server();
    batch(&server, json!([identify("admin", "a1", "m1", 1, json!({})), identify("\u{430}dmin", "a2", "m2", 2, json!({}))]));
    assert_ne!(lookup(&server, "anonymous_id", "a1")["profile_id"], lookup(&server, "anonymous_id", "a2")["profile_id"]);
    // \u{212A} is the Kelvin sign, which lower-cases to k.
    batch(
        &server,
        json!([identify("u1", "b1", "m3", 3, json!({"email": "k@x.example"})), identify("u2", "b2", "m4", 4, json!({"email": "\u{212A}@x.example"}))]),
    );
    assert_ne!(lookup(&server, "user_id", "u1")["profile_id"], lookup(&server, "user_id", "u2")["profile_id"]);
    batch(&server, json!([identify("u3", "b3", "m5", 5, json!({"email": "k@x.example"}))]));
    assert!(ids(&lookup(&server, "email", "k@x.example")).contains(&"user_id=u1".to_owned()));
    assert!(!ids(&lookup(&server, "user_id", "u3")).contains(&"email=k@x.example".to_owned()));
    let refused = server.platform.events().iter().filter(|event| event.get(tol_events::Attribute::Type) == "cdp.merge_refused.v1").count();
    assert_eq!(refused, 1);
}

#[test]
fn bad_calls_are_named_and_good_ones_beside_them_are_taken() {
    let server = server();
    let long = "x".repeat(10 << 10);
    let calls = json!([
        track(Some("u1"), None, "Good", "m1", 1, json!({})),
        {"type": "track", "userId": "u1", "messageId": "m2"},
        {"type": "track", "messageId": "m3", "event": "Nobody", "anonymousId": null},
        {"type": "dance", "userId": "u1", "messageId": "m4"},
        {"type": "track", "userId": long, "event": "Long", "messageId": "m5"},
        {"type": "track", "userId": {"a": 1}, "event": "Object", "messageId": "m6"},
        {"type": "track", "userId": "u1", "event": "When", "messageId": "m7", "timestamp": "yesterday"},
        42,
        {"type": "identify", "userId": "u1", "messageId": "m8", "traits": ["no object"]},
        {"type": "track", "userId": "u1", "event": "Money", "messageId": "m10", "properties": {"price": {"minor": 1, "currency": "QQQ"}}},
        {"type": "track", "userId": 7, "event": "Number", "messageId": "m9", "anonymousId": null},
    ]);
    let answer = batch(&server, calls);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rejected: Vec<u64> = answer.json()["rejected"].as_array().unwrap().iter().map(|one| one["index"].as_u64().unwrap()).collect();
    assert_eq!(rejected, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(ids(&lookup(&server, "user_id", "7")), ["user_id=7"]);
}

#[test]
fn sizes_are_limited_as_segment_limits_them() {
    let server = server();
    let filled = |bytes: usize, id: &str| track(Some("u1"), None, "Large", id, 1, json!({"text": "x".repeat(bytes)}));
    let single = |bytes: usize| server.post_json("/compat/segment/v1/track", &filled(bytes, "m1").to_string());
    assert_eq!((single(31 << 10).status, single(33 << 10).status), (200, 400));
    assert_eq!(batch(&server, json!([filled(33 << 10, "m2")])).status, 400);
    let many: Vec<Value> = (0..17).map(|number| filled(30 << 10, &format!("n{number}"))).collect();
    assert_eq!(batch(&server, json!(many)).status, 400);
    assert_eq!(batch(&server, json!(many[..16])).status, 200);
    assert_eq!(server.post_json("/compat/segment/v1/batch", "{\"batch\": 1}").status, 400);
    assert_eq!(server.post_json("/compat/segment/v1/batch", "nothing").status, 400);
}

#[test]
fn a_packed_body_is_read_whatever_it_is_called() {
    let server = server();
    let text = json!({"batch": [track(Some("u1"), None, "Packed", "m1", 1, json!({}))]}).to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("writeKey:"));
    for headers in [
        vec![("content-type", "application/x-www-form-urlencoded"), ("authorization", basic.as_str())],
        vec![("content-type", "application/json"), ("content-encoding", "gzip")],
    ] {
        assert_eq!(server.send("POST", "/compat/segment/v1/batch", &headers, &packed).status, 200);
    }
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; 4 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(server.send("POST", "/compat/segment/v1/batch", &[("content-type", "application/json")], &bomb).status, 400);
}

#[test]
fn a_call_that_is_sent_again_counts_once_and_overload_is_told_with_the_time_to_wait() {
    let server = server();
    for (sent_at, id) in [("2026-11-29T12:00:00Z", "m1"), ("2026-11-29T12:30:00Z", "m1"), ("2026-11-29T12:00:00Z", "m2")] {
        let call = track(Some("u1"), None, "Order Completed", id, 1, json!({"revenue": 10}));
        let body = json!({"batch": [call.clone(), call], "sentAt": sent_at}).to_string();
        assert_eq!(server.post_json("/compat/segment/v1/batch", &body).status, 200);
    }
    let profile = lookup(&server, "user_id", "u1");
    let export = server.get(&format!("/cdp/profiles/{}/export", profile["profile_id"].as_str().unwrap())).json();
    assert_eq!(export["events"]["Order Completed"]["total"], json!({"count": 2, "sums": {"revenue": 20_000_000}}));
    assert_eq!(export["calls"].as_array().unwrap().len(), 2);
    server.platform.refuse_next(Problem::unavailable("the log is full", 3));
    let refused = batch(&server, json!([track(Some("u1"), None, "Order Completed", "m3", 3, json!({}))]));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("3")));
}

#[test]
fn the_newest_trait_and_the_newest_word_on_consent_count_whatever_comes_first() {
    let server = server();
    let consent = |granted: bool| json!({"consent": {"categoryPreferences": {"Advertising": granted}}});
    let call = |id: &str, second: u32, plan: &str, granted: bool| {
        let mut call = identify("u1", "a1", id, second, json!({"plan": plan}));
        call["context"] = consent(granted);
        call
    };
    batch(&server, json!([call("m2", 20, "new", false)]));
    batch(&server, json!([call("m1", 10, "old", true)]));
    let profile = lookup(&server, "user_id", "u1");
    assert_eq!(profile["traits"]["plan"], "new");
    assert_eq!((&profile["consent"][0]["purpose"], &profile["consent"][0]["granted"]), (&json!("Advertising"), &json!(false)));
    batch(&server, json!([call("m3", 20, "x", true)]));
    assert_eq!(lookup(&server, "user_id", "u1")["consent"][0]["granted"], false, "of two words at one time the withdrawal counts");
}

#[test]
fn audiences_follow_events_traits_merges_and_their_undoing() {
    let server = server();
    server.platform.set_now(EventTime::parse("2026-11-29T12:00:00Z").unwrap());
    let condition = json!({"all": [{"trait": "plan", "equals": "pro"}, {"event": "Visited", "count": {"at_least": 2}, "within": "30d"}]});
    let put = |condition: &Value| {
        server.send("PUT", "/cdp/audiences/vip", &[("content-type", "application/json")], json!({"where": condition}).to_string().as_bytes())
    };
    let answer = put(&condition);
    assert_eq!((answer.status, &answer.json()["count"]), (200, &json!(0)), "{}", answer.text());
    batch(&server, json!([track(None, Some("a1"), "Visited", "m1", 1, json!({})), track(None, Some("a1"), "Visited", "m2", 2, json!({}))]));
    batch(&server, json!([{"type": "identify", "userId": "u1", "messageId": "m3", "timestamp": "2026-11-29T10:00:03Z", "traits": {"plan": "pro"}}]));
    let count = || server.get("/cdp/audiences/vip").json()["count"].as_u64().unwrap();
    assert_eq!(count(), 0);
    batch(&server, json!([track(Some("u1"), Some("a1"), "Signed In", "m4", 4, json!({}))]));
    eventually("who was merged is in the audience", || count() == 1);
    let profile = lookup(&server, "user_id", "u1");
    assert_eq!(profile["audiences"], json!(["vip"]));
    let undo = json!({"merge_id": profile["merges"][0]["merge_id"]}).to_string();
    assert_eq!(server.post_json(&format!("/cdp/profiles/{}/unmerge", profile["profile_id"].as_str().unwrap()), &undo).status, 200);
    eventually("nobody is in the audience once they are parted", || count() == 0);
    assert_eq!(put(&json!({"event": "Visited"})).json()["version"], 2);
    eventually("a new condition is evaluated for all", || count() == 1);
    assert_eq!(put(&json!({"event": "Visited", "cuont": 1})).status, 400);
    server.get("/cdp/audiences/none").problem("row-not-found");
}

#[test]
fn a_window_that_slides_is_noticed_by_a_timer() {
    let server = server();
    server.platform.set_now(EventTime::parse("2026-11-29T10:00:10Z").unwrap());
    let condition = json!({"where": {"event": "Visited", "within": "1h"}}).to_string();
    server.send("PUT", "/cdp/audiences/fresh", &[("content-type", "application/json")], condition.as_bytes());
    // A call without the time of sending is not corrected.
    server.post_json("/compat/segment/v1/track", &track(Some("u1"), None, "Visited", "m1", 1, json!({})).to_string());
    let count = || server.get("/cdp/audiences/fresh").json()["count"].as_u64().unwrap();
    eventually("who did it an hour ago or less is in", || count() == 1);
    let later = EventTime::parse("2026-11-29T11:00:30Z").unwrap();
    server.platform.set_now(later);
    eventually("the timer fires and the window is empty", || {
        server.platform.fire_timers(later);
        count() == 0
    });
}

#[test]
fn who_was_suppressed_is_never_made_again() {
    let server = server();
    batch(&server, json!([identify("u1", "a1", "m1", 1, json!({"email": "a@b.example"}))]));
    let suppress = |subject: &str, id: &str| SuppressionRequested { identifier_id: subject.to_owned().into(), by: "ops".into() }.to_event(id, "/ops").unwrap();
    let subjects: Vec<String> =
        server.platform.admitted().iter().filter_map(|fact| fact.get(tol_events::Attribute::Subject).strip_prefix("identifier/").map(str::to_owned)).collect();
    for (number, subject) in subjects.iter().enumerate() {
        drop(server.platform.admit(vec![suppress(subject, &format!("s{number}"))]));
    }
    let gone = |kind: &str, value: &str| server.get(&format!("/cdp/profiles/lookup?type={kind}&value={value}")).status == 404;
    assert!(gone("user_id", "u1") && gone("anonymous_id", "a1") && gone("email", "a@b.example"));
    batch(
        &server,
        json!([identify("u1", "a1", "late", 9, json!({"email": "a@b.example"})), identify("u2", "a1", "other", 9, json!({"email": "a@b.example"}))]),
    );
    assert!(gone("user_id", "u1") && gone("anonymous_id", "a1") && gone("email", "a@b.example"));
    assert_eq!(ids(&lookup(&server, "user_id", "u2")), ["user_id=u2"]);
}

#[test]
fn an_erasure_suppresses_and_destroys_each_key_and_says_so() {
    let server = server();
    batch(&server, json!([identify("u1", "a1", "m1", 1, json!({"email": "a@b.example"})), track(Some("u2"), None, "Seen", "m2", 2, json!({}))]));
    let profile = lookup(&server, "user_id", "u1");
    let started = server.send("DELETE", &format!("/cdp/profiles/{}", profile["profile_id"].as_str().unwrap()), &[], b"");
    assert_eq!(started.status, 202, "{}", started.text());
    let erasure = server.get(&format!("/cdp/erasures/{}", started.json()["erasure_id"].as_str().unwrap())).json();
    assert_eq!(erasure["state"], "done");
    assert!(!erasure["certificate"]["covered"].as_array().unwrap().is_empty());
    server.get("/cdp/erasures/none").problem("row-not-found");
    server.send("DELETE", "/cdp/profiles/none", &[], b"").problem("row-not-found");
    // The node in memory answers effects as their examples say; here the runner itself runs.
    let payload = server.platform.effects_requested()[0].payload.clone();
    let info = EffectInfo {
        key: "effect-1".into(),
        system: "intelligent-customer-data-platform".into(),
        partition: 0,
        subject: "erasure/x".into(),
        correlation: String::new(),
        runner: "erase".into(),
        payload,
        attempt: 1,
    };
    let platform: Arc<dyn Platform> = server.platform.clone();
    let effect = tol_system::Effect::new(info, std::env::temp_dir());
    server.platform.calls();
    let result = server.mounted.run(0, &Effect { platform: &platform, effect: &effect }).unwrap();
    assert_eq!(result["identifiers"].as_array().unwrap().len(), 3);
    let calls = server.platform.calls();
    let (admitted, erased) = (calls.iter().position(|call| call == "admit 3"), calls.iter().filter(|call| call.starts_with("erase identifier/")).count());
    assert!(admitted.is_some() && erased == 3, "{calls:?}");
    server.get("/cdp/profiles/lookup?type=user_id&value=u1").problem("row-not-found");
    assert_eq!(ids(&lookup(&server, "user_id", "u2")), ["user_id=u2"]);
}

#[test]
fn posthogs_events_mean_the_same_facts() {
    let server = server();
    let sent = json!({"api_key": "phc_test", "batch": [
        {"event": "paid", "distinct_id": "u1", "uuid": "1", "timestamp": "2026-11-29T00:25:14.180896+00:00", "properties": {"amount": 12}},
        {"event": "$set", "distinct_id": "u1", "uuid": "2", "timestamp": "2026-11-29T00:25:14.181035+00:00", "$set": {"email": "a@b.example"}, "properties": {}},
        {"event": "$create_alias", "distinct_id": "anon1", "uuid": "3", "timestamp": "2026-11-29T00:25:14.181072+00:00", "properties": {"distinct_id": "anon1", "alias": "u1"}},
        {"event": "$groupidentify", "distinct_id": "u1", "uuid": "4", "properties": {"$group_type": "company", "$group_key": "c1", "$group_set": {"name": "Acme"}}},
        {"event": "$identify", "distinct_id": "u1", "uuid": "5", "properties": {"$set": {"plan": "pro"}, "$set_once": {"first": 1}}},
    ]});
    for _ in 0..2 {
        let answer = server.post_json("/compat/posthog/batch/", &sent.to_string());
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("Ok")), "{}", answer.text());
    }
    let profile = lookup(&server, "user_id", "u1");
    let mut known = ids(&profile);
    known.sort();
    assert_eq!(known, ["email=a@b.example", "user_id=anon1", "user_id=u1"]);
    assert_eq!(profile["traits"], json!({"email": "a@b.example", "plan": "pro", "first": 1}));
    let export = server.get(&format!("/cdp/profiles/{}/export", profile["profile_id"].as_str().unwrap())).json();
    assert_eq!(export["events"]["paid"]["total"]["count"], 1);
    let flags = server.post_json("/compat/posthog/flags/?v=2", &json!({"token": "phc_test", "distinct_id": "u1"}).to_string());
    assert_eq!((flags.status, &flags.json()["errorsWhileComputingFlags"]), (200, &json!(true)), "no flag system is here");
    assert_eq!(server.post_json("/compat/posthog/batch/", "{\"batch\":[{\"event\":\"x\"}]}").status, 400);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for wrong in [
        json!({"identifier_key": "short"}),
        json!({"blocked": ["("]}),
        json!({"identifiers": {"user_id": {"limit": 0, "priority": 0}}}),
        json!({"calls_at_once": 0}),
    ] {
        assert!(TestServer::start::<Cdp>(&wrong).is_err(), "{wrong}");
    }
}
