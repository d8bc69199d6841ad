//! [`Parameter`]: a parameter of a route, and those that many routes share.

/// The part of a request that holds a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query string.
    Query,
    /// A header.
    Header,
}

/// The form of a parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// Text that must be given.
    Needed,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, which must be given.
    NeededWord(&'static [&'static str]),
    /// An integer from the first to the second number; the third where it is absent.
    Integer(u64, u64, u64),
    /// RFC 3339, or a date.
    Moment,
    /// `topic/partition:position`, repeatable.
    Positions,
}

/// A parameter.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub place: Place,
    /// What it looks like.
    pub shape: Shape,
    /// One line.
    pub description: &'static str,
    /// A valid value; empty where only an earlier answer can give one.
    pub example: &'static str,
}

impl Parameter {
    /// Describes a parameter in the path.
    pub const fn path(name: &'static str, description: &'static str, example: &'static str) -> Self {
        Self { name, place: Place::Path, shape: Shape::Text, description, example }
    }

    /// Describes a parameter in the query string.
    pub const fn query(name: &'static str, shape: Shape, description: &'static str, example: &'static str) -> Self {
        Self { name, place: Place::Query, shape, description, example }
    }
}

/// Longest page.
pub const LIMIT_MAX: u64 = 10_000;
/// Page where no limit is given.
pub const LIMIT_DEFAULT: u64 = 100;
/// Longest wait for `min_position`, milliseconds.
pub const TIMEOUT_MAX_MS: u64 = 30_000;
/// Wait where none is given, milliseconds.
pub const TIMEOUT_DEFAULT_MS: u64 = 5_000;

/// The most items of a page.
pub static LIMIT: Parameter = Parameter::query("limit", Shape::Integer(1, LIMIT_MAX, LIMIT_DEFAULT), "At most so many.", "100");
/// The cursor at which the page begins.
pub static CURSOR: Parameter = Parameter::query("cursor", Shape::Text, "`next_cursor` of the previous page, as it is.", "");
/// The past by the events' time.
pub static AS_OF: Parameter =
    Parameter::query("as_of", Shape::Moment, "As of what had happened by then (the events' time): RFC 3339, or a date, which includes that day.", "1997-06-30");
/// The past by the recorded time.
pub static KNOWN_AT: Parameter =
    Parameter::query("known_at", Shape::Moment, "As of what was known by then (the recorded time): RFC 3339, or a date. Not together with as_of.", "");
/// The positions that must be visible first.
pub static MIN_POSITION: Parameter = Parameter::query(
    "min_position",
    Shape::Positions,
    "Waits until this position is visible, as `POST /events` answered it: topic/partition:position (facts.customer/3:120). May be repeated.",
    "",
);
/// How long to wait for it.
pub static TIMEOUT: Parameter =
    Parameter::query("timeout_ms", Shape::Integer(0, TIMEOUT_MAX_MS, TIMEOUT_DEFAULT_MS), "How long to wait for min_position, milliseconds.", "5000");
/// A subject.
pub static SUBJECT: Parameter = Parameter::query("subject", Shape::Text, "Of this subject only.", "customer/42");
