//! What the configuration says about Kafka, for the log.

use tol_config::Config;
use tol_kafka::KafkaOptions;

/// How this configuration talks to the brokers at `bootstrap`.
pub(crate) fn kafka_options(config: &Config, bootstrap: &str) -> KafkaOptions {
    let mut options = KafkaOptions::new(bootstrap);
    options.client_id = config.node.name.clone();
    options.settings = config.log.kafka.settings.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    options.replication = i32::try_from(config.log.kafka.replication_factor).unwrap_or(i32::MAX);
    options
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn topics_get_as_many_copies_as_configured() {
        let mut config = Config::default();
        assert_eq!(kafka_options(&config, "a:1").replication, 1);
        config.log.kafka.replication_factor = 3;
        let options = kafka_options(&config, "a:1,b:1");
        assert_eq!((options.replication, options.bootstrap.as_str()), (3, "a:1,b:1"));
    }
}
