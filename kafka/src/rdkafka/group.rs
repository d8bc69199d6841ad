//! Which partition numbers this node owns: a consumer group on the topic `ownership`, whose records nobody reads.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::rdkafka::client::ClientContext;
use ::rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use ::rdkafka::topic_partition_list::TopicPartitionList;

use super::{Inner, lock};
use crate::log::{Assignment, TopicSpec};

struct Group {
    /// What this node owns; rebalances add to it and take from it.
    own: Mutex<BTreeSet<u32>>,
    changed: Arc<dyn Fn(Assignment) + Send + Sync>,
}

impl Group {
    fn change(&self, list: &TopicPartitionList, add: bool) {
        let mut own = lock(&self.own);
        for partition in list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()) {
            if add {
                own.insert(partition);
            } else {
                own.remove(&partition);
            }
        }
        (self.changed)(Assignment { partitions: own.clone() });
    }
}

impl ClientContext for Group {}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Before the partitions go to another node.
        if let Rebalance::Revoke(list) = rebalance {
            self.change(list, false);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.change(list, true);
        }
    }
}

/// Runs until the log is closed.
pub(super) fn run(inner: &Inner, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>) {
    let topic = inner.options.ownership_topic.clone();
    while !inner.closed() {
        let spec = TopicSpec { name: topic.clone(), partitions, retention: None };
        let joined = inner.ensure_topics(&[spec]).map_err(|error| error.to_string()).and_then(|()| {
            let mut config = inner.options.config();
            config.set("group.id", &inner.options.group).set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500");
            // What does not move stays where it is while others join or leave; a node that is gone would otherwise stop all of them for a session.
            config.set("enable.auto.commit", "false").set("auto.offset.reset", "latest").set("partition.assignment.strategy", "cooperative-sticky");
            inner.options.pass_through(&mut config);
            let consumer: BaseConsumer<Group> =
                config.create_with_context(Group { own: Mutex::default(), changed: changed.clone() }).map_err(|error| error.to_string())?;
            consumer.subscribe(&[&topic]).map_err(|error| error.to_string())?;
            Ok(consumer)
        });
        match joined {
            Ok(consumer) => {
                while !inner.closed() {
                    if let Some(Err(error)) = consumer.poll(Duration::from_millis(200)) {
                        tracing::debug!(%error, "the ownership group");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error, "cannot join the ownership group yet");
                inner.pause(Duration::from_secs(1));
            }
        }
    }
}
