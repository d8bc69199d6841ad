//! Limits what one client may take of the node: requests a second by key, connections, and time to take an answer.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tol_config::ApiKey;

/// Open files that connections leave to the log and the store.
const FILES_OF_THE_NODE: u64 = 1_024;

/// Requests a second of each key, and of the one caller where there are no keys.
///
/// A caller that was silent may send a second's worth at once; after that its requests are spread evenly (GCRA: the time at which
/// the next request is due is all that is remembered, so a check is one atomic exchange).
#[derive(Debug)]
pub(crate) struct RateLimits {
    started: Instant,
    callers: Vec<Bucket>,
}

impl RateLimits {
    /// Limits in the order of `keys`; `default` is that of keys without one of their own, 0 is none.
    pub(crate) fn new(keys: &[ApiKey], default: u32) -> Self {
        let of_keys = keys.iter().map(|key| Bucket::new(key.requests_per_second.unwrap_or(default)));
        Self { started: Instant::now(), callers: of_keys.chain([Bucket::new(default)]).collect() }
    }

    /// Takes one request of the key at `index` (of the only caller, where there are no keys), or tells how long to wait.
    pub(crate) fn take(&self, index: usize) -> Result<(), Duration> {
        let Some(bucket) = self.callers.get(index) else { return Ok(()) };
        // Without a limit not even the clock is read.
        if bucket.interval_ns == 0 { Ok(()) } else { bucket.take(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)) }
    }

    /// Requests a second of the key at `index`.
    pub(crate) fn limit(&self, index: usize) -> u32 {
        self.callers.get(index).map_or(0, |bucket| bucket.per_second)
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: u32,
    /// Time between two requests; 0 is no limit.
    interval_ns: u64,
    /// When the request after those taken is due, if they are spread evenly.
    due_ns: AtomicU64,
}

impl Bucket {
    fn new(per_second: u32) -> Self {
        Self { per_second, interval_ns: 1_000_000_000_u64.checked_div(per_second.into()).unwrap_or(0), due_ns: AtomicU64::new(0) }
    }

    fn take(&self, now_ns: u64) -> Result<(), Duration> {
        let ahead_ns = self.interval_ns * u64::from(self.per_second.saturating_sub(1));
        let taken = self.due_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            (due.saturating_sub(now_ns) <= ahead_ns).then(|| due.max(now_ns).saturating_add(self.interval_ns))
        });
        taken.map(drop).map_err(|due| Duration::from_nanos(due.saturating_sub(now_ns) - ahead_ns))
    }
}

/// How many connections may be open: `wanted`, or fewer where the process may not open that many files. The soft limit is raised
/// to the hard one first. Without this, connections alone could take the files that the log and the store need.
pub(crate) fn affordable_connections(wanted: usize) -> usize {
    let found = getrlimit(Resource::Nofile);
    let raised = found.maximum.or(Some(u64::MAX)).filter(|maximum| found.current.is_some_and(|current| current < *maximum));
    let files = match raised {
        Some(maximum) if setrlimit(Resource::Nofile, Rlimit { current: found.maximum, maximum: found.maximum }).is_ok() => maximum,
        _ => found.current.unwrap_or(u64::MAX),
    };
    let affordable = usize::try_from(connections_of(files)).unwrap_or(usize::MAX);
    if affordable < wanted {
        tracing::warn!(wanted, affordable, files, "fewer connections than http.max_connections: this process may not open more files (ulimit -n)");
    }
    wanted.min(affordable)
}

/// Has the kernel end a connection whose client takes none of what was written for `time`: without it an answer, its memory and
/// its connection would wait for a client that never reads, for ever. actix-web knows no such limit.
pub(crate) fn limit_writing(connection: &dyn Any, time: Duration) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = set_tcp_user_timeout(stream, millis) {
        tracing::debug!(%error, "a connection without a limit for writing");
    }
}

fn connections_of(files: u64) -> u64 {
    files.saturating_sub(FILES_OF_THE_NODE).max(files / 4)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_the_rest_is_spread() {
        let bucket = Bucket::new(10);
        for _ in 0..10 {
            bucket.take(5 * SECOND).unwrap();
        }
        assert_eq!(bucket.take(5 * SECOND).unwrap_err(), Duration::from_millis(100));
        assert!(bucket.take(5 * SECOND + 99_999_999).is_err(), "a refused request takes nothing, and the wait told is exact");
        bucket.take(5 * SECOND + 100_000_000).unwrap();
        assert!(bucket.take(5 * SECOND + 100_000_000).is_err());
        // Silence is not saved up beyond a second.
        assert_eq!((0..100).filter(|_| bucket.take(60 * SECOND).is_ok()).count(), 10);
    }

    #[test]
    fn over_a_long_time_the_rate_is_exactly_the_limit() {
        let bucket = Bucket::new(7);
        let taken = (0..10_000_u64).filter(|step| bucket.take(step * SECOND / 100).is_ok()).count();
        assert_eq!(taken, 700 + 6, "100 s at 7 a second, and what may come at once");
    }

    #[test]
    fn keys_have_limits_of_their_own_and_0_is_none() {
        let key = |limit| ApiKey { name: "k".into(), hash: String::new(), scopes: vec![], requests_per_second: limit, attributes: Default::default() };
        let limits = RateLimits::new(&[key(None), key(Some(1)), key(Some(0))], 2);
        assert_eq!([0, 1, 2, 3].map(|index| limits.limit(index)), [2, 1, 0, 2]);
        assert!(limits.take(1).is_ok() && limits.take(1).is_err() && limits.take(0).is_ok(), "one key's requests are not another's");
        assert!((0..1_000).all(|_| limits.take(2).is_ok()));
    }

    #[test]
    fn connections_leave_files_for_the_node() {
        assert_eq!([1_024, 2_048, 20_000].map(connections_of), [256, 1_024, 18_976]);
    }
}
