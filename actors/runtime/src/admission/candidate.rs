//! A fact on its way in.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tol_events::{Attribute, Event, EventTime, EventView, id};
use tol_kafka::{Position, Record, TopicPartition};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

/// Extension with the keyed content hash of a fact whose content is encrypted.
pub const CONTENT_HASH: &str = "contenthash";

/// Hash of (source, id): what admission deduplicates on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenKey(pub [u8; 16]);

/// A map by [`SeenKey`], never iterated into a result. The standard hasher cost more for an event's look-ups than the look-ups; this one has a random
/// seed too: senders choose ids, know the keys these come to, and must not be able to choose some that meet in one map.
pub(super) type SeenMap<V> = HashMap<SeenKey, V, ahash::RandomState>;

impl Hash for SeenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // All of it at one go: an array would hash its length too.
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

impl SeenKey {
    /// Of an event's source and id.
    pub fn of(source: &str, id: &str) -> Self {
        let mut text = Vec::with_capacity(source.len() + id.len() + 1);
        text.extend_from_slice(source.as_bytes());
        text.push(0);
        text.extend_from_slice(id.as_bytes());
        SeenKey(xxh3_128(&text).to_be_bytes())
    }
}

/// An event that passed validation, ready to be numbered.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its (source, id).
    pub key: SeenKey,
    /// Hash of its content.
    pub content: u64,
    /// Its person was erased, and its content with them: it agrees with whatever was stored under its id.
    pub erased: bool,
    /// Everything but numbering and `recordedtime`.
    pub record: Record,
    /// Hash of its subject.
    pub(super) subject: u64,
    /// When it happened; `None` where that is still to come, so that a fact from the future makes no other one late.
    pub(super) happened: Option<EventTime>,
    /// Whether the sender gave a time; `recordedtime` stands in otherwise.
    pub time: Option<EventTime>,
    /// Where it goes.
    pub to: TopicPartition,
    /// Where in `inbox` it came from.
    pub inbox: Option<(u32, Position)>,
    /// Whose answer it is part of.
    pub ticket: u64,
}

/// How far ahead a `time` may lie before the fact is flagged, in microseconds: a day.
const FUTURE_MICROS: i64 = 86_400_000_000;

impl Candidate {
    /// Hashes a validated event that goes to `topic`, see [`Kinds`](super::Kinds). `keyed_content` is the content hash of an event whose personal fields were encrypted.
    /// Numbering attributes that the sender set are dropped: they are admission's to give.
    pub fn new(
        mut event: Event,
        keyed_content: Option<u64>,
        topic: impl Into<Arc<str>>,
        partitions: u32,
        inbox: Option<(u32, Position)>,
        now: EventTime,
    ) -> Self {
        for attribute in [
            Attribute::Sequence,
            Attribute::Epoch,
            Attribute::InputPosition,
            Attribute::InputIndex,
            Attribute::RecordedTime,
            Attribute::InboxPosition,
            Attribute::TimeFlag,
        ] {
            event.unset(attribute);
        }
        event.extensions.remove(CONTENT_HASH);
        let key = SeenKey::of(event.get(Attribute::Source), event.get(Attribute::Id));
        let subject = event.get(Attribute::Subject);
        let to = TopicPartition::new(topic, partition_of(&event, partitions));
        let time = event.attributes.get(&Attribute::Time).and_then(|text| EventTime::parse(text));
        let (subject_hash, happened) = (xxh3_64(subject.as_bytes()), Some(time.unwrap_or(now)).filter(|time| *time <= now));
        let content = keyed_content.unwrap_or_else(|| hash(event.get(Attribute::Type), subject, event.get(Attribute::Time), &event.data));
        if let Some(hash) = keyed_content {
            event.extensions.insert(CONTENT_HASH.to_owned(), format!("{hash:016x}"));
        }
        if time.is_some_and(|time| time.micros_since(now) > FUTURE_MICROS) {
            event.set(Attribute::TimeFlag, "future");
        }
        if let Some((partition, position)) = inbox {
            event.set(Attribute::InboxPosition, format!("{partition}@{position}"));
        }
        Self { key, content, erased: false, subject: subject_hash, happened, time, record: Record::from_event(&event), to, inbox, ticket: 0 }
    }
}

impl Candidate {
    /// A fact whose personal content is gone.
    #[must_use]
    pub fn erased(self) -> Self {
        Self { erased: true, ..self }
    }

    /// Its source.
    pub(super) fn source(&self) -> &str {
        let source = self.record.headers().find(|(name, _)| name.as_str() == Attribute::Source.header());
        source.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// Whether it says what lies in the log under its id, as far as that can be told.
    pub(super) fn agrees_with(&self, content: u64) -> bool {
        self.erased || self.content == content
    }
}

/// Bytes that numbering adds to a record, at most: two times, two numbers.
const NUMBERING: usize = 2 * 32 + 2 * 20;

impl Candidate {
    /// Its record under this epoch and sequence, recorded `now`, which is `recorded` as text: formatted once a batch.
    pub(super) fn numbered(&self, (epoch, sequence): (u64, u64), now: EventTime, recorded: &str) -> Record {
        let mut record = self.record.copy_with_room(NUMBERING);
        if self.time.is_none() {
            record.attribute(Attribute::Time, recorded);
        }
        if self.time == Some(now) {
            // Where both times are equal, the log says that the sender gave none: see `content_hash_of_fact`.
            record.attribute(Attribute::RecordedTime, &now.plus_micros(1).to_string());
        } else {
            record.attribute(Attribute::RecordedTime, recorded);
        }
        record.attribute(Attribute::Epoch, &epoch.to_string());
        record.attribute(Attribute::Sequence, &sequence.to_string());
        record
    }
}

/// The partition number a fact belongs to, and so its owner.
pub fn partition_of(event: &Event, partitions: u32) -> u32 {
    let key = event.attributes.get(&Attribute::PartitionKey).map_or(event.get(Attribute::Subject), String::as_str);
    id::partition_of(key, partitions)
}

/// The content hash of an event as its sender gave it, keyed so that what was encrypted cannot be guessed from it.
pub fn keyed_content_hash(key: &[u8; 32], event: &Event) -> u64 {
    let plain = hash(event.get(Attribute::Type), event.get(Attribute::Subject), event.get(Attribute::Time), &event.data);
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&plain.to_be_bytes());
    hasher.update(&event.data);
    u64::from_be_bytes(hasher.finalize().as_bytes()[..8].try_into().unwrap_or_default())
}

