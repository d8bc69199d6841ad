//! The OpenAPI 3.1 document, made from the table of routes and the types of the answers.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use tol_events::binding::{BATCH, STRUCTURED};
use tol_plug::platform::{Check, EventPage, Item, Published, Row, RowPage, Running, Warning};
use tol_plug::problem::PROBLEM_JSON;
use tol_plug::{Access, Body, Content, Parameter, Place, Reply, Shape, Spec};

use super::api;
use super::routes::routes;
use crate::node::registry;

/// The types of the answers and bodies.
#[derive(OpenApi)]
#[openapi(components(schemas(
    api::CloudEvent,
    Published,
    Warning,
    EventPage,
    api::Trace,
    api::TraceNode,
    api::ProjectionStatus,
    api::RebuildStatus,
    api::RebuildState,
    api::SetAsidePage,
    api::SetAsideEvent,
    Row,
    Item,
    RowPage,
    api::Digest,
    Running,
    api::SystemStatus,
    api::SystemDetail,
    api::SystemDigest,
    api::Uptime,
    api::DeadLetter,
    api::DeadLetterDetail,
    api::DeadLetterKind,
    api::DeadLetterPage,
    api::InboxRecord,
    api::RedriveOne,
    api::RedriveFilter,
    api::Redriven,
    api::StayedDeadLetter,
    api::EffectState,
    api::EffectStatus,
    api::StopState,
    api::Erased,
    tol_plug::Reason,
    api::Readiness,
    Check,
    api::Version,
    api::Topic,
    super::catalogue::EventType,
)))]
struct Components;

/// The route of which each system's queries have a path of their own.
const SYSTEM_QUERY: &str = "systemQuery";

/// All routes but those of protocols: the node's own, then those of each system.
pub(crate) fn specs() -> impl Iterator<Item = Spec> {
    routes().map(|route| route.spec).chain(registry::descriptions().iter().flat_map(|plug| plug.routes.iter().copied()))
}

/// The document as JSON text; made once.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_string())
}

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for spec in specs() {
        let path = paths.entry(spec.path).or_insert_with(|| json!({}));
        path[spec.method.to_ascii_lowercase()] = operation(&spec);
        if spec.operation == SYSTEM_QUERY {
            queries(&spec, &mut paths);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tree of Life",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Facts go in as CloudEvents; customers, revenue and deployments are queried as of any moment. Errors are problem+json (RFC 9457), each kind with a page. A path that exists answers HEAD where it answers GET, and 405 with Allow for other methods.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, tol_…, with the scope the operation names."},
                "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same key, where a bearer token cannot be set."},
            },
        },
    })
}

/// Each query of each system, with its own parameters.
fn queries(spec: &Spec, paths: &mut Map<String, Value>) {
    for (system, queries) in registry::queries() {
        for query in queries {
            let mut described = operation(spec);
            let parameter = |name: &str, about: &str, example: &str, required: bool| json!({"name": name, "in": "query", "required": required, "schema": {"type": "string"}, "description": about, "examples": {"one": {"value": example}}});
            let mut subject = parameter("subject", "The subject it is asked about.", query.subject, true);
            subject["schema"]["minLength"] = 1.into();
            let more = query.parameters.iter().map(|one| {
                let mut described = parameter(one.name, one.about, one.example, false);
                if !one.pattern.is_empty() {
                    described["schema"]["pattern"] = one.pattern.into();
                }
                described
            });
            described["parameters"] = std::iter::once(subject).chain(more).collect();
            described["operationId"] = format!("{system}.{}", query.name).into();
            described["summary"] = format!("Asks {system} for {}", query.name).into();
            described["description"] = format!("{} {}", query.about, description(&Spec { description: "", ..*spec })).into();
            paths.insert(format!("/systems/{system}/queries/{}", query.name), json!({ "get": described }));
        }
    }
}

fn schemas() -> Value {
    let components = serde_json::to_value(Components::openapi().components).unwrap_or_default();
    let mut schemas = components["schemas"].as_object().cloned().unwrap_or_default();
    for plug in registry::descriptions() {
        if let Value::Object(own) = (plug.components)() {
            schemas.extend(own);
        }
    }
    let kinds: Vec<String> = registry::problems().map(tol_plug::Kind::uri).collect();
    schemas.insert(
        "Problem".into(),
        json!({
            "type": "object",
            "description": "RFC 9457. Further members belong to the kind: index and id name the event of a batch, parameter the query parameter.",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"type": "string", "format": "uri-reference", "enum": kinds, "description": "The page that explains the kind, relative to the node."},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string", "description": "What failed, on what, and what would be right."},
                "index": {"type": "integer", "minimum": 0, "description": "The event of the request that is wrong, from 0."},
                "id": {"type": "string", "description": "The id of the event, row or dead letter meant."},
                "parameter": {"type": "string", "description": "The query parameter that is wrong."},
            },
        }),
    );
    schemas.insert("NewEvent".into(), new_event());
    Value::Object(schemas)
}

