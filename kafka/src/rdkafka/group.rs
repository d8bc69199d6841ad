//! Which partition numbers this node owns: a consumer group on the topic `ownership`, whose records nobody reads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::rdkafka::client::ClientContext;
use ::rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};

use super::Inner;
use crate::log::{Assignment, TopicSpec};

struct Group {
    changed: Arc<dyn Fn(Assignment) + Send + Sync>,
}

impl ClientContext for Group {}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Before the partitions go to another node.
        if matches!(rebalance, Rebalance::Revoke(_)) {
            (self.changed)(Assignment { partitions: BTreeSet::new() });
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            let partitions = list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
            (self.changed)(Assignment { partitions });
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
            config.set("group.id", &inner.options.group).set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "1500");
            config.set("enable.auto.commit", "false").set("auto.offset.reset", "latest").set("partition.assignment.strategy", "range");
            inner.options.pass_through(&mut config);
            let consumer: BaseConsumer<Group> = config.create_with_context(Group { changed: changed.clone() }).map_err(|error| error.to_string())?;
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
