//! Protocols of others: the requests that the real SDKs were seen to send, and what they get.

use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::definition::{FlagDefinitions, Mode};
use tol_enterprise_feature_flag_system::evaluation::Format;
use tol_enterprise_feature_flag_system::projections::flags::FlagRow;
use tol_system::Followed;

use super::server::{Answer, Server};

const UNLEASH: &str = "/compat/unleash/api";
const OFREP: &str = "/compat/ofrep/ofrep/v1/evaluate/flags";
const GROWTHBOOK: &str = "/compat/growthbook";

fn unleash(on: bool) -> Value {
    json!({"version": 2, "features": [
        {"name": "demo", "enabled": on, "strategies": [{"name": "default", "segments": [1]}]},
        {"name": "pro/only", "enabled": true, "strategies": [{"name": "default", "constraints": [{"contextName": "plan", "operator": "IN", "values": ["pro"]}]}]},
    ], "segments": [{"id": 1, "constraints": []}]})
}

/// Has the node serve what is imported into environments.
fn serve(server: &Server, imports: &[(&str, Format, Value)], anew: bool) {
    let mut flags = FlagDefinitions::default();
    for (environment, format, json) in imports {
        flags.import(*format, &json.to_string(), Mode::Merge, environment).unwrap();
    }
    take(server, &flags, anew);
}

fn take(server: &Server, flags: &FlagDefinitions, anew: bool) {
    let of_flags = flags.flags.iter().map(|(key, definition)| {
        let row = FlagRow { version: 1, definition: Some(serde_json::to_string(definition).unwrap()), ..FlagRow::default() };
        (format!("flag/{key}"), Some(row))
    });
    let of_sets = flags.shared.iter().map(|(environment, shared)| {
        let shared = shared.iter().map(|(format, fields)| (format.name().to_owned(), Value::Object(fields.clone()).to_string())).collect();
        (format!("flag-set/{environment}"), Some(FlagRow { shared, ..FlagRow::default() }))
    });
    server.follow(of_flags.chain(of_sets).collect(), anew);
}

fn serving() -> Server {
    serving_with(&json!({}))
}

fn serving_with(settings: &Value) -> Server {
    let server = Server::with(settings);
    let growthbook = json!({"features": {"gb": {"defaultValue": 1, "rules": [{"condition": {"plan": "pro"}, "force": 2}]}}});
    let flagd = json!({"flags": {"fd": {"state": "ENABLED", "variants": {"a": "A"}, "defaultVariant": "a"}}});
    serve(
        &server,
        &[
            ("production", Format::Unleash, unleash(true)),
            ("production", Format::GrowthBook, growthbook),
            ("production", Format::Flagd, flagd),
            ("staging", Format::Unleash, json!({"features": [{"name": "staged", "enabled": true}]})),
        ],
        true,
    );
    server
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

fn ofrep(server: &Server, key: &str, context: &Value) -> Answer {
    let path = if key.is_empty() { OFREP.to_owned() } else { format!("{OFREP}/{key}") };
    server.send("POST", &path, &[("content-type", "application/json; charset=utf-8")], json!({"context": context}).to_string().as_bytes())
}

#[test]
fn unleash_clients_get_all_flags_and_304_as_long_as_nothing_changes() {
    let server = serving();
    let path = format!("{UNLEASH}/client/features");
    let headers = [("authorization", "*:development.secret"), ("unleash-client-spec", "6.1.0"), ("unleash-interval", "undefined")];
    let first = server.send("GET", &path, &headers, b"");
    assert_eq!((first.status, first.header("content-type")), (200, Some("application/json")));
    // What the common model can say of flags born elsewhere is there too.
    assert_eq!(names(&first.json()["features"]), ["demo", "fd", "gb", "pro/only"]);
    assert_eq!((&first.json()["version"], &first.json()["segments"][0]["id"]), (&json!(2), &json!(1)));
    let tag = first.header("etag").unwrap().to_owned();
    let mut again = headers.to_vec();
    again.push(("if-none-match", &tag));
    let same = server.send("GET", &path, &again, b"");
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(tag.as_str())));
    // Another specification at the same time: another text, another tag.
    let old = server.send("GET", &path, &[("if-none-match", &tag)], b"");
    assert_eq!((old.status, old.json()["segments"].is_null()), (200, true));
    serve(&server, &[("production", Format::Unleash, unleash(false))], false);
    let changed = server.send("GET", &path, &again, b"");
    assert_eq!((changed.status, &changed.json()["features"][0]["enabled"]), (200, &json!(false)));
    let filtered = server.get(&format!("{path}?namePrefix=pro"));
    assert_eq!(names(&filtered.json()["features"]), ["pro/only"]);
}

