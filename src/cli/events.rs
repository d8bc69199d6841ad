//! `tol events` and `tol trace`: search, follow, show.

use std::io::BufRead;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::cli::client::{Client, Reply, encode};
use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::people;

const COLUMNS: [&str; 5] = ["time", "type", "subject", "id", "source"];
/// Time between tries to follow again.
const RECONNECT: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1_000 });

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
        /// Waits until this position (topic/partition:position) is indexed; may be repeated.
        #[arg(long)]
        min_position: Vec<String>,
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
        /// Begins at the start of the log (`start`), or with what was recorded at this time (RFC 3339, or a date); now, where it is left out.
        #[arg(long)]
        from: Option<String>,
        /// Ends after so many.
        #[arg(long)]
        count: Option<u64>,
    },
    /// Shows one event.
    Get {
        /// Its id.
        id: String,
        /// Its source, where several used the id.
        #[arg(long)]
        source: Option<String>,
        /// Waits until this position (topic/partition:position) is indexed; may be repeated.
        #[arg(long)]
        min_position: Vec<String>,
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
pub(crate) fn print_page(format: Format, page: &Reply, columns: &[&str]) -> Result<(), Error> {
    let rows = if page["items"].is_array() { &page["items"] } else { &page.value };
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
            EventsCommand::Search { filter, from, to, min_position, limit, cursor } => {
                let mut query = filter.query();
                query.extend(min_position.iter().map(|position| ("min_position", position.clone())));
                query.extend(optional(&[("from", from), ("to", to), ("cursor", cursor)]));
                query.push(("limit", limit.to_string()));
                print_page(format, &client.get("/events", &query)?, &COLUMNS)
            }
            EventsCommand::Get { id, source, min_position } => {
                let mut query = optional(&[("source", source)]);
                query.extend(min_position.iter().map(|position| ("min_position", position.clone())));
                output::print(format, &client.get(&format!("/events/{}", encode(id)), &query)?, &[])
            }
            EventsCommand::Tail { filter, from, count } => {
                let mut query = filter.query();
                query.extend(optional(&[("from", from)]));
                tail(client, format, &query, count.unwrap_or(u64::MAX))
            }
        }
    }
}

/// Prints events as they come. When the stream ends, it goes on after the last event that was printed, so nothing is missed and
/// nothing printed twice, also across a restart of the node.
fn tail(client: &Client, format: Format, query: &[(&str, String)], count: u64) -> Result<(), Error> {
    let mut stream = client.stream("/events/stream", query, None)?;
    let mut incoming = Incoming::default();
    let mut left = count;
    while left > 0 {
        let mut line = String::new();
        if matches!(stream.read_line(&mut line), Ok(read) if read > 0) && line.ends_with('\n') {
            if let Some(data) = incoming.line(line.trim_end_matches(['\r', '\n'])) {
                output::line(&tail_line(format, &data));
                left -= 1;
            }
            continue;
        }
        output::note("the stream ended; connecting again");
        incoming.broken();
        stream = loop {
            sleep(RECONNECT);
            match client.stream("/events/stream", query, incoming.last_id.as_deref()) {
                Err(Error::NotReachable { .. }) => {}
                other => break other?,
            }
        };
    }
    Ok(())
}

/// Server-sent events, line by line.
#[derive(Default)]
struct Incoming {
    /// Id of the last event that was complete: what `Last-Event-ID` is to be.
    last_id: Option<String>,
    /// Id of the event that is arriving.
    id: Option<String>,
    data: String,
}

impl Incoming {
    /// Takes one line; an empty one completes an event, whose data is returned.
    fn line(&mut self, line: &str) -> Option<String> {
        let value = |field: &str| line.strip_prefix(field).map(|value| value.strip_prefix(' ').unwrap_or(value));
        if line.is_empty() {
            // An id without data is remembered, too: it tells where the stream began.
            self.last_id = self.id.take().or(self.last_id.take());
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then_some(data);
        }
        if let Some(id) = value("id:") {
            self.id = Some(id.to_owned());
        } else if let Some(data) = value("data:") {
            self.data.push_str(data);
        }
        None
    }

    /// Drops what arrived by half: it comes again.
    fn broken(&mut self) {
        (self.id, self.data) = (None, String::new());
    }
}

fn tail_line(format: Format, data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    if format == Format::Json || !event.is_object() {
        return data.to_owned();
    }
    let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
    format!("{}  {}  {}  {}  {}", text("time"), text("type"), text("subject"), text("id"), people::cell("data", &event["data"]))
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
        let body = ": hello\nid: 1\ndata: {\"id\":\"1\"}\n\nid: 2\ndata: {\"id\":\"2\"}\n\n";
        let node = FakeNode::start(vec![answer(200, body)]);
        tail(&node.client(), Format::Json, &[("subject", "customer/1".into())], 2).unwrap();
        assert!(node.requests()[0].head.starts_with("get /events/stream?subject=customer%2f1 "));
    }

    #[test]
    fn followed_events_are_lines_for_people() {
        let data = r#"{"time":"T","type":"a.b.v1","subject":"customer/1","id":"1","data":{"total":{"minor":1177,"currency":"USD"},"order_id":"o1"}}"#;
        assert_eq!(tail_line(Format::Table, data), "T  a.b.v1  customer/1  1  order_id o1, total 11.77 USD");
        assert_eq!(tail_line(Format::Json, data), data);
    }

    #[test]
    fn a_stream_that_breaks_goes_on_after_the_last_complete_event() {
        let busy = answer(503, r#"{"title":"Not ready","detail":"opening"}"#);
        // The second event arrives by half: its id must not be taken for one that was printed.
        let streams = ["retry: 1\nid: began\n\n", "id: 1\ndata: {}\n\nid: 2\ndata: {\"a\"", "id: 2\ndata: {}\n\n"].map(|body| answer(200, body));
        let [first, second, third] = streams;
        let node = FakeNode::start(vec![first, second, busy, third]);
        tail(&node.client(), Format::Json, &[], 2).unwrap();
        let resumed: Vec<Option<String>> =
            node.requests().iter().map(|seen| seen.head.lines().find_map(|line| line.strip_prefix("last-event-id: ")).map(str::to_owned)).collect();
        assert_eq!(resumed, [None, Some("began".into()), Some("1".into()), Some("1".into())]);
    }

    #[test]
    fn causes_are_indented() {
        let mut lines = Vec::new();
        branches(&json!({"roots": [{"event": {"type": "a", "id": "1"}, "children": [{"event": {"type": "b", "id": "2"}}]}]}), 0, &mut lines);
        assert!(lines[0].starts_with("a ") && lines[1].starts_with("  b "), "{lines:?}");
    }
}
