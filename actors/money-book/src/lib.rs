//! What a customer's orders, payments and refunds come to, in whatever order they arrive.
//!
//! The projection `customers` and the revenue agent keep one [`Book`] a customer. As both apply the same rules to the same facts, they cannot disagree.
//!
//! * [`item`] — [`Item`]: an order, payment or refund under its business id, with its tellings
//! * [`book`] — [`Book`]: the items of one customer, the newest in full, older ones by a hash of their id
//! * [`counting`] — what items count: recognised, refunded, refunded without match
//! * [`forgotten`] — hashes of the ids of items that are no longer kept
//! * [`sums`] — sums by currency, which saturate and say so

pub mod book;
pub mod counting;
pub mod forgotten;
pub mod item;
pub mod sums;

pub use book::Book;
pub use counting::Counted;
pub use forgotten::Forgotten;
pub use item::{Item, Kind, Telling};
pub use sums::{Amounts, Totals, shown};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
