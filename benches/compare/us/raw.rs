//! Plain Kafka topics, as the other contestants use them.

use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long the broker may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of these brokers.
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

/// Creates topics that must not exist yet; with `flush_each` the broker syncs after every append.
pub fn create(bootstrap: &str, names: &[String], partitions: u32, flush_each: bool) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let topic = |name| {
        let topic = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(1));
        if flush_each { topic.set("flush.messages", "1") } else { topic }
    };
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| topic(name.as_str())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for created in runtime.block_on(admin.create_topics(&topics, &AdminOptions::new().operation_timeout(Some(TIMEOUT))))? {
        if let Err((topic, code)) = created {
            bail!("topic {topic} was not created: {code}");
        }
    }
    Ok(())
}

/// A consumer without group management; `group` names whose committed positions it asks for.
pub fn consumer(bootstrap: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = config(bootstrap);
    config.set("group.id", group).set("enable.auto.commit", "false").set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    config.set("auto.offset.reset", "earliest").set("fetch.message.max.bytes", "4194304").set("queued.max.messages.kbytes", "65536");
    Ok(config.create()?)
}

/// Assigns all partitions from the first record on.
pub fn from_the_beginning(consumer: &BaseConsumer, topic: &str, partitions: u32) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning)?;
    }
    Ok(consumer.assign(&list)?)
}

/// The ends of all partitions.
pub fn ends(consumer: &BaseConsumer, topic: &str, partitions: u32) -> anyhow::Result<Vec<i64>> {
    let end = |partition| consumer.fetch_watermarks(topic, partition as i32, TIMEOUT).map(|(_, end)| end).context("asking for the end of a partition");
    (0..partitions).map(end).collect()
}
