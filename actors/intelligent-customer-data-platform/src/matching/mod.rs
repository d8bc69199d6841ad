//! Probabilistic matching of records after Fellegi and Sunter (1969): which of these records are about the same person?
//!
//! [`match_records`] takes records with typed fields and gives the pairs that are probably the same, each with its probability. It learns from the
//! records alone, needs no examples, and gives the same pairs whatever the order of the records.
//!
//! * [`types`] — what goes in and out
//! * `normal` — values as they are compared: folded letters, parsed dates, bare digits
//! * `table` — records as columns of distinct values, with their counts
//! * `blocking` — which pairs are compared at all, so that their number grows with the records and not with their square
//! * `distance` — slips of the hand between two texts
//! * `levels` — how similar two values of a type are
//! * `compare` — how similar two records are, field by field; values that stand in each other's field
//! * `model` — the weights: m by EM, u from random pairs and from the counts of values
//! * `cluster` — what pairs say about each other
//! * `error` — why a request is refused

mod blocking;
mod cluster;
mod compare;
mod distance;
mod error;
mod levels;
mod model;
mod normal;
mod table;
pub mod types;

pub use error::Error;
pub use types::{FieldType, MatchRequest, MatchedPair, Record};

use self::blocking::candidates;
use self::compare::Comparer;
use self::model::Model;
use self::table::Table;

/// Most fields of a request.
pub const MAX_FIELDS: usize = 32;
/// Most records of a request, both sides together.
pub const MAX_RECORDS: usize = 250_000;
/// Longest id of a record, bytes.
pub const MAX_ID: usize = 128;
/// Most pairs of an answer.
pub const MAX_PAIRS: usize = 500_000;

/// Finds the pairs of records whose probability of being about the same person is at least the threshold, in the order of their ids.
///
/// # Errors
/// The request has too many fields or records, an id that is missing, too long or used twice, a threshold outside 0 to 1, or more pairs than an answer
/// may hold.
pub fn match_records<'a>(request: &'a MatchRequest<'_>) -> Result<Vec<MatchedPair<'a>>, Error> {
    let table = Table::new(request)?;
    let comparer = Comparer::new(&table);
    let comparisons = comparer.compare(candidates(&table));
    let model = Model::learn(&comparer, &comparisons);
    let decided = cluster::decide(&comparer, &comparisons, &model.weights());
    let found: Vec<MatchedPair<'a>> =
        decided.into_iter().filter(|pair| pair.probability >= request.threshold).map(|pair| table.named(pair.left, pair.right, pair.probability)).collect();
    if found.len() > MAX_PAIRS { Err(Error::TooManyPairs { pairs: found.len() }) } else { Ok(found) }
}
