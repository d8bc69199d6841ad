//! [`Known`]: the committed facts of one gate, found by their ids: those on their way to the store, those in it, and a [`Filter`] before it.

use std::sync::Arc;

use tol_kafka::TopicPartition;

use super::SeenKey;
use super::candidate::SeenMap;
use super::filter::{Budget, Filter};
use super::memory::{Seen, read_seen, seen_change, seen_key};
use crate::owner::{Error, Mutation, breaks};
use crate::store::{Change, Store, Table};

/// Rows of the store that the filter takes up at each look-up of an id, until it holds all: so a node that starts with ten million ids
/// spreads their reading over its look-ups.
const TAKEN_UP: usize = 4;
/// And at least so many, since to look for the first costs as much as reading these.
const LEAST_TAKEN_UP: usize = 16;

/// What a gate knows of what was committed.
pub(super) struct Known {
    store: Arc<dyn Store>,
    prefix: Vec<u8>,
    /// Committed and answered, not yet handed to the store.
    unstored: SeenMap<Seen>,
    /// Handed to the store by [`Known::take_unstored`], not yet there.
    storing: SeenMap<Seen>,
    /// Holds all that was committed since this was opened, and the rows before `rest`.
    filter: Filter,
    budget: Budget,
    rest: Rest,
}

/// Which rows the filter may not hold yet.
enum Rest {
    /// Those after this key.
    After(Option<Vec<u8>>),
    /// None: what it does not hold is in no row.
    Nothing,
}

