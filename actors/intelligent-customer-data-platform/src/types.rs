//! The names of the event types that the system reads and emits.

use tol_events::DomainEvent;
use tol_events::cdp::{
    AudienceCheckDue, AudienceCheckScheduled, AudienceDefined, AudienceEntered, AudienceEvaluated, AudienceExited, AudienceRequested, ConsentChanged,
    CustomerLinked, ErasureFailed, ErasureRequested, HomeJoinRequested, HomeMoved, IdentifierSuppressed, KeyDestructionRequested, LinkAccepted, LinkOffered,
    LinkWithdrawn, LinksSent, MergeRefused, ProfileCreated, ProfilesMerged, ProfilesResolved, ProfilesUnmerged, SubjectKeyDestroyed, SuppressionRequested,
    TraitChanged, UnmergeForwarded, UnmergeRefused, UnmergeRequested,
};
use tol_events::engagement::{Aliased, Grouped, Identified, IdentifierNamed, PageViewed, ScreenViewed, Tracked};

macro_rules! names {
    ($($name:ident = $event:ident;)*) => { $(pub(crate) const $name: &str = <$event<'static> as DomainEvent>::TYPE;)* };
}

names! {
    IDENTIFIED = Identified;
    TRACKED = Tracked;
    PAGE_VIEWED = PageViewed;
    SCREEN_VIEWED = ScreenViewed;
    GROUPED = Grouped;
    ALIASED = Aliased;
    IDENTIFIER_NAMED = IdentifierNamed;
    UNMERGE_REQUESTED = UnmergeRequested;
    AUDIENCE_REQUESTED = AudienceRequested;
    AUDIENCE_EVALUATED = AudienceEvaluated;
    ERASURE_REQUESTED = ErasureRequested;
    SUPPRESSION_REQUESTED = SuppressionRequested;
    PROFILE_CREATED = ProfileCreated;
    CUSTOMER_LINKED = CustomerLinked;
    TRAIT_CHANGED = TraitChanged;
    CONSENT_CHANGED = ConsentChanged;
    IDENTIFIER_SUPPRESSED = IdentifierSuppressed;
    LINK_OFFERED = LinkOffered;
    LINK_ACCEPTED = LinkAccepted;
    LINK_WITHDRAWN = LinkWithdrawn;
    LINKS_SENT = LinksSent;
    HOME_MOVED = HomeMoved;
    HOME_JOIN_REQUESTED = HomeJoinRequested;
    PROFILES_RESOLVED = ProfilesResolved;
    PROFILES_MERGED = ProfilesMerged;
    PROFILES_UNMERGED = ProfilesUnmerged;
    MERGE_REFUSED = MergeRefused;
    UNMERGE_FORWARDED = UnmergeForwarded;
    UNMERGE_REFUSED = UnmergeRefused;
    AUDIENCE_DEFINED = AudienceDefined;
    AUDIENCE_ENTERED = AudienceEntered;
    AUDIENCE_EXITED = AudienceExited;
    AUDIENCE_CHECK_SCHEDULED = AudienceCheckScheduled;
    AUDIENCE_CHECK_DUE = AudienceCheckDue;
    KEY_DESTRUCTION_REQUESTED = KeyDestructionRequested;
    SUBJECT_KEY_DESTROYED = SubjectKeyDestroyed;
    ERASURE_FAILED = ErasureFailed;
}

/// Calls of SDKs.
pub(crate) const CALLS: &[&str] = &[IDENTIFIED, TRACKED, PAGE_VIEWED, SCREEN_VIEWED, GROUPED, ALIASED];
/// What is read of `facts.identifier`.
pub(crate) const FACTS: &[&str] = &[
    IDENTIFIED,
    TRACKED,
    PAGE_VIEWED,
    SCREEN_VIEWED,
    GROUPED,
    ALIASED,
    UNMERGE_REQUESTED,
    AUDIENCE_REQUESTED,
    AUDIENCE_EVALUATED,
    ERASURE_REQUESTED,
    SUPPRESSION_REQUESTED,
];
/// Own events that other subjects of the system read.
pub(crate) const TOLD: &[&str] =
    &[LINK_OFFERED, LINK_ACCEPTED, LINK_WITHDRAWN, LINKS_SENT, HOME_MOVED, HOME_JOIN_REQUESTED, UNMERGE_FORWARDED, PROFILE_CREATED];
/// Own events.
pub(crate) const EMITTED: &[&str] = &[
    PROFILE_CREATED,
    CUSTOMER_LINKED,
    TRAIT_CHANGED,
    CONSENT_CHANGED,
    IDENTIFIER_SUPPRESSED,
    LINK_OFFERED,
    LINK_ACCEPTED,
    LINK_WITHDRAWN,
    LINKS_SENT,
    HOME_MOVED,
    HOME_JOIN_REQUESTED,
    PROFILES_RESOLVED,
    PROFILES_MERGED,
    PROFILES_UNMERGED,
    MERGE_REFUSED,
    UNMERGE_FORWARDED,
    UNMERGE_REFUSED,
    AUDIENCE_DEFINED,
    AUDIENCE_ENTERED,
    AUDIENCE_EXITED,
    AUDIENCE_CHECK_SCHEDULED,
    AUDIENCE_CHECK_DUE,
    KEY_DESTRUCTION_REQUESTED,
    SUBJECT_KEY_DESTROYED,
    ERASURE_FAILED,
];
