//! The guard: a shell that keeps the list of process groups, and kills them when this process ends and thereby closes the guard's pipe.
//!
//! The kernel kills a child when the thread that started it ends (`PR_SET_PDEATHSIG`), but not what that child started.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Groups as `token=group`: a token is never used twice, so that the end of a child that did not start takes nothing from another one.
const SCRIPT: &str = r#"
groups=
while read -r what token; do
  case $what in
    add) groups="$groups $token" ;;
    del) rest=; for item in $groups; do case $item in "$token"=*) ;; *) rest="$rest $item" ;; esac; done; groups=$rest ;;
  esac
done
for item in $groups; do kill -s KILL -- "-${item#*=}"; done
"#;

#[derive(Debug)]
struct Guard {
    shell: Child,
    /// Its end ends the guard.
    pipe: ChildStdin,
}

#[derive(Debug)]
struct State {
    guard: Option<Guard>,
    tokens: u64,
}

static STATE: Mutex<State> = Mutex::new(State { guard: None, tokens: 0 });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a process group with the guard until it is dropped. Drop it before waiting for the group's leader, whose number may
/// belong to another process afterwards.
#[derive(Debug)]
pub(super) struct Guarded {
    token: u64,
}

impl Guarded {
    /// Starts the guard, if it does not run. Returns what stands for the group, and the pipe to which the child writes [`Guarded::line`] with
    /// its number before it becomes the program: at no time does the program run unguarded.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let mut state = state();
        if !state.guard.as_mut().is_some_and(|guard| matches!(guard.shell.try_wait(), Ok(None))) {
            state.guard = Some(start()?);
        }
        state.tokens += 1;
        let guard = state.guard.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let pipe = std::os::fd::AsFd::as_fd(&guard.pipe).try_clone_to_owned()?;
        Ok((Self { token: state.tokens }, pipe))
    }

    /// What the child writes ahead of its number.
    pub(super) fn line(&self) -> Vec<u8> {
        format!("add {}=", self.token).into_bytes()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(guard) = &mut state().guard {
            // A guard that is gone knows of nothing.
            let _ = guard.pipe.write_all(format!("del {}\n", self.token).as_bytes());
        }
    }
}

fn start() -> io::Result<Guard> {
    let mut command = Command::new("/bin/sh");
    // A group of its own: what a terminal sends to this process's group must not end it.
    command.args(["-c", SCRIPT]).env_clear().current_dir("/").process_group(0);
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Guard { shell, pipe })
}
