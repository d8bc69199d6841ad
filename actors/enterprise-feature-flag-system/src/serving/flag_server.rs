//! The flags that this node serves: all of them, from memory, whatever partitions it owns and whether the log is there or not.
//!
//! [`FlagServer`] holds the current set. It begins with the rows of the projection `flags` that the store held when the node last ran, and is then told
//! of each change by that projection's fold, before anybody who waits for a position is told that it is visible.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tol_system::{ChangedRows, Followed};

use super::rows;
use crate::projections::flags::FlagRow;
use crate::served::{Change, Changed, FlagSet};

/// Told of each change, on the thread that folds, before [`FlagServer::current`] shows it. It must not block.
pub type Listener = Box<dyn Fn(&Arc<FlagSet>, &Changed) + Send + Sync>;

/// All flags of this node.
#[derive(Default)]
pub struct FlagServer {
    current: RwLock<Arc<FlagSet>>,
    /// Rows of another generation that has not caught up: served when it has, so that no flag is missing meanwhile. Held while a change is made.
    loading: Mutex<Option<FlagSet>>,
    listeners: RwLock<Vec<Listener>>,
    caught_up: AtomicBool,
    /// Keys of flags that have had an experiment. It never shrinks, as no row loses one; a key whose row is being folded anew may be here before its row.
    with_experiments: RwLock<Arc<BTreeSet<String>>>,
}

impl FlagServer {
    /// All flags as they are now. Takes some ten nanoseconds and waits for nobody.
    pub fn current(&self) -> Arc<FlagSet> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keys of the flags that have, or have had, an experiment: at least of all whose rows say so, also of those that are served nowhere.
    pub fn with_experiments(&self) -> Arc<BTreeSet<String>> {
        self.with_experiments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `listener` told of each change from now on, in order. First of all it is told of everything there is now.
    pub fn listen(&self, listener: Listener) {
        let _held = self.changing();
        listener(&self.current(), &Changed::Everything);
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Drops all listeners, which ends the streams that they feed. What is served stays.
    pub fn close(&self) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the fold has caught up with the log since this process began.
    pub fn has_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    /// Takes what the projection's fold says.
    pub fn take(&self, followed: Followed<FlagRow>) {
        let mut loading = self.changing();
        self.note_experiments(&followed.rows);
        let changes = rows::changes(followed.rows);
        if followed.last_known {
            // Whatever the fold has said since is newer.
            if !self.has_caught_up() && self.current().is_empty() {
                self.replace(&FlagSet::default().with(changes));
            }
            return;
        }
        if followed.anew {
            *loading = Some(FlagSet::default().with(changes));
        } else if let Some(loading) = &mut *loading {
            *loading = loading.with(changes);
        } else if !changes.is_empty() {
            let changed = Changed::of(&changes);
            self.publish(self.current().with(changes), &changed);
        }
        if followed.caught_up {
            if let Some(loaded) = loading.take() {
                self.replace(&loaded);
            }
            self.caught_up.store(true, Ordering::Release);
        }
    }

    fn note_experiments(&self, rows: &ChangedRows<FlagRow>) {
        let new: Vec<&str> = {
            let known = self.with_experiments.read().unwrap_or_else(PoisonError::into_inner);
            rows::with_experiments(rows).filter(|key| !known.contains(*key)).collect()
        };
        if !new.is_empty() {
            // Copied if somebody holds it, and only when a flag has its first experiment.
            let mut known = self.with_experiments.write().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut known).extend(new.into_iter().map(str::to_owned));
        }
    }

    /// Serves another set as a whole, and tells what differs.
    fn replace(&self, loaded: &FlagSet) {
        let now = self.current();
        let mut changes: Vec<Change> = Vec::new();
        for (key, served) in loaded.sorted() {
            if now.get(key).is_none_or(|known| known != served) {
                changes.push(Change::Flag { key: key.to_owned(), served: Some(served.clone()) });
            }
        }
        let gone = now.sorted().into_iter().filter(|(key, _)| loaded.get(key).is_none());
        changes.extend(gone.map(|(key, _)| Change::Flag { key: key.to_owned(), served: None }));
        for environment in loaded.environments().union(&now.environments()) {
            if loaded.shared(environment) != now.shared(environment) {
                changes.push(Change::Shared { environment: environment.clone(), shared: loaded.shared(environment).cloned().unwrap_or_default() });
            }
        }
        if !changes.is_empty() {
            let changed = Changed::of(&changes);
            self.publish(now.with(changes), &changed);
        }
    }

    fn publish(&self, next: FlagSet, changed: &Changed) {
        let next = Arc::new(next);
        for listener in self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener(&next, changed);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Keeps other changes waiting while it is held.
    fn changing(&self) -> MutexGuard<'_, Option<FlagSet>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "flag_server_tests.rs"]
mod tests;
