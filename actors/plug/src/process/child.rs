//! Starts a child process in a group of its own, with its limits, and kills the group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};

use super::Error;
use super::command::{Command, ResourceLimits};
use super::guard::Guarded;

/// A child that runs. Dropped, its group is killed.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    group: Pid,
    /// Readable once the child has ended.
    ended: OwnedFd,
    guarded: Option<Guarded>,
    reaped: bool,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    pub stderr: Option<ChildStderr>,
}

impl Child {
    /// Starts the child. The thread that does must wait for it: the kernel kills the child when that thread ends.
    pub fn start(command: &Command) -> Result<Self, Error> {
        let program = command.name();
        let (guarded, guard) = Guarded::new().map_err(|source| Error::Guard { program: program.clone(), source })?;
        let mut child = prepare(command, &guarded, guard);
        let started = child.spawn().and_then(Self::watched);
        let mut started = started.map_err(|source| Error::Start { program, source })?;
        started.guarded = Some(guarded);
        Ok(started)
    }

    fn watched(mut process: std::process::Child) -> io::Result<Self> {
        let group = Pid::from_raw(process.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        match rustix::process::pidfd_open(group, PidfdFlags::empty()) {
            Ok(ended) => Ok(Self { process, group, ended, guarded: None, reaped: false, stdin, stdout, stderr }),
            Err(error) => {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                let _ = process.wait();
                Err(error.into())
            }
        }
    }

    /// Readable once the child has ended.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills what is left of the group. The child is not waited for yet, so that the number is still its own.
    pub fn kill_group(&self) {
        // There may be nothing left of it.
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
    }

    /// Kills the group and takes the child's status.
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        self.kill_group();
        self.guarded = None;
        self.reaped = true;
        self.process.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.reap();
        }
    }
}

#[allow(unsafe_code)]
fn prepare(command: &Command, guarded: &Guarded, guard: OwnedFd) -> std::process::Command {
    let mut child = std::process::Command::new(&command.program);
    child.args(&command.args).env_clear().envs(&command.environment).current_dir(&command.current_dir).process_group(0);
    child.stdin(if command.input.is_empty() { Stdio::null() } else { Stdio::piped() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (limits, line, parent) = (rlimits(command.limits), guarded.line(), rustix::process::getpid());
    let before = move || become_bounded(&limits, &line, &guard, parent);
    // SAFETY: between fork and exec only calls that are safe after a fork of a process with threads are allowed. `become_bounded` makes plain
    // system calls (prctl, getppid, getpid, setrlimit, write) on values made above; it neither allocates, locks nor panics.
    unsafe {
        child.pre_exec(before);
    }
    child
}

/// Done by the child before it becomes the program.
fn become_bounded(limits: &[Option<(Resource, Rlimit)>; 5], line: &[u8], guard: &OwnedFd, parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error())); // it ended before the signal was asked for
    }
    for (resource, limit) in limits.iter().flatten() {
        rustix::process::setrlimit(*resource, *limit)?;
    }
    let mut message = [0u8; 64];
    let written = write_line(&mut message, line, rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
    // Shorter than a pipe's buffer: written whole or not at all.
    rustix::io::write(guard, message.get(..written).unwrap_or_default())?;
    Ok(())
}

/// `line`, `number` and the end of the line; how many bytes.
fn write_line(message: &mut [u8; 64], line: &[u8], number: u32) -> usize {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    let mut rest = number;
    while at == digits.len() || rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut written = 0;
    for byte in line.iter().chain(&digits[at..]).chain(b"\n") {
        if let Some(place) = message.get_mut(written) {
            *place = *byte;
            written += 1;
        }
    }
    written
}

fn rlimits(limits: ResourceLimits) -> [Option<(Resource, Rlimit)>; 5] {
    let both = |resource, limit: Option<u64>| limit.map(|limit| (resource, Rlimit { current: Some(limit), maximum: Some(limit) }));
    [
        both(Resource::As, limits.address_space),
        both(Resource::Cpu, limits.cpu_seconds),
        both(Resource::Nofile, limits.open_files),
        both(Resource::Fsize, limits.file_size),
        both(Resource::Core, Some(0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::write_line;

    #[test]
    fn the_line_for_the_guard_is_whole() {
        let mut message = [0; 64];
        for (number, expected) in [(7, "add 3=7\n"), (4_194_304, "add 3=4194304\n"), (u32::MAX, "add 3=4294967295\n")] {
            let written = write_line(&mut message, b"add 3=", number);
            assert_eq!(std::str::from_utf8(&message[..written]), Ok(expected));
        }
    }
}
