//! Ways to break the protocol on purpose: the simulation must notice each, or it would not notice them by accident either.

use super::Options;

/// A rule that is left out. Only tests can ask for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Mutation {
    /// E2: a claim counts although a higher one came before it.
    ClaimNotExclusive,
    /// E4: a new owner completes the group that its predecessor began.
    GroupCompleted,
    /// E6: an acknowledgement at other positions is believed.
    AcknowledgedAnywhere,
    /// E6: what was decided and not committed is kept when the partition is claimed anew.
    OverlayKept,
    /// E6: an idle owner does not look for a higher claim.
    EndNotWatched,
    /// E6: a batch that failed is left out, and the next one follows.
    FailedBatchSkipped,
    /// E5: inputs go on at their positions, with epoch and sequence forgotten.
    FilterForgotten,
    /// E5: a reader stores its next position although it holds part of a group.
    HeldSkipped,
    /// E5, of a projection.
    ProjectionHeldSkipped,
    /// E5: a projection writes its position before its rows.
    ProjectionPositionApart,
    /// E5: while following, positions are written at once and rows later.
    PositionsBeforeRows,
    /// E5: what was folded is dropped with what was decided, although it was not written.
    FoldedDropped,
    /// E5: an owner becomes active before what it folded is written.
    ActiveUnwritten,
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
    /// A timer that leads to nothing leaves no event.
    TimerSilent,
    /// A timer that fired stays set for readers of the log.
    TimerKept,
    /// An event with a target is an input where it was written.
    TargetIgnored,
    /// A pending effect is not run again by a new owner.
    EffectsForgotten,
    /// An effect's result is offered once, whether its owner takes it or not.
    OfferedOnce,
    /// E7, of admission: what is on its way is answered as a duplicate.
    DuplicateEarly,
    /// E7, of admission: what contradicts something on its way is refused.
    ConflictEarly,
    /// E7, of admission: a fact is remembered before the log answered.
    MemoryFirst,
    /// E6, of admission: an acknowledgement at other positions is believed.
    GateAcknowledgedAnywhere,
    /// E6, of admission: after a loss everything is offered again without looking what landed.
    OfferedBlindly,
    /// E11: what may have landed is sent again under the same sequences with other bytes.
    ResentOtherwise,
    /// Repeats are not looked for.
    DuplicatesTaken,
    /// Who is in admission's memory and not yet in the filter before it is held for new.
    FilterUnfilled,
    /// An effect starts without a lease.
    LeaseIgnored,
    /// An effect starts although the stop is engaged.
    StopIgnored,
    /// Decisions begin before `control` was read.
    StopForgotten,
    /// Stops and pauses are heeded between two steps, not between two decisions.
    StopHeededLate,
    /// Who sits down to decide does not ask whether its system is paused.
    PauseUnheeded,
    /// A node that reads of a resumption does not follow it.
    ResumeLost,
    /// A node that waits for its own stop to be recorded passes over pauses and resumptions, as it does over releases.
    PauseHidden,
    /// Effects under way are not counted: a stop is answered while one runs.
    EffectsUncounted,
    /// Decisions under way are not seen: a stop or a pause is answered while one is made.
    DecisionsUncounted,
    /// A redrive tries again what failed in it.
    RedriveTwice,
    /// However often it failed, a redrive tries it.
    RedriveUnlimited,
    /// A redrive goes on behind the last that was asked for.
    RedriveBeyond,
    /// E7: what became of a redrive is answered before it is committed.
    AnsweredEarly,
    /// E7: which own position covers an input is answered before what was decided from it is committed.
    CoveredEarly,
    /// A release from before the stop lifts it.
    StaleRelease,
    /// A node that is told of a stop awaits no record of it.
    StopToldUnawaited,
    /// A node that is told of a stop it has read already engages it anew.
    StopToldLate,
    /// A node that is told of a stop never records it.
    StopToldUnrecorded,
    /// Each record of a stop counts, not only the first.
    StopTwice,
    /// A release is written ahead of the stops that its node knows of and that are not recorded.
    ReleaseAlone,
    /// E5: an owner shares a reader that is ahead of it.
    JoinedBehind,
    /// A shared reader hands an owner what that one has read by itself.
    HandedTwice,
    /// Ticks follow the wall clock back.
    ClockBack,
    /// E9: the higher of two positions wins, not the later.
    PositionsMaximised,
    /// E10, of admission: the token is not looked at.
    GateTokenIgnored,
}

