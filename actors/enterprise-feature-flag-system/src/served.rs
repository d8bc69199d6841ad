//! The flags that are served, in memory: an immutable set. A change makes a new set of it that shares with the old one all that did not change, so
//! that one change among ten thousand flags costs microseconds, and whoever reads a set is never in anybody's way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use tol_events::EventTime;

use crate::definition::{Definition, FlagDefinitions};
use crate::evaluation::Format;

/// Parts of a set that are copied as a whole when one of their flags changes.
const SHARDS: u32 = 256;

/// A flag as it is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// How it behaves.
    pub definition: Definition,
    /// The number of its last change.
    pub version: u64,
    /// When that was.
    pub changed_at: EventTime,
    /// When it is to be asked about.
    pub stale_at: Option<EventTime>,
    /// Since when it has outlived its purpose.
    pub stale_since: Option<EventTime>,
}

/// What flags share, by the format that knows it: Unleash's segments, GrowthBook's saved groups, flagd's evaluators.
pub type Shared = BTreeMap<Format, Map<String, Value>>;

/// A change of a set.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A flag is so now; `None` if it is gone.
    Flag {
        /// Its key.
        key: String,
        /// The flag.
        served: Option<Arc<Served>>,
    },
    /// What an environment's flags share is so now.
    Shared {
        /// The environment.
        environment: String,
        /// All of it.
        shared: Arc<Shared>,
    },
}

/// What has changed from one set to the next, or over several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Anything may have.
    Everything,
    /// These alone.
    Some {
        /// Keys of flags.
        flags: BTreeSet<String>,
        /// Environments whose flags share something else.
        shared: BTreeSet<String>,
    },
}

impl Changed {
    /// What a list of changes is about.
    pub fn of(changes: &[Change]) -> Self {
        let (mut flags, mut shared) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match change {
                Change::Flag { key, .. } => drop(flags.insert(key.clone())),
                Change::Shared { environment, .. } => drop(shared.insert(environment.clone())),
            }
        }
        Self::Some { flags, shared }
    }
}

type Shard = BTreeMap<String, Arc<Served>>;

/// All flags at one moment.
#[derive(Clone, Debug, Default)]
pub struct FlagSet {
    revision: u64,
    /// Empty, or [`SHARDS`] of them.
    shards: Vec<Arc<Shard>>,
    shared: Arc<BTreeMap<String, Arc<Shared>>>,
}

fn shard_of(key: &str) -> usize {
    (mur3::murmurhash3_x86_32(key.as_bytes(), 0) % SHARDS) as usize
}

impl FlagSet {
    /// Counted up by every change, from 0; begins anew with the process, so it says nothing to anybody else.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A flag.
    pub fn get(&self, key: &str) -> Option<&Arc<Served>> {
        self.shards.get(shard_of(key))?.get(key)
    }

    /// All flags, in the order of their keys.
    pub fn sorted(&self) -> Vec<(&str, &Arc<Served>)> {
        let mut all: Vec<(&str, &Arc<Served>)> = self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, served)| (key.as_str(), served)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// How many flags.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }

    /// What an environment's flags share.
    pub fn shared(&self, environment: &str) -> Option<&Arc<Shared>> {
        self.shared.get(environment)
    }

    /// Every environment that a flag is in, or whose flags share something.
    pub fn environments(&self) -> BTreeSet<String> {
        let of_flags = self.shards.iter().flat_map(|shard| shard.values()).flat_map(|served| served.definition.environments.keys());
        of_flags.chain(self.shared.keys()).cloned().collect()
    }

    /// The next set.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut next = self.clone();
        next.revision += 1;
        if next.shards.is_empty() {
            next.shards.resize_with(SHARDS as usize, Arc::default);
        }
        for change in changes {
            match change {
                Change::Flag { key, served } => {
                    let Some(shard) = next.shards.get_mut(shard_of(&key)) else { continue };
                    // Copied once a call: what was copied is this set's own.
                    match served {
                        Some(served) => drop(Arc::make_mut(shard).insert(key, served)),
                        None if shard.contains_key(&key) => drop(Arc::make_mut(shard).remove(&key)),
                        None => {}
                    }
                }
                Change::Shared { environment, shared } if shared.is_empty() => drop(Arc::make_mut(&mut next.shared).remove(&environment)),
                Change::Shared { environment, shared } => drop(Arc::make_mut(&mut next.shared).insert(environment, shared)),
            }
        }
        next
    }

    /// The definitions, for import and export.
    pub fn definitions(&self) -> FlagDefinitions {
        FlagDefinitions {
            flags: self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, served)| (key.clone(), served.definition.clone())).collect(),
            shared: self.shared.iter().map(|(environment, shared)| (environment.clone(), Shared::clone(shared))).collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::definition::{Environment, ValueType};

    fn flag(key: &str, version: u64) -> Change {
        let definition = Definition {
            key: key.to_owned(),
            value_type: ValueType::Boolean,
            family: Format::Unleash,
            description: None,
            owner: None,
            project: None,
            purpose: None,
            tags: BTreeSet::new(),
            services: BTreeSet::new(),
            variants: BTreeMap::new(),
            environments: BTreeMap::from([("production".to_owned(), Environment::default())]),
        };
        let served = Served { definition, version, changed_at: EventTime::default(), stale_at: None, stale_since: None };
        Change::Flag { key: key.to_owned(), served: Some(Arc::new(served)) }
    }

    #[test]
    fn a_change_makes_a_new_set_and_leaves_the_old_one() {
        let first = FlagSet::default().with((0..1_000).map(|number| flag(&format!("f{number}"), 1)));
        let second = first.with([flag("f7", 2), Change::Flag { key: "f8".into(), served: None }]);
        assert_eq!((first.len(), second.len()), (1_000, 999));
        assert_eq!((first.get("f7").unwrap().version, second.get("f7").unwrap().version), (1, 2));
        assert!(first.get("f8").is_some() && second.get("f8").is_none());
        assert!(Arc::ptr_eq(first.get("f9").unwrap(), second.get("f9").unwrap()), "what did not change is shared");
        assert_eq!((first.revision(), second.revision()), (1, 2));
        let keys: Vec<&str> = second.sorted().into_iter().map(|(key, _)| key).collect();
        assert!(keys.is_sorted() && keys.len() == 999);
        assert_eq!(second.definitions().flags.len(), 999);
    }

    #[test]
    fn what_is_shared_comes_and_goes_by_environment() {
        let segments: Map<String, Value> = [("segments".to_owned(), Value::Array(Vec::new()))].into_iter().collect();
        let shared = Arc::new(Shared::from([(Format::Unleash, segments)]));
        let change = |shared: &Arc<Shared>| Change::Shared { environment: "staging".into(), shared: shared.clone() };
        let with = FlagSet::default().with([change(&shared)]);
        assert_eq!(with.shared("staging"), Some(&shared));
        assert_eq!(with.environments(), BTreeSet::from(["staging".to_owned()]));
        assert!(with.with([change(&Arc::default())]).shared("staging").is_none());
    }
}
