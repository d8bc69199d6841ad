//! [`Error`]: why records cannot be matched.

use super::{MAX_FIELDS, MAX_ID, MAX_PAIRS, MAX_RECORDS};

/// Why records cannot be matched.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// No field to compare.
    #[error("\"fields\" names no field; give each field to compare its type, e.g. {{\"surname\":\"name\"}}")]
    NoFields,
    /// Too many fields.
    #[error("\"fields\" names {fields} fields; at most {MAX_FIELDS} can be compared, leave out those that tell people apart least")]
    TooManyFields {
        /// How many there are.
        fields: usize,
    },
    /// A field is named `id`.
    #[error("\"fields\" names \"id\", which names the record; give the field another name")]
    FieldNamedId,
    /// Too many records.
    #[error("there are {records} records; at most {MAX_RECORDS} are matched at once, send them in parts")]
    TooManyRecords {
        /// How many there are.
        records: usize,
    },
    /// A record without an id.
    #[error("a record of \"{side}\" has no id; give each a text or a number as \"id\"")]
    MissingId {
        /// `left` or `right`.
        side: &'static str,
    },
    /// An id is too long.
    #[error("a record of \"{side}\" has an id of {bytes} bytes; at most {MAX_ID} are taken")]
    LongId {
        /// `left` or `right`.
        side: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Two records of a side have the same id.
    #[error("\"{side}\" has several records with the id \"{id}\"; give each its own")]
    RepeatedId {
        /// `left` or `right`.
        side: &'static str,
        /// The id.
        id: String,
    },
    /// The threshold is no probability.
    #[error("the threshold is {threshold}; it must be above 0 and at most 1")]
    Threshold {
        /// What was asked for.
        threshold: f64,
    },
    /// More pairs than an answer may hold.
    #[error("{pairs} pairs are above the threshold; an answer holds at most {MAX_PAIRS}, raise the threshold or send the records in parts")]
    TooManyPairs {
        /// How many there are.
        pairs: usize,
    },
}
