//! Checks on topics that all logs share.

use crate::log::{Error, TopicSpec};

/// Whether Kafka would take the name and the number of partitions; the embedded log must not take more, or it could not be migrated.
pub(crate) fn check(spec: &TopicSpec) -> Result<(), Error> {
    let named = !spec.name.is_empty() && spec.name.len() <= 249 && spec.name != "." && spec.name != "..";
    if !named || !spec.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(Error::Invalid(format!("\"{}\" is not a topic's name; use at most 249 letters, digits, dots, underscores and hyphens", spec.name)));
    }
    if spec.partitions == 0 {
        return Err(Error::Invalid(format!("topic {} needs at least one partition", spec.name)));
    }
    Ok(())
}
