//! `tol rebuild` and `tol replay`.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::cli::client::{Client, Reply, encode};
use crate::cli::error::Error;
use crate::cli::output::{self, Format};

/// Time between looks at a rebuild.
const POLL: Duration = Duration::from_millis(200);
/// Facts may arrive while digests are taken; then it is tried again.
const REPLAY_ATTEMPTS: usize = 5;

/// Arguments of `tol rebuild`.
#[derive(Debug, clap::Args)]
pub struct RebuildArgs {
    /// The projection.
    pub projection: String,
    /// Waits until it is done, with progress.
    #[arg(long, conflicts_with = "cancel")]
    pub wait: bool,
    /// Cancels the running rebuild.
    #[arg(long)]
    pub cancel: bool,
}

/// Arguments of `tol replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The projection.
    #[arg(long)]
    pub projection: String,
}

impl RebuildArgs {
    /// Starts, waits for, or cancels a rebuild.
    ///
    /// # Errors
    /// What the client says; a rebuild that failed or was cancelled while waited for.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let path = rebuild_path(&self.projection);
        let state = match (self.cancel, self.wait) {
            (true, _) => client.delete(&path)?,
            (false, false) => client.post(&path, None)?,
            (false, true) => rebuild_and_wait(client, &self.projection)?,
        };
        output::print(format, &state, &[])
    }
}

impl ReplayArgs {
    /// Rebuilds and compares digests.
    ///
    /// # Errors
    /// [`Error::Differs`] when the rebuilt rows differ from the live ones.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let path = format!("/projections/{}/digest", encode(&self.projection));
        for _ in 0..REPLAY_ATTEMPTS {
            let live = client.get(&path, &[])?;
            rebuild_and_wait(client, &self.projection)?;
            let rebuilt = client.get(&path, &[])?;
            // Only digests at the same positions can be compared.
            if live["positions"] != rebuilt["positions"] {
                continue;
            }
            let equal = live["digest"] == rebuilt["digest"] && live["rows"] == rebuilt["rows"];
            output::print(
                format,
                &json!({"projection": self.projection, "equal": equal, "live": live["digest"], "rebuilt": rebuilt["digest"], "rows": rebuilt["rows"]}),
                &[],
            )?;
            if equal {
                return Ok(());
            }
            let (live, rebuilt) = (&live["digest"], &rebuilt["digest"]);
            return Err(Error::Differs(format!(
                "{}: the live digest {live} differs from the rebuilt {rebuilt}; keep the data folder, this is a defect to report",
                self.projection
            )));
        }
        Err(Error::Failed(format!(
            "{}: facts arrived during each of {REPLAY_ATTEMPTS} rebuilds, so digests could not be compared; try when it is quieter",
            self.projection
        )))
    }
}

fn rebuild_path(projection: &str) -> String {
    format!("/projections/{}/rebuild", encode(projection))
}

fn rebuild_and_wait(client: &Client, projection: &str) -> Result<Reply, Error> {
    let path = rebuild_path(projection);
    client.post(&path, None)?;
    let bar = output::progress_bar(1_000, "rebuilding {bar:30} {percent}% {msg}");
    loop {
        let state = client.get(&path, &[])?;
        match state["state"].as_str().unwrap_or_default() {
            "running" => {
                bar.set_position((state["progress"].as_f64().unwrap_or_default() * 1_000.0) as u64);
                bar.set_message(format!("{} events/s", state["events_per_second"]));
                sleep(POLL);
            }
            "done" => {
                bar.finish_and_clear();
                return Ok(state);
            }
            "cancelled" => return Err(Error::Failed(format!("the rebuild of {projection} was cancelled by somebody else"))),
            _ => return Err(Error::Failed(format!("the rebuild of {projection} failed: {state}; the old generation still serves"))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{FakeNode, answer};

    fn replay(digests: &[(&str, u32)]) -> Result<(), Error> {
        let mut answers = Vec::new();
        for pair in digests.chunks(2) {
            let digest =
                |(digest, position): (&str, u32)| answer(200, &format!(r#"{{"digest":"{digest}","rows":3,"positions":{{"facts.customer/0":{position}}}}}"#));
            answers.push(digest(pair[0]));
            answers.push(answer(202, r#"{"state":"running"}"#));
            answers.push(answer(200, r#"{"state":"running","progress":0.4}"#));
            answers.push(answer(200, r#"{"state":"done","progress":1}"#));
            answers.push(digest(pair[1]));
        }
        let node = FakeNode::start(answers);
        ReplayArgs { projection: "customers".into() }.run(&node.client(), Format::Json)
    }

    #[test]
    fn replay_compares_digests_at_the_same_positions_only() {
        assert!(replay(&[("a", 1), ("a", 1)]).is_ok());
        assert_eq!(replay(&[("a", 1), ("b", 1)]).unwrap_err().exit_code(), 3);
        assert!(replay(&[("a", 1), ("b", 2), ("b", 2), ("b", 2)]).is_ok());
    }
}