#[test]
fn unleash_clients_may_ask_for_some_flags_only() {
    let server = Server::new();
    let mut flags = FlagDefinitions::default();
    let features: Vec<Value> = ["a-1", "a-2", "b-1"].iter().map(|name| json!({"name": name, "enabled": true, "project": &name[..1]})).collect();
    flags.import(Format::Unleash, &json!({"features": features}).to_string(), Mode::Merge, "production").unwrap();
    flags.flags.get_mut("a-1").unwrap().tags = ["team:payments".to_owned(), "old".to_owned()].into();
    flags.flags.get_mut("b-1").unwrap().tags = ["team:search".to_owned()].into();
    take(&server, &flags, true);
    for (query, expected) in [
        ("namePrefix=a-&namePrefix=b-1", vec!["a-1", "a-2", "b-1"]),
        ("project=b", vec!["b-1"]),
        ("project=b&project=*", vec!["a-1", "a-2", "b-1"]),
        ("tag=team:payments", vec!["a-1"]),
        ("tag=simple%3Aold", vec!["a-1"]),
        ("tag=other:old", vec![]),
        ("tag%5B%5D=team:payments&tag%5B%5D=team:search", vec!["a-1", "b-1"]),
        ("tag=team:payments&tag=team:search&namePrefix=b", vec!["b-1"]),
        ("tag=", vec!["a-1", "a-2", "b-1"]),
    ] {
        let found = server.get(&format!("{UNLEASH}/client/features?{query}"));
        assert_eq!(names(&found.json()["features"]), expected, "{query}");
        let again = server.send("GET", &format!("{UNLEASH}/client/features?{query}"), &[("if-none-match", found.header("etag").unwrap())], b"");
        assert_eq!(again.status, 304, "{query}");
    }
}

#[test]
fn a_delta_begins_with_everything_and_goes_on_with_changes() {
    let server = serving();
    let path = format!("{UNLEASH}/client/delta");
    let first = server.get(&path);
    assert_eq!(first.json()["events"][0]["type"], "hydration");
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(server.send("GET", &path, &[("if-none-match", &tag)], b"").status, 304);
    let demo = json!({"features": [{"name": "late", "enabled": true}]});
    serve(&server, &[("production", Format::Unleash, demo)], false);
    let delta = server.send("GET", &path, &[("if-none-match", &tag)], b"").json();
    let last = delta["events"].as_array().unwrap().last().unwrap();
    assert!(matches!(last["type"].as_str(), Some("feature-updated" | "hydration")), "{delta}");
    assert!(delta.to_string().contains("\"late\""));
}

