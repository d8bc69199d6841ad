//! `tol events` and `tol trace`: search, follow, show.

use std::io::BufRead;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::cli::client::{Client, encode};
use crate::cli::error::Error;
use crate::cli::output::{self, Format};

const COLUMNS: [&str; 5] = ["time", "type", "subject", "id", "source"];
/// Time between tries to follow again.
const RECONNECT: Duration = Duration::from_secs(1);

/// What to do with events.
#[derive(Debug, clap::Subcommand)]
pub enum EventsCommand {
    /// Searches the log.
    Search {
        /// Which ones.
        #[command(flatten)]
        filter: Filter,
        /// Not before this time (RFC 3339).
        #[arg(long)]
        from: Option<String>,
        /// Not after this time (RFC 3339).
        #[arg(long)]
        to: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Where the previous page ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Follows the log; ends with Ctrl-C.
    Tail {
        /// Which ones.
        #[command(flatten)]
        filter: Filter,
        /// Ends after so many.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Shows one event.
    Get {
        /// Its id.
        id: String,
    },
}

/// Which events.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Of this subject, e.g. customer/42.
    #[arg(long)]
    pub subject: Option<String>,
    /// Of this type, e.g. commerce.order_placed.v1.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Of this request.
    #[arg(long)]
    pub correlation: Option<String>,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let named = [("subject", &self.subject), ("type", &self.event_type), ("correlation", &self.correlation)];
        optional(&named)
    }
}

/// The query parameters that are given.
pub(crate) fn optional(named: &[(&'static str, &Option<String>)]) -> Vec<(&'static str, String)> {
    named.iter().filter_map(|(name, value)| Some((*name, (*value).clone()?))).collect()
}

/// Prints a page of `{"items":[…],"next_cursor"}`: rows, then how to go on.
pub(crate) fn print_page(format: Format, page: &Value, columns: &[&str]) -> Result<(), Error> {
    let rows = if page["items"].is_array() { &page["items"] } else { page };
    match format {
        Format::Json => output::print(format, page, &[]),
        Format::Table => {
            output::print(format, rows, columns)?;
            if let Some(cursor) = page["next_cursor"].as_str() {
                output::note(&format!("more: --cursor {cursor}"));
            }
            Ok(())
        }
    }
}

impl EventsCommand {
    /// Runs it.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        match self {
            EventsCommand::Search { filter, from, to, limit, cursor } => {
                let mut query = filter.query();
                query.extend(optional(&[("from", from), ("to", to), ("cursor", cursor)]));
                query.push(("limit", limit.to_string()));
                print_page(format, &client.get("/events", &query)?, &COLUMNS)
            }
            EventsCommand::Get { id } => output::print(format, &client.get(&format!("/events/{}", encode(id)), &[])?, &[]),
            EventsCommand::Tail { filter, count } => tail(client, format, &filter.query(), count.unwrap_or(u64::MAX)),
        }
    }
}

fn tail(client: &Client, format: Format, query: &[(&str, String)], count: u64) -> Result<(), Error> {
    let mut left = count;
    let mut stream = client.stream("/events/stream", query)?;
    while left > 0 {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(read) if read > 0 => {
                let Some(data) = line.strip_prefix("data:") else { continue };
                output::line(&tail_line(format, data.trim()));
                left -= 1;
            }
            _ => {
                // Ended or broken: the node was restarted. Events in between are in `tol events search`.
                output::note("the stream ended; connecting again");
                sleep(RECONNECT);
                stream = client.stream("/events/stream", query)?;
            }
        }
    }
    Ok(())
}

fn tail_line(format: Format, data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    if format == Format::Json || !event.is_object() {
        return data.to_owned();
    }
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    format!("{}  {}  {}  {}  {}", text("time"), text("type"), text("subject"), text("id"), event["data"])
}

/// Prints the tree of causes of a request.
///
/// # Errors
/// What the client says.
pub fn trace(client: &Client, format: Format, correlation: &str) -> Result<(), Error> {
    let tree = client.get(&format!("/trace/{}", encode(correlation)), &[])?;
    if format == Format::Json {
        return output::print(format, &tree, &[]);
    }
    let mut lines = Vec::new();
    branches(&tree, 0, &mut lines);
    if lines.is_empty() {
        return output::print(Format::Json, &tree, &[]);
    }
    lines.iter().for_each(|line| output::line(line));
    Ok(())
}

/// A line an event, indented below its cause. Wherever a node keeps its children, arrays and objects are walked.
fn branches(tree: &Value, depth: usize, lines: &mut Vec<String>) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| branches(item, depth, lines)),
        Value::Object(fields) => {
            let event = if fields.contains_key("event") { &tree["event"] } else { tree };
            let is_event = event["type"].is_string();
            if is_event {
                let text = |name: &str| event[name].as_str().unwrap_or("-");
                lines.push(format!("{}{}  {}  {}  {}", "  ".repeat(depth), text("type"), text("subject"), text("time"), text("id")));
            }
            for name in ["roots", "children", "effects", "caused"] {
                branches(&tree[name], depth + usize::from(is_event), lines);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer};
    use serde_json::json;

    #[test]
    fn tail_prints_each_event_of_the_stream_and_ends_after_count() {
        let body = ": hello\nid: 1\ndata: {\"id\":\"1\"}\n\ndata: {\"id\":\"2\"}\n\n";
        let node = FakeNode::start(vec![answer(200, body)]);
        tail(&node.client(), Format::Json, &[("subject", "customer/1".into())], 2).unwrap();
        assert!(node.requests()[0].head.starts_with("get /events/stream?subject=customer%2f1 "));
    }

    #[test]
    fn causes_are_indented() {
        let mut lines = Vec::new();
        branches(&json!({"roots": [{"event": {"type": "a", "id": "1"}, "children": [{"event": {"type": "b", "id": "2"}}]}]}), 0, &mut lines);
        assert!(lines[0].starts_with("a ") && lines[1].starts_with("  b "), "{lines:?}");
    }
}
