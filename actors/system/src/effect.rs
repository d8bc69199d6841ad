//! An effect as its runner sees it: what to do, whether to go on, and where to tell how far it has come.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

/// What an emergency stop does to an effect that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStop {
    /// It runs to its end: for short effects that cannot be taken back.
    Finish,
    /// It is cancelled, and runs again with the same key once the stop is released.
    Cancel,
}

/// Why a try of an effect did not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another try may succeed.
    #[error("{problem}")]
    Retry {
        /// What failed, on what.
        problem: String,
        /// How long to wait before the next try, where the other side said so; else the runtime's own backoff.
        after: Option<Duration>,
    },
    /// No further try can succeed.
    #[error("{0}")]
    Permanent(String),
    /// The runner ended early because the effect was cancelled.
    #[error("the effect was cancelled")]
    Cancelled,
}

impl Failure {
    /// A failure after which another try may succeed, with the runtime's own backoff.
    pub fn retry(problem: impl Into<String>) -> Self {
        Failure::Retry { problem: problem.into(), after: None }
    }

    /// A failure after which no further try can succeed.
    pub fn permanent(problem: impl Into<String>) -> Self {
        Failure::Permanent(problem.into())
    }
}

/// Why an effect that runs is to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The emergency stop was engaged: the effect runs again after the release.
    Stopped,
    /// It runs longer than its runner's limit: it fails.
    Overrun,
    /// Its partition went to another node, which runs it.
    Moved,
    /// The node ends: the effect runs again when a node owns its partition.
    Closing,
}

/// What an effect is about.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectInfo {
    /// The request's event id: the idempotency key, the same at each try and on each node.
    pub key: String,
    /// The system that requested it.
    pub system: String,
    /// The partition of that system's owner.
    pub partition: u32,
    /// The subject it was requested for.
    pub subject: String,
    /// The request's correlation.
    pub correlation: String,
    /// The runner's name.
    pub runner: String,
    /// What the runner needs.
    pub payload: Value,
    /// Which try this is, from 1. A try that was cancelled does not count.
    pub attempt: u32,
}

/// How far an effect has come, as its runner said last.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Done so far, from 0 to 1.
    pub progress: f64,
    /// What is being done, for people; at most [`MAX_REPORT_TEXT`] bytes.
    pub text: String,
    /// When the runner last gave a sign of life; the start of the try at first.
    pub last_beat: Instant,
}

/// Bytes kept of a report's text.
pub const MAX_REPORT_TEXT: usize = 500;

/// One try of an effect. Clones stand for the same try.
#[derive(Clone, Debug)]
pub struct Effect {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    info: EffectInfo,
    monitor: Mutex<Monitor>,
    cancelled: Condvar,
    /// Below which scratch folders are made.
    scratch_root: PathBuf,
}

#[derive(Debug)]
struct Monitor {
    cancelled: Option<CancelReason>,
    report: Report,
    /// The scratch folder, once it was made.
    scratch: Option<PathBuf>,
}

impl Effect {
    /// A try of an effect; its scratch folder, if it asks for one, is made below `scratch_root`.
    pub fn new(info: EffectInfo, scratch_root: impl Into<PathBuf>) -> Self {
        let report = Report { progress: 0.0, text: String::new(), last_beat: Instant::now() };
        let monitor = Mutex::new(Monitor { cancelled: None, report, scratch: None });
        Self { inner: Arc::new(Inner { info, monitor, cancelled: Condvar::new(), scratch_root: scratch_root.into() }) }
    }

    /// The idempotency key. Whoever is asked must do the effect once for each key.
    pub fn key(&self) -> &str {
        &self.inner.info.key
    }

    /// What the runner needs.
    pub fn payload(&self) -> &Value {
        &self.inner.info.payload
    }

    /// The subject it was requested for.
    pub fn subject(&self) -> &str {
        &self.inner.info.subject
    }

    /// The request's correlation.
    pub fn correlation(&self) -> &str {
        &self.inner.info.correlation
    }

    /// Everything the effect is about.
    pub fn info(&self) -> &EffectInfo {
        &self.inner.info
    }

    /// Whether the runner is to end now, with [`Failure::Cancelled`].
    pub fn cancelled(&self) -> bool {
        self.cancel_reason().is_some()
    }

