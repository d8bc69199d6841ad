//! What is served is what is documented, and the other way round.

use serde_json::Value;
use tol_plug::Kind;
use tree_of_life::http::openapi;
use tree_of_life::node::registry;

use super::client::Server;

const METHODS: [&str; 5] = ["GET", "POST", "DELETE", "PUT", "PATCH"];

/// (path, METHOD, operation) of each operation of the document.
pub fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |path: &String, item: &Value| -> Vec<(String, String, Value)> {
        item.as_object().unwrap().iter().map(|(method, operation)| (path.clone(), method.to_uppercase(), operation.clone())).collect()
    };
    paths.iter().flat_map(|(path, item)| of(path, item)).collect()
}

/// A path with its parameters filled in.
pub fn filled(path: &str) -> String {
    let values = [
        ("{type}", "commerce.order_placed.v1"),
        ("{slug}", "invalid-event"),
        ("{file}", ""),
        ("{environment}", "production"),
        ("{format}", "unleash"),
        ("{name}", "customers"),
        ("{subject}", "customer/42"),
    ];
    let path = values.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    ["{id}", "{correlation}", "{key}", "{query}", "{experiment}"].iter().fold(path, |path, name| path.replace(name, "42"))
}

/// The operations that the node of these tests has rows and answers for: its own, and those of the flag system. The contract suites try those of the
/// other systems with their own examples.
fn operations_with_answers(document: &Value) -> Vec<(String, String, Value)> {
    let of_other_systems: Vec<&str> = registry::descriptions().iter().map(|plug| plug.short).filter(|short| *short != "flags").collect();
    let has_answers = |(_, _, operation): &(String, String, Value)| !of_other_systems.contains(&operation["tags"][0].as_str().unwrap_or_default());
    operations(document).into_iter().filter(has_answers).collect()
}

