//! The condition language of audiences, and its evaluation. Both are pure.
//!
//! ```json
//! {"all": [
//!   {"trait": "plan", "equals": "pro"},
//!   {"event": "Order Completed", "count": {"at_least": 3}, "within": "30d"},
//!   {"event": "Order Completed", "sum": "revenue", "is": {"at_least": 100}, "within": "7d"},
//!   {"event": "Signed In", "last": {"older_than": "14d"}},
//!   {"not": {"consent": "Advertising", "granted": false}}
//! ]}
//! ```
//!
//! * `condition` — the language
//! * `evaluate` — whether a profile is in an audience, and when that may change by itself

pub(crate) use condition::LONGEST_DAYS;

mod condition;
mod evaluate;

pub use condition::{Comparison, Condition, ConditionError, EventTest};
pub use evaluate::{Answer, Facts, evaluate};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
