//! Postings: the positions of each term, and how they are written.

use hashbrown::HashMap;
use tol_events::{Attribute, EventView};
use tol_kafka::Position;
use xxhash_rust::xxh3::xxh3_64;

/// What a posting is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    All = 0,
    Id = 1,
    Subject = 2,
    Type = 3,
    Correlation = 4,
}

/// Positions by term.
pub(super) type Postings = HashMap<(Kind, u64), Vec<Position>>;

pub(super) fn term_hash(term: &str) -> u64 {
    xxh3_64(term.as_bytes())
}

/// Appends a number as LEB128.
pub(super) fn write_number(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

/// The deltas of a posting row.
pub(super) fn read_deltas(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, after) = rest.split_first()?;
            rest = after;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    })
}

/// Notes an event under each of its terms.
pub(super) fn note(postings: &mut Postings, position: Position, event: &EventView<'_>) {
    let mut add = |kind, term: &str| postings.entry((kind, term_hash(term))).or_default().push(position);
    add(Kind::All, "");
    add(Kind::Id, event.id());
    add(Kind::Type, event.event_type());
    if !event.subject().is_empty() {
        add(Kind::Subject, event.subject());
    }
    match event.attribute(Attribute::CorrelationId) {
        // An event that starts its own request is found by its id.
        Some(correlation) if correlation != event.id() => add(Kind::Correlation, correlation),
        _ => {}
    }
}
