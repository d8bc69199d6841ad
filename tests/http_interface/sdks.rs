//! What SDKs of others speak: the requests that the real ones were seen to send, and what they get.

use serde_json::{Value, json};
use tol_config::{ApiKey, Scope, hash_key};
use tol_enterprise_feature_flag_system::definition::{Flags, Mode};
use tol_enterprise_feature_flag_system::evaluation::Format;
use tol_projections::Followed;
use tol_projections::flags::FlagRow;
use tree_of_life::http::HttpOptions;

use super::client::{Answer, Server};

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
    let mut flags = Flags::default();
    for (environment, format, json) in imports {
        flags.import(*format, &json.to_string(), Mode::Merge, environment).unwrap();
    }
    take(server, &flags, anew);
}

fn take(server: &Server, flags: &Flags, anew: bool) {
    let of_flags = flags.flags.iter().map(|(key, definition)| {
        let row = FlagRow { version: 1, definition: Some(serde_json::to_string(definition).unwrap()), ..FlagRow::default() };
        (format!("flag/{key}"), Some(row))
    });
    let of_sets = flags.shared.iter().map(|(environment, shared)| {
        let shared = shared.iter().map(|(format, fields)| (format.name().to_owned(), Value::Object(fields.clone()).to_string())).collect();
        (format!("flag-set/{environment}"), Some(FlagRow { shared, ..FlagRow::default() }))
    });
    server.node.flags.0.take(Followed { anew, rows: of_flags.chain(of_sets).collect(), caught_up: true });
}

