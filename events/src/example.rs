//! An event of each known type that is admitted as it stands, made from the type's JSON Schema.

use serde_json::{Map, Value, json};

use crate::domain::schema_uri;
use crate::event::Event;
use crate::registry::{KnownType, ValidationError};

/// Nested schemas deeper than this are cut off: those of the platform end far above.
const DEEPEST: usize = 12;

/// Makes an event of a known type. All fields are set where the type's rules allow it, else only those that it requires. The same type always gives
/// the same event.
pub fn example(known: &KnownType) -> Value {
    let schema = (known.schema)().to_value();
    let whole = event(known, &data(&schema, true));
    if is_admitted(known, &whole) { whole } else { event(known, &data(&schema, false)) }
}

/// The description of a type without its name: `a customer ordered.`
pub fn description(known: &KnownType) -> String {
    let schema = (known.schema)().to_value();
    let text = schema["description"].as_str().unwrap_or_default();
    let named = format!("`{}`:", known.event_type);
    text.strip_prefix(&named).unwrap_or(text).trim().replace('\n', " ")
}

fn to_event(known: &KnownType, subject: &str, data: &Value) -> Event {
    let mut event = Event::new(format!("{}-1", known.name.replace(['.', '_'], "-")), "/my-tool", known.event_type, subject);
    event.data = data.to_string().into_bytes();
    event
}

fn is_admitted(known: &KnownType, event: &Value) -> bool {
    (known.validate)(&to_event(known, event["subject"].as_str().unwrap_or_default(), &event["data"]).encode().view(), &mut Vec::new()).is_ok()
}

fn event(known: &KnownType, data: &Value) -> Value {
    // The data names its subject; a wrong one is refused with the right one.
    let subject = match (known.validate)(&to_event(known, "?", data).encode().view(), &mut Vec::new()) {
        Err(ValidationError::Subject { expected, .. }) => expected,
        _ => format!("{}/42", if known.kind.is_empty() { "customer" } else { known.kind }),
    };
    json!({
        "specversion": "1.0",
        "id": format!("{}-1", known.name.replace(['.', '_'], "-")),
        "source": "/my-tool",
        "type": known.event_type,
        "subject": subject,
        "time": "2026-01-31T12:00:00Z",
        "datacontenttype": "application/json",
        "dataschema": schema_uri(known.event_type),
        "data": data,
    })
}

/// Data that fits the schema; `whole` with the fields that may be left out.
fn data(schema: &Value, whole: bool) -> Value {
    Maker { root: schema, whole }.value(schema, "", 0)
}

struct Maker<'a> {
    root: &'a Value,
    whole: bool,
}

impl Maker<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(target) = schema["$ref"].as_str().and_then(|reference| self.root.pointer(reference.strip_prefix('#')?)) {
            return self.value(target, name, depth + 1);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.iter().find(|value| !value.is_null())) {
            return first.clone();
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            if let Some(option) = schema[choice].as_array().and_then(|options| options.iter().find(|option| option["type"] != "null")) {
                return self.with_shared(self.value(option, name, depth + 1), schema, depth);
            }
        }
        match kind_of(schema) {
            "object" => self.object(schema, depth),
            "array" => match schema["prefixItems"].as_array() {
                Some(items) => items.iter().map(|item| self.value(item, name, depth + 1)).collect(),
                None if schema["items"].is_object() => json!([self.value(&schema["items"], name, depth + 1)]),
                None => json!([]),
            },
            "integer" => integer(schema, name),
            "number" => json!(0.5),
            "boolean" => json!(true),
            "string" => text(schema, name).into(),
            _ => json!("anything"),
        }
    }

    /// An alternative with the fields that all alternatives share, as those of a tagged enumeration do.
    fn with_shared(&self, chosen: Value, schema: &Value, depth: usize) -> Value {
        match (chosen, self.object(schema, depth)) {
            (Value::Object(mut fields), Value::Object(shared)) if schema["properties"].is_object() => {
                fields.extend(shared);
                Value::Object(fields)
            }
            (chosen, _) => chosen,
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
        let fields = schema["properties"].as_object().into_iter().flatten();
        let mut object: Map<String, Value> = fields
            .filter(|(name, _)| self.whole || required(name))
            .map(|(name, field)| (name.clone(), self.value(field, name, depth + 1)))
            .filter(|(_, value)| !value.is_null())
            .collect();
        if object.is_empty() && schema["additionalProperties"].is_object() {
            object.insert("name".to_owned(), self.value(&schema["additionalProperties"], "name", depth + 1));
        }
        Value::Object(object)
    }
}

