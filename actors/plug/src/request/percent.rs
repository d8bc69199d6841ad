//! Percent-encoding, strictly: what does not decode is told and never guessed at.

use std::borrow::Cow;

/// Whether each `%` is followed by two hexadecimal digits and what they stand for is UTF-8. Decoding goes on where it is not,
/// and makes one path or parameter of several.
///
/// # Errors
/// What is wrong, to stand behind "the path" or "the query string".
pub fn check_encoding(text: &str) -> Result<(), &'static str> {
    decode(text).map(drop)
}

/// What a percent-encoded text stands for.
///
/// # Errors
/// What is wrong, to stand behind "the path" or "the query string".
pub fn decode(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err("has a % that two hexadecimal digits do not follow");
        };
        decoded.push(value);
        rest = &tail[2..];
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| "is not UTF-8 once percent-decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_percent_encoding_is_told() {
        for fine in ["/events/a", "/events/%41%c3%a4%2F", "/", "%25"] {
            assert_eq!(check_encoding(fine), Ok(()), "{fine}");
        }
        for wrong in ["%", "/a%", "%4", "%zz", "%+1", "%ff", "%c3", "%c0%ae", "%ed%a0%80"] {
            assert!(check_encoding(wrong).is_err(), "{wrong}");
        }
    }
}
