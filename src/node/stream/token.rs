//! [`Token`]: how far a stream has come, in a few kilobytes whatever the number of partitions.
//!
//! A token is a time of appending and the positions of the partitions that have moved on since: `at:<ms>,<topic>/<partition>:<position>,…`. Of any
//! other partition everything appended before that time was delivered, so the log's position by time says where it goes on.
//! A token without a time is of the time before this format: it names every partition that is not at its beginning.

use std::collections::BTreeMap;

use tol_kafka::{Position, TopicPartition};
use tol_plug::platform::STREAM_START;
use tol_plug::{Kind, Problem};

/// Partitions that a token names. Where more have moved on since its time, those that moved last are named, and a stream that is resumed repeats what
/// came of the others.
pub(super) const NAMED: usize = 64;
/// How far clocks of nodes and brokers may be apart: what is appended from now on bears no time that is earlier than now by more.
pub(super) const CLOCKS_APART_MS: i64 = 5_000;

/// Where a stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Token {
    /// Partitions that are not named go on with the first record appended at this time or later, in milliseconds.
    pub(super) time_ms: i64,
    /// Next positions.
    pub(super) named: BTreeMap<TopicPartition, Position>,
}

impl Token {
    pub(super) fn write(time_ms: i64, named: &BTreeMap<TopicPartition, Moved>) -> String {
        let mut text = format!("at:{time_ms}");
        for (at, moved) in named {
            text.push_str(&format!(",{at}:{}", moved.next));
        }
        text
    }
}

/// A partition that has moved on since the time of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// Its next position.
    pub(super) next: Position,
    /// When its last record was appended, in milliseconds; later, where that is not known.
    pub(super) appended_at_ms: i64,
}

/// Keeps those partitions that a token of `time_ms` has to name, and as many as it may.
pub(super) fn prune(moved: &mut BTreeMap<TopicPartition, Moved>, time_ms: i64) {
    moved.retain(|_, moved| moved.appended_at_ms >= time_ms);
    while moved.len() > NAMED {
        let Some(first) = moved.iter().min_by_key(|(_, moved)| moved.appended_at_ms).map(|(at, _)| at.clone()) else { return };
        moved.remove(&first);
    }
}

/// Reads a token.
pub(super) fn parse(text: &str, now_ms: i64) -> Result<Token, Problem> {
    let wrong = || Problem::new(Kind::INVALID_CURSOR, "Last-Event-ID is not one that this stream gave; leave it out to follow from now on, or give from=start");
    if text == STREAM_START {
        return Ok(Token::default());
    }
    let (head, rest) = text.split_once(',').unwrap_or((text, ""));
    let (time_ms, named) = match head.strip_prefix("at:") {
        Some(time) => (time.parse::<i64>().map_err(|_| wrong())?.max(0), (!rest.is_empty()).then_some(rest)),
        None => (0, Some(text)),
    };
    if text.ends_with(',') {
        return Err(wrong());
    }
    if time_ms > now_ms + CLOCKS_APART_MS {
        return Err(ahead("it stands for a time that has not come yet"));
    }
    let part = |part: &str| {
        let (at, position) = part.rsplit_once(':')?;
        Some((at.parse().ok()?, position.parse().ok()?))
    };
    let named = named.into_iter().flat_map(|parts| parts.split(',')).map(part).collect::<Option<_>>().ok_or_else(wrong)?;
    Ok(Token { time_ms, named })
}

/// The problem of a token that the log has not reached.
pub(super) fn ahead(detail: &str) -> Problem {
    Problem::new(Kind::STREAM_AHEAD, format!("Last-Event-ID is not of this log as it is now: {detail}; begin again with from=start or from=<time>"))
}
