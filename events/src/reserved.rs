//! The event types the runtime itself writes to a system's topic. No system may emit them.

use serde::{Deserialize, Serialize};

/// Prefix of all reserved types.
pub const PREFIX: &str = "tol.";
/// An owner's claim of a partition (E2).
pub const OWNER_CLAIMED: &str = "tol.owner_claimed.v1";
/// Input positions alone: a numbered group of one (E8).
pub const CHECKPOINTED: &str = "tol.checkpointed.v1";
/// An input that failed too often, or came behind one of the same subject that did.
pub const INPUT_PARKED: &str = "tol.input_parked.v1";
/// A parked input that was decided after all; opens the group of what it led to.
pub const INPUT_REDRIVEN: &str = "tol.input_redriven.v1";
/// A redrive of a parked input that failed again; the input stays parked.
pub const REDRIVE_FAILED: &str = "tol.redrive_failed.v1";
/// A parked input that an operator gave up, with the reason.
pub const INPUT_DISCARDED: &str = "tol.input_discarded.v1";
/// A due timer that led to nothing else.
pub const TIMER_FIRED: &str = "tol.timer_fired.v1";
/// An effect's result that led to nothing else.
pub const EFFECT_SETTLED: &str = "tol.effect_settled.v1";
/// A tick on the `clock` topic.
pub const CLOCK_TICKED: &str = "tol.clock_ticked.v1";
/// Inbox records that expired before they were read.
pub const INBOX_GAP: &str = "tol.inbox_gap.v1";
/// Which topic the facts of a kind lie in (topic `kinds`): the first record of a kind counts.
pub const KIND_PLACED: &str = "tol.kind_placed.v1";
/// The kinds of a log older than the topic `kinds` were placed.
pub const KINDS_SURVEYED: &str = "tol.kinds_surveyed.v1";
/// The emergency stop was engaged (topic `control`).
pub const STOP_ENGAGED: &str = "tree.emergency_stop_engaged.v1";
/// The emergency stop was released (topic `control`).
pub const STOP_RELEASED: &str = "tree.emergency_stop_released.v1";
/// A person was erased (topic `control`).
pub const SUBJECT_ERASED: &str = "tree.subject_erased.v1";
/// A system was paused (topic `control`).
pub const SYSTEM_PAUSED: &str = "tree.system_paused.v1";
/// A paused system goes on (topic `control`).
pub const SYSTEM_RESUMED: &str = "tree.system_resumed.v1";

/// Data of [`OWNER_CLAIMED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerClaimed {
    /// Above that of every earlier valid claim of the partition, or the claim is void.
    pub epoch: u64,
    /// The claimant's own, so that it can tell its claim from another's of the same epoch.
    pub nonce: String,
    /// The node's URL: claims are the routing table.
    pub node: String,
    /// Version of the code that decides.
    pub code_version: String,
    /// Hash of the configuration that decides.
    pub config_hash: String,
}

/// Data of [`KIND_PLACED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindPlaced {
    /// The kind; `*` for all that have no record of their own.
    pub kind: String,
    /// The topic of its facts.
    pub topic: String,
}
