//! Questions that only the owner of a subject can answer. Any node takes them and passes them on once.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::platform::Platform;
use crate::problem::Problem;

/// A question that the node which owns a subject's partition answers.
pub struct Question<S: 'static> {
    /// Its name, unique on the node: `jobs.lease`.
    pub name: &'static str,
    /// Answers the question, on the owner's node.
    pub answer: fn(Arc<S>, Arc<dyn Platform>, Asked) -> BoxFuture<'static, Result<Value, Problem>>,
}

/// One asked question.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The subject that the question is about.
    pub subject: String,
    /// Whatever the question needs, as the asking side gave it.
    pub body: Value,
}
