//! What stands around the protocols of others: paths, origins, keys. What they answer is tested in their systems' folders.

use serde_json::{Value, json};
use tol_config::{ApiKey, hash_key};
use tol_enterprise_feature_flag_system::definition::{FlagDefinitions, Mode};
use tol_enterprise_feature_flag_system::evaluation::Format;
use tol_enterprise_feature_flag_system::projections::flags::FlagRow;
use tol_system::Followed;
use tree_of_life::http::HttpOptions;

use super::client::{Answer, Server};

const UNLEASH: &str = "/compat/unleash/api";
const OFREP: &str = "/compat/ofrep/ofrep/v1/evaluate/flags";
const GROWTHBOOK: &str = "/compat/growthbook";

/// A server whose flag system serves a flag of each format, and one of another environment.
fn serving(options: HttpOptions) -> Server {
    let server = Server::with(options);
    let unleash = json!({"features": [{"name": "demo", "enabled": true, "strategies": [{"name": "default"}]},
        {"name": "pro/only", "enabled": true, "strategies": [{"name": "default"}]}]});
    let growthbook = json!({"features": {"gb": {"defaultValue": 1}}});
    let flagd = json!({"flags": {"fd": {"state": "ENABLED", "variants": {"a": "A"}, "defaultVariant": "a"}}});
    let mut flags = FlagDefinitions::default();
    for (environment, format, json) in [
        ("production", Format::Unleash, unleash),
        ("production", Format::GrowthBook, growthbook),
        ("production", Format::Flagd, flagd),
        ("staging", Format::Unleash, json!({"features": [{"name": "staged", "enabled": true}]})),
    ] {
        flags.import(format, &json.to_string(), Mode::Merge, environment).unwrap();
    }
    let row = |definition| FlagRow { version: 1, definition: Some(serde_json::to_string(definition).unwrap()), ..FlagRow::default() };
    let rows = flags.flags.iter().map(|(key, definition)| (format!("flag/{key}"), Some(postcard::to_stdvec(&row(definition)).unwrap()))).collect();
    server.follow("flags", Followed { anew: true, rows, caught_up: true, last_known: false });
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
    let key = |name: &str, scope: &str, environment: Option<&str>| ApiKey {
        name: name.into(),
        hash: hash_key(name),
        scopes: vec![scope.into()],
        requests_per_second: None,
        attributes: environment.into_iter().map(|name| ("environment".to_owned(), name.to_owned())).collect(),
    };
    let keys = vec![
        key("rules", "flags:definitions", None),
        key("answers", "flags:evaluate", None),
        key("reader", "read", None),
        key("*:development.old", "flags:definitions", Some("staging")),
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
