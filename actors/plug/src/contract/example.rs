//! Requests from what rows, parameters and components declare.

use serde_json::{Map, Value};

use crate::mounted::ProtocolSpec;
use crate::{Body, Example, Parameter, Place, Shape, Spec};

/// How deep components are followed: one that refers to itself has an end.
const DEPTH: usize = 8;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) target: String,
    pub(super) content_type: String,
    pub(super) body: String,
}

/// The request that a row's example is: path and needed query parameters from the parameters' examples.
pub(super) fn request(spec: &Spec, protocol: Option<&ProtocolSpec>, components: &Value) -> Sent {
    let mut target = protocol.map_or(String::new(), |protocol| format!("/compat/{}", protocol.name));
    for segment in spec.path.split('/').skip(1) {
        target.push('/');
        match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => target.push_str(&encoded(example_of(spec, Place::Path, name.trim_start_matches('*')))),
            None => target.push_str(segment),
        }
    }
    for parameter in spec.parameters.iter().filter(|parameter| parameter.place == Place::Query && needed(parameter)) {
        add(&mut target, parameter.name, value_of(parameter));
    }
    let (content_type, body) = body(spec, components);
    Sent { target, content_type, body }
}

/// Adds a query parameter to a target.
pub(super) fn add(target: &mut String, name: &str, value: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(&format!("{}={}", encoded(name), encoded(value)));
}

/// Query parameters that have an example and may be left out.
pub(super) fn optional(spec: &Spec) -> impl Iterator<Item = (&'static str, &'static str)> {
    let parameters = spec.parameters.iter().filter(|parameter| parameter.place == Place::Query && !needed(parameter));
    parameters.map(|parameter| (parameter.name, value_of(parameter))).filter(|(_, value)| !value.is_empty())
}

/// Whether the row reads JSON.
pub(super) fn reads_json(spec: &Spec) -> bool {
    matches!(spec.body, Body::Json(_) | Body::OptionalJson(_) | Body::AnyJson(_))
}

fn needed(parameter: &Parameter) -> bool {
    matches!(parameter.shape, Shape::Needed | Shape::NeededWord(_))
}

/// A value that is valid.
fn value_of(parameter: &Parameter) -> &'static str {
    match (parameter.example, parameter.shape) {
        ("", Shape::Word([first, ..]) | Shape::NeededWord([first, ..])) => first,
        (example, _) => example,
    }
}

fn example_of(spec: &Spec, place: Place, name: &str) -> &'static str {
    let found = spec.parameters.iter().find(|parameter| parameter.place == place && parameter.name == name);
    found.map_or("x", |parameter| value_of(parameter))
}

fn body(spec: &Spec, components: &Value) -> (String, String) {
    if spec.example != Example::NONE {
        return (spec.example.content_type.to_owned(), spec.example.body.to_owned());
    }
    let json = |text: String| ("application/json".to_owned(), text);
    match spec.body {
        Body::Json(name) | Body::OptionalJson(name) => json(of_schema(&components[name], components, DEPTH).to_string()),
        Body::AnyJson(text) => json(text.to_owned()),
        Body::Other([media_type, ..]) => ((*media_type).to_owned(), String::new()),
        Body::None | Body::Events | Body::Other([]) => (String::new(), String::new()),
    }
}

/// A value that a JSON Schema describes: its example, or one of its required members' examples.
fn of_schema(schema: &Value, components: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(example) = schema.get("example").or_else(|| schema.get("default")).or_else(|| schema["examples"].get(0)) {
        return example.clone();
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return of_schema(&components[name], components, depth - 1);
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        let choices = schema[choice].as_array().into_iter().flatten();
        if let Some(first) = choices.into_iter().find(|choice| choice["type"] != "null") {
            return of_schema(first, components, depth - 1);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].as_array()?.iter().filter_map(Value::as_str).find(|kind| *kind != "null"));
    match kind {
        Some("object") => {
            let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let members = required.iter().map(|name| ((*name).to_owned(), of_schema(&schema["properties"][*name], components, depth - 1)));
            Value::Object(members.collect::<Map<String, Value>>())
        }
        Some("array") => Value::Array(vec![of_schema(&schema["items"], components, depth - 1)]),
        Some("string") if schema["format"] == "date-time" => "2026-01-05T10:00:00Z".into(),
        Some("string") => "example".into(),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => true.into(),
        _ => Value::Object(Map::new()),
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
