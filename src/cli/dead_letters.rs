//! `tol dead-letters`.

use serde_json::{Value, json};

use crate::cli::client::{Client, encode};
use crate::cli::error::Error;
use crate::cli::events::print_page;
use crate::cli::output::{self, Format};

/// What to do with inputs that failed too often.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLettersCommand {
    /// Lists them.
    List {
        /// Of this system only.
        #[arg(long)]
        system: Option<String>,
    },
    /// Shows one with its error.
    Show {
        /// Its id.
        id: String,
    },
    /// Decides one again, or all; those parked behind it follow in order.
    Redrive {
        /// Its id.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All.
        #[arg(long)]
        all: bool,
        /// Of this system only.
        #[arg(long, requires = "all")]
        system: Option<String>,
    },
    /// Gives one up.
    Discard {
        /// Its id.
        id: String,
        /// Why; it is recorded.
        #[arg(long)]
        reason: String,
    },
}

impl DeadLettersCommand {
    /// Runs it.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        match self {
            DeadLettersCommand::List { system } => {
                let query: Vec<_> = system.iter().map(|name| ("system", name.clone())).collect();
                print_page(format, &client.get("/dead-letters", &query)?, &["id", "system", "subject", "type", "attempts", "error"])
            }
            DeadLettersCommand::Show { id } => output::print(format, &find(client, id)?, &[]),
            DeadLettersCommand::Redrive { id: Some(id), .. } => {
                output::print(format, &client.post(&format!("/dead-letters/{}/redrive", encode(id)), None)?, &[])
            }
            DeadLettersCommand::Redrive { system, .. } => {
                let body = system.as_ref().map_or_else(|| json!({}), |name| json!({"system": name}));
                output::print(format, &client.post("/dead-letters/redrive", Some(&body))?, &[])
            }
            DeadLettersCommand::Discard { id, reason } => {
                let body = json!({"reason": reason});
                output::print(format, &client.post(&format!("/dead-letters/{}/discard", encode(id)), Some(&body))?, &[])
            }
        }
    }
}

/// Looks for one through all pages of the list: it has no address of its own.
fn find(client: &Client, id: &str) -> Result<Value, Error> {
    let mut query: Vec<(&str, String)> = Vec::new();
    loop {
        let page = client.get("/dead-letters", &query)?;
        let rows = page["items"].as_array().or_else(|| page.as_array());
        if let Some(found) = rows.into_iter().flatten().find(|row| row["id"] == id) {
            return Ok(found.clone());
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => query = vec![("cursor", cursor.to_owned())],
            None => return Err(Error::Failed(format!("there is no dead letter {id}; `tol dead-letters list` shows them, redriven ones are gone"))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer};

    #[test]
    fn one_is_found_on_a_later_page() {
        let node = FakeNode::start(vec![
            answer(200, r#"{"items":[{"id":"a"}],"next_cursor":"2"}"#),
            answer(200, r#"{"items":[{"id":"b","error":"boom"}],"next_cursor":null}"#),
        ]);
        assert_eq!(find(&node.client(), "b").unwrap()["error"], "boom");
        assert!(node.requests()[1].head.starts_with("get /dead-letters?cursor=2 "));
    }
}