#[cfg(test)]
impl Mutation {
    /// Those that the simulation notices. The last two are not among them: see the tests that say why.
    pub(crate) const NOTICED: [Mutation; 54] = [
        Mutation::ClaimNotExclusive,
        Mutation::GroupCompleted,
        Mutation::AcknowledgedAnywhere,
        Mutation::OverlayKept,
        Mutation::FailedBatchSkipped,
        Mutation::EndNotWatched,
        Mutation::FilterForgotten,
        Mutation::HeldSkipped,
        Mutation::ProjectionHeldSkipped,
        Mutation::ProjectionPositionApart,
        Mutation::PositionsBeforeRows,
        Mutation::FoldedDropped,
        Mutation::ActiveUnwritten,
        Mutation::CacheFirst,
        Mutation::EffectsFirst,
        Mutation::PositionsOfLater,
        Mutation::TokenIgnored,
        Mutation::ParkedOvertaken,
        Mutation::TimerSilent,
        Mutation::TimerKept,
        Mutation::TargetIgnored,
        Mutation::EffectsForgotten,
        Mutation::OfferedOnce,
        Mutation::DuplicateEarly,
        Mutation::ConflictEarly,
        Mutation::MemoryFirst,
        Mutation::GateAcknowledgedAnywhere,
        Mutation::OfferedBlindly,
        Mutation::ResentOtherwise,
        Mutation::DuplicatesTaken,
        Mutation::FilterUnfilled,
        Mutation::LeaseIgnored,
        Mutation::StopIgnored,
        Mutation::StopForgotten,
        Mutation::StopHeededLate,
        Mutation::PauseUnheeded,
        Mutation::ResumeLost,
        Mutation::PauseHidden,
        Mutation::EffectsUncounted,
        Mutation::DecisionsUncounted,
        Mutation::RedriveTwice,
        Mutation::RedriveUnlimited,
        Mutation::RedriveBeyond,
        Mutation::AnsweredEarly,
        Mutation::CoveredEarly,
        Mutation::StaleRelease,
        Mutation::StopToldUnawaited,
        Mutation::StopToldLate,
        Mutation::StopToldUnrecorded,
        Mutation::StopTwice,
        Mutation::ReleaseAlone,
        Mutation::JoinedBehind,
        Mutation::HandedTwice,
        Mutation::ClockBack,
    ];
}

#[cfg(test)]
thread_local! {
    /// One seed is one thread, so no other seed sees it.
    static LEFT_OUT: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Whether this rule is to be left out on this thread.
#[cfg(test)]
pub(crate) fn breaks(mutation: Mutation) -> bool {
    LEFT_OUT.get() == Some(mutation)
}

/// Never.
#[cfg(not(test))]
pub(crate) const fn breaks(_mutation: Mutation) -> bool {
    false
}

/// Runs `run` on this thread with a rule left out.
#[cfg(test)]
pub(crate) fn without<T>(mutation: Mutation, run: impl FnOnce() -> T) -> T {
    LEFT_OUT.set(Some(mutation));
    let result = run();
    LEFT_OUT.set(None);
    result
}

impl Options {
    /// Whether this rule is to be left out.
    #[cfg_attr(not(test), allow(clippy::missing_const_for_fn))]
    pub(crate) fn breaks(&self, mutation: Mutation) -> bool {
        breaks(mutation)
    }
}
