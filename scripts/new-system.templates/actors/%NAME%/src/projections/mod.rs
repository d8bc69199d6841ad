//! Read models, one file each.

mod counts;

pub use counts::%SUBJECT%Counts;