/// The type of a schema, beside null.
fn kind_of(schema: &Value) -> &str {
    let kinds = schema["type"].as_array().map_or_else(|| vec![&schema["type"]], |kinds| kinds.iter().collect());
    let kind = kinds.into_iter().filter_map(Value::as_str).find(|kind| *kind != "null");
    kind.unwrap_or(if schema["properties"].is_object() { "object" } else { "" })
}

fn integer(schema: &Value, name: &str) -> Value {
    let usual = match name {
        "minor" => 1_177,
        "count" | "quantity" | "version" | "attempt" => 1,
        _ if name.ends_with("_ms") => 250,
        _ => 3,
    };
    let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
    let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
    json!(usual.clamp(least, most))
}

fn text(schema: &Value, name: &str) -> String {
    if schema["format"] == "date-time" || name.ends_with("_at") && schema["pattern"].is_null() {
        // What ends lies behind what begins.
        let is_end = ["finish", "resolve", "end", "until", "conclude", "expire"].iter().any(|word| name.contains(word));
        return if is_end { "2026-01-31T12:30:00Z" } else { "2026-01-31T12:00:00Z" }.to_owned();
    }
    if schema["pattern"] == "^[A-Z]{3}$" {
        return "USD".to_owned();
    }
    match name {
        "customer_id" => "42",
        "subject" => "customer/42",
        "service" => "web",
        "environment" => "production",
        "version" => "1.4.2",
        "commit" | "sha" => "9fceb02d0ae598e95dc970b74767f19372d61af8",
        "plan" => "pro",
        "currency" => "USD",
        "email" => "ada@example.com",
        "name" => "Ada Lovelace",
        "country" => "GB",
        "by" | "owner" => "ann",
        "node" => "node-1",
        "system" => "revenue-agent-system",
        "feature" => "export",
        "url" => "https://example.com/",
        "trial" => "rollout/new-checkout",
        "format" => "unleash",
        _ if name.ends_with("_id") => return format!("{}-1", name.trim_end_matches("_id").replace('_', "-")),
        "" => "text",
        _ => return name.replace('_', "-"),
    }
    .to_owned()
}

/// The page of all known types, in Markdown, with an example of each.
pub fn page(types: &[KnownType]) -> String {
    let mut page = String::from(HEAD);
    for domain in domains(types) {
        page.push_str(&format!("| [{0}](#{0}) | {1} |\n", domain, about(domain)));
    }
    for domain in domains(types) {
        page.push_str(&format!("\n## {domain}\n\n{}\n", about(domain)));
        for known in types.iter().filter(|known| known.domain == domain) {
            let example = format!("{:#}", example(known));
            let indented: String = example.lines().map(|line| format!("    {line}\n")).collect();
            let personal = if known.personal.is_empty() {
                String::new()
            } else {
                format!(
                    " Personal, sealed before it reaches the log: {}.",
                    known.personal.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ")
                )
            };
            let kind = if known.kind.is_empty() { "any subject".to_owned() } else { format!("subject `{}/…`", known.kind) };
            page.push_str(&format!("\n### {}\n\n{}. About {kind}.{personal}\n\n{indented}", known.event_type, sentence(&description(known))));
        }
    }
    page
}

const HEAD: &str = "# Types of events

Send any of these with `POST /events`, `tol publish` or Kafka's `inbox`; each example is admitted as it stands. A running node tells the same: `GET /schemas`,
`GET /schemas/{type}.json`, `tol types`, `tol schema TYPE`. Types of other domains are taken too, with any data; nothing built in reads them.

    tol schema commerce.order_placed.v1 --example | tol publish

This page is made from the schemas: `UPDATE_SCHEMAS=1 cargo test --release -p tol-events --test integration examples::` writes it.

| domain | |
|---|---|
";

fn domains(types: &[KnownType]) -> Vec<&'static str> {
    let mut domains: Vec<&'static str> = types.iter().map(|known| known.domain).collect();
    domains.dedup();
    domains
}

fn about(domain: &str) -> &'static str {
    match domain {
        "billing" => "Facts of a billing system: subscriptions, payments, refunds of payments.",
        "cdp" => "Who is who, audiences and erasures: requests, and what `intelligent-customer-data-platform` decides.",
        "commerce" => "Facts of a shop: customers, orders, refunds of orders.",
        "delivery" => "Facts of a delivery pipeline and of incidents; releases and rollbacks are decided by `intelligent-ci-cd-orchestrator`.",
        "engagement" => "What people do and who they say they are, as analytics SDKs send it.",
        "flags" => "Requests and reports about feature flags; what `enterprise-feature-flag-system` and `flag-attribution` decide from them.",
        "revenue" => "Decided by `revenue-agent-system`.",
        "supervision" => "Observed by the node itself.",
        "tree" => "Decided by `tree-of-life-system`, and records of what operators did.",
        "usage" => "Facts of a product about its use.",
        _ => "",
    }
}

/// With a capital letter, without the full stop.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
