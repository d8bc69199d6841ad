//! [`Ending`]: consumers that are being ended.

use std::sync::Mutex;
use std::thread::JoinHandle;

use ::rdkafka::consumer::BaseConsumer;

use super::super::lock;

/// How many may be ending at a time before no other is made in their place. All that catch up may have been idle for long at once; more than these
/// have trouble in ending.
const AT_MOST: usize = 32;

/// Ends consumers on threads of their own: ending one waits for its connections, and one that no longer fetches may take its time. Whoever would
/// make another asks first whether there is room, so that there are never more than were made, and a few.
#[derive(Default)]
pub(super) struct Ending {
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Ending {
    /// Whether another consumer may be made.
    pub(super) fn has_room(&self) -> bool {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.len() < AT_MOST
    }

    /// Ends it, without waiting.
    pub(super) fn end(&self, consumer: BaseConsumer) {
        match std::thread::Builder::new().name("tol-kafka-drop".into()).spawn(move || drop(consumer)) {
            Ok(thread) => lock(&self.threads).push(thread),
            Err(error) => tracing::warn!(%error, "no thread to end a consumer on"),
        }
    }
}
