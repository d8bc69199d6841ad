//! `tol dead-letters`.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::client::{Client, Reply, encode};
use crate::cli::error::Error;
use crate::cli::events::print_page;
use crate::cli::output::{self, Format};

/// Time between looks at a redrive.
const POLL: Duration = Duration::from_millis(200);

/// What to do with inputs that failed too often.
#[derive(Debug, clap::Subcommand)]
pub enum DeadLettersCommand {
    /// Lists them.
    List {
        /// Which ones.
        #[command(flatten)]
        which: Which,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Where the previous page ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Shows one with its error and what it holds.
    Show {
        /// Its id.
        id: String,
    },
    /// Decides one again, or all; those parked behind it follow in order. A record that Kafka's inbox refused is admitted.
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
        /// File of a mended CloudEvent that is admitted in place of a record that Kafka's inbox refused; `-` is standard input.
        #[arg(long, conflicts_with = "all", value_name = "FILE")]
        event: Option<PathBuf>,
        /// Why; it is recorded.
        #[arg(long)]
        reason: Option<String>,
        /// Also those that were redriven in vain too often.
        #[arg(long, requires = "all")]
        force: bool,
        /// Only shows which would be redriven.
        #[arg(long, requires = "all")]
        dry_run: bool,
    },
    /// Gives one up; what only waited behind it is decided.
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
            DeadLettersCommand::List { which, limit, cursor } => print_page(
                format,
                &client.get("/dead-letters", &page_of(which, *limit, cursor.as_deref()))?,
                &["id", "kind", "system", "subject", "type", "parked_at", "attempts", "redrives", "waiting", "error"],
            ),
            DeadLettersCommand::Show { id } => output::print(format, &client.get(&format!("/dead-letters/{}", encode(id)), &[])?, &[]),
            DeadLettersCommand::Redrive { id: Some(id), event, reason, .. } => {
                let mut body = json!({});
                if let Some(file) = event {
                    body["event"] = read_event(file)?;
                }
                if let Some(reason) = reason {
                    body["reason"] = reason.as_str().into();
                }
                output::print(format, &client.post(&format!("/dead-letters/{}/redrive", encode(id)), Some(&body))?, &[])
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

/// The query of one page.
fn page_of(which: &Which, limit: u32, cursor: Option<&str>) -> Vec<(&'static str, String)> {
    let cursor = cursor.map(|cursor| ("cursor", cursor.to_owned()));
    which.pairs().into_iter().chain([("limit", limit.to_string())]).chain(cursor).collect()
}

/// Starts a redrive and shows how far it is until it ends.
fn redrive_and_wait(client: &Client, body: &Value) -> Result<Reply, Error> {
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

/// Reads a CloudEvent in JSON. What `tol dead-letters show --output json` printed is taken too: the event in it.
fn read_event(file: &Path) -> Result<Value, Error> {
    let text = if file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let text = text.map_err(|error| Error::Failed(format!("{} cannot be read: {error}", file.display())))?;
    let mut value: Value = serde_json::from_str(&text).map_err(|error| Error::Failed(format!("{} is not JSON: {error}", file.display())))?;
    match (value["specversion"].is_string(), value["event"].is_object()) {
        (false, true) => Ok(value["event"].take()),
        _ => Ok(value),
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
        let command = DeadLettersCommand::Redrive { id: None, all: true, which, event: None, reason: Some("mended".into()), force: false, dry_run: false };
        let problem = command.run(&node.client(), Format::Json).unwrap_err();
        assert!(problem.to_string().contains("1 subjects stay parked"), "{problem}");
        let requests = node.requests();
        let sent: Value = serde_json::from_str(&requests[0].body).unwrap();
        assert_eq!(sent, json!({"system": "s", "error": "no rate", "reason": "mended", "force": false, "dry_run": false, "background": true}));
        assert!(requests[2].head.starts_with("get /dead-letters/redrives/r1 "), "{}", requests[2].head);
    }

    #[test]
    fn the_next_page_of_a_list_is_asked_for_with_its_cursor() {
        let node = FakeNode::start(vec![answer(200, r#"{"items":[],"next_cursor":null}"#)]);
        let which = Which { system: Some("s".into()), ..Which::default() };
        DeadLettersCommand::List { which, limit: 7, cursor: Some("inbox-0-3".into()) }.run(&node.client(), Format::Json).unwrap();
        assert!(node.requests()[0].head.starts_with("get /dead-letters?system=s&limit=7&cursor=inbox-0-3 "), "{}", node.requests()[0].head);
    }

    #[test]
    fn one_is_redriven_with_the_event_that_show_printed_and_somebody_mended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mended.json");
        std::fs::write(&file, r#"{"id":"inbox-0-7","event":{"specversion":"1.0","id":"o7"},"record":{}}"#).unwrap();
        let node = FakeNode::start(vec![answer(200, "{}")]);
        let which = Which::default();
        let command = DeadLettersCommand::Redrive {
            id: Some("inbox-0-7".into()),
            all: false,
            which,
            event: Some(file),
            reason: Some("typo".into()),
            force: false,
            dry_run: false,
        };
        command.run(&node.client(), Format::Json).unwrap();
        let request = &node.requests()[0];
        assert!(request.head.starts_with("post /dead-letters/inbox-0-7/redrive "), "{}", request.head);
        let sent: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(sent, json!({"event": {"specversion": "1.0", "id": "o7"}, "reason": "typo"}));
    }
}