/// The content hash of a fact as it lies in the log; the same as of the candidate it was.
pub fn content_hash_of_fact(event: EventView<'_>) -> u64 {
    let keyed = event.extensions().find(|(name, _)| *name == CONTENT_HASH).and_then(|(_, value)| u64::from_str_radix(value, 16).ok());
    keyed.unwrap_or_else(|| {
        let time = event.attribute(Attribute::Time).unwrap_or_default();
        // A fact that came without a time got its recorded time.
        let given = if Some(time) == event.attribute(Attribute::RecordedTime) { "" } else { time };
        hash(event.event_type(), event.subject(), given, event.data())
    })
}

/// Hash of what a fact says. White space between JSON tokens does not count: the same fact may be sent by two clients.
fn hash(event_type: &str, subject: &str, time: &str, data: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    for part in [event_type, subject, time] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    let (mut start, mut in_string, mut escaped) = (0, false, false);
    for (index, byte) in data.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if *byte == b'"' {
            in_string = true;
        } else if byte.is_ascii_whitespace() {
            hasher.update(&data[start..index]);
            start = index + 1;
        }
    }
    hasher.update(&data[start..]);
    hasher.digest()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TOPIC: &str = "facts.customer";

    fn event(data: &str, time: &str) -> Event {
        let mut event = Event::new("1", "/shop", "shop.thing_done.v1", "customer/1");
        if !time.is_empty() {
            event.set(Attribute::Time, time);
        }
        event.data = data.as_bytes().to_vec();
        event
    }

    fn content(data: &str, time: &str) -> u64 {
        Candidate::new(event(data, time), None, TOPIC, 8, None, EventTime::from_secs(0)).content
    }

    #[test]
    fn content_is_the_same_whatever_the_spacing_and_other_for_other_content() {
        assert_eq!(content(r#"{"a": 1, "b": "x y"}"#, ""), content(r#"{"a":1,"b":"x y"}"#, ""));
        assert_ne!(content(r#"{"a":"x y"}"#, ""), content(r#"{"a":"xy"}"#, ""));
        assert_ne!(content("{}", ""), content("{}", "2020-01-01T00:00:00Z"));
    }

    #[test]
    fn a_fact_in_the_log_hashes_as_the_candidate_did() {
        for time in ["", "2020-01-01T00:00:00Z"] {
            let candidate = Candidate::new(event(r#"{"a": 1}"#, time), None, TOPIC, 8, None, EventTime::from_secs(0));
            let mut fact = event(r#"{"a": 1}"#, if time.is_empty() { "2026-01-01T00:00:00Z" } else { time });
            fact.set(Attribute::RecordedTime, "2026-01-01T00:00:00Z");
            assert_eq!(content_hash_of_fact(fact.encode().view()), candidate.content);
        }
    }

    #[test]
    fn a_fact_recorded_at_the_very_time_it_gives_hashes_as_the_candidate_did() {
        let now = EventTime::from_secs(1_600_000_000);
        for time in ["", "2020-09-13T12:26:40Z"] {
            let candidate = Candidate::new(event("{}", time), None, TOPIC, 8, None, now);
            let batch = tol_kafka::Batch::of_records(candidate.to.clone(), 0, 0, &[candidate.numbered((1, 1), now, &now.to_string())]);
            assert_eq!(content_hash_of_fact(batch.event(0).unwrap()), candidate.content, "{time}");
        }
    }

    #[test]
    fn keys_that_share_half_their_bytes_do_not_meet_and_each_map_has_its_own_seed() {
        let hash = |map: &SeenMap<()>, key| map.hasher().hash_one(key);
        let (map, other) = (SeenMap::default(), SeenMap::default());
        for place in [0, 8] {
            let keys = (0..4096_u64).map(|number| {
                let mut key = [7; 16];
                key[place..place + 8].copy_from_slice(&number.to_be_bytes());
                SeenKey(key)
            });
            // Of 4,096 thrown into 65,536 about 3,970 are distinct.
            let distinct = keys.map(|key| hash(&map, key) & 0xffff).collect::<std::collections::BTreeSet<_>>().len();
            assert!(distinct > 3800, "{distinct} in byte {place}");
        }
        let key = SeenKey::of("/shop", "1");
        assert_eq!(hash(&map, key), hash(&map, key));
        assert_ne!(hash(&map, key), hash(&other, key));
    }

    #[test]
    fn numbering_of_the_sender_is_dropped_and_the_far_future_flagged() {
        let mut event = event("{}", "2099-01-01T00:00:00Z");
        event.set(Attribute::Epoch, "9");
        let candidate = Candidate::new(event, None, TOPIC, 8, None, EventTime::from_secs(0));
        let headers: Vec<&str> = candidate.record.headers().map(|(name, _)| name.as_str()).collect();
        assert!(!headers.contains(&"ce_epoch") && headers.contains(&"ce_timeflag"));
    }
}
