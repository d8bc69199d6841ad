//! [`Activity`]: how often a person did something, and sums of its measures, as far back as audiences look.
//!
//! The fold does not depend on the order of facts: the latest occurrences are kept by time, older ones are added up by day, and what is older than any
//! window only in total. Measures are added as whole millionths, since sums of floats depend on their order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audiences::LONGEST_DAYS;

/// Occurrences that are kept one by one.
const RECENT: usize = 64;
const DAY: i64 = 86_400_000_000;
/// Millionths.
const UNIT: f64 = 1e6;

/// Occurrences added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// How many.
    pub count: u64,
    /// Sums of measures, in millionths.
    pub sums: BTreeMap<String, i64>,
}

impl Total {
    /// The sum of a measure.
    pub fn sum(&self, measure: &str) -> f64 {
        self.sums.get(measure).map_or(0.0, |millionths| *millionths as f64 / UNIT)
    }

    fn add(&mut self, other: &Total) {
        self.count = self.count.saturating_add(other.count);
        for (measure, millionths) in &other.sums {
            let sum = self.sums.entry(measure.clone()).or_default();
            *sum = sum.saturating_add(*millionths);
        }
    }
}

/// One occurrence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Occurrence {
    /// When, in microseconds.
    pub at: i64,
    /// Hash of the fact's id: orders occurrences of one moment.
    pub id: u64,
    /// Its measures, in millionths.
    pub measures: BTreeMap<String, i64>,
}

/// What a person did of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The latest occurrences, the latest last.
    pub recent: Vec<Occurrence>,
    /// Older ones, by the day since 1970.
    pub days: BTreeMap<i64, Total>,
    /// All.
    pub total: Total,
    /// The last occurrence, in microseconds.
    pub last: Option<i64>,
}

impl Activity {
    /// Adds an occurrence.
    pub fn add(&mut self, at: i64, id: u64, measures: &BTreeMap<String, f64>) {
        let measures = measures.iter().filter(|(_, value)| value.is_finite()).map(|(name, value)| (name.clone(), (value * UNIT) as i64)).collect();
        self.insert(Occurrence { at, id, measures });
    }

    fn insert(&mut self, occurrence: Occurrence) {
        self.total.add(&occurrence.as_total());
        self.last = self.last.max(Some(occurrence.at));
        let place = self.recent.partition_point(|known| known <= &occurrence);
        self.recent.insert(place, occurrence);
        self.settle();
    }

    /// Adds up what is too old to be kept one by one, and forgets days that no window reaches.
    fn settle(&mut self) {
        while self.recent.len() > RECENT {
            let oldest = self.recent.remove(0);
            self.days.entry(oldest.at.div_euclid(DAY)).or_default().add(&oldest.as_total());
        }
        if let Some(last) = self.last {
            let first = last.div_euclid(DAY) - LONGEST_DAYS - 1;
            self.days = self.days.split_off(&first);
        }
    }

    /// Joins what another identifier of the same person did.
    pub fn join(&mut self, other: &Activity) {
        self.total.add(&other.total);
        self.last = self.last.max(other.last);
        for (day, total) in &other.days {
            self.days.entry(*day).or_default().add(total);
        }
        self.recent.extend(other.recent.iter().cloned());
        self.recent.sort();
    }

    /// What happened since a moment (inclusive), and the oldest of it. Of days that are only added up, those count that lie wholly in the window.
    pub fn since(&self, from: i64) -> (Total, Option<i64>) {
        let mut total = Total::default();
        let mut oldest = None;
        for occurrence in self.recent.iter().filter(|occurrence| occurrence.at >= from) {
            oldest = oldest.or(Some(occurrence.at));
            total.add(&occurrence.as_total());
        }
        for (day, of_day) in self.days.range(from.div_euclid(DAY) + i64::from(from.rem_euclid(DAY) != 0)..) {
            let start = day * DAY;
            oldest = Some(oldest.map_or(start, |known: i64| known.min(start)));
            total.add(of_day);
        }
        (total, oldest)
    }
}

impl Occurrence {
    fn as_total(&self) -> Total {
        Total { count: 1, sums: self.measures.clone() }
    }
}
