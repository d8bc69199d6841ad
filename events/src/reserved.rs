//! The event types that the runtime itself writes. No system may emit them.

use serde::{Deserialize, Serialize};

/// Prefix of all reserved types.
pub const PREFIX: &str = "tol.";
/// An owner's claim of a partition (E2).
pub const OWNER_CLAIMED: &str = "tol.owner_claimed.v1";
/// A record of input positions alone: a numbered group of one (E8).
pub const CHECKPOINTED: &str = "tol.checkpointed.v1";
/// An input was parked: it failed too often, or came behind a parked input of its subject.
pub const INPUT_PARKED: &str = "tol.input_parked.v1";
/// A parked input was decided; the record opens the group of events that it led to.
pub const INPUT_REDRIVEN: &str = "tol.input_redriven.v1";
/// A redrive of a parked input failed; the input stays parked.
pub const REDRIVE_FAILED: &str = "tol.redrive_failed.v1";
/// An operator discarded a parked input, with a reason.
pub const INPUT_DISCARDED: &str = "tol.input_discarded.v1";
/// A due timer was decided and led to no event.
pub const TIMER_FIRED: &str = "tol.timer_fired.v1";
/// The result of an effect was decided and led to no event.
pub const EFFECT_SETTLED: &str = "tol.effect_settled.v1";
/// A tick on the `clock` topic.
pub const CLOCK_TICKED: &str = "tol.clock_ticked.v1";
/// Records of `inbox` expired before admission read them.
pub const INBOX_GAP: &str = "tol.inbox_gap.v1";
/// A kind was placed in a topic (topic `kinds`); the first record of a kind counts.
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
/// A paused system was resumed (topic `control`).
pub const SYSTEM_RESUMED: &str = "tree.system_resumed.v1";

/// Data of [`OWNER_CLAIMED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerClaimed {
    /// The epoch, above that of every earlier valid claim of the partition; else the claim is void.
    pub epoch: u64,
    /// A number of the claimant's own, by which it tells its claim from another one of the same epoch.
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
    /// The kind; `*` stands for all kinds without a record of their own.
    pub kind: String,
    /// The topic of its facts.
    pub topic: String,
}