/// What `POST /events` takes. `CloudEvent` is what is answered: that has what the node adds.
fn new_event() -> Value {
    // CloudEvents' String: not empty, no control characters.
    let text = |description: &str, example: &str| json!({"type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", "description": description, "examples": [example]});
    json!({
        "type": "object",
        "description": "A CloudEvent 1.0. Of a known type the data must fit the JSON Schema at /schemas/<type>.json (else 422); other types take any data.",
        "required": ["specversion", "id", "source", "type", "subject"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text("Unique within source; sending it again is safe.", "order-1001"),
            "source": {"type": "string", "pattern": "^(?!/systems/)[^\\u0000-\\u001f\\u007f-\\u009f]+$", "description": "Who says so. /systems/ is the platform's own.", "examples": ["/shop"]},
            "type": {"type": "string", "pattern": "^(?!tol\\.)[^\\u0000-\\u001f\\u007f-\\u009f]+$", "description": "<domain>.<thing>_<past tense>.v<N>. What begins with tol. is the platform's own.", "examples": ["commerce.order_placed.v1"]},
            "subject": text("The entity as kind/id.", "customer/42"),
            "time": {"type": "string", "format": "date-time", "description": "When it happened; the moment of admission where it is absent.", "examples": ["2026-01-31T12:00:00Z"]},
            "datacontenttype": {"const": "application/json", "description": "Of data; JSON where it is absent. Other media types come as text, or in data_base64."},
            "dataschema": text("The JSON Schema of the type and version; set by the node for known types.", "/schemas/commerce.order_placed.v1.json"),
            "correlationid": text("The request it belongs to; the event's own id where it is absent.", "order-1001"),
            "causationid": text("The event that caused it.", "click-7"),
            "data": {"description": "The data."},
        },
        "propertyNames": {"pattern": "^[a-z0-9]+$"},
        "additionalProperties": {"type": ["string", "integer", "boolean"], "minimum": i32::MIN, "maximum": i32::MAX, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$", "description": "Extensions."},
    })
}

fn operation(route: &Spec) -> Value {
    let mut operation = json!({
        "operationId": route.operation,
        "tags": [route.tag],
        "summary": route.summary,
        "description": description(route),
        "parameters": route.parameters.iter().map(|parameter| describe(parameter)).collect::<Vec<_>>(),
        "responses": responses(route),
        "security": match route.access {
            Access::Open | Access::Signed => json!([]),
            Access::Scope(_) => json!([{"bearer": []}, {"header": []}]),
        },
    });
    if let Some(scope) = route.access.scope() {
        operation["x-scope"] = scope.0.into();
    }
    match route.body {
        Body::None => {}
        Body::Events => operation["requestBody"] = events_body(),
        Body::Json(name) => operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": reference(name)}}}),
        Body::OptionalJson(name) => operation["requestBody"] = json!({"required": false, "content": {"application/json": {"schema": reference(name)}}}),
        Body::AnyJson(example) => {
            let example: Value = serde_json::from_str(example).unwrap_or_default();
            operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": {"type": "object"}, "example": example}}});
        }
        Body::Other(media_types) => {
            let content: Map<String, Value> = media_types.iter().map(|one| ((*one).to_owned(), json!({"schema": {"type": "string"}}))).collect();
            operation["requestBody"] = json!({"required": true, "content": content});
        }
    }
    if route.body == Body::Events {
        let trace = json!({"name": "traceparent", "in": "header", "required": false, "schema": {"type": "string"}, "description": "W3C trace context; given to events that have none."});
        if let Some(parameters) = operation["parameters"].as_array_mut() {
            parameters.push(trace);
        }
    }
    operation
}

fn description(route: &Spec) -> String {
    let access = match route.access {
        Access::Scope(scope) => format!("Scope: {scope}."),
        Access::Open => "Needs no key.".to_owned(),
        Access::Signed => "Each request is signed by its sender; needs no key.".to_owned(),
    };
    if route.description.is_empty() { access } else { format!("{} {access}", route.description) }
}

fn describe(parameter: &Parameter) -> Value {
    let schema = match parameter.shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Needed => json!({"type": "string", "minLength": 1}),
        Shape::Word(words) | Shape::NeededWord(words) => json!({"type": "string", "enum": words}),
        Shape::Integer(minimum, maximum, default) => json!({"type": "integer", "minimum": minimum, "maximum": maximum, "default": default}),
        Shape::Moment => json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}),
        Shape::Positions => json!({"type": "array", "items": {"type": "string", "pattern": "^.+/[0-9]+:[0-9]+$"}}),
    };
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    let mut described = json!({"name": parameter.name, "in": place, "required": parameter.place == Place::Path || matches!(parameter.shape, Shape::Needed | Shape::NeededWord(_)), "schema": schema, "description": parameter.description});
    if parameter.shape == Shape::Positions {
        described["explode"] = true.into();
    } else if let Shape::Integer(..) = parameter.shape {
        described["examples"] = json!({"one": {"value": parameter.example.parse::<u64>().unwrap_or_default()}});
    } else if !parameter.example.is_empty() {
        described["examples"] = json!({"one": {"value": parameter.example}});
    }
    described
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn events_body() -> Value {
    let event = json!({
        "specversion": "1.0", "id": "order-1001", "source": "/shop", "type": "commerce.order_placed.v1", "subject": "customer/42", "time": "2026-01-31T12:00:00Z",
        "data": {"order_id": "1001", "customer_id": "42", "total": {"minor": 1177, "currency": "USD"}},
    });
    json!({
        "required": true,
        "content": {
            STRUCTURED: {"schema": reference("NewEvent"), "example": event},
            BATCH: {"schema": {"type": "array", "items": reference("NewEvent")}, "example": [event]},
        },
    })
}

