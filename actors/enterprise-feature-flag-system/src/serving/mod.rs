//! What is served to SDKs, in memory: for each environment the answers' texts and the compiled flags, made anew only for what has changed.
//!
//! * [`FlagServer`] — the set of all flags, as the projection's fold tells it
//! * `rows` — rows of the projection as flags
//! * [`Serving`] — all environments at one moment; [`Serving::next`] follows a change
//! * [`Environment`] — the flags of one: what is compiled, and the text of each
//! * `text` — answers that are the same for everybody: Unleash's client features and deltas, GrowthBook's payload
//! * `frontend` — Unleash's frontend API: the toggles that are on for a context
//! * [`remote`] — GrowthBook's remote evaluation
//! * [`ofrep`] — OFREP: one flag or all of them for a context
//! * `evaluate` — answers to a question about flags, now or of a past moment
//!
//! No clock, no I/O, and no database is asked.

mod environment;
pub(crate) mod evaluate;
mod flag_server;
mod frontend;
pub mod ofrep;
pub mod remote;
pub(crate) mod rows;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::environment::Environment;
pub use self::flag_server::{FlagServer, Listener};
pub use self::frontend::context_of;
pub use self::text::{EventKind, Since, Text};
use crate::served::{Changed, FlagSet};

/// All environments at one moment. A change makes a new one that shares with the old one all that did not change.
#[derive(Clone, Default)]
pub struct Serving {
    environments: BTreeMap<String, Arc<Environment>>,
}

impl Serving {
    /// What is served of a set.
    pub fn of(set: &FlagSet) -> Self {
        Self::default().next(set, &Changed::Everything)
    }

    /// What is served of the set that came of a change. Flags that did not change are neither written nor compiled again.
    #[must_use]
    pub fn next(&self, set: &FlagSet, changed: &Changed) -> Self {
        let mut next = self.clone();
        match changed {
            Changed::Everything => {
                let keys: BTreeSet<String> = set.environments();
                next.environments.retain(|name, _| keys.contains(name));
                for name in keys {
                    let made = Environment::of(&name, set, self.environments.get(&name).map(Arc::as_ref));
                    next.environments.insert(name, Arc::new(made));
                }
            }
            Changed::Some { flags, shared } => next.follow(set, flags, shared),
        }
        next
    }

    fn follow(&mut self, set: &FlagSet, flags: &BTreeSet<String>, shared: &BTreeSet<String>) {
        let of_new = flags.iter().filter_map(|key| set.get(key)).flat_map(|served| served.definition.environments.keys());
        let of_old = self.environments.iter().filter(|(_, known)| flags.iter().any(|key| known.contains(key))).map(|(name, _)| name);
        let affected: BTreeSet<String> = of_new.chain(of_old).chain(shared).cloned().collect();
        for name in affected {
            let made = match self.environments.get(&name) {
                // What is shared may be part of any flag.
                Some(known) if !shared.contains(&name) => known.with(set, flags),
                known => Environment::of(&name, set, known.map(Arc::as_ref)),
            };
            if made.is_empty() && set.shared(&name).is_none() {
                self.environments.remove(&name);
            } else {
                self.environments.insert(name, Arc::new(made));
            }
        }
    }

    /// An environment.
    pub fn environment(&self, name: &str) -> Option<&Arc<Environment>> {
        self.environments.get(name)
    }

    /// The environments there are, by name.
    pub fn environments(&self) -> impl Iterator<Item = &Arc<Environment>> {
        self.environments.values()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
