//! Feeds, reads and watches a child until it ends, on one thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::captured::Captured;
use super::child::Child;
use super::command::Command;
use super::{Error, Finished};

/// How often the time limit and the cancellation are checked.
const WATCH: Duration = Duration::from_millis(20);
/// How often the child's memory is measured.
const PEAK: Duration = Duration::from_millis(100);
/// How long output is read after the group was killed: a process that escaped the group may hold the pipe for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// Why waiting for the child ended.
enum End {
    ByItself,
    TimeLimit,
    Cancelled,
}

struct Pipes<'a> {
    child: Child,
    input: &'a [u8],
    stdout: Captured,
    stderr: Captured,
}

pub(super) fn run(command: &Command, child: Child, cancelled: &dyn Fn() -> bool) -> Result<Finished, Error> {
    let program = command.name();
    let keeping = || Captured::keeping(command.output_bytes);
    let mut pipes = Pipes { child, input: &command.input, stdout: keeping(), stderr: keeping() };
    let started = Instant::now();
    let mut peak = None;
    let watched = pipes.watch(started + command.time_limit, cancelled, &mut peak).and_then(|cause| Ok((cause, pipes.child.reap()?)));
    let seconds = started.elapsed().as_secs_f64();
    let (cause, status) = watched.map_err(|source| Error::Watch { program: program.clone(), source })?;
    let Pipes { stdout, stderr, .. } = pipes;
    match cause {
        End::ByItself => Ok(Finished { program, status, stdout, stderr, seconds, peak_bytes: peak }),
        End::TimeLimit => Err(Error::TimeLimit { program, limit: command.time_limit, output: Box::new(stderr) }),
        End::Cancelled => Err(Error::Cancelled { program }),
    }
}

impl Pipes<'_> {
    /// Watches the child until it ends, its time is up or it is cancelled; then kills its group and reads its last output.
    fn watch(&mut self, until: Instant, cancelled: &dyn Fn() -> bool, peak: &mut Option<u64>) -> io::Result<End> {
        for pipe in self.child.stdin.iter().map(AsFd::as_fd).chain(self.child.stdout.iter().map(AsFd::as_fd)).chain(self.child.stderr.iter().map(AsFd::as_fd)) {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        let mut look_at = Instant::now() + PEAK;
        let cause = loop {
            if self.turn(WATCH, true)? {
                break End::ByItself;
            }
            let now = Instant::now();
            if cancelled() {
                break End::Cancelled;
            }
            if now >= until {
                break End::TimeLimit;
            }
            if now >= look_at {
                *peak = (*peak).max(resident_peak(self.child.id()));
                look_at = now + PEAK;
            }
        };
        self.child.kill_group();
        let drained_at = Instant::now() + DRAIN;
        self.child.stdin = None;
        while (self.child.stdout.is_some() || self.child.stderr.is_some()) && Instant::now() < drained_at {
            self.turn(WATCH, false)?;
        }
        Ok(cause)
    }

    /// Waits at most `wait` for output, for room in its input and, where `awaited`, for the child's end; reads and writes what it can. Tells whether
    /// the child has ended.
    fn turn(&mut self, wait: Duration, awaited: bool) -> io::Result<bool> {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let ended = {
            let pipes = self
                .child
                .stdout
                .iter()
                .map(AsFd::as_fd)
                .chain(self.child.stderr.iter().map(AsFd::as_fd))
                .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN));
            let input = self.child.stdin.iter().map(|pipe| PollFd::new(pipe, PollFlags::OUT));
            let ended = std::iter::once(PollFd::from_borrowed_fd(self.child.ended(), PollFlags::IN)).filter(|_| awaited);
            let mut watched: Vec<PollFd<'_>> = pipes.chain(input).chain(ended).collect();
            match poll(&mut watched, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            readable(self.child.ended())?
        };
        read(&mut self.child.stdout, &mut self.stdout)?;
        read(&mut self.child.stderr, &mut self.stderr)?;
        self.feed()?;
        Ok(ended)
    }

    /// Writes what the child's standard input takes, and closes it after the last byte. A child that stops reading is no error.
    fn feed(&mut self) -> io::Result<()> {
        let Some(stdin) = &mut self.child.stdin else { return Ok(()) };
        while !self.input.is_empty() {
            match stdin.write(self.input) {
                Ok(written) => self.input = &self.input[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        self.child.stdin = None;
        Ok(())
    }
}

/// Reads available output, at most a few times, so that a child that writes without end does not delay the check of its time limit.
fn read<R: Read>(pipe: &mut Option<R>, output: &mut Captured) -> io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    for _ in 0..4 {
        let Some(open) = pipe else { return Ok(()) };
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => output.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn readable(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let mut watched = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    match poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The most memory a process has occupied so far, in bytes, while it runs.
fn resident_peak(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
