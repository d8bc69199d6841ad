//! `tol types` and `tol schema`: the known types of events.

use serde_json::Value;

use crate::cli::client::{Client, encode};
use crate::cli::error::Error;
use crate::cli::output::{self, Format};

/// Arguments of `tol types`.
#[derive(Debug, clap::Args)]
pub struct TypesArgs {
    /// Only of this domain, e.g. commerce.
    pub domain: Option<String>,
}

/// Arguments of `tol schema`.
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// The type with its version, e.g. commerce.order_placed.v1.
    pub event_type: String,
    /// Prints an event that is admitted as it stands, in one line, instead.
    #[arg(long)]
    pub example: bool,
}

impl TypesArgs {
    /// Lists the types.
    ///
    /// # Errors
    /// What the client says; a domain that is none.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let all = client.get("/schemas", &[])?;
        let Some(domain) = &self.domain else { return output::print(format, &all, &COLUMNS) };
        let types = all.as_array().into_iter().flatten();
        let wanted: Vec<Value> = types.clone().filter(|known| known["domain"] == domain.as_str()).cloned().collect();
        if wanted.is_empty() {
            let mut domains: Vec<&str> = types.filter_map(|known| known["domain"].as_str()).collect();
            domains.dedup();
            return Err(Error::Failed(format!("there is no domain {domain}; the domains are {}", domains.join(", "))));
        }
        output::print(format, &Value::Array(wanted), &COLUMNS)
    }
}

const COLUMNS: [&str; 4] = ["type", "kind", "personal", "description"];

impl SchemaArgs {
    /// Prints the JSON Schema of a type as the node serves it, or an example.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client) -> Result<(), Error> {
        let schema = client.get(&format!("/schemas/{}.json", encode(&self.event_type)), &[])?;
        if !self.example {
            return output::print(Format::Json, &schema, &[]);
        }
        let all = client.get("/schemas", &[])?;
        let found = all.as_array().into_iter().flatten().find(|known| known["type"] == self.event_type.as_str());
        let found = found.ok_or_else(|| Error::Failed(format!("this node gives no example of {}; is it older than this tol?", self.event_type)))?;
        output::line(&found["example"].to_string());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer};

    const TYPES: &str = r#"[{"type":"a.b.v1","domain":"a","example":{"id":"1"}},{"type":"c.d.v1","domain":"c","example":{"id":"2"}}]"#;

    #[test]
    fn types_are_listed_by_domain_and_a_wrong_one_is_told_the_right_ones() {
        let node = FakeNode::start(vec![answer(200, TYPES), answer(200, TYPES)]);
        TypesArgs { domain: Some("c".into()) }.run(&node.client(), Format::Json).unwrap();
        let problem = TypesArgs { domain: Some("x".into()) }.run(&node.client(), Format::Json).unwrap_err();
        assert!(problem.to_string().contains("the domains are a, c"), "{problem}");
    }

    #[test]
    fn a_schema_is_asked_for_by_type() {
        let node = FakeNode::start(vec![answer(200, "{}"), answer(200, "{}"), answer(200, TYPES)]);
        SchemaArgs { event_type: "a.b.v1".into(), example: false }.run(&node.client()).unwrap();
        SchemaArgs { event_type: "a.b.v1".into(), example: true }.run(&node.client()).unwrap();
        assert!(node.requests()[0].head.starts_with("get /schemas/a.b.v1.json "));
    }
}