impl Known {
    /// What the store holds of `partition`.
    pub(super) fn open(partition: &TopicPartition, store: Arc<dyn Store>, budget: Budget) -> Self {
        Self {
            store,
            prefix: format!("{partition}\u{0}").into_bytes(),
            unstored: SeenMap::default(),
            storing: SeenMap::default(),
            filter: Filter::new(budget.clone()),
            budget,
            rest: if breaks(Mutation::FilterUnfilled) { Rest::Nothing } else { Rest::After(None) },
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// What tells the partition's rows from others'.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Committed and not in the store yet.
    pub(super) fn unstored(&self) -> usize {
        self.unstored.len() + self.storing.len()
    }

    /// Takes a fact that was committed now.
    pub(super) fn commit(&mut self, key: SeenKey, seen: Seen) {
        self.filter.insert(key);
        self.unstored.insert(key, seen);
    }

    /// The row of a fact that was read from the log; the caller writes it.
    pub(super) fn read(&mut self, key: SeenKey, seen: Seen) -> Change {
        self.filter.insert(key);
        seen_change(&self.prefix, key, seen)
    }

    /// The rows that are to be written now, unless there are none or others are under way: [`Known::stored`] ends that.
    pub(super) fn take_unstored(&mut self) -> Option<Vec<Change>> {
        if self.unstored.is_empty() || !self.storing.is_empty() {
            return None;
        }
        self.storing = std::mem::take(&mut self.unstored);
        // In the order of the keys: neighbours cost the store's memtable less than keys in any order.
        let mut rows: Vec<(SeenKey, Seen)> = self.storing.iter().map(|(key, seen)| (*key, *seen)).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        Some(rows.into_iter().map(|(key, seen)| seen_change(&self.prefix, key, seen)).collect())
    }

    /// What [`Known::take_unstored`] gave is in the store.
    pub(super) fn stored(&mut self) {
        self.storing.clear();
    }

    /// The removal of all rows, which the caller writes before anything else.
    pub(super) fn forget(&mut self) -> Change {
        self.filter = Filter::new(self.budget.clone());
        self.rest = Rest::Nothing;
        Change::DeletePrefix(Table::Seen, self.prefix.clone())
    }

    /// What is known of these keys, in the order asked for.
    pub(super) fn lookup(&mut self, keys: &[SeenKey]) -> Result<Vec<Option<Seen>>, Error> {
        self.take_up(keys.len())?;
        let mut known = Vec::with_capacity(keys.len());
        let (mut places, mut rows) = (Vec::new(), Vec::new());
        for key in keys {
            let seen = self.unstored.get(key).or_else(|| self.storing.get(key)).copied();
            if seen.is_none() && (matches!(self.rest, Rest::After(_)) || self.filter.may_hold(*key)) {
                places.push(known.len());
                rows.push(seen_key(&self.prefix, *key));
            }
            known.push(seen);
        }
        if !rows.is_empty() {
            let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
            for (place, row) in places.into_iter().zip(self.store.multi_get(Table::Seen, &rows)?) {
                known[place] = row.and_then(|row| read_seen(&row));
            }
        }
        Ok(known)
    }

    /// Lets the filter hold more of what the store had when this was opened; what came later it holds already.
    fn take_up(&mut self, asked: usize) -> Result<(), Error> {
        let Rest::After(after) = &mut self.rest else { return Ok(()) };
        let limit = (asked * TAKEN_UP).max(LEAST_TAKEN_UP);
        let rows = self.store.scan(Table::Seen, &self.prefix, after.as_deref(), limit)?;
        for (row, _) in &rows {
            if let Some(key) = row.get(self.prefix.len()..).and_then(|key| key.try_into().ok()) {
                self.filter.insert(SeenKey(key));
            }
        }
        let all = rows.len() < limit;
        match rows.into_iter().next_back() {
            Some((last, _)) if !all => *after = Some(last),
            _ => self.rest = Rest::Nothing,
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::{Error as StoreError, MemoryStore, Row};

    /// Counts the rows that are asked for.
    #[derive(Default)]
    struct Counted(MemoryStore, AtomicUsize);

    impl Store for Counted {
        fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.get(table, key)
        }
        fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
            self.0.scan(table, prefix, after, limit)
        }
        fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), StoreError> {
            self.0.write(changes, token)
        }
    }

    fn key(number: usize) -> SeenKey {
        SeenKey::of("/shop", &number.to_string())
    }

    fn seen(number: usize) -> Seen {
        Seen { position: number as u64, content: 7 }
    }

    fn open(store: &Arc<Counted>) -> Known {
        Known::open(&TopicPartition::new("facts.customer", 3), store.clone(), Budget::default())
    }

    #[test]
    fn an_id_is_found_on_its_way_in_the_store_and_after_a_restart() {
        let store = Arc::new(Counted::default());
        let mut known = open(&store);
        for number in 0..500 {
            known.commit(key(number), seen(number));
        }
        let keys: Vec<SeenKey> = (0..1_000).map(key).collect();
        let expected: Vec<Option<Seen>> = (0..1_000).map(|number| (number < 500).then(|| seen(number))).collect();
        assert_eq!(known.lookup(&keys).unwrap(), expected);
        store.write(known.take_unstored().unwrap(), None).unwrap();
        assert_eq!((known.take_unstored(), known.lookup(&keys).unwrap()), (None, expected.clone()));
        known.stored();
        assert_eq!((known.unstored(), known.lookup(&keys).unwrap()), (0, expected.clone()));
        // One at a time, while the filter is being filled.
        let mut again = open(&store);
        let one_by_one: Vec<Option<Seen>> = keys.iter().flat_map(|key| again.lookup(&[*key]).unwrap()).collect();
        assert_eq!(one_by_one, expected);
    }

    #[test]
    fn the_store_is_hardly_asked_about_new_ids_once_its_rows_were_taken_up() {
        let store = Arc::new(Counted::default());
        let mut known = open(&store);
        let rows = (0..2_000).map(|number| known.read(key(number), seen(number))).collect();
        store.write(rows, None).unwrap();
        let mut again = open(&store);
        again.lookup(&(5_000..5_400).map(key).collect::<Vec<_>>()).unwrap();
        assert_eq!(store.1.swap(0, Ordering::Relaxed), 400, "1,600 of 2,000 rows were taken up");
        again.lookup(&(5_400..5_501).map(key).collect::<Vec<_>>()).unwrap();
        store.1.store(0, Ordering::Relaxed);
        again.lookup(&(6_000..7_000).map(key).collect::<Vec<_>>()).unwrap();
        assert!(store.1.load(Ordering::Relaxed) < 30, "{} of 1,000", store.1.load(Ordering::Relaxed));
    }

    #[test]
    fn what_was_forgotten_is_new() {
        let store = Arc::new(Counted::default());
        let mut known = open(&store);
        let row = known.read(key(1), seen(1));
        store.write(vec![row], None).unwrap();
        assert_eq!(known.lookup(&[key(1)]).unwrap(), [Some(seen(1))]);
        let removal = known.forget();
        store.write(vec![removal], None).unwrap();
        assert_eq!(known.lookup(&[key(1)]).unwrap(), [None]);
        known.commit(key(1), seen(9));
        assert_eq!(known.lookup(&[key(1)]).unwrap(), [Some(seen(9))]);
    }
}
