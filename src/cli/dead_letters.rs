//! `tol dead-letters`.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::{Client, encode};
use crate::cli::error::Error;
use crate::cli::events::print_page;
use crate::cli::output::{self, Format};

/// Time between looks at a redrive.
const POLL: Duration = Duration::from_millis(200);

/// What to do with inputs that failed too often.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLettersCommand {
    /// Lists them.
    List(Which),
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
        /// All that match.
        #[arg(long)]
        all: bool,
        /// Which, of all.
        #[command(flatten)]
        which: Which,
        /// Why; it is recorded.
        #[arg(long, requires = "all")]
        reason: Option<String>,
        /// Also those that were redriven in vain too often.
        #[arg(long, requires = "all")]
        force: bool,
        /// Only shows which would be redriven.
        #[arg(long, requires = "all")]
        dry_run: bool,
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

/// Which dead letters.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    /// Of this system only.
    #[arg(long)]
    system: Option<String>,
    /// Of this subject only.
    #[arg(long)]
    subject: Option<String>,
    /// Whose input has this type; ending in `*`, one that begins so.
    #[arg(long = "type")]
    event_type: Option<String>,
    /// Whose error contains this text.
    #[arg(long)]
    error: Option<String>,
    /// Parked at this time (RFC 3339) or later.
    #[arg(long)]
    from: Option<String>,
    /// Parked at this time (RFC 3339) or before.
    #[arg(long)]
    to: Option<String>,
}

impl Which {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let all =
            [("system", &self.system), ("subject", &self.subject), ("type", &self.event_type), ("error", &self.error), ("from", &self.from), ("to", &self.to)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

impl DeadLettersCommand {
    /// Runs it.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        match self {
            DeadLettersCommand::List(which) => print_page(
                format,
                &client.get("/dead-letters", &which.pairs())?,
                &["id", "system", "subject", "type", "parked_at", "attempts", "redrives", "error"],
            ),
            DeadLettersCommand::Show { id } => output::print(format, &find(client, id)?, &[]),
            DeadLettersCommand::Redrive { id: Some(id), .. } => {
                output::print(format, &client.post(&format!("/dead-letters/{}/redrive", encode(id)), None)?, &[])
            }
            DeadLettersCommand::Redrive { which, reason, force, dry_run, .. } => {
                let mut body = json!({"force": force, "dry_run": dry_run, "background": true});
                for (name, value) in which.pairs() {
                    body[name] = value.into();
                }
                if let Some(reason) = reason {
                    body["reason"] = reason.as_str().into();
                }
                let ended = redrive_and_wait(client, &body)?;
                output::print(format, &ended, &[])?;
                let count = |field: &str| ended[field].as_array().map_or(0, Vec::len);
                match (ended["state"].as_str(), count("failed") + count("limited")) {
                    (Some("failed"), _) => Err(Error::Failed(ended["problem"].as_str().unwrap_or("it gave up").to_owned())),
                    (_, 0) => Ok(()),
                    (_, stayed) => {
                        Err(Error::Failed(format!("{stayed} subjects stay parked; mend the cause (`tol dead-letters list` shows it) and redrive again")))
                    }
                }
            }
            DeadLettersCommand::Discard { id, reason } => {
                let body = json!({"reason": reason});
                output::print(format, &client.post(&format!("/dead-letters/{}/discard", encode(id)), Some(&body))?, &[])
            }
        }
    }
}

/// Starts a redrive and shows how far it is until it ends.
fn redrive_and_wait(client: &Client, body: &Value) -> Result<Value, Error> {
    let mut state = client.post("/dead-letters/redrive", Some(body))?;
    let bar = output::progress_bar(state["selected"].as_u64().unwrap_or_default(), "redriving {bar:30} {pos} of {len} {msg}");
    while state["state"] == "running" {
        bar.set_position(state["redriven"].as_u64().unwrap_or_default());
        sleep(POLL);
        state = client.get(&format!("/dead-letters/redrives/{}", encode(state["id"].as_str().unwrap_or_default())), &[])?;
    }
    bar.finish_and_clear();
    Ok(state)
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
    fn a_redrive_of_all_is_followed_to_its_end_and_tells_what_stays() {
        let node = FakeNode::start(vec![
            answer(202, r#"{"id":"r1","state":"running","selected":3,"redriven":0}"#),
            answer(200, r#"{"id":"r1","state":"running","selected":3,"redriven":1}"#),
            answer(200, r#"{"id":"r1","state":"done","selected":3,"redriven":2,"ids":[],"failed":[{"id":"x"}],"limited":[]}"#),
        ]);
        let which = Which { system: Some("s".into()), error: Some("no rate".into()), ..Which::default() };
        let command = DeadLettersCommand::Redrive { id: None, all: true, which, reason: Some("mended".into()), force: false, dry_run: false };
        let problem = command.run(&node.client(), Format::Json).unwrap_err();
        assert!(problem.to_string().contains("1 subjects stay parked"), "{problem}");
        let requests = node.requests();
        let sent: Value = serde_json::from_str(&requests[0].body).unwrap();
        assert_eq!(sent, json!({"system": "s", "error": "no rate", "reason": "mended", "force": false, "dry_run": false, "background": true}));
        assert!(requests[2].head.starts_with("get /dead-letters/redrives/r1 "), "{}", requests[2].head);
    }

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
