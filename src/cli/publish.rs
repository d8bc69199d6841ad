//! `tol publish`: CloudEvents as JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use serde_json::json;
use serde_json::value::RawValue;

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::sender::{Sender, partly};

/// Arguments of `tol publish`.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// File of CloudEvents, one JSON object a line; `-` is standard input.
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Events a request.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// How often a batch is tried again when the node is busy (503) or away. The ids stay the same, so nothing is stored twice.
    #[arg(long, default_value_t = 20)]
    pub retries: u32,
}

impl PublishArgs {
    /// Sends the file and prints what was accepted, and where.
    ///
    /// # Errors
    /// A line that is not JSON, a refusal, a node that is away for too long.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let from_stdin = self.file.as_os_str() == "-";
        let mut sender = Sender::new(client, self.batch as usize, self.retries);
        let outcome = if from_stdin {
            send_lines(&mut sender, std::io::stdin().lock())
        } else {
            let file = File::open(&self.file).map_err(|error| Error::Failed(format!("{} cannot be read: {error}", self.file.display())))?;
            send_lines(&mut sender, BufReader::new(file))
        };
        let sent = sender.sent;
        output::print(format, &json!(sent), &[])?;
        outcome.map_err(|error| partly(error, &sent, "publish the whole file again when it is mended: what is there counts as a duplicate"))
    }
}

fn send_lines(sender: &mut Sender<'_>, lines: impl BufRead) -> Result<(), Error> {
    for (index, line) in lines.lines().enumerate() {
        let number = index as u64 + 1;
        let line = line.map_err(|error| Error::Failed(format!("line {number} cannot be read: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let is_object = line.trim_start().starts_with('{');
        match serde_json::from_str::<&RawValue>(&line) {
            Ok(_) if is_object => sender.push(number, line)?,
            Ok(_) => return stop_at(sender, format!("line {number} is not a JSON object; each line is one CloudEvent")),
            Err(error) => return stop_at(sender, format!("line {number} is not JSON: {error}; each line is one CloudEvent")),
        };
    }
    sender.flush()
}

/// Sends what came before the bad line, then tells about it.
fn stop_at(sender: &mut Sender<'_>, message: String) -> Result<(), Error> {
    sender.flush()?;
    Err(Error::Failed(message))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer};

    #[test]
    fn a_bad_line_is_named_and_what_came_before_is_sent() {
        let node = FakeNode::start(vec![answer(200, r#"{"accepted":1,"duplicates":0,"positions":{}}"#)]);
        let client = node.client();
        let mut sender = Sender::new(&client, 10, 0);
        let error = send_lines(&mut sender, "{\"id\":\"1\"}\n\n{oops\n".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
        let sent = sender.sent;
        assert_eq!((sent.accepted, partly(error, &sent, "").exit_code()), (1, 6));
        assert!(node.requests()[0].head.contains("authorization: bearer tol_test"));
    }
}
