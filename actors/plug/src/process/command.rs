//! What to run, with what.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::{Error, Finished, child, wait};

/// Bytes kept of each of a child's streams.
const OUTPUT_BYTES: usize = 64 * 1024;

/// What a child may use. A limit that is exceeded fails the child's own call, or ends it with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Seconds on a processor; of each process of the group.
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

/// A program to be run as a child process. Its environment is empty but for what is given.
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
    /// Runs `program` for at most `time_limit`. A name without a slash is looked for in the `PATH` that is given to it.
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

    /// Gives it a variable of this process's environment, where it is set.
    #[must_use]
    pub fn inherit(self, name: &str) -> Self {
        match std::env::var_os(name) {
            Some(value) => self.env(name, value),
            None => self,
        }
    }

    /// Where it runs: an effect's scratch folder, nearly always. `/` if it is not said.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = folder.into();
        self
    }

    /// What it reads from standard input; nothing if it is not said.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Bytes kept of standard output, and of standard error: half of the beginning, half of the end. 64 KiB if it is not said.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_bytes = bytes;
        self
    }

    /// What it may use.
    #[must_use]
    pub fn limits(mut self, limits: ResourceLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs it to its end, on this thread, which waits. `cancelled` is asked fifty times a second.
    ///
    /// # Errors
    /// It did not start, its time was up, or it was cancelled. A status other than 0 is no error: see [`Finished::successful`].
    pub fn run(&self, cancelled: &dyn Fn() -> bool) -> Result<Finished, Error> {
        wait::run(self, child::Child::start(self)?, cancelled)
    }

    pub(super) fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }
}
