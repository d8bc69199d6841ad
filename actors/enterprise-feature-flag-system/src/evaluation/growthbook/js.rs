//! How JavaScript compares and converts, as GrowthBook's conditions are defined by its JavaScript SDK.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::evaluation::value::Value;

/// `String(value)`.
pub(super) fn to_text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::Null => Cow::Borrowed("null"),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Number(number) => Cow::Owned(ryu_js::Buffer::new().format(*number).to_owned()),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(items) => {
            // `Array.prototype.join`: null is written as nothing.
            Cow::Owned(items.iter().map(|item| if *item == Value::Null { Cow::Borrowed("") } else { to_text(item) }).collect::<Vec<_>>().join(","))
        }
        Value::Object(_) => Cow::Borrowed("[object Object]"),
    }
}

/// The same with a number's text on the stack, as ids are often numbers and an evaluation does not allocate.
pub(super) fn text_in<'v>(value: &'v Value<'_>, buffer: &'v mut ryu_js::Buffer) -> Cow<'v, str> {
    match value {
        Value::Number(number) => Cow::Borrowed(buffer.format(*number)),
        value => to_text(value),
    }
}

/// `Number(value)`.
pub(super) fn to_number(value: &Value<'_>) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(bool) => f64::from(u8::from(*bool)),
        Value::Number(number) => *number,
        Value::String(text) => text_to_number(text),
        Value::Array(_) => text_to_number(&to_text(value)),
        Value::Object(_) => f64::NAN,
    }
}

/// What JavaScript trims off a number: its white space and line ends.
fn is_space(character: char) -> bool {
    character == '\u{feff}' || (character.is_whitespace() && character != '\u{85}')
}

/// `Number(text)`.
pub(crate) fn text_to_number(text: &str) -> f64 {
    let text = text.trim_matches(is_space);
    if text.is_empty() {
        return 0.0;
    }
    for (prefixes, radix) in [(["0x", "0X"], 16), (["0o", "0O"], 8), (["0b", "0B"], 2)] {
        if let Some(digits) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            // A sign may not stand behind the prefix, though Rust would take it.
            let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(radix)).collect();
            return digits
                .filter(|digits| !digits.is_empty())
                .map_or(f64::NAN, |digits| digits.iter().fold(0.0, |number, digit| number * f64::from(radix) + f64::from(*digit)));
        }
    }
    match text {
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        // Rust also takes `inf` and `nan`.
        _ if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => text.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// How two texts compare: by UTF-16 units, which is not by code points beyond the basic plane.
pub(crate) fn compare_texts(a: &str, b: &str) -> Ordering {
    if a.is_ascii() || b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// How `<` and `>` see two values; `None` where both are false.
pub(super) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    fn primitive<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
        matches!(value, Value::String(_) | Value::Array(_) | Value::Object(_)).then(|| to_text(value))
    }
    match (primitive(a), primitive(b)) {
        (Some(a), Some(b)) => Some(compare_texts(&a, &b)),
        _ => to_number(a).partial_cmp(&to_number(b)),
    }
}

/// `===`: objects and arrays are the same only if they are one, which two texts never are.
pub(super) fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        _ => false,
    }
}

/// The type's name, as `$type` knows it.
pub(super) fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `parseInt(text)`.
pub(super) fn parse_int(text: &str) -> f64 {
    let text = text.trim_start_matches(is_space);
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None => (10, digits),
    };
    let mut found = None;
    for digit in digits.chars().map_while(|digit| digit.to_digit(radix)) {
        found = Some(found.unwrap_or(0.0) * f64::from(radix) + f64::from(digit));
    }
    found.map_or(f64::NAN, |number| sign * number)
}

/// A version as a text that compares as versions do: build data and a leading `v` are dropped, numeric parts are padded, and a version without
/// a pre-release ends in `~`, behind every letter.
pub(super) fn padded_version(value: &Value<'_>) -> String {
    let text = match value {
        Value::Number(number) => Cow::Owned(ryu_js::Buffer::new().format(*number).to_owned()),
        Value::String(text) if !text.is_empty() => Cow::Borrowed(text.as_ref()),
        _ => Cow::Borrowed("0"),
    };
    let text = text.strip_prefix('v').unwrap_or(&text);
    // `\+.*$`: a dot matches no line end.
    let last_line = text.rfind(['\n', '\r', '\u{2028}', '\u{2029}']).map_or(0, |position| position + 1);
    let end = text.as_bytes()[last_line..].iter().position(|byte| *byte == b'+').map_or(text.len(), |position| last_line + position);
    let parts = text[..end].split(['-', '.']);
    let mut padded = String::with_capacity(end + 16);
    let mut count = 0;
    for part in parts {
        if count > 0 {
            padded.push('-');
        }
        count += 1;
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            for _ in part.len()..5 {
                padded.push(' ');
            }
        }
        padded.push_str(part);
    }
    if count == 3 {
        padded.push_str("-~");
    }
    padded
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(json: &str) -> Value<'_> {
        Value::parse(json).unwrap()
    }

    #[test]
    fn numbers_are_read_as_javascript_reads_them() {
        for (text, number) in
            [("", 0.0), (" 8 ", 8.0), ("0x1F", 31.0), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-Infinity", f64::NEG_INFINITY), ("\u{a0}1\u{feff}", 1.0)]
        {
            assert!((text_to_number(text) - number).abs() < 1e-12 || text_to_number(text) == number, "{text}");
        }
        for text in ["inf", "nan", "1_000", "0x", "0x+1", "1,5", "abc", "infinity"] {
            assert!(text_to_number(text).is_nan(), "{text}");
        }
        assert_eq!(to_number(&value("[5]")), 5.0);
        assert_eq!(to_number(&value("[]")), 0.0);
        assert!(to_number(&value("{}")).is_nan());
    }

    #[test]
    fn comparisons_follow_javascript() {
        assert_eq!(compare(&value("\"10\""), &value("9")), Some(Ordering::Greater), "a text and a number compare as numbers");
        assert_eq!(compare(&value("\"10\""), &value("\"9\"")), Some(Ordering::Less), "two texts compare as texts");
        assert_eq!(compare(&value("null"), &value("1")), Some(Ordering::Less));
        assert_eq!(compare(&value("\"abc\""), &value("1")), None);
        assert_eq!(compare(&value("[10]"), &value("\"9\"")), Some(Ordering::Less), "an array is written out first");
        assert_eq!(compare_texts("\u{ffff}", "\u{1f600}"), Ordering::Greater, "by UTF-16 units");
        assert!(!same(&value("[1]"), &value("[1]")) && same(&value("1"), &value("1.0")) && !same(&value("1"), &value("\"1\"")));
    }

    #[test]
    fn texts_are_written_as_javascript_writes_them() {
        for (json, text) in [("1e21", "1e+21"), ("1.50", "1.5"), ("[1,[2,null],\"a\"]", "1,2,,a"), ("{\"a\":1}", "[object Object]"), ("-0.0", "0")] {
            assert_eq!(to_text(&value(json)), text);
        }
        assert_eq!(parse_int(" 12px"), 12.0);
        assert_eq!(parse_int("-0x10"), -16.0);
        assert!(parse_int("px").is_nan());
    }

    proptest! {
        #[test]
        fn any_version_is_padded_without_panic(text in "\\PC{0,30}") {
            let _ = padded_version(&Value::String(text.into()));
        }
    }
}
