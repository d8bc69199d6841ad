//! The flags a node serves: all of them, from memory, whatever partitions it owns and whether the log is there or not.
//!
//! [`FlagServer`] holds the current set. It is filled from the rows of the projection `flags` that the store held when the node last ran, and then
//! told of each change by that projection's fold: before anybody who waits for a position is told that it is visible.
//!
//! * [`evaluate`] — answers about flags with a format's semantics
//! * `import` — what an import asks for
//! * `rows` — rows of the projection as flags

pub mod evaluate;
pub(crate) mod import;
mod rows;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;
use tol_enterprise_feature_flag_system::served::{Change, Changed, FlagSet};
use tol_events::EventTime;
use tol_projections::flags::FlagRow;
use tol_system::{ChangedRows, Followed};

/// Revisions whose changes are remembered one by one; who asks about an earlier one is told that everything may have changed.
const REMEMBERED: usize = 1_024;

/// Told of each change, on the thread that folds, before [`FlagServer::current`] shows it. It must not block.
pub type Listener = Box<dyn Fn(&Arc<FlagSet>, &Changed) + Send + Sync>;

/// Whether what is served is what the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Why it may not be; `None` if all is well.
    pub degraded: Option<String>,
    /// When it was last known to be.
    pub current_at: Option<EventTime>,
}

/// All flags of this node.
pub struct FlagServer {
    current: watch::Sender<Arc<FlagSet>>,
    /// Held while a change is made.
    making: Mutex<Making>,
    listeners: RwLock<Vec<Listener>>,
    standing: RwLock<Arc<Standing>>,
    /// Keys of flags that have had an experiment. It never shrinks, as no row loses one; a key whose row is being folded anew may be here before its row.
    with_experiments: RwLock<Arc<BTreeSet<String>>>,
}

#[derive(Default)]
struct Making {
    /// Rows of another generation that has not caught up: served when it has, so that no flag is missing meanwhile.
    loading: Option<FlagSet>,
    /// What each of the last revisions changed.
    recent: VecDeque<(u64, Changed)>,
    /// Whether a fold has caught up since this process began.
    caught_up: bool,
}

/// The flags of rows as queries show them: of another time, for example.
pub(crate) fn set_of(rows: Vec<(String, serde_json::Value)>) -> FlagSet {
    FlagSet::default().with(rows::changes_of_values(rows))
}

impl Default for FlagServer {
    fn default() -> Self {
        let standing = Standing { degraded: Some("the node is starting".to_owned()), current_at: None };
        Self {
            current: watch::Sender::new(Arc::default()),
            making: Mutex::default(),
            listeners: RwLock::default(),
            standing: RwLock::new(Arc::new(standing)),
            with_experiments: RwLock::default(),
        }
    }
}

impl FlagServer {
    /// All flags as they are now. Takes some ten nanoseconds and waits for nobody.
    pub fn current(&self) -> Arc<FlagSet> {
        self.current.borrow().clone()
    }

    /// Changes with each new set; await `changed()`, then ask [`FlagServer::changed_since`] the revision seen before.
    pub fn subscribe(&self) -> watch::Receiver<Arc<FlagSet>> {
        self.current.subscribe()
    }

    /// Keys of the flags that have, or have had, an experiment: at least of all whose rows say so, also of those that are served nowhere.
    pub fn with_experiments(&self) -> Arc<BTreeSet<String>> {
        self.with_experiments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has changed after a revision.
    pub fn changed_since(&self, revision: u64) -> Changed {
        let making = self.making();
        // A set is published while this is held, so the two belong together.
        if revision >= self.current.borrow().revision() {
            return Changed::of(&[]);
        }
        if making.recent.front().is_none_or(|(first, _)| *first > revision + 1) {
            return Changed::Everything;
        }
        let later = making.recent.iter().filter(|(number, _)| *number > revision);
        later.fold(Changed::of(&[]), |changed, (_, more)| changed.and(more))
    }

    /// Has `listener` told of each change from now on, in order. First of all it is told of everything there is now.
    pub fn listen(&self, listener: Listener) {
        let _held = self.making();
        listener(&self.current(), &Changed::Everything);
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Forgets who listens: whoever follows what a listener makes sees it end. What is served stays.
    pub fn close(&self) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether what is served is what the log holds; looked after four times a second.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells how it stands.
    pub(crate) fn set_standing(&self, degraded: Option<String>, now: EventTime) {
        let current_at = if degraded.is_none() { Some(now) } else { self.standing().current_at };
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Standing { degraded, current_at });
    }

    /// Whether a fold has caught up with the log since this process began.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.making().caught_up
    }

    /// Serves what the store knew when the node last ran, until a fold has caught up.
    pub fn preload(&self, rows: ChangedRows<FlagRow>) {
        let mut making = self.making();
        self.note_experiments(&rows);
        let set = FlagSet::default().with(rows::changes(rows));
        if !making.caught_up && self.current.borrow().is_empty() {
            self.replace(&mut making, set);
        }
    }

    /// Takes what the projection's fold says.
    pub fn take(&self, followed: Followed<FlagRow>) {
        let mut making = self.making();
        self.note_experiments(&followed.rows);
        let changes = rows::changes(followed.rows);
        if followed.anew {
            making.loading = Some(FlagSet::default().with(changes));
        } else if let Some(loading) = &mut making.loading {
            *loading = loading.with(changes);
        } else if !changes.is_empty() {
            let changed = Changed::of(&changes);
            let next = self.current().with(changes);
            self.publish(&mut making, next, changed);
        }
        if followed.caught_up {
            making.caught_up = true;
            if let Some(loaded) = making.loading.take() {
                self.replace(&mut making, loaded);
            }
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
    fn replace(&self, making: &mut Making, loaded: FlagSet) {
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
            let next = now.with(changes);
            self.publish(making, next, changed);
        }
    }

    fn publish(&self, making: &mut Making, next: FlagSet, changed: Changed) {
        let next = Arc::new(next);
        if making.recent.len() >= REMEMBERED {
            making.recent.pop_front();
        }
        for listener in self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            listener(&next, &changed);
        }
        making.recent.push_back((next.revision(), changed));
        self.current.send_replace(next);
    }

    fn making(&self) -> MutexGuard<'_, Making> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
