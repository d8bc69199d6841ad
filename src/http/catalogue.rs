//! The list of known types of events, for `GET /schemas`.

use std::sync::OnceLock;

use serde::Serialize;
use serde_json::Value;
use tol_events::{domain, example, registry};
use utoipa::ToSchema;

/// A known type of event.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EventType {
    /// The type with its version.
    #[serde(rename = "type")]
    #[schema(example = "commerce.order_placed.v1")]
    pub event_type: &'static str,
    /// Its domain.
    #[schema(example = "commerce")]
    pub domain: &'static str,
    /// The kind of its subjects; empty where they may be of any kind.
    #[schema(example = "customer")]
    pub kind: &'static str,
    /// What it says.
    pub description: String,
    /// Fields of the data that are sealed with the person's key before they reach the log.
    pub personal: &'static [&'static str],
    /// Where its JSON Schema is, relative to the node.
    pub schema: String,
    /// An event that is admitted as it stands.
    #[schema(value_type = super::api::CloudEvent)]
    pub example: Value,
}

fn all() -> Vec<EventType> {
    let types = registry::all().iter().map(|known| EventType {
        event_type: known.event_type,
        domain: known.domain,
        kind: known.kind,
        description: example::description(known),
        personal: known.personal,
        schema: domain::schema_uri(known.event_type),
        example: example::example(known),
    });
    types.collect()
}

/// The list as JSON text; made once.
pub(crate) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| serde_json::to_string(&all()).unwrap_or_default())
}
