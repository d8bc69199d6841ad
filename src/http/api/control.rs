//! Systems, dead letters, the emergency stop and the node itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tol_events::{EventTime, Position, TopicPartition};
use tol_plug::platform::Check;
use utoipa::ToSchema;

/// What an operator does to a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// It stops after the input it is at; planned downtime.
    Pause,
    /// A paused one goes on.
    Resume,
    /// It is stopped and started anew.
    Restart,
}

/// A person who was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Erased {
    /// Who.
    #[schema(example = "customer/42")]
    pub subject: String,
}

/// Uptime against its target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Uptime {
    /// Millionths of the time it must be up: 999,900 is 99.99 %.
    pub target_ppm: u32,
    /// Millionths of the time it was up, planned downtime left out.
    pub ppm: u32,
    /// Seconds down without a plan.
    pub down_s: u64,
    /// Seconds down as planned.
    pub planned_down_s: u64,
    /// Since when it is counted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<EventTime>,
}

/// A system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct SystemStatus {
    /// Its name.
    pub name: String,
    /// Version of its code.
    pub version: String,
    /// `starting`, `running`, `halted` (by the emergency stop), `waiting` (for one it depends on), `paused`, `restarting`, `degraded`, `stopped` or `disabled`.
    #[schema(example = "running")]
    pub state: String,
    /// Why it is in that state, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Records of its inputs it has not decided yet, in the partitions of this node.
    pub lag: u64,
    /// How often it was restarted since the node started.
    pub restarts: u64,
    /// Inputs that are parked.
    pub dead_letters: u64,
    /// Inputs decided since the node started.
    pub consumed: u64,
    /// Events emitted since the node started.
    pub emitted: u64,
    /// Uptime against its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<Uptime>,
}

/// A system in full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct SystemDetail {
    /// As in the list.
    #[serde(flatten)]
    pub status: SystemStatus,
    /// By partition: epoch, sequence, input positions; the system's observable state; its state about the subject asked for.
    #[serde(flatten)]
    pub details: BTreeMap<String, Value>,
}

/// The content of a system's states in one number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SystemDigest {
    /// A hash of all subjects with their states, independent of their order.
    pub digest: String,
    /// How many subjects.
    pub subjects: u64,
    /// Version of the states. Only digests of the same can be compared.
    pub state_version: u32,
    /// Next position of each of the system's own partitions that the states hold. Only digests at the same positions can be compared.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub positions: BTreeMap<TopicPartition, Position>,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Of this system.
    pub system: Option<String>,
    /// Of this subject.
    pub subject: Option<String>,
    /// Whose input has this type; ending in `*`, one that begins so.
    pub event_type: Option<String>,
    /// Whose error contains this text.
    pub error: Option<String>,
    /// Parked at this time or later.
    pub from: Option<EventTime>,
    /// Parked at this time or before.
    pub to: Option<EventTime>,
    /// At most so many, from 1.
    pub limit: usize,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
}

/// What a dead letter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterKind {
    /// An input that a system could not decide. It is in the log.
    #[default]
    Parked,
    /// A record of Kafka's `inbox` that admission did not take. It is in no topic of facts.
    Refused,
}

/// An input that failed and is parked, or that waits behind one of its subject; or a record that the inbox refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Its id here.
    pub id: String,
    /// `parked` or `refused`.
    #[serde(default)]
    pub kind: DeadLetterKind,
    /// The system that could not decide it; of a refused record the hub.
    pub system: String,
    /// The input's subject; later inputs of it wait.
    pub subject: String,
    /// The input's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The input's id.
    pub event_id: String,
    /// Where the input lies, `topic/partition:position`.
    pub position: String,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last try said.
    pub error: String,
    /// When it was parked: recorded time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub parked_at: Option<EventTime>,
    /// The input's own time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<EventTime>,
    /// How often it was redriven in vain.
    pub redrives: u32,
    /// How many inputs of the subject wait behind it.
    pub waiting: u64,
    /// In the answer to a discard: how many that only waited behind it were decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<u64>,
}

