//! `tol set-aside`.

use serde_json::Value;

use crate::cli::client::{Client, encode};
use crate::cli::error::Error;
use crate::cli::events::{optional, print_page};
use crate::cli::output::{self, Format};

/// Arguments of `tol set-aside`.
#[derive(Debug, clap::Args)]
pub struct SetAsideArgs {
    /// The projection; none tells how many each has.
    pub projection: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub limit: Option<u32>,
    /// Where the previous page ended.
    #[arg(long)]
    pub cursor: Option<String>,
}

impl SetAsideArgs {
    /// Prints the list.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let Some(projection) = &self.projection else {
            return output::print(format, &client.get("/projections", &[])?, &["name", "set_aside", "lag", "failed"]);
        };
        let limit = self.limit.map(|limit| limit.to_string());
        let query = optional(&[("limit", &limit), ("cursor", &self.cursor)]);
        let page = client.get(&format!("/projections/{}/set-aside", encode(projection)), &query)?;
        print_page(format, &page, &["position", "type", "subject", "id", "recorded_at", "problem"])?;
        if page["items"].as_array().is_some_and(|items: &Vec<Value>| !items.is_empty()) {
            output::note(&format!("`tol rebuild {projection}` folds them again, after a repair"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer};

    #[test]
    fn a_page_of_a_projection_is_asked_for() {
        let node = FakeNode::start(vec![
            answer(200, r#"{"items":[{"position":"facts.customer/3:120","problem":"x"}],"next_cursor":"3:121"}"#),
            answer(200, r#"[{"name":"customers","set_aside":1}]"#),
        ]);
        let of = |projection: Option<&str>| SetAsideArgs { projection: projection.map(str::to_owned), limit: Some(5), cursor: Some("3:7".into()) };
        of(Some("customers")).run(&node.client(), Format::Table).unwrap();
        of(None).run(&node.client(), Format::Table).unwrap();
        let heads: Vec<String> = node.requests().into_iter().map(|seen| seen.head).collect();
        assert!(heads[0].starts_with("get /projections/customers/set-aside?limit=5&cursor=3%3a7 "), "{}", heads[0]);
        assert!(heads[1].starts_with("get /projections "), "{}", heads[1]);
    }
}
