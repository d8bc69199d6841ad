//! Who may do what: each route with each scope, without a key and with an unknown one.

use std::collections::BTreeSet;

use serde_json::Value;
use tol_config::{ApiKey, generate_key, hash_key, scope};
use tree_of_life::http::{HttpOptions, openapi};
use tree_of_life::node::registry;

use super::client::{Answer, Server};
use super::documented::{filled, operations};

/// The platform's scopes and those that systems declare.
fn scopes() -> Vec<String> {
    scope::CORE.iter().map(|name| (*name).to_owned()).chain(registry::scopes()).collect()
}

fn guarded() -> (Server, Vec<(String, String)>) {
    let secrets: Vec<(String, String)> = scopes().into_iter().map(|scope| (scope, generate_key().unwrap().expose().to_owned())).collect();
    let keys = secrets.iter().map(|(scope, key)| ApiKey::new(format!("{scope}-key"), hash_key(key), &[scope])).collect();
    (Server::with(HttpOptions { keys, ..HttpOptions::default() }), secrets)
}

/// A stream has no end, so a wrong `Last-Event-ID` makes it an error that the handler gives.
fn request(server: &Server, method: &str, path: &str, key: Option<(&str, &str)>) -> Answer {
    let mut headers = vec![("last-event-id", "bad"), ("content-type", "application/json")];
    headers.extend(key);
    server.send(method, &filled(path), &headers, if matches!(method, "POST" | "PUT") { br#"{"reason":"test"}"# } else { b"" })
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403)
}

/// What each route answers: (method, path, [no key, an unknown key, a key with publish, with read, with operate, with admin, with node, with
/// flags:evaluate, with flags:definitions]).
/// Written by hand, so that a changed scope in the table of routes shows here. The request is a good one, but for `/events` (its
/// content type is wrong), `/events/stream` (its cursor is) and queries (they name no subject), which tells that the key was let through.
#[rustfmt::skip]
const TABLE: &[(&str, &str, [u16; 9])] = &[
    ("POST", "/events", [401, 401, 415, 403, 403, 415, 403, 403, 403]),
    ("GET", "/events", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/events/stream", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("GET", "/events/{id}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/trace/{correlation}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/subjects/{subject}/timeline", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/subjects/{subject}/erase", [401, 401, 403, 403, 403, 200, 403, 403, 403]),
    ("GET", "/projections", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/projections/{name}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/projections/{name}/digest", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/projections/{name}/rebuild", [401, 401, 403, 403, 202, 202, 403, 403, 403]),
    ("GET", "/projections/{name}/rebuild", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("DELETE", "/projections/{name}/rebuild", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("GET", "/projections/{name}/{key}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/systems", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/systems/{name}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/systems/{name}/digest", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/systems/{name}/queries/{query}", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("GET", "/systems/revenue-agent-system/queries/mrr", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("GET", "/systems/intelligent-ci-cd-orchestrator/queries/open-releases", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("GET", "/systems/enterprise-feature-flag-system/queries/definition", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("GET", "/systems/enterprise-feature-flag-system/queries/history", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("GET", "/systems/enterprise-feature-flag-system/queries/results", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("POST", "/systems/{name}/pause", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("POST", "/systems/{name}/resume", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("POST", "/systems/{name}/restart", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("GET", "/dead-letters", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/dead-letters/redrive", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("GET", "/dead-letters/redrives/{id}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/dead-letters/{id}/redrive", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("POST", "/dead-letters/{id}/discard", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("GET", "/flags", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/flags/import", [401, 401, 403, 403, 400, 400, 403, 403, 403]),
    ("GET", "/flags/export", [401, 401, 403, 400, 403, 400, 403, 403, 403]),
    ("POST", "/flags/evaluate", [401, 401, 403, 403, 403, 400, 403, 400, 403]),
    ("GET", "/flags/{key}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("PUT", "/flags/{key}", [401, 401, 403, 403, 400, 400, 403, 403, 403]),
    ("DELETE", "/flags/{key}", [401, 401, 403, 403, 400, 400, 403, 403, 403]),
    ("GET", "/flags/{key}/history", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/flags/{key}/kill", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("POST", "/flags/{key}/restore", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("POST", "/flags/{key}/schedule", [401, 401, 403, 403, 400, 400, 403, 403, 403]),
    ("GET", "/flags/{key}/rollout", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/flags/{key}/rollout", [401, 401, 403, 403, 400, 400, 403, 403, 403]),
    ("POST", "/flags/{key}/rollout/stop", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("GET", "/flags/{key}/experiments", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/flags/{key}/experiments", [401, 401, 403, 403, 400, 400, 403, 403, 403]),
    ("GET", "/flags/{key}/experiments/{experiment}", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/flags/{key}/experiments/{experiment}/conclude", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("GET", "/flag-experiments", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/flag-exposures", [401, 401, 400, 403, 403, 400, 403, 403, 403]),
    ("GET", "/flag-environments", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("PUT", "/flag-environments/{environment}/{format}", [401, 401, 403, 403, 400, 400, 403, 403, 403]),
    ("GET", "/emergency-stop", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("POST", "/emergency-stop", [401, 401, 403, 403, 200, 200, 403, 403, 403]),
    ("POST", "/emergency-stop/release", [401, 401, 403, 403, 403, 200, 403, 403, 403]),
    ("POST", "/nodes/ask", [401, 401, 403, 403, 403, 200, 200, 403, 403]),
    ("GET", "/livez", [200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/readyz", [200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/metrics", [401, 401, 403, 200, 403, 200, 403, 403, 403]),
    ("GET", "/version", [200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/openapi.json", [200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/docs", [308, 308, 308, 308, 308, 308, 308, 308, 308]),
    ("GET", "/docs/problems/{slug}", [200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/docs/{file}", [200, 200, 200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/schemas/{type}.json", [200, 200, 200, 200, 200, 200, 200, 200, 200]),
];

#[test]
fn each_route_answers_each_scope_as_the_table_says() {
    let (server, secrets) = guarded();
    let bearer = |secret: &str| ("authorization", format!("Bearer {secret}"));
    let mut presented = vec![None, Some(bearer("tol_stranger"))];
    // A scope more needs a column more: zip would leave it out.
    assert_eq!(TABLE[0].2.len(), 2 + secrets.len());
    presented.extend(secrets.iter().map(|(_, secret)| Some(bearer(secret))));
    for (method, path, expected) in TABLE {
        for (key, status) in presented.iter().zip(expected) {
            let answer = request(&server, method, path, key.as_ref().map(|(name, value)| (*name, value.as_str())));
            assert_eq!(answer.status, *status, "{method} {path} with {key:?}: {}", answer.text());
        }
    }
}

#[test]
fn no_route_is_missing_in_the_table() {
    let served: BTreeSet<(String, String)> = operations(&openapi::document()).into_iter().map(|(path, method, _)| (method, path)).collect();
    let tabled: BTreeSet<(String, String)> = TABLE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(served, tabled, "add a row to TABLE for each new route");
    assert_eq!(tabled.len(), TABLE.len(), "a route stands twice in TABLE");
}

#[test]
fn each_route_is_open_to_its_scope_and_to_admin_alone() {
    let (server, secrets) = guarded();
    let document = openapi::document();
    for (path, method, operation) in operations(&document) {
        let needed = operation["x-scope"].as_str();
        let place = format!("{method} {path}");
        let nobody = request(&server, &method, &path, None);
        let stranger = request(&server, &method, &path, Some(("authorization", "Bearer tol_stranger")));
        match needed {
            None => assert!(!is_refused(&nobody) && !is_refused(&stranger), "{place} needs no key"),
            Some(_) => {
                nobody.problem("missing-key");
                assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, Some("Bearer realm=\"tol\"")), "{place}");
                stranger.problem("invalid-key");
            }
        }
        for (scope, key) in &secrets {
            let bearer = request(&server, &method, &path, Some(("authorization", &format!("Bearer {key}"))));
            let header = request(&server, &method, &path, Some(("x-api-key", key)));
            let allowed = needed.is_none_or(|needed| needed == scope || scope == scope::ADMIN);
            for answer in [bearer, header] {
                assert_eq!(is_refused(&answer), !allowed, "{place} with the scope {scope}: {}", answer.status);
                if !allowed {
                    assert_eq!(answer.problem("missing-scope")["scope"], needed.unwrap(), "{place}");
                }
            }
        }
    }
}

#[test]
fn a_refused_request_does_nothing() {
    let (server, secrets) = guarded();
    let reader = &secrets.iter().find(|(scope, _)| scope == scope::READ).unwrap().1;
    for (path, method, operation) in operations(&openapi::document()).into_iter().filter(|(_, method, _)| method != "GET") {
        server.node.calls();
        assert_eq!(request(&server, &method, &path, Some(("x-api-key", reader))).status, 403, "{operation}");
        assert!(server.node.calls().is_empty(), "{method} {path}");
    }
}

#[test]
fn who_did_it_is_told_to_the_node() {
    let (server, secrets) = guarded();
    let operator = &secrets.iter().find(|(scope, _)| scope == scope::OPERATE).unwrap().1;
    let answer = request(&server, "POST", "/emergency-stop", Some(("x-api-key", operator)));
    assert_eq!((answer.status, &answer.json()["by"]), (200, &Value::from("operate-key")));
    let open = Server::start();
    assert_eq!(open.post_json("/emergency-stop", r#"{"reason":"fire"}"#).json()["by"], "local");
}

#[test]
fn looking_at_the_emergency_stop_never_changes_it() {
    let server = Server::start();
    assert_eq!(server.get("/emergency-stop").json()["engaged"], false);
    server.send("HEAD", "/emergency-stop", &[], b"");
    assert_eq!(server.node.calls(), ["stopState", "stopState"]);
    server.get("/emergency-stop?reason=x").problem("invalid-parameter");
    for path in ["/emergency-stop/release", "/systems/a/pause", "/dead-letters/redrive"] {
        assert_eq!(server.get(path).status, 405, "{path}");
    }
    assert!(server.node.calls().is_empty());
}

#[test]
fn pages_of_other_origins_are_refused() {
    let server = Server::start();
    let send = |headers: &[(&str, &str)]| server.send("POST", "/systems/a/restart", headers, b"");
    send(&[("origin", "https://evil.example")]).problem("forbidden-origin");
    send(&[("host", "evil.example")]).problem("forbidden-origin");
    assert!(server.node.calls().is_empty());
    let own = format!("http://{}", server.address);
    assert_eq!(send(&[("origin", &own)]).status, 200);
}