#[test]
fn the_frontend_is_evaluated_for_a_query_with_brackets_and_for_a_body() {
    let server = serving();
    let path = format!("{UNLEASH}/frontend");
    let query = format!("{path}?sessionId=428026779&appName=trace-fe&environment=default&userId=1&properties%5Bplan%5D=pro");
    let found = server.send("GET", &query, &[("authorization", "*:development.fe")], b"");
    assert_eq!(names(&found.json()["toggles"]), ["demo", "fd", "gb", "pro/only"]);
    let tag = found.header("etag").unwrap();
    assert_eq!(server.send("GET", &query, &[("if-none-match", tag)], b"").status, 304);
    assert_eq!(names(&server.get(&path).json()["toggles"]), ["demo", "fd", "gb"]);
    let body = server.post_json(&path, r#"{"context": {"userId": "1", "properties": {"plan": "pro"}}}"#);
    assert_eq!(body.json(), found.json());
    assert_eq!(server.post_json(&path, "{").status, 400);
}

#[test]
fn unleash_clients_may_register() {
    let server = serving();
    for path in ["client/register", "frontend/client/register"] {
        assert_eq!(server.post_json(&format!("{UNLEASH}/{path}"), r#"{"appName": "a", "interval": 1000, "yggdrasilVersion": null}"#).status, 202);
    }
}

#[test]
fn ofrep_evaluates_one_flag_and_all_and_tells_what_is_wrong() {
    let server = serving();
    let pro = json!({"targetingKey": "u1", "plan": "pro"});
    assert_eq!(ofrep(&server, "pro%2Fonly", &pro).json(), json!({"key": "pro/only", "reason": "TARGETING_MATCH", "variant": "enabled", "value": true}));
    assert_eq!(ofrep(&server, "gb", &pro).json(), json!({"key": "gb", "reason": "TARGETING_MATCH", "variant": "2", "value": 2}));
    assert_eq!(ofrep(&server, "fd", &pro).json(), json!({"key": "fd", "reason": "STATIC", "variant": "a", "value": "A"}));
    let missing = ofrep(&server, "nope", &pro);
    assert_eq!((missing.status, &missing.json()["errorCode"], &missing.json()["key"]), (404, &json!("FLAG_NOT_FOUND"), &json!("nope")));
    for (body, code) in [("{", "PARSE_ERROR"), ("{}", "INVALID_CONTEXT"), (r#"{"context": []}"#, "INVALID_CONTEXT")] {
        for (path, key) in [(OFREP.to_owned(), None), (format!("{OFREP}/demo"), Some("demo"))] {
            let refused = server.post_json(&path, body);
            assert_eq!((refused.status, &refused.json()["errorCode"]), (400, &json!(code)), "{path} {body}");
            assert_eq!(refused.json()["key"].as_str(), key);
        }
    }
    let all = ofrep(&server, "", &pro);
    assert_eq!(all.json()["flags"].as_array().unwrap().len(), 4);
    let tag = all.header("etag").unwrap();
    let body = json!({"context": pro}).to_string();
    let same = server.send("POST", OFREP, &[("if-none-match", tag)], body.as_bytes());
    assert_eq!((same.status, same.body.len()), (304, 0));
}

#[test]
fn growthbook_clients_get_features_and_are_told_that_they_may_follow() {
    let server = serving();
    let found = server.get(&format!("{GROWTHBOOK}/api/features/sdk-abc"));
    assert_eq!((found.status, found.header("x-sse-support")), (200, Some("enabled")));
    assert_eq!((&found.json()["status"], &found.json()["features"]["gb"]["defaultValue"]), (&json!(200), &json!(1)));
    let tag = found.header("etag").unwrap();
    assert_eq!(server.send("GET", &format!("{GROWTHBOOK}/api/features/sdk-abc"), &[("if-none-match", tag)], b"").status, 304);
}

#[test]
fn growthbook_s_remote_evaluation_tells_one_person_s_values_and_no_rule() {
    let server = Server::new();
    let rules = json!([{"key": "test", "condition": {"plan": "secret"}, "variations": ["A", "B"], "weights": [0, 1], "name": "n"}]);
    let features = json!({"f": {"defaultValue": 1, "rules": [{"condition": {"plan": "secret"}, "force": 2}]}, "t": {"defaultValue": "none", "rules": rules}});
    serve(&server, &[("production", Format::GrowthBook, json!({"features": features}))], true);
    let path = format!("{GROWTHBOOK}/api/eval/any");
    let ask = |body: &Value| server.post_json(&path, &body.to_string());
    assert_eq!(ask(&json!({"attributes": {"id": "7"}})).json()["features"], json!({"f": {"defaultValue": 1}, "t": {"defaultValue": "none"}}));
    let found = ask(&json!({"attributes": {"id": "7", "plan": "secret"}, "forcedFeatures": [["f", 9]], "forcedVariations": {}, "url": ""}));
    let (answer, text) = (found.json(), String::from_utf8_lossy(&found.body).into_owned());
    assert_eq!(answer["features"]["f"]["defaultValue"], 9);
    let track = &answer["features"]["t"]["rules"][0]["tracks"][0];
    assert_eq!((&answer["features"]["t"]["rules"][0]["force"], &track["experiment"]["variations"]), (&json!("B"), &json!([{}, "B"])));
    assert_eq!((&track["experiment"]["key"], &track["result"]["variationId"], &track["result"]["inExperiment"]), (&json!("test"), &json!(1), &json!(true)));
    assert!(!text.contains("secret") && !text.contains("\"A\""), "{text}");
    assert_eq!(ask(&json!({"url": "x"})).status, 400);
    assert_eq!(server.post_json(&path, "{").status, 400);
}

#[test]
fn streams_begin_with_everything_and_go_on_with_each_change() {
    let server = serving();
    let streaming = format!("{UNLEASH}/client/streaming");
    let mut unleash = server.stream(&streaming, &[("authorization", "*:production.x")]);
    let mut growthbook = server.stream(&format!("{GROWTHBOOK}/sub/sdk-abc"), &[]);
    let (name, id, data) = unleash.next_event();
    assert_eq!((name.as_str(), &data["events"][0]["type"]), ("unleash-connected", &json!("hydration")));
    let (name, _, data) = growthbook.next_event();
    assert_eq!((name.as_str(), &data["features"]["gb"]["defaultValue"]), ("features", &json!(1)));
    serve(&server, &[("production", Format::GrowthBook, json!({"features": {"gb": {"defaultValue": 3}}}))], false);
    let (name, _, data) = unleash.next_event();
    assert_eq!(name, "unleash-updated");
    assert!(data["events"].to_string().contains("\"gb\""), "{data}");
    assert_eq!(growthbook.next_event().2["features"]["gb"]["defaultValue"], 3);
    // A client that comes back with the id it was sent last misses nothing.
    let mut back = server.stream(&streaming, &[("last-event-id", &id)]);
    assert!(back.next_event().2.to_string().contains("\"gb\""));
    server.mounted.closing();
    assert_eq!((unleash.next_chunk(), growthbook.next_chunk()), (None, None));
}

#[test]
fn streams_of_flags_are_bounded_and_make_room_when_they_end() {
    let server = serving_with(&json!({"max_streams": 1}));
    let path = format!("{UNLEASH}/client/streaming");
    let mut open = server.stream(&path, &[]);
    open.next_event();
    server.get(&path).problem("too-many-streams");
    drop(open);
    server.stream(&path, &[]).next_event();
}

#[test]
fn a_key_names_its_environment_and_nothing_else_does() {
    let features =
        |server: Server| names(&server.send("GET", &format!("{UNLEASH}/client/features"), &[("authorization", "*:staging.x")], b"").json()["features"]).len();
    assert_eq!(features(serving().with_key(&[("environment", "staging")])), 1);
    assert_eq!(features(serving().with_key(&[])), 4, "production, whatever its form says");
    assert_eq!(features(serving().with_key(&[("environment", "nowhere")])), 0);
}

#[test]
fn without_keys_a_token_names_its_environment_if_there_is_one() {
    let server = serving();
    let of = |token: &str| server.send("GET", &format!("{UNLEASH}/client/features"), &[("authorization", token)], b"").json();
    assert_eq!(names(&of("*:staging.x")["features"]), ["staged"]);
    assert_eq!(names(&of("*:nowhere.x")["features"]), ["demo", "fd", "gb", "pro/only"]);
}

#[test]
fn what_is_last_known_is_served_and_said() {
    const MARK: &str = "x-tol-flags-last-known";
    let server = Server::closed(&json!({}));
    let (features, ask) = (format!("{UNLEASH}/client/features"), |server: &Server| ofrep(server, "", &json!({})));
    // Nothing is known: an SDK that is told of no flags would switch all of them off.
    server.get(&features).problem("unavailable");
    let row = FlagRow {
        version: 1,
        definition: Some(json!({"key": "a", "type": "boolean", "family": "flagd", "environments": {"production": {"enabled": true}}}).to_string()),
        ..FlagRow::default()
    };
    server.tell(vec![("flag/a".to_owned(), Some(row.clone()))], Followed { anew: true, rows: Vec::new(), caught_up: false, last_known: true });
    let answer = server.get(&features);
    assert_eq!((answer.status, names(&answer.json()["features"])), (200, vec!["a"]));
    assert_eq!(answer.header(MARK), Some("before this start; the node is not open yet"));
    server.open();
    assert_eq!(ask(&server).header(MARK), Some("before this start; the log has not been read to its end"));
    server.follow(vec![("flag/a".to_owned(), Some(row))], true);
    assert_eq!((ask(&server).header(MARK), server.get(&features).header(MARK)), (None, None));
    server.platform.set_degraded(Some("the log is away: \u{fc}"));
    assert_eq!(ask(&server).header(MARK), Some("2026-11-29T12:00:00Z; the log is away: ?"));
    assert_eq!(server.mounted.checks()[0].detail, "1 flags, last known to be current 2026-11-29T12:00:00Z: the log is away: \u{fc}");
    assert!(server.mounted.checks()[0].ok);
}

#[test]
fn what_an_sdk_counted_becomes_facts() {
    let server = serving();
    let report = json!({"appName": "shop", "bucket": {"start": "2026-11-22T14:28:39Z", "stop": "2026-11-22T14:28:40Z",
        "toggles": {"demo": {"yes": 3, "no": 1, "variants": {}}}}});
    let path = format!("{UNLEASH}/client/metrics");
    assert_eq!(server.post_json(&path, &report.to_string()).status, 202);
    let admitted = server.platform.admitted();
    assert_eq!(admitted.len(), 1);
    assert_eq!(admitted[0].get(tol_events::Attribute::Type), "flags.counts_reported.v1");
    assert_eq!(server.post_json(&path, r#"{"appName": "shop", "bucket": null}"#).status, 202);
    assert_eq!(server.platform.admitted().len(), 1, "it says nothing");
    server.platform.refuse_next(tol_plug::Problem::unavailable("the log is away", 2));
    server.post_json(&path, &report.to_string()).problem("unavailable");
    server.post_json(&path, "{").problem("malformed-json");
}

#[test]
fn another_system_asks_for_the_flags_of_a_person() {
    let server = serving();
    let ask = |body: Value| {
        let platform: &dyn tol_plug::Platform = &*server.platform;
        futures_util::FutureExt::now_or_never(platform.ask("flags.evaluate", "flag-set/production", body)).unwrap()
    };
    let all = ask(json!({"context": {"targetingKey": "7", "plan": "pro"}})).unwrap();
    assert_eq!(all["flags"]["demo"]["enabled"], true);
    assert_eq!((&all["flags"]["fd"]["enabled"], &all["flags"]["fd"]["variant"]), (&json!(true), &json!("A")));
    assert_eq!((&all["flags"]["gb"]["value"], &all["flags"]["gb"]["enabled"]), (&json!(2), &json!(true)));
    let one = ask(json!({"environment": "production", "context": {"targetingKey": "7"}, "flags": ["demo", "missing"]})).unwrap();
    assert_eq!(one["flags"].as_object().unwrap().keys().collect::<Vec<_>>(), ["demo"]);
    let staged = ask(json!({"environment": "staging", "context": {"targetingKey": "7"}})).unwrap();
    assert_eq!(staged["flags"].as_object().unwrap().keys().collect::<Vec<_>>(), ["staged"]);
    assert_eq!(ask(json!({"environment": "nowhere", "context": {"targetingKey": "7"}})).unwrap(), json!({"flags": {}}));
    assert!(ask(json!({"environment": "production"})).is_err());
}
