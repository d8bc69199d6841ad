//! [`Command`]: the program to run, with its arguments, environment and limits.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::{Error, Finished, child, wait};

/// Bytes kept of each of a child's streams.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Limits of what a child may use. Beyond a limit the child's own call fails, or a signal ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Seconds on a processor, of each process of the group.
    pub cpu_seconds: Option<u64>,
    /// Files open at a time.
    pub open_files: Option<u64>,
    /// Bytes of the largest file that it writes.
    pub file_size: Option<u64>,
}

impl Default for ResourceLimits {
    /// 1,024 open files, and no other limit.
    fn default() -> Self {
        Self { address_space: None, cpu_seconds: None, open_files: Some(1_024), file_size: None }
    }
}

/// A program to run as a child process. Its environment has only the given variables.
#[derive(Clone, Debug)]
pub struct Command {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) environment: BTreeMap<OsString, OsString>,
    pub(super) current_dir: PathBuf,
    pub(super) input: Vec<u8>,
    pub(super) time_limit: Duration,
    pub(super) output_bytes: usize,
    pub(super) limits: ResourceLimits,
}

impl Command {
    /// Makes a command that runs `program` for at most `time_limit`. A name without a slash is looked up in the `PATH` of its given environment.
    pub fn new(program: impl Into<OsString>, time_limit: Duration) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: BTreeMap::new(),
            current_dir: PathBuf::from("/"),
            input: Vec::new(),
            time_limit,
            output_bytes: OUTPUT_BYTES,
            limits: ResourceLimits::default(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Passes on a variable of this process's environment, where it is set.
    #[must_use]
    pub fn inherit(self, name: &str) -> Self {
        match std::env::var_os(name) {
            Some(value) => self.env(name, value),
            None => self,
        }
    }

    /// Sets the folder in which it runs, usually an effect's scratch folder. Without it: `/`.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = folder.into();
        self
    }

    /// Sets what it reads from standard input. Without it: nothing.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Sets how many bytes are kept of standard output, and of standard error: half of the beginning, half of the end. Without it: 64 KiB.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_bytes = bytes;
        self
    }

    /// Sets the limits of what it may use.
    #[must_use]
    pub fn limits(mut self, limits: ResourceLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs the program to its end and blocks this thread meanwhile. Calls `cancelled` fifty times a second; true kills the process group.
    ///
    /// # Errors
    /// The program did not start, its time was up, or it was cancelled. A status other than 0 is no error: see [`Finished::successful`].
    pub fn run(&self, cancelled: &dyn Fn() -> bool) -> Result<Finished, Error> {
        wait::run(self, child::Child::start(self)?, cancelled)
    }

    pub(super) fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }
}
