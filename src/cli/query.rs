//! `tol query` and `tol topics`.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::cli::client::{Client, Reply, encode};
use crate::cli::error::Error;
use crate::cli::events::{optional, print_page};
use crate::cli::output::{self, Format};

/// Time between looks at an as-of job.
const POLL: Duration = Duration::from_millis(200);

/// Arguments of `tol query`.
#[derive(Debug, clap::Args)]
pub struct QueryArgs {
    /// The projection, e.g. customers; none lists them.
    pub projection: Option<String>,
    /// A row's key, e.g. 42; none lists rows.
    pub row: Option<String>,
    /// State as of this time: RFC 3339, or a date, which means its end.
    #[arg(long)]
    pub as_of: Option<String>,
    /// What was known at this time: RFC 3339, or a date, which means its end.
    #[arg(long, conflicts_with = "as_of")]
    pub known_at: Option<String>,
    /// Waits until the projection has this position (topic/partition:position); may be repeated.
    #[arg(long)]
    pub min_position: Vec<String>,
    /// At most so many rows.
    #[arg(long)]
    pub limit: Option<u32>,
    /// Where the previous page ended.
    #[arg(long)]
    pub cursor: Option<String>,
}

impl QueryArgs {
    /// Runs the query; waits for an as-of of the whole projection to be folded.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let Some(projection) = &self.projection else {
            return output::print(format, &client.get("/projections", &[])?, &["name", "version", "generation", "lag", "set_aside", "rebuild.state"]);
        };
        let limit = self.limit.map(|limit| limit.to_string());
        let mut query = optional(&[("as_of", &self.as_of), ("known_at", &self.known_at), ("limit", &limit), ("cursor", &self.cursor)]);
        query.extend(self.min_position.iter().map(|position| ("min_position", position.clone())));
        let path = match &self.row {
            Some(row) => format!("/projections/{}/{}", encode(projection), encode(row)),
            None => format!("/projections/{}", encode(projection)),
        };
        let answer = wait_for(client, &path, &query)?;
        match self.row {
            Some(_) => output::print(format, &answer, &[]),
            None => print_rows(format, answer),
        }
    }
}

fn wait_for(client: &Client, path: &str, query: &[(&str, String)]) -> Result<Reply, Error> {
    let bar = output::progress_bar(1_000, "as of that time {bar:30} {percent}%");
    loop {
        let (status, answer) = client.get_with_status(path, query)?;
        if status != 202 {
            bar.finish_and_clear();
            return Ok(answer);
        }
        if answer["state"] == "failed" {
            return Err(Error::Failed(format!("the state as of that time could not be folded: {}", answer.text)));
        }
        bar.set_position((answer["progress"].as_f64().unwrap_or_default() * 1_000.0) as u64);
        sleep(POLL);
    }
}

/// Rows of `{"key","value":{…}}`: for people a column a field.
fn print_rows(format: Format, page: Reply) -> Result<(), Error> {
    if format == Format::Json {
        return output::print(format, &page, &[]);
    }
    let first = page["items"][0]["value"].as_object();
    let names: Vec<String> = first.into_iter().flatten().map(|(name, _)| format!("value.{name}")).collect();
    let columns: Vec<&str> = std::iter::once("key").chain(names.iter().map(String::as_str)).collect();
    print_page(format, &page, &columns)
}

/// Lists the topics the node knows.
///
/// # Errors
/// What the client says.
pub fn topics(client: &Client, format: Format) -> Result<(), Error> {
    let version = client.get("/version", &[])?;
    let topics = match &version["topics"] {
        serde_json::Value::Null => return Err(Error::Failed("this node does not tell its topics; is it older than this tol?".into())),
        // Names alone, as `{"name": partitions}`, or as objects: all are shown as rows.
        serde_json::Value::Object(by_name) => by_name.iter().map(|(name, partitions)| json!({"name": name, "partitions": partitions})).collect(),
        other => other.clone(),
    };
    output::print(format, &topics, &[])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer};

    #[test]
    fn a_query_as_of_waits_for_the_job() {
        let node = FakeNode::start(vec![answer(202, r#"{"state":"running","progress":0.5}"#), answer(200, r#"{"items":[],"next_cursor":null}"#)]);
        let query = QueryArgs {
            projection: Some("customers".into()),
            row: None,
            as_of: Some("1997-06-30".into()),
            known_at: None,
            min_position: vec!["facts.customer/3:120".into(), "facts.customer/4:1".into()],
            limit: Some(10),
            cursor: None,
        };
        query.run(&node.client(), Format::Json).unwrap();
        let head = &node.requests()[1].head;
        assert!(head.starts_with("get /projections/customers?as_of=1997-06-30&limit=10&min_position=facts.customer%2f3%3a120&min_position="), "{head}");
    }

    #[test]
    fn what_was_known_at_a_time_is_asked_for() {
        let node = FakeNode::start(vec![answer(200, r#"{"key":"42","value":{}}"#)]);
        let query = QueryArgs {
            projection: Some("customers".into()),
            row: Some("42".into()),
            as_of: None,
            known_at: Some("2026-01-31".into()),
            min_position: Vec::new(),
            limit: None,
            cursor: None,
        };
        query.run(&node.client(), Format::Json).unwrap();
        let head = &node.requests()[0].head;
        assert!(head.starts_with("get /projections/customers/42?known_at=2026-01-31 "), "{head}");
    }
}
