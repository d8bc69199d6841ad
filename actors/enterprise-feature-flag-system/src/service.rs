//! What is served to SDKs, as this server's handlers hold it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::HeaderValue;
use tokio::sync::{Semaphore, watch};
use tol_enterprise_feature_flag_system::serving::Serving;

use crate::flags::FlagServer;
use crate::http::problem::Problem;

/// The flags, what is made of them for SDKs, and who follows them.
pub(crate) struct Flags {
    server: Arc<FlagServer>,
    /// Ends with the node: streams end with it.
    pub(crate) serving: watch::Receiver<Arc<Serving>>,
    /// A permit for each stream that may still be opened.
    pub(crate) streams: Arc<Semaphore>,
    seeds: AtomicU64,
}

impl Flags {
    /// Follows the server's changes from now on.
    pub(crate) fn of(server: &Arc<FlagServer>, max_streams: usize) -> Self {
        let (sender, serving) = watch::channel(Arc::<Serving>::default());
        server.listen(Box::new(move |set, changed| {
            let next = sender.borrow().next(set, changed);
            sender.send_replace(Arc::new(next));
        }));
        let first_seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let streams = Arc::new(Semaphore::new(max_streams.min(Semaphore::MAX_PERMITS)));
        Self { server: server.clone(), serving, streams, seeds: AtomicU64::new(first_seed) }
    }

    /// What is served now.
    ///
    /// # Errors
    /// Before any flags are known: an SDK that is told of none would switch all of them off, one that is told to wait keeps what it has.
    pub(crate) fn current(&self) -> Result<Arc<Serving>, Problem> {
        let serving = self.serving.borrow().clone();
        if serving.environments().next().is_none() && !self.server.has_caught_up() {
            return Err(Problem::unavailable("the flags are not known yet; GET /readyz tells what the node waits for", 1));
        }
        Ok(serving)
    }

    /// Where what is served is what was last known: since when, and why.
    pub(crate) fn last_known(&self) -> Option<HeaderValue> {
        let standing = self.server.standing();
        let why = standing.degraded.as_deref()?;
        let since = standing.current_at.map_or_else(|| "before this start".to_owned(), |at| at.to_string());
        let text: String = format!("{since}; {why}").chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' }).collect();
        HeaderValue::from_str(&text).ok()
    }

    /// Another for each request.
    pub(crate) fn seed(&self) -> u64 {
        self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use tol_system::Followed;

    use super::*;

    #[test]
    fn before_any_flags_are_known_nobody_is_told_that_there_are_none() {
        let server = Arc::new(FlagServer::default());
        let flags = Flags::of(&server, 1);
        assert_eq!(flags.current().err().unwrap().retry_after_s, Some(1));
        assert!(flags.last_known().unwrap().to_str().unwrap().contains("the node is starting"));
        server.take(Followed { anew: true, rows: Vec::new(), caught_up: true });
        assert!(flags.current().unwrap().environments().next().is_none(), "now it is known that there are none");
        server.set_standing(None, chrono::Utc::now().into());
        assert_eq!(flags.last_known(), None);
    }
}