fn content(content: Content) -> Option<Value> {
    Some(match content {
        Content::Json(name) => json!({"application/json": {"schema": reference(name)}}),
        Content::List(name) => json!({"application/json": {"schema": {"type": "array", "items": reference(name)}}}),
        Content::AnyJson => json!({"application/json": {"schema": {}}}),
        Content::Other("application/schema+json") => json!({"application/schema+json": {"schema": {}}}),
        Content::Other(media_type) => json!({media_type: {"schema": {"type": "string"}}}),
        Content::Empty => return None,
    })
}

fn responses(route: &Spec) -> Value {
    let mut responses = Map::new();
    for Reply { status, description, content: body } in route.answers {
        let mut response = json!({"description": description});
        if let Some(body) = content(*body) {
            response["content"] = body;
        }
        responses.insert(status.to_string(), response);
    }
    for kind in route.all_problems() {
        let line = format!("[{}]({}): {}.", kind.slug, kind.uri(), kind.title);
        let response = responses.entry(kind.status.to_string()).or_insert_with(|| {
            let mut response = json!({"description": "", "content": {PROBLEM_JSON: {"schema": reference("Problem")}}});
            if matches!(kind.status, 429 | 503 | 504) {
                response["headers"] = json!({"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds after which a retry makes sense."}});
            }
            response
        });
        let before = response["description"].as_str().unwrap_or_default();
        response["description"] = if before.is_empty() { line } else { format!("{before} {line}") }.into();
    }
    Value::Object(responses)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeSet;

    use tol_plug::Kind;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                    found.insert(target.to_owned());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for target in found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some_and(Value::is_object), "{target} leads nowhere");
        }
    }

    #[test]
    fn every_schema_and_every_kind_of_problem_is_used() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is used nowhere");
        }
        // These belong to no route: an unknown path, and a method a path does not have.
        let everywhere = [Kind::NOT_FOUND, Kind::METHOD_NOT_ALLOWED, Kind::SYSTEM_DISABLED];
        let of_protocols = || registry::descriptions().iter().flat_map(|plug| &plug.protocols).flat_map(|protocol| protocol.routes.iter().copied());
        for kind in registry::problems().filter(|kind| !everywhere.contains(kind)) {
            assert!(specs().chain(of_protocols()).any(|spec| spec.all_problems().contains(&kind)), "no route answers {}", kind.slug);
        }
    }

    #[test]
    fn a_query_of_a_system_needs_its_subject() {
        let paths = &document()["paths"];
        for path in ["/systems/{name}/queries/{query}", "/systems/revenue-agent-system/queries/mrr"] {
            let parameters = paths[path]["get"]["parameters"].as_array().cloned().unwrap_or_default();
            let subject = parameters.iter().find(|parameter| parameter["name"] == "subject").cloned().unwrap_or_default();
            assert_eq!((&subject["required"], &subject["schema"]["minLength"]), (&json!(true), &json!(1)), "{path}");
        }
        let parameters = &paths["/systems/revenue-agent-system/queries/mrr"]["get"]["parameters"];
        assert_eq!(parameters[1]["schema"]["pattern"], "^[A-Z]{3}$", "the currency");
    }

    #[test]
    fn operations_have_unique_ids_answers_and_summaries() {
        let mut ids = BTreeSet::new();
        for route in specs() {
            assert!(ids.insert(route.operation), "{}", route.operation);
            assert!(!route.answers.is_empty() && !route.summary.is_empty(), "{} {}", route.method, route.path);
        }
    }
}
