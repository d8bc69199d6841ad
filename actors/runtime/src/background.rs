//! Lowers the priority of threads that can catch up later, so that threads which answer publishers and queries go first when the processor is short.
//!
//! This loses and reorders nothing: a thread that runs later finds its work in the log.

/// How much a thread yields, as its nice value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Decides or folds: people see its result, but nobody's request waits.
    Deciding,
    /// Makes later searches or restarts cheaper.
    Housekeeping,
}

/// Lowers the calling thread's priority. Where the system has no such thing, all threads stay alike.
pub fn yield_to_others(how: Background) {
    let nice = match how {
        Background::Deciding => 5,
        Background::Housekeeping => 10,
    };
    // On Linux priorities belong to threads, and `None` names the calling one.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, "the thread's priority stays as it is");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_calling_thread_yields() {
        let before = rustix::process::getpriority_process(None).unwrap();
        let lowered = std::thread::spawn(|| {
            yield_to_others(Background::Housekeeping);
            rustix::process::getpriority_process(None).unwrap()
        });
        assert_eq!(lowered.join().unwrap(), 10.max(before));
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), before);
    }
}
