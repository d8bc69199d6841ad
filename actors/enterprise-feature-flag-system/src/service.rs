//! What answers from memory: the flags, what is compiled of them for SDKs, and how current they are.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use actix_web::http::header::HeaderValue;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tol_events::EventTime;
use tol_plug::platform::Check;
use tol_plug::{Kind, Platform, Problem};

use crate::serving::{FlagServer, Serving};

/// Distance between the seeds of two requests: the golden ratio's share of 2^64, so that they spread evenly.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// In `current_at`: not since this process began.
const NEVER: i64 = i64::MIN;

/// Whether what is served is what the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// Why it may not be; `None` if all is well.
    pub(crate) degraded: Option<String>,
    /// When an answer last was.
    pub(crate) current_at: Option<EventTime>,
}

/// The serving side of the flag system.
pub struct FlagService {
    /// All flags of this node.
    pub(crate) server: FlagServer,
    /// Held by the import that runs.
    pub(crate) importing: Mutex<()>,
    /// Its sender is held by the server's listener and dropped when the node closes, which ends the streams.
    serving: watch::Receiver<Arc<Serving>>,
    /// A permit for each stream that may still be opened.
    streams: Arc<Semaphore>,
    seeds: AtomicU64,
    /// Absent until the log is open.
    platform: OnceLock<Arc<dyn Platform>>,
    /// Microseconds; when an answer last was what the log holds, or [`NEVER`].
    current_at: AtomicI64,
}

impl FlagService {
    /// Serves no flags yet. `seed` begins the sequence of what formats leave to chance.
    pub(crate) fn new(max_streams: usize, seed: u64) -> Self {
        let server = FlagServer::default();
        let (sender, serving) = watch::channel(Arc::<Serving>::default());
        server.listen(Box::new(move |set, changed| {
            let next = sender.borrow().next(set, changed);
            sender.send_replace(Arc::new(next));
        }));
        Self {
            server,
            importing: Mutex::new(()),
            serving,
            streams: Arc::new(Semaphore::new(max_streams.min(Semaphore::MAX_PERMITS))),
            seeds: AtomicU64::new(seed),
            platform: OnceLock::new(),
            current_at: AtomicI64::new(NEVER),
        }
    }

    /// The log is open: what is served can be compared with what it holds.
    pub(crate) fn opened(&self, platform: &Arc<dyn Platform>) {
        if self.platform.set(platform.clone()).is_err() {
            tracing::warn!("the node told the flag system twice that its log is open");
        }
    }

    /// What is compiled now, whether any flags are known or not.
    pub(crate) fn compiled(&self) -> Arc<Serving> {
        self.serving.borrow().clone()
    }

    /// What is served now.
    ///
    /// # Errors
    /// `unavailable` before any flags are known: an SDK that is told of none would switch all of them off, one that is told to wait keeps what it has.
    pub(crate) fn current(&self) -> Result<Arc<Serving>, Problem> {
        let serving = self.compiled();
        if serving.environments().next().is_none() && !self.server.has_caught_up() {
            return Err(Problem::unavailable("the flags are not known yet; GET /readyz tells what the node waits for", 1));
        }
        Ok(serving)
    }

    /// Follows what is served. It ends when the node closes.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Serving>> {
        self.serving.clone()
    }

    /// Permission to open one more stream, held as long as the stream is open.
    ///
    /// # Errors
    /// `too-many-streams`.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let detail = "as many streams of flags are open as this node serves; poll, or try later";
        self.streams.clone().try_acquire_owned().map_err(|_| Problem::new(Kind::TOO_MANY_STREAMS, detail).retry_after(5))
    }

    /// Why what is served may not be what the log holds; notes the time if it is.
    pub(crate) fn degraded(&self) -> Option<String> {
        let Some(platform) = self.platform.get() else { return Some("the node is not open yet".to_owned()) };
        if let Some(why) = platform.health().degraded {
            return Some(why);
        }
        if !self.server.has_caught_up() {
            return Some("the log has not been read to its end".to_owned());
        }
        self.current_at.store(platform.now().as_micros(), Ordering::Relaxed);
        None
    }

    /// How current what is served is.
    pub(crate) fn freshness(&self) -> Freshness {
        let degraded = self.degraded();
        let current_at = self.current_at.load(Ordering::Relaxed);
        Freshness { degraded, current_at: (current_at != NEVER).then(|| EventTime::from_micros(current_at)) }
    }

    /// Since when, and why, what is served may be behind the log; `None` if all is well.
    pub(crate) fn last_known(&self) -> Option<HeaderValue> {
        let Freshness { degraded, current_at } = self.freshness();
        let text = format!("{}; {}", since(current_at), degraded?);
        let shown: String = text.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' }).collect();
        HeaderValue::from_str(&shown).ok()
    }

    /// What readiness says. Flags last known are served whatever it says.
    pub(crate) fn check(&self) -> Check {
        let (freshness, count) = (self.freshness(), self.server.current().len());
        let detail = match &freshness.degraded {
            None => format!("{count} flags"),
            Some(why) => format!("{count} flags, last known to be current {}: {why}", since(freshness.current_at)),
        };
        Check { name: "flags".to_owned(), ok: self.server.has_caught_up(), detail }
    }

    /// Another seed for each request.
    pub(crate) fn seed(&self) -> u64 {
        self.seeds.fetch_add(SEED_STEP, Ordering::Relaxed)
    }
}

fn since(current_at: Option<EventTime>) -> String {
    current_at.map_or_else(|| "before this start".to_owned(), |at| at.to_string())
}
