//! Kinds of subjects: the topic of a kind's facts, and the system that the kind belongs to.
//!
//! A new log starts from this table. The log itself records where a kind's facts lie for good: the first fact of a kind places the kind, see
//! `tol_runtime::admission::kinds`. So a kind that is declared later moves no facts that lie under [`OTHER`] already.

/// The topic of undeclared kinds.
pub const OTHER: &str = "facts.other";

/// Kinds that share a topic, so that the facts about all of them have one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindGroup {
    /// `facts.<first kind>`.
    pub topic: &'static str,
    /// The kinds, as before the slash of a subject.
    pub kinds: &'static [&'static str],
    /// The system that they belong to, by its folder below `actors/`. Empty where several systems have facts about them.
    pub owner: &'static str,
}

/// Builds the table; the topic is made of the first kind.
macro_rules! groups {
    ($($owner:literal: $first:literal $(, $more:literal)*;)*) => {
        &[$(KindGroup { topic: concat!("facts.", $first), kinds: &[$first $(, $more)*], owner: $owner }),*]
    };
}

/// The declared kinds.
pub const GROUPS: &[KindGroup] = groups! {
    "": "customer";
    "tree-of-life-system": "system";
    "tree-of-life-system": "request", "route", "saga", "scaling";
    "apex-universal-ai-operating-system": "decision", "policy", "limit", "allocation", "replay";
    "titan-autonomous-business-empire": "unit", "currency", "proposal", "signer";
    "revenue-agent-system": "catalogue", "price-experiment", "webhook-endpoint", "test-clock";
    "customer-intelligence-branch": "offer", "segment", "customer-model";
    "intelligent-customer-data-platform": "identifier", "profile", "audience", "erasure", "company";
    "product-development-branch": "feature-request", "project", "function", "change";
    "intelligent-ci-cd-orchestrator": "service";
    "intelligent-ci-cd-orchestrator": "repository", "delivery-run";
    "enterprise-feature-flag-system": "flag", "flag-set";
    "marketing-automation-branch": "campaign", "journey", "mail-template", "site", "post";
    "conversational-ai-engine": "conversation", "assistant";
    "distributed-job-orchestration-engine": "job", "queue", "schedule", "workflow", "workflow-run";
    "real-time-streaming-analytics": "stream", "stream-pipeline", "window";
    "enterprise-mlops-platform": "ml-experiment", "registered-model", "dataset", "training";
    "security-sentinel-framework": "principal", "inventory", "advisory-source", "package", "log-partition", "compliance-control";
    "nexus-quantum-intelligence-framework": "nexus-problem";
    "singularity-agi-research-platform": "study", "research-experiment", "tuning-target", "heuristic";
};

/// The longest name of a kind, in bytes.
pub const LONGEST: usize = 64;

/// Gives the kind of a subject: `customer` of `customer/42`. `None` where no kind could be declared for it: without a slash, or where the text
/// before the slash is no name (lower-case letters, digits and dashes, a letter first, at most [`LONGEST`] bytes).
pub fn kind_of(subject: &str) -> Option<&str> {
    let (kind, _) = subject.split_once('/')?;
    let named = kind.len() <= LONGEST
        && kind.starts_with(|first: char| first.is_ascii_lowercase())
        && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    named.then_some(kind)
}

/// Gives the declared topic of a kind; [`OTHER`] for an undeclared kind.
pub fn declared_topic(kind: &str) -> &'static str {
    GROUPS.iter().find(|group| group.kinds.contains(&kind)).map_or(OTHER, |group| group.topic)
}

/// Gives the topic of a subject's facts in a new log.
pub fn topic_of(subject: &str) -> &'static str {
    kind_of(subject).map_or(OTHER, declared_topic)
}

/// Lists all declared topics of facts, [`OTHER`] last.
pub fn topics() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|group| group.topic).chain([OTHER])
}

/// Lists the declared kinds of a topic.
pub fn kinds_of(topic: &str) -> &'static [&'static str] {
    GROUPS.iter().find(|group| group.topic == topic).map_or(&[], |group| group.kinds)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::registry;

    #[test]
    fn a_kind_is_declared_once_and_is_the_kind_of_its_subjects() {
        let mut seen = BTreeSet::new();
        for group in GROUPS {
            assert_eq!(group.topic.strip_prefix("facts."), group.kinds.first().copied());
            for kind in group.kinds {
                assert!(seen.insert(*kind), "{kind} is declared twice");
                assert_eq!(kind_of(&format!("{kind}/1")), Some(*kind));
                assert_eq!(topic_of(&format!("{kind}/1")), group.topic);
            }
        }
        assert_eq!(topics().collect::<BTreeSet<_>>().len(), GROUPS.len() + 1, "two groups share a topic");
    }

    #[test]
    fn subjects_without_a_name_before_the_slash_have_no_kind() {
        let long = format!("{}/1", "k".repeat(LONGEST + 1));
        for subject in ["", "customer", "/1", "Customer/1", "1st/1", "a b/1", "a_b/1", "facts.other/1", &long] {
            assert_eq!((kind_of(subject), topic_of(subject)), (None, OTHER), "{subject}");
        }
        assert_eq!(topic_of("flag-set/production"), "facts.flag");
        assert_eq!(topic_of("shop/1"), OTHER);
    }

    #[test]
    fn ambiguous_words_are_no_kinds_and_every_known_type_has_a_declared_one() {
        for word in ["experiment", "model", "pipeline", "problem", "product", "run", "target"] {
            assert_eq!(declared_topic(word), OTHER, "{word}");
        }
        for known in registry::all() {
            // The topic `control` holds what is told of the whole installation. A metric's facts are read by nothing that needs their order, so
            // they share the topic of undeclared kinds.
            assert!(
                ["", "control", "metric"].contains(&known.kind) || declared_topic(known.kind) != OTHER,
                "{} is about {}, which nobody declared",
                known.event_type,
                known.kind
            );
        }
    }
}