#[test]
fn each_documented_operation_is_served_by_what_it_names() {
    let server = Server::start();
    for (path, method, operation) in operations_with_answers(&openapi::document()) {
        server.node.calls();
        let id = operation["operationId"].as_str().unwrap();
        let answer = match id {
            "publish" => server.structured(r#"{"specversion":"1.0","id":"1","source":"/a","type":"a.b.v1"}"#),
            "streamEvents" => server.send("GET", &path, &[("last-event-id", "bad")], b""),
            "redriveAll" => server.post_json(&path, ""),
            "importFlags" => {
                server.post_json(&format!("{path}?format=flagd"), r#"{"flags":{"x":{"state":"ENABLED","defaultVariant":"on","variants":{"on":true}}}}"#)
            }
            "exportFlags" => server.get(&format!("{path}?format=flagd")),
            "evaluateFlags" => server.post_json(&path, r#"{"format":"flagd","context":{}}"#),
            "changeFlag" => server.send(&method, &filled(&path), &[("content-type", "application/json")], br#"{"definition":{},"reason":"test"}"#),
            "changeShared" => server.send(&method, &filled(&path), &[("content-type", "application/json")], br#"{"shared":{},"reason":"test"}"#),
            "archiveFlag" => server.send(&method, &format!("{}?reason=test", filled(&path)), &[], b""),
            "scheduleFlag" => server.post_json(&filled(&path), r#"{"environment":"production","schedule":[],"reason":"test"}"#),
            "startRollout" => server.post_json(&filled(&path), r#"{"environment":"production","plan":{},"reason":"test"}"#),
            "recordExposures" => server.post_json(&path, r#"{"exposures":[{"flag":"42","customer_id":"7","enabled":true}]}"#),
            "startExperiment" => server.post_json(
                &filled(&path),
                r#"{"experiment_id":"42","statement":"people buy more","details":{"variations":["disabled","enabled"],"metrics":["purchases","usage.export"],"environment":"production"}}"#,
            ),
            _ if method == "POST" => server.post_json(&filled(&path), if operation["requestBody"].is_object() { r#"{"reason":"test"}"# } else { "" }),
            _ if path.contains("/queries/") => server.get(&format!("{}?subject=customer/42", filled(&path))),
            _ => server.send(&method, &filled(&path), &[], b""),
        };
        let documented = operation["responses"].as_object().unwrap();
        assert!(documented.contains_key(&answer.status.to_string()), "{method} {path} answers {}, which is not documented", answer.status);
        let calls = server.node.calls();
        let by_the_server_alone = ["live", "openApi", "docs", "problemPage", "docsFile", "schema", "schemas"].contains(&id);
        // Flags are shown from memory or their row, and changed by a fact.
        let asks = match id {
            "flags" | "exportFlags" | "evaluateFlags" | "flagEnvironments" => continue,
            "importFlags" | "changeFlag" | "archiveFlag" | "killFlag" | "restoreFlag" | "scheduleFlag" | "startRollout" | "stopRollout" | "changeShared" => {
                "publish"
            }
            "concludeExperiment" | "recordExposures" => "publish",
            // An experiment that was begun already is shown.
            "flag" | "flagHistory" | "rollout" | "experiments" | "flagExperiments" | "experiment" | "startExperiment" => "row",
            "eraseSubject" => "erase",
            _ => id,
        };
        let asked = calls.iter().any(|call| call.split(' ').next() == Some(asks));
        assert!(asked || by_the_server_alone, "{method} {path} should ask the node for {id}, and asked for {calls:?}");
        let media = documented[&answer.status.to_string()]["content"].as_object();
        let found = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
        assert!(media.is_none_or(|media| media.contains_key(&found)), "{method} {path} answers with {found}");
    }
}

#[test]
fn methods_that_are_not_documented_are_405_with_those_that_are() {
    let server = Server::start();
    let document = openapi::document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut allowed: Vec<String> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in METHODS.iter().filter(|method| !allowed.iter().any(|allowed| allowed == *method)).collect::<Vec<_>>() {
            let answer = server.send(method, &filled(path), &[], b"");
            answer.problem("method-not-allowed");
            let mut told: Vec<String> = answer.header("allow").unwrap().split(", ").map(str::to_owned).collect();
            told.sort();
            if item["get"].is_object() && !allowed.iter().any(|method| method == "HEAD") {
                allowed.push("HEAD".into());
            }
            allowed.sort();
            assert_eq!((answer.status, &told), (405, &allowed), "{method} {path}");
        }
    }
}

#[test]
fn answers_have_the_members_their_schema_requires() {
    let server = Server::start();
    let document = openapi::document();
    for (path, method, operation) in operations_with_answers(&document).into_iter().filter(|(_, method, _)| method == "GET") {
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_null() || schema == &serde_json::json!({}) {
            continue;
        }
        check(&document, schema, &server.send(&method, &filled(&path), &[], b"").json(), &path);
    }
}

/// Required members are there, and no member is missing from the schema; by hand, because that is all there is to check here.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(target) = schema["$ref"].as_str() {
        return check(document, document.pointer(target.trim_start_matches('#')).unwrap(), value, place);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        // A flattened object: each part knows only its own members.
        for required in part["required"].as_array().into_iter().flatten() {
            assert!(value.get(required.as_str().unwrap()).is_some(), "{place}: {required} is missing");
        }
    }
    for item in value.as_array().into_iter().flatten() {
        check(document, &schema["items"], item, place);
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{place}: {required} is missing in {value}");
    }
    if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, field) in fields {
            assert!(known.contains_key(name) || schema["additionalProperties"].is_object(), "{place}: {name} is not documented");
            if let Some(known) = known.get(name) {
                check(document, known, field, &format!("{place} {name}"));
            }
        }
    }
}

#[test]
fn the_document_and_the_browsable_page_are_served() {
    let server = Server::start();
    let document = server.get("/openapi.json").json();
    assert_eq!(document, openapi::document());
    assert_eq!(document["openapi"], "3.1.0");
    let redirected = server.get("/docs");
    assert_eq!((redirected.status, redirected.header("location")), (308, Some("/docs/")));
    let page = server.get("/docs/");
    assert!(page.status == 200 && page.text().contains("swagger-ui"), "{}", page.text());
    let start = server.get("/docs/swagger-initializer.js");
    assert!(start.text().contains("/openapi.json"), "{}", start.text());
    assert_eq!(server.get("/docs/swagger-ui-bundle.js").status, 200);
}

#[test]
fn each_kind_of_problem_has_a_page_where_its_type_points() {
    let server = Server::start();
    for kind in Kind::CORE {
        let page = server.get(&kind.uri());
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{}", kind.slug);
        assert!(page.text().contains("What to do"), "{}", kind.slug);
        let markdown = server.send("GET", &kind.uri(), &[("accept", "text/markdown")], b"");
        assert_eq!(markdown.text(), kind.page);
    }
}

#[test]
fn schemas_are_served_where_dataschema_points() {
    let server = Server::start();
    for known in tol_events::registry::all() {
        let answer = server.get(&format!("/schemas/{}.json", known.event_type));
        assert_eq!((answer.status, &answer.json()["title"]), (200, &known.event_type.into()));
    }
    let all = server.get("/schemas").json();
    let listed: Vec<&str> = all.as_array().unwrap().iter().map(|known| known["type"].as_str().unwrap()).collect();
    assert_eq!(listed, tol_events::registry::all().iter().map(|known| known.event_type).collect::<Vec<_>>());
    assert_eq!(all[0]["example"]["type"], listed[0]);
}
