//! Questions that only the owner of a subject can answer. Any node takes them and passes them on once.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::platform::Platform;
use crate::problem::Problem;

/// Answers a question on the node that owns its subject.
pub type AnswerQuestion<S> = fn(Arc<S>, Arc<dyn Platform>, Asked) -> BoxFuture<'static, Result<Value, Problem>>;

/// A question to the node that owns a subject's partition.
pub struct Question<S: 'static> {
    /// Its name, unique on the node: `jobs.lease`.
    pub name: &'static str,
    /// Answers it, on the owner's node.
    pub answer: AnswerQuestion<S>,
}

/// One asked question.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The subject that the question is about.
    pub subject: String,
    /// Whatever the question needs, as the asking side gave it.
    pub body: Value,
}
