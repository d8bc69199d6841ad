//! Compiled items by key, of which one can be replaced without the others being compiled or copied again.

use std::sync::Arc;

use hashbrown::HashMap;

/// Items in the order of their keys, and where each stands. A copy shares the items.
#[derive(Debug)]
pub(crate) struct Keyed<T> {
    /// Sorted by key, so that what is listed has one order.
    items: Vec<(Arc<str>, Arc<T>)>,
    /// Positions by key; shared by all versions that have the same keys.
    index: Arc<HashMap<Arc<str>, u32>>,
}

impl<T> Clone for Keyed<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), index: self.index.clone() }
    }
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), index: Arc::default() }
    }
}

impl<T> FromIterator<(Arc<str>, T)> for Keyed<T> {
    /// The last of two items with one key wins.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, T)>>(items: I) -> Self {
        let mut sorted: Vec<(Arc<str>, Arc<T>)> = items.into_iter().map(|(key, item)| (key, Arc::new(item))).collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut items: Vec<(Arc<str>, Arc<T>)> = Vec::with_capacity(sorted.len());
        for item in sorted {
            match items.last_mut() {
                Some(last) if last.0 == item.0 => *last = item,
                _ => items.push(item),
            }
        }
        Self { index: index_of(&items), items }
    }
}

fn index_of<T>(items: &[(Arc<str>, Arc<T>)]) -> Arc<HashMap<Arc<str>, u32>> {
    Arc::new(items.iter().zip(0..).map(|((key, _), position)| (key.clone(), position)).collect())
}

impl<T> Keyed<T> {
    /// The item of that key.
    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        let position = *self.index.get(key)?;
        self.items.get(position as usize).map(|(_, item)| item.as_ref())
    }

    /// All items by key.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> + Clone {
        self.items.iter().map(|(key, item)| (key.as_ref(), item.as_ref()))
    }

    /// All items, by key.
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &T> + Clone {
        self.items.iter().map(|(_, item)| item.as_ref())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Puts an item in its place, or takes the one of that key away. The index is made anew only if a key comes or goes.
    pub(crate) fn set(&mut self, changes: impl IntoIterator<Item = (Arc<str>, Option<T>)>) {
        let mut keys_changed = false;
        for (key, item) in changes {
            match (self.items.binary_search_by(|(known, _)| known.as_ref().cmp(key.as_ref())), item) {
                (Ok(position), Some(item)) => self.items[position].1 = Arc::new(item),
                (Ok(position), None) => {
                    self.items.remove(position);
                    keys_changed = true;
                }
                (Err(position), Some(item)) => {
                    self.items.insert(position, (key, Arc::new(item)));
                    keys_changed = true;
                }
                (Err(_), None) => {}
            }
        }
        if keys_changed {
            self.index = index_of(&self.items);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Keyed;

    proptest! {
        #[test]
        fn it_is_a_sorted_map_whose_older_versions_stay(
            first in proptest::collection::vec(("[a-e]", 0..9_u8), 0..8),
            changes in proptest::collection::vec(("[a-g]", proptest::option::of(0..9_u8)), 0..8),
        ) {
            let old: Keyed<u8> = first.iter().map(|(key, value)| (key.as_str().into(), *value)).collect();
            let mut expected: BTreeMap<String, u8> = first.into_iter().collect();
            let before = expected.clone();
            let mut new = old.clone();
            new.set(changes.iter().map(|(key, value)| (key.as_str().into(), *value)));
            for (key, value) in changes {
                match value {
                    Some(value) => drop(expected.insert(key, value)),
                    None => drop(expected.remove(&key)),
                }
            }
            for (keyed, map) in [(&new, &expected), (&old, &before)] {
                prop_assert!(keyed.iter().map(|(key, value)| (key.to_owned(), *value)).eq(map.clone()));
                prop_assert!(map.iter().all(|(key, value)| keyed.get(key) == Some(value)));
                prop_assert_eq!(keyed.get("z"), None);
                prop_assert_eq!(keyed.len(), map.len());
            }
        }
    }
}
