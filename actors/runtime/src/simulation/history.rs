//! What counts of a partition, read without the runtime's code: E2 to E4 written down a second time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tol_events::{Attribute, EventView};
use tol_kafka::{Batch, EventLog, MemoryLog, TopicPartition};

/// An event that counts, taken out of the log.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Where it lies in its partition.
    pub position: u64,
    /// Its writer's epoch.
    pub epoch: u64,
    /// Its number in that.
    pub sequence: u64,
    /// Its id.
    pub id: String,
    /// Who says so.
    pub source: String,
    /// What is said.
    pub event_type: String,
    /// Of whom.
    pub subject: String,
    /// For whom, if not for its own subject.
    pub target: Option<String>,
    /// When it happened, in microseconds.
    pub time: i64,
    pub(super) cause: String,
    pub(super) inputs: String,
    pub(super) index: (u32, u32),
    pub(super) extensions: BTreeMap<String, String>,
    /// Where in `inbox` it came from.
    pub(super) inbox: String,
    /// Its data, read.
    pub data: Value,
    /// Its data as it lies there.
    pub bytes: Vec<u8>,
    batch: Arc<Batch>,
}

impl Recorded {
    /// Whether it was decided from the input with this id.
    pub(super) fn is_caused_by(&self, id: &str) -> bool {
        self.cause == id
    }

    /// All of it, as a system reads it.
    pub(super) fn view(&self) -> Result<EventView<'_>, String> {
        let index = self.position.saturating_sub(self.batch.base()) as usize;
        self.batch.event(index).ok_or_else(|| format!("{} is not in its batch", self.id))
    }

    pub(super) fn field(&self, name: &str) -> Result<String, String> {
        self.data.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("{} has no {name}", self.id))
    }
}

/// E2 to E4 written down a second time: the groups that count, in order.
pub(super) fn accepted(log: &MemoryLog, of: &TopicPartition) -> Result<Vec<Vec<Recorded>>, String> {
    let mut groups: Vec<Vec<Recorded>> = Vec::new();
    let (mut epoch, mut whole) = (0u64, 0u64);
    let mut open: Vec<Recorded> = Vec::new();
    for batch in log.read(of, 0, usize::MAX).map_err(|error| error.to_string())? {
        for (position, event) in batch.events_from(0) {
            let number = event.epoch().ok_or_else(|| format!("{of}@{position} has no epoch"))?;
            let Some(sequence) = event.sequence() else {
                if number > epoch {
                    epoch = number;
                    open.clear();
                }
                continue;
            };
            if number != epoch || sequence != whole + open.len() as u64 + 1 {
                continue;
            }
            let index = event.input_index().unwrap_or((1, 1));
            open.push(Recorded {
                position,
                epoch,
                sequence,
                id: event.id().to_owned(),
                source: event.source().to_owned(),
                event_type: event.event_type().to_owned(),
                subject: event.subject().to_owned(),
                target: event.target().map(str::to_owned),
                time: event.time().unwrap_or_default().as_micros(),
                cause: event.attribute(Attribute::CausationId).unwrap_or_default().to_owned(),
                inputs: event.attribute(Attribute::InputPosition).unwrap_or_default().to_owned(),
                index,
                extensions: event.extensions().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
                inbox: event.attribute(Attribute::InboxPosition).unwrap_or_default().to_owned(),
                bytes: event.data().to_vec(),
                batch: batch.clone(),
                data: if event.data().is_empty() { Value::Null } else { event.data_as().map_err(|error| error.to_string())? },
            });
            if index.0 == index.1 {
                whole += open.len() as u64;
                groups.push(std::mem::take(&mut open));
            }
        }
    }
    Ok(groups)
}
