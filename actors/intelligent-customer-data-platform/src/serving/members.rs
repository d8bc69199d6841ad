//! Who is in which audience: a compressed set of numbers an audience, a number a profile.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use roaring::RoaringBitmap;

/// The memberships that the projection told.
#[derive(Default)]
pub(crate) struct Members(RwLock<Known>);

#[derive(Default)]
struct Known {
    /// A number for each profile that ever was in an audience since the start.
    numbers: HashMap<u128, u32>,
    sets: BTreeMap<String, RoaringBitmap>,
}

impl Members {
    /// Forgets all.
    pub(crate) fn clear(&self) {
        *self.write() = Known::default();
    }

    /// A profile is in these audiences and in no others.
    pub(crate) fn set<'a>(&self, profile_id: &str, audiences: impl Iterator<Item = &'a str>) {
        let mut known = self.write();
        let hash = xxhash_rust::xxh3::xxh3_128(profile_id.as_bytes());
        let mut audiences = audiences.peekable();
        let number = match known.numbers.get(&hash) {
            Some(number) => *number,
            None if audiences.peek().is_none() => return,
            None => {
                let number = u32::try_from(known.numbers.len()).unwrap_or(u32::MAX);
                known.numbers.insert(hash, number);
                number
            }
        };
        for set in known.sets.values_mut() {
            set.remove(number);
        }
        for audience in audiences {
            known.sets.entry(audience.to_owned()).or_default().insert(number);
        }
    }

    /// How many profiles are in an audience.
    pub(crate) fn count(&self, audience: &str) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).sets.get(audience).map_or(0, RoaringBitmap::len)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
