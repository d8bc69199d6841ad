//! [`Effect`]: one try of an effect as its runner sees it, with the payload, the cancellation, the progress and a scratch folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

/// What an emergency stop does to a running effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStop {
    /// Lets the effect run to its end: for short effects that cannot be taken back.
    Finish,
    /// Cancels the effect, which runs again with the same key after the release.
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
        /// How long to wait before the next try, where the other side said so; `None` is the runtime's own backoff.
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
    /// Makes a failure after which another try may succeed, with the runtime's own backoff.
    pub fn retry(problem: impl Into<String>) -> Self {
        Failure::Retry { problem: problem.into(), after: None }
    }

    /// Makes a failure after which no further try can succeed.
    pub fn permanent(problem: impl Into<String>) -> Self {
        Failure::Permanent(problem.into())
    }
}

/// Why a running effect is to end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The emergency stop was engaged: the effect runs again after the release.
    Stopped,
    /// The try runs longer than its runner's limit: the effect fails.
    Overrun,
    /// The effect's partition went to another node, which runs the effect.
    Moved,
    /// The node ends: the effect runs again when a node owns its partition.
    Closing,
}

/// Describes an effect and its try.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectInfo {
    /// The request's event id: the idempotency key, the same at each try and on each node.
    pub key: String,
    /// The system that requested it.
    pub system: String,
    /// The partition of that system's owner.
    pub partition: u32,
    /// The subject for which it was requested.
    pub subject: String,
    /// The correlation of the event that requested it.
    pub correlation: String,
    /// The runner's name.
    pub runner: String,
    /// What the runner needs.
    pub payload: Value,
    /// Which try this is, from 1. A try that was cancelled does not count.
    pub attempt: u32,
}

/// The progress that a runner reported last.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The share that is done, from 0 to 1.
    pub progress: f64,
    /// What the runner does now, for people; at most [`MAX_REPORT_TEXT`] bytes.
    pub text: String,
    /// When the runner last reported; at first, the start of the try.
    pub last_beat: Instant,
}

/// Most bytes of a report's text; the rest is dropped.
pub const MAX_REPORT_TEXT: usize = 500;

/// One try of an effect. Clones are the same try.
#[derive(Clone, Debug)]
pub struct Effect {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    info: EffectInfo,
    monitor: Mutex<Monitor>,
    cancelled: Condvar,
    /// The folder in which scratch folders are made.
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
    /// Makes a try of an effect. Its scratch folder is made below `scratch_root` when it asks for one.
    pub fn new(info: EffectInfo, scratch_root: impl Into<PathBuf>) -> Self {
        let report = Report { progress: 0.0, text: String::new(), last_beat: Instant::now() };
        let monitor = Mutex::new(Monitor { cancelled: None, report, scratch: None });
        Self { inner: Arc::new(Inner { info, monitor, cancelled: Condvar::new(), scratch_root: scratch_root.into() }) }
    }

    /// Gives the idempotency key, the same at each try. The other side must do the effect once for each key.
    pub fn key(&self) -> &str {
        &self.inner.info.key
    }

    /// Gives what the request says that the runner needs.
    pub fn payload(&self) -> &Value {
        &self.inner.info.payload
    }

    /// Gives the subject for which it was requested.
    pub fn subject(&self) -> &str {
        &self.inner.info.subject
    }

    /// Gives the correlation of the event that requested it.
    pub fn correlation(&self) -> &str {
        &self.inner.info.correlation
    }

    /// Gives everything that is known of the effect and its try.
    pub fn info(&self) -> &EffectInfo {
        &self.inner.info
    }

    /// Tells whether the runner is to end now, with [`Failure::Cancelled`].
    pub fn cancelled(&self) -> bool {
        self.cancel_reason().is_some()
    }

    /// Tells why the runner is to end now; `None` where it may go on.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.monitor().cancelled
    }

    /// Waits until the effect is cancelled, at most for `timeout`. Tells whether it is cancelled.
    pub fn wait_cancelled(&self, timeout: Duration) -> bool {
        let monitor = self.monitor();
        let waited = self.inner.cancelled.wait_timeout_while(monitor, timeout, |monitor| monitor.cancelled.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.cancelled.is_some()
    }

    /// Reports the share that is done (0 to 1) and what the runner does now. Call it now and then: a runner that reports is alive.
    pub fn progress(&self, done: f64, text: &str) {
        let mut end = text.len().min(MAX_REPORT_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let progress = if done.is_finite() { done.clamp(0.0, 1.0) } else { 0.0 };
        self.monitor().report = Report { progress, text: text[..end].to_owned(), last_beat: Instant::now() };
    }

    /// Gives the report of the last [`Effect::progress`].
    pub fn report(&self) -> Report {
        self.monitor().report.clone()
    }

    /// Gives a folder of this try's own, which is made at the first call and removed when the try ends.
    ///
    /// # Errors
    /// The folder cannot be made.
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

    /// Cancels the try: tells its runner to end. The first reason stays.
    pub fn cancel(&self, reason: CancelReason) {
        self.monitor().cancelled.get_or_insert(reason);
        self.inner.cancelled.notify_all();
    }

    /// Removes the scratch folder, if there is one. The runtime calls this when the try has ended.
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