/// A dead letter with what could not be decided or admitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct DeadLetterDetail {
    /// As in the list.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// The event, with its personal fields opened; null where it is none, or does not read.
    #[schema(value_type = Option<super::CloudEvent>, required = true)]
    pub event: Option<Value>,
    /// The timer or the result of an effect that could not be decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The record, as its publisher wrote it to Kafka's inbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<InboxRecord>,
}

/// A record of Kafka's inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct InboxRecord {
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its value, where it is text. A value that is large or may be personal is read from the inbox: it is gone when that has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value in base64, where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

/// How one dead letter is redriven.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedriveOne {
    /// A CloudEvent that is admitted in place of a refused record, whose faults it mends. For a refused record only: what is in the log is never changed.
    #[schema(value_type = Option<Object>)]
    pub event: Option<Value>,
    /// Why; it is recorded.
    #[schema(max_length = 4096)]
    pub reason: Option<String>,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct DeadLetterPage {
    /// Oldest first.
    pub items: Vec<DeadLetter>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Which dead letters are redriven, and how. An empty object means all. What came behind a dead letter of its subject goes with it;
/// what stands behind one that is left out is left out too, so that no subject's order is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedriveFilter {
    /// Of this system only.
    pub system: Option<String>,
    /// Of this subject only.
    pub subject: Option<String>,
    /// Whose input has this type; ending in `*`, one that begins so.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Whose error contains this text.
    pub error: Option<String>,
    /// Parked at this time or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<EventTime>,
    /// Parked at this time or before.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<EventTime>,
    /// Why; it is recorded.
    #[schema(max_length = 4096)]
    pub reason: Option<String>,
    /// Also those that were redriven in vain so often that they would be left where they are.
    pub force: bool,
    /// Only tells which would be redriven.
    pub dry_run: bool,
    /// Answers at once; `GET /dead-letters/redrives/{id}` tells how far it is.
    pub background: bool,
}

/// A dead letter that stays where it is, and those of its subject behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StayedDeadLetter {
    /// The dead letter.
    pub id: String,
    /// Its system.
    pub system: String,
    /// Its subject.
    pub subject: String,
    /// What failed, or why it was not tried.
    pub problem: String,
}

/// A redrive, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Redriven {
    /// Names the redrive; its events carry it too.
    pub id: String,
    /// `running`, `done` or `failed` (it gave up half-way; `problem` says why).
    #[schema(example = "done")]
    pub state: String,
    /// Why it gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How many it was to redrive.
    pub selected: u64,
    /// How many that matched were left out because they stand behind one that does not.
    pub held_back: u64,
    /// How many went through; of a dry run, how many would be tried.
    pub redriven: u64,
    /// Their ids.
    pub ids: Vec<String>,
    /// Those that failed again.
    pub failed: Vec<StayedDeadLetter>,
    /// Those not tried because they were redriven in vain too often; `force` tries them.
    pub limited: Vec<StayedDeadLetter>,
    /// Whether it was only told.
    pub dry_run: bool,
}

/// The emergency stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct StopState {
    /// Whether it is engaged.
    pub engaged: bool,
    /// Why it was engaged (or, when it is not, released).
    #[schema(required = true)]
    pub reason: Option<String>,
    /// Who did.
    #[schema(required = true)]
    pub by: Option<String>,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub since: Option<EventTime>,
    /// Whether the stop is written to the log; it holds on this node in any case.
    pub recorded: bool,
    /// URLs of the nodes that have confirmed it.
    pub confirmed: Vec<String>,
    /// Systems of this node that were still deciding when this was answered: they hang, or are at a long input.
    pub still_deciding: Vec<String>,
    /// Effects of this node that had started before and had not ended when this was answered. None starts after it.
    pub effects_running: u64,
}

/// Whether the node can do its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether all checks passed.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// What runs here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Version {
    /// Version of `tol`.
    pub version: String,
    /// The commit it was built from, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The node's name.
    pub node: String,
    /// The URL other nodes reach it at.
    pub url: String,
    /// `embedded` or `kafka`.
    pub log: String,
    /// The log's identity.
    pub cluster: String,
    /// The log's topics.
    pub topics: Vec<Topic>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
}
