//! Events in batches to `POST /events`: retried with the same ids, counted.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use ureq::http::Method;

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output;

const BATCH_TYPE: &str = "application/cloudevents-batch+json; charset=utf-8";
/// Below the default body limit of 10 MB, with room for one large event.
const BATCH_BYTES: usize = 4_000_000;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What was sent so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Events the log did not have.
    pub accepted: u64,
    /// Events it had.
    pub duplicates: u64,
    /// Highest position acknowledged, by topic partition: give them to `--min-position` to read what was written.
    pub positions: BTreeMap<String, u64>,
    /// What the node warned about, each thing once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warned>,
}

/// What the node warned about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warned {
    /// The first line that it is about.
    pub line: u64,
    /// How many events it is about.
    pub events: u64,
    /// The kind.
    pub kind: String,
    /// What is odd.
    pub detail: String,
}

/// Warnings that are told; more of them say the same of the file.
const MOST_WARNINGS: usize = 100;

/// Collects events and sends them in batches.
pub struct Sender<'c> {
    client: &'c Client,
    batch_size: usize,
    retries: u32,
    /// Each event's JSON and the line it came from.
    waiting: Vec<(u64, String)>,
    waiting_bytes: usize,
    /// What was acknowledged.
    pub sent: Sent,
    /// Line of the last event acknowledged; all lines up to it are.
    pub acknowledged_line: u64,
}

impl<'c> Sender<'c> {
    /// Sends batches of at most `batch_size` events; each is tried again at most `retries` times.
    pub fn new(client: &'c Client, batch_size: usize, retries: u32) -> Self {
        Self { client, batch_size: batch_size.max(1), retries, waiting: Vec::new(), waiting_bytes: 0, sent: Sent::default(), acknowledged_line: 0 }
    }

    /// Adds an event. Returns true if that sent a batch.
    ///
    /// # Errors
    /// As [`Sender::flush`].
    pub fn push(&mut self, line: u64, event: String) -> Result<bool, Error> {
        let mut flushed = false;
        if self.waiting.len() >= self.batch_size || (!self.waiting.is_empty() && self.waiting_bytes + event.len() > BATCH_BYTES) {
            self.flush()?;
            flushed = true;
        }
        self.waiting_bytes += event.len() + 1;
        self.waiting.push((line, event));
        Ok(flushed)
    }

    /// Sends what waits and returns when it is durable.
    ///
    /// # Errors
    /// The node refused the batch (nothing of it is stored), or cannot be reached after all retries.
    pub fn flush(&mut self) -> Result<(), Error> {
        let Some((last_line, _)) = self.waiting.last() else { return Ok(()) };
        let last_line = *last_line;
        let mut body = String::with_capacity(self.waiting_bytes + 2);
        body.push('[');
        for (index, (_, event)) in self.waiting.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str(event);
        }
        body.push(']');
        let answer = self.post(&body)?;
        self.sent.accepted += answer["accepted"].as_u64().unwrap_or_default();
        self.sent.duplicates += answer["duplicates"].as_u64().unwrap_or_default();
        for (partition, position) in answer["positions"].as_object().into_iter().flatten() {
            let highest = self.sent.positions.entry(partition.clone()).or_default();
            *highest = (*highest).max(position.as_u64().unwrap_or_default());
        }
        self.note_warnings(&answer);
        self.acknowledged_line = last_line;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    fn note_warnings(&mut self, answer: &Value) {
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            let (kind, detail) = (warning["kind"].as_str().unwrap_or_default(), warning["detail"].as_str().unwrap_or_default());
            let events = warning["events"].as_u64().unwrap_or(1);
            if let Some(same) = self.sent.warnings.iter_mut().find(|known| known.kind == kind && known.detail == detail) {
                same.events += events;
            } else if self.sent.warnings.len() < MOST_WARNINGS {
                let index = warning["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
                let line = self.waiting.get(index).map_or(0, |(line, _)| *line);
                output::note(&format!("warning: line {line}: {detail}"));
                self.sent.warnings.push(Warned { line, events, kind: kind.to_owned(), detail: detail.to_owned() });
            }
        }
    }

    /// Whether anything was acknowledged.
    pub fn has_sent(&self) -> bool {
        self.acknowledged_line > 0
    }

