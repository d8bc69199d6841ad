//! What Kafka publishers wrote.
