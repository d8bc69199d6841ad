//! Where a record lies in the log: [`TopicPartition`] and [`Position`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place of a record in a topic partition, counted from 0 without gaps.
pub type Position = u64;

/// One partition of a topic, written `topic/partition`. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: u32,
}

/// A text that names no topic partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a topic partition; write topic/partition, for example facts.customer/3")]
pub struct InvalidTopicPartition(pub String);

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl FromStr for TopicPartition {
    type Err = InvalidTopicPartition;
    fn from_str(text: &str) -> Result<Self, InvalidTopicPartition> {
        let parsed = text.rsplit_once('/').and_then(|(topic, partition)| Some((topic, partition.parse().ok()?)));
        match parsed {
            Some((topic, partition)) if !topic.is_empty() => Ok(Self::new(topic, partition)),
            _ => Err(InvalidTopicPartition(text.to_owned())),
        }
    }
}

impl Serialize for TopicPartition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicPartition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_partition_reads_back_what_it_writes_and_refuses_the_rest() {
        let at = TopicPartition::new("facts.customer", 3);
        assert_eq!(at.to_string().parse(), Ok(at));
        for text in ["", "/3", "facts.customer", "facts.customer/", "facts.customer/-1", "facts.customer/x"] {
            assert_eq!(text.parse::<TopicPartition>(), Err(InvalidTopicPartition(text.to_owned())));
        }
    }
}
