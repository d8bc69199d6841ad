//! What a constraint compares with. Unleash's engine writes each strategy as a line of text and parses that, so the literal's form, not the
//! operator's name, decides how values are compared, and one that has no form switches the whole feature off. This reads literals the same way.

use chrono::{DateTime, Utc};
use semver::Version;

/// A literal that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// `-1.5e3`
    Number(f64),
    /// `2026-11-22T10:00:00.000Z`
    Date(DateTime<Utc>),
    /// `1.2.3-rc.1+build`
    Version(Version),
}

impl Literal {
    /// The literal a text stands for, if any.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        if is_date(text) {
            return text.parse().ok().map(Self::Date);
        }
        if is_version(text) {
            return Version::parse(text).ok().map(Self::Version);
        }
        if is_number(text) { text.parse().ok().map(Self::Number) } else { None }
    }
}

/// A text between quotes, as the engine reads it back: `\"` is a quote, a bare quote or a backslash at the end breaks the line.
pub(super) fn quoted(text: &str) -> Option<String> {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => match characters.peek() {
                Some('"') => {
                    characters.next();
                }
                Some(_) => {}
                None => return None,
            },
            _ => {}
        }
    }
    Some(text.replace("\\\"", "\""))
}

/// A text whose quotes the engine escapes first.
pub(super) fn escaped(text: &str) -> Option<String> {
    quoted(&text.replace('"', "\\\""))
}

/// Takes characters off the front; `false` if there are none.
fn skip(rest: &mut &str, wanted: impl Fn(u8) -> bool) -> bool {
    let count = rest.bytes().take_while(|byte| wanted(*byte)).count();
    *rest = &rest[count..];
    count > 0
}

/// Takes one of these characters off the front.
fn skip_one(rest: &mut &str, wanted: &[u8]) -> bool {
    let found = rest.as_bytes().first().is_some_and(|byte| wanted.contains(byte));
    if found {
        *rest = &rest[1..];
    }
    found
}

fn skip_integer(rest: &mut &str) -> bool {
    skip_one(rest, b"+-");
    skip(rest, |byte| byte.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    let mut rest = text;
    if !skip_integer(&mut rest) {
        return false;
    }
    if skip_one(&mut rest, b".") {
        skip(&mut rest, |byte| byte.is_ascii_digit());
    }
    if skip_one(&mut rest, b"eE") && !skip_integer(&mut rest) {
        return false;
    }
    rest.is_empty()
}

fn is_version(text: &str) -> bool {
    let mut rest = text;
    for part in 0..3 {
        if part > 0 && !skip_one(&mut rest, b".") {
            return false;
        }
        if !skip(&mut rest, |byte| byte.is_ascii_digit()) {
            return false;
        }
    }
    for sign in [b"-", b"+"] {
        if skip_one(&mut rest, sign) {
            loop {
                if !skip(&mut rest, |byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                    return false;
                }
                if !skip_one(&mut rest, b".") {
                    break;
                }
            }
        }
    }
    rest.is_empty()
}

/// `dddd-dd-ddTdd:dd:dd(.ddd)?(Z|±dd:dd)`
fn is_date(text: &str) -> bool {
    fn matches(text: &str, pattern: &[u8]) -> bool {
        text.len() == pattern.len() && text.bytes().zip(pattern).all(|(byte, wanted)| if *wanted == b'd' { byte.is_ascii_digit() } else { byte == *wanted })
    }
    const SECONDS: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    if !text.is_ascii() || text.len() < SECONDS.len() {
        return false;
    }
    let (seconds, mut rest) = text.split_at(SECONDS.len());
    if !matches(seconds, SECONDS) {
        return false;
    }
    if rest.len() >= 4 && matches(&rest[..4], b".ddd") {
        rest = &rest[4..];
    }
    rest == "Z" || matches(rest, b"+dd:dd") || matches(rest, b"-dd:dd")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_form_decides_what_a_literal_is() {
        assert_eq!(Literal::parse(" 5 "), Some(Literal::Number(5.0)));
        assert_eq!(Literal::parse("-1.5e3"), Some(Literal::Number(-1500.0)));
        assert_eq!(Literal::parse("1."), Some(Literal::Number(1.0)));
        assert_eq!(Literal::parse("1.2.3"), Some(Literal::Version(Version::new(1, 2, 3))));
        assert!(matches!(Literal::parse("2022-01-29T13:00:00.000Z"), Some(Literal::Date(_))));
        for nothing in ["", ".5", "1e", "abc", "1.2.3.4", "1.2.3-", "01.2.3", "2022-13-29T13:00:00Z", "2022-01-29T13:00:00.12Z", "v1.2.3", "1\n", "Infinity"] {
            assert_eq!(Literal::parse(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn quotes_are_read_back_as_the_engine_does() {
        assert_eq!(escaped("say \"hi\"").as_deref(), Some("say \"hi\""));
        assert_eq!(escaped("ends in \\"), None);
        assert_eq!(quoted("a\"b"), None);
        assert_eq!(quoted("a\\\"b").as_deref(), Some("a\"b"));
        assert_eq!(quoted("a\\b").as_deref(), Some("a\\b"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,40}") {
            let _ = Literal::parse(&text);
            let _ = (quoted(&text), escaped(&text));
        }

        #[test]
        fn what_looks_like_a_date_or_version_never_panics(text in "[0-9TZ:.+a-]{0,30}") {
            let _ = Literal::parse(&text);
        }
    }
}
