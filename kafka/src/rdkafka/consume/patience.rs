//! [`Patience`]: how long readers wait for records that are known to exist and do not arrive.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::WAIT;
use crate::log::TopicPartition;

/// How long nobody waits again for the partition that was waited for in vain.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the others of that time are waited for: one partition may have its own trouble, or all of them the same.
const SHORT: Duration = Duration::from_millis(200);
/// So many waited for in vain within [`PAUSE`] have the same trouble.
const MANY: usize = 4;

/// What was waited for in vain of late, by any thread. One thread reads many partitions in turn: if it waited for each while the broker stands
/// still, it would give no sign of life for long enough to be taken for dead. So it waits [`WAIT`] and some times [`SHORT`] in each [`PAUSE`],
/// however many there are; and the others of one partition that gives nothing are still waited for.
#[derive(Default)]
pub(super) struct Patience {
    in_vain: HashMap<TopicPartition, Instant>,
}

impl Patience {
    /// How long to wait for `of` now.
    pub(super) fn left(&self, of: &TopicPartition, now: Instant) -> Duration {
        let recent = |at: &Instant| now.duration_since(*at) < PAUSE;
        match self.in_vain.values().filter(|at| recent(at)).count() {
            0 => WAIT,
            count if count >= MANY || self.in_vain.get(of).is_some_and(recent) => Duration::ZERO,
            _ => SHORT,
        }
    }

    /// `of` did not arrive; whether it was waited for. Who did not wait says nothing about it, and does not put off the next try.
    pub(super) fn misses(&mut self, of: &TopicPartition, now: Instant) -> bool {
        if self.left(of, now).is_zero() {
            return false;
        }
        self.in_vain.retain(|_, at| now.duration_since(*at) < PAUSE);
        self.in_vain.insert(of.clone(), now);
        true
    }

    /// Records of `of` arrive.
    pub(super) fn arrives(&mut self, of: &TopicPartition) {
        self.in_vain.remove(of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_in_vain_did_so_for_all_and_one_partition_does_not_hold_up_the_others() {
        let of = |partition| TopicPartition::new("t", partition);
        let mut patience = Patience::default();
        let now = Instant::now();
        assert_eq!(patience.left(&of(0), now), WAIT);
        assert!(patience.misses(&of(0), now));
        assert_eq!((patience.left(&of(0), now), patience.left(&of(1), now)), (Duration::ZERO, SHORT));
        assert!(patience.misses(&of(1), now) && patience.misses(&of(2), now));
        assert_eq!(patience.left(&of(9), now), SHORT);
        assert!(patience.misses(&of(3), now));
        assert_eq!(patience.left(&of(9), now), Duration::ZERO, "all have the same trouble");
        patience.arrives(&of(3));
        assert_eq!((patience.left(&of(9), now), patience.left(&of(3), now)), (SHORT, SHORT));
        let late = now + PAUSE - Duration::from_millis(1);
        assert!(!patience.misses(&of(0), late), "nobody waited for it");
        assert_eq!(patience.left(&of(0), now + PAUSE), WAIT, "so it is tried again");
        assert!(patience.misses(&of(0), now + PAUSE));
        assert_eq!(patience.in_vain.len(), 1, "the old ones are forgotten");
    }
}
