//! [`Lateness`]: tells late facts, so that they can be counted.
//!
//! A fact is late when its time is before the newest time already seen of its subject. Admission counts late facts for the whole node, by source
//! (`tol_facts_late_total`): every fact of every kind passes it once, whatever systems and projections do with it. So a system that corrects itself
//! after a late fact needs no counter of its own.

use std::collections::HashMap;

use tol_events::EventTime;

/// Subjects of which a gate remembers the newest time, in each of two generations.
const REMEMBERED: usize = 8_192;

/// The newest time of the subjects that a gate saw most recently. It lives in memory only: after a start, and of a subject that more than
/// `REMEMBERED` others followed, the first fact counts as in order.
#[derive(Default)]
pub(super) struct Lateness {
    newest: HashMap<u64, EventTime, ahash::RandomState>,
    /// The generation before; a subject that is met again moves to `newest`.
    older: HashMap<u64, EventTime, ahash::RandomState>,
}

impl Lateness {
    /// Takes note of a fact about `subject` (a hash), and tells whether it is late.
    pub(super) fn note(&mut self, subject: u64, time: EventTime) -> bool {
        let known = self.newest.get(&subject).or_else(|| self.older.get(&subject)).copied();
        let is_late = known.is_some_and(|newest| time < newest);
        let newest = known.map_or(time, |newest| newest.max(time));
        if self.newest.len() >= REMEMBERED && !self.newest.contains_key(&subject) {
            self.older = std::mem::take(&mut self.newest);
        }
        self.newest.insert(subject, newest);
        is_late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> EventTime {
        EventTime::from_secs(secs)
    }

    #[test]
    fn a_fact_before_the_newest_of_its_own_subject_is_late() {
        let mut lateness = Lateness::default();
        let late: Vec<bool> = [(1, 10), (2, 5), (1, 10), (1, 9), (1, 11), (2, 6), (1, 10)].map(|(subject, time)| lateness.note(subject, at(time))).to_vec();
        assert_eq!(late, [false, false, false, true, false, false, true]);
    }

    #[test]
    fn memory_is_bounded_and_holds_at_least_the_latest_subjects() {
        let mut lateness = Lateness::default();
        for subject in 0..100_000 {
            lateness.note(subject, at(10));
        }
        assert!(lateness.newest.len() + lateness.older.len() <= 2 * REMEMBERED);
        let last = 100_000 - REMEMBERED as u64;
        assert!((last..100_000).all(|subject| lateness.note(subject, at(9))));
        assert!(!lateness.note(0, at(9)), "it was forgotten long ago");
    }
}
