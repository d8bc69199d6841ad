//! Ways to break the protocol on purpose: the simulation must notice each, or it would not notice them by accident either.

use super::Options;

/// A rule that is left out. Only tests can ask for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Mutation {
    /// E6: an acknowledgement at other positions is believed.
    AcknowledgedAnywhere,
    /// E6: what was decided and not committed is kept when the partition is claimed anew.
    OverlayKept,
    /// E5: inputs go on at their positions, with epoch and sequence forgotten.
    FilterForgotten,
    /// E5: a reader stores its next position although it holds part of a group.
    HeldSkipped,
    /// E7: the cache is written before the log answered.
    CacheFirst,
    /// E7: effects start before their request is committed.
    EffectsFirst,
    /// E8: a batch commits the positions of what was decided after it was cut.
    PositionsOfLater,
    /// E10: the token is not looked at.
    TokenIgnored,
    /// Inputs overtake those of their subject that are parked.
    ParkedOvertaken,
}

#[cfg(test)]
impl Mutation {
    pub(crate) const ALL: [Mutation; 9] = [
        Mutation::AcknowledgedAnywhere,
        Mutation::OverlayKept,
        Mutation::FilterForgotten,
        Mutation::HeldSkipped,
        Mutation::CacheFirst,
        Mutation::EffectsFirst,
        Mutation::PositionsOfLater,
        Mutation::TokenIgnored,
        Mutation::ParkedOvertaken,
    ];
}

impl Options {
    /// Whether this rule is to be left out.
    #[cfg(test)]
    pub(crate) fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Never.
    #[cfg(not(test))]
    pub(crate) const fn breaks(&self, _mutation: Mutation) -> bool {
        false
    }
}
