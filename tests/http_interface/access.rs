//! Who may do what: each route with each scope, without a key and with an unknown one.

use base64::Engine as _;
use serde_json::Value;
use tol_config::{ApiKey, generate_key, hash_key, scope};
use tol_plug::{Content, Credential, Presented};
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
    server.send(method, &filled(path), &headers, if matches!(method, "POST" | "PUT" | "PATCH") { br#"{"reason":"test"}"# } else { b"" })
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403)
}

/// The reviewed table: for each row of the node and of every system, who is let in. `UPDATE_ACCESS=1` writes it anew.
const REVIEWED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/access.txt");

/// A row as the table names it, and how it is asked.
struct Row {
    method: &'static str,
    path: String,
    /// Whether its answer is a stream of events.
    streams: bool,
    credential: Credential,
}

/// Rows of the node and of all systems, then those of protocols.
fn rows() -> Vec<Row> {
    let own = operations(&openapi::document()).into_iter().map(|(path, method, _)| {
        let method = ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|known| **known == method).unwrap();
        Row { method, path, streams: false, credential: Credential::NODE }
    });
    let of_protocols = registry::descriptions().iter().flat_map(|plug| &plug.protocols).flat_map(|protocol| {
        protocol.routes.iter().map(|spec| {
            let streams = spec.answers.iter().any(|answer| answer.content == Content::Other("text/event-stream"));
            Row { method: spec.method, path: format!("/compat/{}{}", protocol.name, spec.path), streams, credential: protocol.credential }
        })
    });
    own.chain(of_protocols).collect()
}

impl Row {
    /// Sends it with a key where its protocol's clients put it; the status.
    fn ask(&self, server: &Server, key: Option<&str>) -> u16 {
        let mut path = filled(&self.path.replace("{*key}", "42"));
        let place = self.credential.0[0];
        let header = key.and_then(|key| match place {
            Presented::Bearer | Presented::Authorization => Some(("authorization", format!("Bearer {key}"))),
            Presented::BasicUser => Some(("authorization", format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{key}:"))))),
            Presented::Header(name) => Some((name, key.to_owned())),
            Presented::Path(_) | Presented::Query(_) => None,
        });
        match (place, key) {
            (Presented::Path(name), Some(key)) => path = filled(&self.path.replace(&format!("{{*{name}}}"), key).replace(&format!("{{{name}}}"), key)),
            (Presented::Query(name), Some(key)) => path = format!("{path}?{name}={key}"),
            _ => {}
        }
        let header = header.as_ref().map(|(name, value)| (*name, value.as_str()));
        // A stream has no end.
        if self.streams { server.status_of(self.method, &path, header) } else { request(server, self.method, &path, header).status }
    }
}

/// A line for each row: `yes` where the key is let in, else the status.
fn table() -> String {
    let (server, secrets) = guarded();
    let presented =
        [("no-key", None), ("wrong-key", Some("tol_stranger"))].into_iter().chain(secrets.iter().map(|(scope, key)| (scope.as_str(), Some(key.as_str()))));
    let presented: Vec<(&str, Option<&str>)> = presented.collect();
    let head = presented.iter().fold(format!("{:<7}{:<72}", "", ""), |line, (name, _)| format!("{line} {name}"));
    let mut lines: Vec<String> = vec![head];
    for row in rows() {
        let mut line = format!("{:<7}{:<72}", row.method, row.path);
        for (name, key) in &presented {
            let status = row.ask(&server, *key);
            let shown = if matches!(status, 401 | 403) { status.to_string() } else { "yes".to_owned() };
            line.push_str(&format!(" {shown:<width$}", width = name.len()));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

#[test]
fn each_row_lets_in_whom_the_reviewed_table_says() {
    let table = table();
    if std::env::var_os("UPDATE_ACCESS").is_some() {
        std::fs::write(REVIEWED, &table).unwrap();
    }
    let reviewed = std::fs::read_to_string(REVIEWED).unwrap_or_default();
    let differing: Vec<(&str, &str)> = table.lines().zip(reviewed.lines()).filter(|(now, then)| now != then).collect();
    let advice = "review the change, then write the table with UPDATE_ACCESS=1";
    assert!(table == reviewed, "tests/access.txt is not what the node does; {advice}. Now, and as reviewed: {differing:#?}");
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
    let changing = |(_, method, operation): &(String, String, Value)| method != "GET" && operation["x-scope"] != scope::READ;
    for (path, method, operation) in operations(&openapi::document()).into_iter().filter(changing) {
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