fn serving(options: HttpOptions) -> Server {
    let server = Server::with(options);
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
    let server = serving(HttpOptions::default());
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
    let server = Server::with(HttpOptions::default());
    let mut flags = Flags::default();
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
fn paths_are_read_decoded_and_refused_where_they_do_not_decode() {
    let server = serving(HttpOptions::default());
    assert_eq!(server.get("/compat/unleash/api/front%65nd").status, 200);
    assert_eq!(ofrep(&server, "pro%2fonly", &json!({})).json()["key"], "pro/only");
    assert_eq!(ofrep(&server, "pro/only", &json!({})).json()["key"], "pro/only");
    for wrong in ["/compat/growthbook/api/features/a%zz", "/compat/growthbook/api/features/%ff"] {
        let refused = server.get(wrong);
        assert_eq!((refused.status, refused.json()["type"].as_str().unwrap().ends_with("invalid-path")), (400, true), "{wrong}");
        assert!(refused.header("x-request-id").is_some() && refused.header("x-content-type-options") == Some("nosniff"), "{wrong}");
    }
    for nowhere in ["/compat", "/compat/", "/compat/unleash/api/frontend/", "/compat/growthbook/sub/"] {
        assert_eq!(server.get(nowhere).status, 404, "{nowhere}");
    }
}

#[test]
fn a_delta_begins_with_everything_and_goes_on_with_changes() {
    let server = serving(HttpOptions::default());
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
    let server = serving(HttpOptions::default());
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
    let server = serving(HttpOptions::default());
    for path in ["client/register", "frontend/client/register"] {
        assert_eq!(server.post_json(&format!("{UNLEASH}/{path}"), r#"{"appName": "a", "interval": 1000, "yggdrasilVersion": null}"#).status, 202);
    }
}

#[test]
fn ofrep_evaluates_one_flag_and_all_and_tells_what_is_wrong() {
    let server = serving(HttpOptions::default());
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
    let server = serving(HttpOptions::default());
    let found = server.get(&format!("{GROWTHBOOK}/api/features/sdk-abc"));
    assert_eq!((found.status, found.header("x-sse-support")), (200, Some("enabled")));
    assert_eq!((&found.json()["status"], &found.json()["features"]["gb"]["defaultValue"]), (&json!(200), &json!(1)));
    let tag = found.header("etag").unwrap();
    assert_eq!(server.send("GET", &format!("{GROWTHBOOK}/api/features/sdk-abc"), &[("if-none-match", tag)], b"").status, 304);
}

#[test]
fn growthbook_s_remote_evaluation_tells_one_person_s_values_and_no_rule() {
    let server = Server::with(HttpOptions::default());
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

/// The next event of a stream: its name, id and data.
fn event(lines: &mut impl Iterator<Item = String>) -> (String, String, Value) {
    let name = lines.find_map(|line| line.strip_prefix("event: ").map(str::to_owned)).unwrap();
    let id = lines.next().unwrap().strip_prefix("id: ").unwrap().to_owned();
    (name, id, serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap())
}

#[test]
fn streams_begin_with_everything_and_go_on_with_each_change() {
    let server = serving(HttpOptions::default());
    let mut unleash_lines = server.stream(&format!("{UNLEASH}/client/streaming"), "authorization: *:production.x\r\n");
    let mut growthbook_lines = server.stream(&format!("{GROWTHBOOK}/sub/sdk-abc"), "");
    let (name, id, data) = event(&mut unleash_lines);
    assert_eq!((name.as_str(), &data["events"][0]["type"]), ("unleash-connected", &json!("hydration")));
    let (name, _, data) = event(&mut growthbook_lines);
    assert_eq!((name.as_str(), &data["features"]["gb"]["defaultValue"]), ("features", &json!(1)));
    let growthbook = json!({"features": {"gb": {"defaultValue": 3}}});
    serve(&server, &[("production", Format::GrowthBook, growthbook)], false);
    let (name, _, data) = event(&mut unleash_lines);
    assert_eq!(name, "unleash-updated");
    assert!(data["events"].to_string().contains("\"gb\""), "{data}");
    assert_eq!(event(&mut growthbook_lines).2["features"]["gb"]["defaultValue"], 3);
    // Who comes back with what it was told last misses nothing.
    let mut back = server.stream(&format!("{UNLEASH}/client/streaming"), &format!("last-event-id: {id}\r\n"));
    assert!(event(&mut back).2.to_string().contains("\"gb\""));
    // The node stops: the streams end.
    server.node.flags.0.close();
    assert_eq!(unleash_lines.filter(|line| line.starts_with("event")).count(), 0);
    assert_eq!(growthbook_lines.filter(|line| line.starts_with("event")).count(), 0);
}

#[test]
fn streams_of_flags_are_bounded() {
    let server = serving(HttpOptions { max_flag_streams: 1, ..HttpOptions::default() });
    let path = format!("{UNLEASH}/client/streaming");
    let mut open = server.stream(&path, "");
    assert!(open.by_ref().any(|line| line.starts_with("event: ")));
    server.get(&path).problem("too-many-streams");
}

#[test]
fn pages_of_any_origin_may_ask_after_a_preflight() {
    let server = serving(HttpOptions::default());
    let path = format!("{UNLEASH}/frontend");
    let asked = [("origin", "https://shop.example"), ("access-control-request-method", "GET"), ("access-control-request-headers", "authorization,unleash-sdk")];
    let preflight = server.send("OPTIONS", &path, &asked, b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization,unleash-sdk"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("GET"));
    let answer = server.send("GET", &path, &[("origin", "https://shop.example")], b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("etag"));
    // The node's own paths stay closed to them.
    server.send("GET", "/systems", &[("origin", "https://shop.example")], b"").problem("forbidden-origin");
    let refused = server.send("DELETE", &path, &[], b"");
    refused.problem("method-not-allowed");
    assert_eq!(refused.header("allow"), Some("GET, POST, OPTIONS"));
}

/// Every path with a request that is right.
fn asked(server: &Server, key: &str) -> Vec<(String, u16)> {
    let headers = [("authorization", key), ("content-type", "application/json")];
    let get = |path: String| (path.clone(), server.send("GET", &path, &headers, b"").status);
    let post = |path: String, body: &str| (path.clone(), server.send("POST", &path, &headers, body.as_bytes()).status);
    let stream = |path: String, headers: &str| (path.clone(), server.stream(&path, headers).next().unwrap()[9..12].parse().unwrap());
    vec![
        get(format!("{UNLEASH}/client/features")),
        get(format!("{UNLEASH}/client/delta")),
        stream(format!("{UNLEASH}/client/streaming"), &format!("authorization: {key}\r\n")),
        post(format!("{UNLEASH}/client/register"), "{}"),
        post(format!("{UNLEASH}/client/metrics"), "{}"),
        get(format!("{GROWTHBOOK}/api/features/{key}")),
        stream(format!("{GROWTHBOOK}/sub/{key}"), ""),
        get(format!("{UNLEASH}/frontend")),
        post(format!("{UNLEASH}/frontend"), "{}"),
        post(format!("{UNLEASH}/frontend/client/register"), "{}"),
        post(format!("{UNLEASH}/frontend/client/metrics"), "{}"),
        post(OFREP.to_owned(), r#"{"context": {}}"#),
        post(format!("{OFREP}/fd"), r#"{"context": {}}"#),
        post(format!("{GROWTHBOOK}/api/eval/{key}"), r#"{"attributes": {}}"#),
    ]
}

#[test]
fn each_path_is_open_to_its_scope_alone_and_serves_the_keys_environment() {
    let key = |name: &str, scope, environment: Option<&str>| ApiKey {
        name: name.into(),
        hash: hash_key(name),
        scopes: vec![scope],
        requests_per_second: None,
        environment: environment.map(str::to_owned),
    };
    let keys = vec![
        key("rules", Scope::Definitions, None),
        key("answers", Scope::Evaluate, None),
        key("reader", Scope::Read, None),
        key("*:development.old", Scope::Definitions, Some("staging")),
    ];
    let server = serving(HttpOptions { keys, ..HttpOptions::default() });
    let statuses = |key: &str| asked(&server, key).into_iter().map(|(_, status)| status).collect::<Vec<_>>();
    assert_eq!(statuses("rules"), [200, 200, 200, 202, 202, 200, 200, 403, 403, 403, 403, 403, 403, 403]);
    assert_eq!(statuses("answers"), [403, 403, 403, 403, 403, 403, 403, 200, 200, 202, 202, 200, 200, 200]);
    assert_eq!(statuses("reader"), [403; 14]);
    assert_eq!(statuses("stranger"), [401; 14]);
    server.get(&format!("{UNLEASH}/frontend")).problem("missing-key");
    let bearer = server.send("POST", OFREP, &[("authorization", "Bearer answers")], br#"{"context": {}}"#);
    let header = server.send("POST", OFREP, &[("x-api-key", "answers")], br#"{"context": {}}"#);
    assert_eq!((bearer.status, header.status), (200, 200));
    // A token of Unleash's may go on as it is, for the environment that the configuration says.
    let staged = server.send("GET", &format!("{UNLEASH}/client/features"), &[("authorization", "*:development.old")], b"");
    assert_eq!(names(&staged.json()["features"]), ["staged"]);
}

#[test]
fn without_keys_a_token_names_its_environment_if_there_is_one() {
    let server = serving(HttpOptions::default());
    let of = |token: &str| server.send("GET", &format!("{UNLEASH}/client/features"), &[("authorization", token)], b"").json();
    assert_eq!(names(&of("*:staging.x")["features"]), ["staged"]);
    assert_eq!(names(&of("*:nowhere.x")["features"]), ["demo", "fd", "gb", "pro/only"]);
}

#[test]
fn what_is_last_known_is_served_and_said() {
    let server = Server::start();
    let path = format!("{UNLEASH}/client/features");
    serve(&server, &[("production", Format::Unleash, unleash(true))], true);
    // The fake node never says that all is well.
    let answer = server.get(&path);
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-tol-flags-last-known").unwrap().contains("the node is starting"));
    assert!(server.post_json(OFREP, r#"{"context": {}}"#).header("x-tol-flags-last-known").is_some());
}