    fn post(&self, body: &str) -> Result<Value, Error> {
        let mut wait = FIRST_WAIT;
        let mut tries_left = self.retries;
        loop {
            let (error, asked_wait) = match self.client.send(Method::POST, "/events", &[], Some((BATCH_TYPE, body.as_bytes().to_vec()))) {
                Ok(answer) if answer.status < 300 => {
                    let parsed = serde_json::from_str(&answer.body);
                    return parsed.map_err(|error| Error::Failed(format!("POST /events answered {} without JSON: {error}", answer.status)));
                }
                Ok(answer) if answer.status == 503 || answer.status == 429 => (self.client.refusal(&answer), answer.retry_after),
                Ok(answer) => return Err(self.located(self.client.refusal(&answer))),
                // Nothing was ever answered: more likely a wrong URL than a restart.
                Err(error) if !self.has_sent() => return Err(error),
                Err(error) => (error, None),
            };
            if tries_left == 0 {
                return Err(error);
            }
            tries_left -= 1;
            // The ids stay the same, so an event whose acknowledgement was lost counts as a duplicate.
            sleep(asked_wait.unwrap_or(wait).min(Duration::from_secs(60)));
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Adds the line to a refusal that names an event of the batch by index.
    fn located(&self, error: Error) -> Error {
        let Error::Refused(mut problem) = error else { return error };
        let line = problem.index.and_then(|index| self.waiting.get(usize::try_from(index).ok()?)).map(|(line, _)| *line);
        if let Some(line) = line {
            problem.detail = format!("line {line}: {}", problem.detail);
        }
        Error::Refused(problem)
    }
}

/// What `error` means after a part was acknowledged.
pub fn partly(error: Error, sent: &Sent, what_next: &str) -> Error {
    if sent.accepted + sent.duplicates == 0 {
        return error;
    }
    Error::Partly(format!("{error}\n{} accepted and {} duplicates before that; {what_next}", sent.accepted, sent.duplicates))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer, answer_with};

    fn event(id: u32) -> String {
        format!("{{\"specversion\":\"1.0\",\"id\":\"{id}\"}}")
    }

    #[test]
    fn a_busy_node_gets_the_same_ids_again_after_the_wait_it_asked_for() {
        let busy = answer_with(503, "retry-after: 0\r\n", r#"{"title":"Busy","detail":"no owner"}"#);
        let node = FakeNode::start(vec![busy.clone(), busy, answer(200, r#"{"accepted":2,"duplicates":1,"positions":{"facts.customer/3":120}}"#)]);
        let client = node.client();
        let mut sender = Sender::new(&client, 500, 5);
        for id in 1..=3 {
            sender.push(id.into(), event(id)).unwrap();
        }
        sender.flush().unwrap();
        let requests = node.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.body == requests[0].body && request.head.contains("cloudevents-batch+json")));
        assert_eq!((sender.sent.accepted, sender.sent.duplicates, sender.sent.positions["facts.customer/3"]), (2, 1, 120));
    }

    #[test]
    fn batches_are_as_large_as_asked_for_and_counts_add_up() {
        let ok = |n: u32, position: u32| answer(200, &format!(r#"{{"accepted":{n},"duplicates":0,"positions":{{"facts.customer/0":{position}}}}}"#));
        let node = FakeNode::start(vec![ok(2, 1), ok(2, 3), ok(1, 4)]);
        let client = node.client();
        let mut sender = Sender::new(&client, 2, 0);
        for id in 1..=5 {
            sender.push(id.into(), event(id)).unwrap();
        }
        sender.flush().unwrap();
        sender.flush().unwrap();
        let sizes: Vec<usize> = node.requests().iter().map(|request| serde_json::from_str::<Vec<Value>>(&request.body).unwrap().len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert_eq!((sender.sent.accepted, sender.sent.positions["facts.customer/0"], sender.acknowledged_line), (5, 4, 5));
    }

    #[test]
    fn a_refusal_names_the_line_and_is_not_repeated() {
        let node = FakeNode::start(vec![answer(400, r#"{"title":"Invalid event","detail":"subject is missing","index":1}"#)]);
        let client = node.client();
        let mut sender = Sender::new(&client, 10, 5);
        sender.push(7, event(1)).unwrap();
        sender.push(9, event(2)).unwrap();
        let error = sender.flush().unwrap_err();
        assert_eq!((error.exit_code(), node.requests().len()), (5, 1));
        assert!(error.to_string().contains("line 9: subject is missing"), "{error}");
    }

    #[test]
    fn a_warning_is_told_once_with_its_first_line() {
        let warned = |index: u32, events: u32| {
            let body = format!(
                r#"{{"accepted":2,"duplicates":0,"positions":{{}},"warnings":[{{"kind":"unknown-field","index":{index},"events":{events},"detail":"odd"}}]}}"#
            );
            answer(200, &body)
        };
        let node = FakeNode::start(vec![warned(1, 1), warned(0, 2)]);
        let client = node.client();
        let mut sender = Sender::new(&client, 2, 0);
        for line in [3, 7, 9, 11] {
            sender.push(line, event(1)).unwrap();
        }
        sender.flush().unwrap();
        assert_eq!(sender.sent.warnings, [Warned { line: 7, events: 3, kind: "unknown-field".to_owned(), detail: "odd".to_owned() }]);
    }

    #[test]
    fn nobody_there_is_told_at_once() {
        let url = FakeNode::unused_url();
        let client = Client::new(&url, None).unwrap();
        let mut sender = Sender::new(&client, 10, 50);
        sender.push(1, event(1)).unwrap();
        assert_eq!(sender.flush().unwrap_err().exit_code(), 4);
    }
}