    /// Why the runner is to end now, if it is.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.monitor().cancelled
    }

    /// Waits until the effect is cancelled, at most for `timeout`; whether it is cancelled.
    pub fn wait_cancelled(&self, timeout: Duration) -> bool {
        let monitor = self.monitor();
        let waited = self.inner.cancelled.wait_timeout_while(monitor, timeout, |monitor| monitor.cancelled.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.cancelled.is_some()
    }

    /// Tells how much is done (0 to 1) and what is being done. Each call is a sign of life.
    pub fn progress(&self, done: f64, text: &str) {
        let mut end = text.len().min(MAX_REPORT_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let progress = if done.is_finite() { done.clamp(0.0, 1.0) } else { 0.0 };
        self.monitor().report = Report { progress, text: text[..end].to_owned(), last_beat: Instant::now() };
    }

    /// What [`Effect::progress`] said last.
    pub fn report(&self) -> Report {
        self.monitor().report.clone()
    }

    /// A folder of this try's own, made at the first call and removed when the try ends.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> io::Result<PathBuf> {
        let mut monitor = self.monitor();
        if let Some(made) = &monitor.scratch {
            return Ok(made.clone());
        }
        let info = &self.inner.info;
        // A hash: an id may hold what a path must not.
        let name = blake3::hash(format!("{}\0{}\0{}", info.system, info.key, info.attempt).as_bytes()).to_hex();
        let folder = self.inner.scratch_root.join(&name.as_str()[..32]);
        remove_folder(&folder)?;
        std::fs::create_dir_all(&folder)?;
        monitor.scratch = Some(folder.clone());
        Ok(folder)
    }

    /// Tells the runner to end. The first reason stays.
    pub fn cancel(&self, reason: CancelReason) {
        self.monitor().cancelled.get_or_insert(reason);
        self.inner.cancelled.notify_all();
    }

    /// Removes the scratch folder, if there is one. Called when the try has ended.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn remove_scratch(&self) -> io::Result<()> {
        match self.monitor().scratch.take() {
            Some(folder) => remove_folder(&folder),
            None => Ok(()),
        }
    }

    fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.inner.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn effect(root: &Path) -> Effect {
        let info = EffectInfo {
            key: "../k".into(),
            system: "s".into(),
            partition: 0,
            subject: "customer/1".into(),
            correlation: "c".into(),
            runner: "r".into(),
            payload: Value::Null,
            attempt: 1,
        };
        Effect::new(info, root)
    }

    #[test]
    fn a_waiting_runner_is_woken_by_the_cancellation_and_keeps_its_first_reason() {
        let effect = effect(Path::new("/nowhere"));
        assert!(!effect.wait_cancelled(Duration::from_millis(1)));
        let waiting = effect.clone();
        let waiter = std::thread::spawn(move || {
            let started = Instant::now();
            (waiting.wait_cancelled(Duration::from_secs(60)), started.elapsed())
        });
        effect.cancel(CancelReason::Stopped);
        effect.cancel(CancelReason::Overrun);
        let (cancelled, waited) = waiter.join().unwrap();
        assert!(cancelled && waited < Duration::from_secs(30));
        assert_eq!(effect.cancel_reason(), Some(CancelReason::Stopped));
    }

    #[test]
    fn a_report_is_bounded_and_never_splits_a_character() {
        let effect = effect(Path::new("/nowhere"));
        effect.progress(7.0, &"é".repeat(MAX_REPORT_TEXT));
        let report = effect.report();
        assert_eq!((report.progress, report.text.len()), (1.0, MAX_REPORT_TEXT));
        effect.progress(f64::NAN, "xé".repeat(MAX_REPORT_TEXT).as_str());
        assert!(effect.report().text.len() <= MAX_REPORT_TEXT && effect.report().progress == 0.0);
    }

    #[test]
    fn the_scratch_folder_lies_below_its_root_is_empty_at_first_and_goes_with_the_try() {
        let root = std::env::temp_dir().join(format!("tol-effect-{}", std::process::id()));
        let first = effect(&root);
        assert!(!root.exists(), "made only when it is asked for");
        let folder = first.scratch().unwrap();
        assert_eq!((folder.parent(), first.scratch().unwrap()), (Some(root.as_path()), folder.clone()));
        std::fs::write(folder.join("left"), "by a node that was killed").unwrap();
        let again = effect(&root).scratch().unwrap();
        assert_eq!((again.as_path(), std::fs::read_dir(&again).unwrap().count()), (folder.as_path(), 0));
        first.remove_scratch().unwrap();
        assert!(!folder.exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
