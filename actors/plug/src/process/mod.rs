//! Child processes: bounded in time, output and resources, killed as a group, and never left behind.
//!
//! ```no_run
//! use std::time::Duration;
//! use tol_plug::process::{Command, ResourceLimits};
//!
//! let git = Command::new("/usr/bin/git", Duration::from_secs(60))
//!     .args(["clone", "--depth", "1", "https://example.com/shop.git", "shop"])
//!     .current_dir("/var/lib/tol/effects/4f2a")
//!     .env("HOME", "/var/lib/tol/effects/4f2a")
//!     .limits(ResourceLimits { address_space: Some(1 << 30), ..ResourceLimits::default() });
//! let finished = git.run(&|| false)?.successful()?;
//! println!("{} in {:.1} s", finished.stdout.text(), finished.seconds);
//! # Ok::<(), tol_plug::process::Error>(())
//! ```
//!
//! A child leads a process group of its own. The group is killed when the child ends, when its time is up and when it is cancelled. When this
//! process is killed, the kernel kills the child, and a guard (`/bin/sh`, one for all children) kills what is left of its group. A descendant
//! that begins a session of its own escapes the group: programs that are not trusted need a sandbox.
//!
//! * `command` — what to run, with what
//! * `child` — starts the process, and kills its group
//! * `guard` — kills the groups that this process leaves when it is killed
//! * `captured` — head and tail of what a child writes
//! * `wait` — feeds, reads and watches a child until it ends

mod captured;
mod child;
mod command;
mod guard;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod wait;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tol_system::Failure;

pub use captured::Captured;
pub use command::{Command, ResourceLimits};

/// A child process that ended by itself.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The program, for messages.
    pub program: String,
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// How long it ran.
    pub seconds: f64,
    /// The most resident memory that was measured, in bytes. It is measured ten times a second; `None` for a child that ended sooner.
    pub peak_bytes: Option<u64>,
}

impl Finished {
    /// Tells whether part of its output was dropped.
    pub fn truncated(&self) -> bool {
        self.stdout.dropped() > 0 || self.stderr.dropped() > 0
    }

    /// Returns `self` where the exit status is 0.
    ///
    /// # Errors
    /// [`Error::Unsuccessful`] with the end of what it wrote to standard error.
    pub fn successful(self) -> Result<Self, Error> {
        if self.status.success() { Ok(self) } else { Err(Error::Unsuccessful(Box::new(self))) }
    }
}

/// Why a child process did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("{program} could not be started: {source}; check that it is installed and may be executed")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The guard, which kills the children of a killed node, could not be started; no child starts without it.
    #[error("{program} was not started, as its guard /bin/sh does not run: {source}")]
    Guard {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The child could not be watched; its group was killed.
    #[error("{program} could not be watched and was killed: {source}")]
    Watch {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The child ran longer than its time limit; its group was killed.
    #[error("{program} ran longer than {} s and was killed; it had written: {}", .limit.as_secs_f64(), last_line(.output))]
    TimeLimit {
        /// The program.
        program: String,
        /// The limit.
        limit: Duration,
        /// What it had written to standard error.
        output: Box<Captured>,
    },
    /// The child was cancelled; its group was killed.
    #[error("{program} was cancelled and killed")]
    Cancelled {
        /// The program.
        program: String,
    },
    /// The child ended with another status than 0.
    #[error("{}", unsuccessful(.0))]
    Unsuccessful(Box<Finished>),
}

impl From<Error> for Failure {
    /// A cancelled child is a cancelled effect. A program that is missing stays missing at the next try: that failure is permanent. Any other may be retried.
    fn from(error: Error) -> Self {
        match &error {
            Error::Cancelled { .. } => Failure::Cancelled,
            Error::Start { source, .. } if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                Failure::permanent(error.to_string())
            }
            _ => Failure::retry(error.to_string()),
        }
    }
}

fn unsuccessful(finished: &Finished) -> String {
    format!("{} ended with {}: {}", finished.program, finished.status, last_line(&finished.stderr))
}

/// The last line that is not empty, for a message.
fn last_line(output: &Captured) -> String {
    let text = output.text();
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing");
    line.chars().take(300).collect()
}
