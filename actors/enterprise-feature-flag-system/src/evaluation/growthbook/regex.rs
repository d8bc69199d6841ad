//! JavaScript's regular expressions in the syntax of the crate `regex`, whose time is linear in the text. Look-around and back-references
//! have no linear form: an expression with them matches nothing, as one with a mistake does.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use smallvec::SmallVec;

/// A compiled expression may take this much memory.
const BYTES: usize = 10 * (1 << 20);

/// JavaScript's `\s`, without the brackets.
const SPACE: &str = r"\t\n\x0B\x0C\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// Compiles an expression; `None` if JavaScript would refuse it or it has no linear form.
pub(super) fn compile(source: &str, ignore_case: bool) -> Option<Regex> {
    RegexBuilder::new(&translate(&units(source))?).case_insensitive(ignore_case).size_limit(BYTES).build().ok()
}

/// JavaScript's expressions see UTF-16 units, so a character beyond the basic plane is two. Here each unit of such a character becomes one of the last
/// 2,048 private characters, in expressions and texts alike.
pub(super) fn units(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte < 0xf0) {
        return Cow::Borrowed(text);
    }
    let mut pair = [0; 2];
    let of = |unit: &u16| char::from_u32(u32::from(*unit)).or_else(|| unit_of(u32::from(*unit)));
    Cow::Owned(text.chars().flat_map(|character| character.encode_utf16(&mut pair).iter().filter_map(of).collect::<SmallVec<[char; 2]>>()).collect())
}

/// The character that stands for half of a pair.
fn unit_of(unit: u32) -> Option<char> {
    char::from_u32(0x10_f800 + unit.checked_sub(0xd800)?)
}

fn translate(source: &str) -> Option<String> {
    let mut translation = Translation { rest: source, out: String::with_capacity(source.len() + 16) };
    // Whether what was written last can be repeated.
    let mut repeatable = false;
    let mut groups = Vec::new();
    while let Some(character) = translation.next() {
        match character {
            '\\' => repeatable = translation.escape()?,
            '[' => {
                translation.class()?;
                repeatable = true;
            }
            '(' => {
                translation.group()?;
                groups.push(());
                repeatable = false;
            }
            ')' => {
                groups.pop()?;
                translation.out.push(')');
                repeatable = true;
            }
            '*' | '+' | '?' if repeatable => {
                translation.out.push(character);
                translation.lazy();
                repeatable = false;
            }
            '{' if translation.is_quantifier() => {
                if !repeatable {
                    return None;
                }
                translation.quantifier()?;
                translation.lazy();
                repeatable = false;
            }
            '*' | '+' | '?' => return None,
            '.' => {
                translation.out.push_str(r"[^\n\r\u{2028}\u{2029}]");
                repeatable = true;
            }
            '^' | '$' | '|' => {
                translation.out.push(character);
                repeatable = false;
            }
            literal => {
                push_literal(literal, &mut translation.out);
                repeatable = true;
            }
        }
    }
    groups.is_empty().then_some(translation.out)
}

struct Translation<'s> {
    rest: &'s str,
    out: String,
}

impl Translation<'_> {
    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest.strip_prefix(text);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn lazy(&mut self) {
        if self.skip("?") {
            self.out.push('?');
        }
    }

    /// Behind `(`.
    fn group(&mut self) -> Option<()> {
        if !self.rest.starts_with('?') {
            self.out.push('(');
        } else if self.skip("?:") {
            self.out.push_str("(?:");
        } else if self.rest.starts_with("?<") && !self.rest.starts_with("?<=") && !self.rest.starts_with("?<!") {
            // A name only matters to replacements.
            let (_, rest) = self.rest.split_once('>')?;
            self.rest = rest;
            self.out.push('(');
        } else {
            return None;
        }
        Some(())
    }

    /// Whether `{` opens a quantifier; otherwise it stands for itself.
    fn is_quantifier(&self) -> bool {
        let Some((inner, _)) = self.rest.split_once('}') else { return false };
        let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
        !least.is_empty() && least.bytes().chain(most.bytes()).all(|byte| byte.is_ascii_digit())
    }

    fn quantifier(&mut self) -> Option<()> {
        let (inner, rest) = self.rest.split_once('}')?;
        self.rest = rest;
        if let Some((least, most)) = inner.split_once(',')
            && !most.is_empty()
            && least.parse::<u64>().ok()? > most.parse::<u64>().ok()?
        {
            return None;
        }
        self.out.push('{');
        self.out.push_str(inner);
        self.out.push('}');
        Some(())
    }

    /// Behind a backslash outside a class. Whether what it stands for can be repeated.
    fn escape(&mut self) -> Option<bool> {
        match self.next()? {
            'b' => self.out.push_str(r"(?-u:\b)"),
            // ASCII's would split characters, which the crate does not allow; this differs only next to other letters.
            'B' => self.out.push_str(r"\B"),
            'd' => return self.done("[0-9]"),
            'D' => return self.done("[^0-9]"),
            'w' => return self.done("[0-9A-Za-z_]"),
            'W' => return self.done("[^0-9A-Za-z_]"),
            's' => return self.done(&format!("[{SPACE}]")),
            'S' => return self.done(&format!("[^{SPACE}]")),
            '1'..='9' => return None,
            other => {
                let literal = self.character(other)?;
                push_literal(literal, &mut self.out);
                return Some(true);
            }
        }
        Some(false)
    }

    #[allow(clippy::unnecessary_wraps)]
    fn done(&mut self, text: &str) -> Option<bool> {
        self.out.push_str(text);
        Some(true)
    }

    /// The character that an escape stands for.
    fn character(&mut self, escaped: char) -> Option<char> {
        Some(match escaped {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'f' => '\u{c}',
            '0' => '\0',
            'c' if self.rest.starts_with(|control: char| control.is_ascii_alphabetic()) => char::from(self.next()? as u8 % 32),
            'c' => return None,
            'x' => match self.hex(2) {
                Some(code) => char::from_u32(code)?,
                None => 'x',
            },
            'u' => match self.hex(4) {
                Some(code @ 0xd800..=0xdfff) => unit_of(code)?,
                Some(code) => char::from_u32(code)?,
                None => 'u',
            },
            other => other,
        })
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let code = self.rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let code = u32::from_str_radix(code, 16).ok()?;
        self.rest = &self.rest[digits..];
        Some(code)
    }

    /// Behind `[`.
    fn class(&mut self) -> Option<()> {
        let negated = self.skip("^");
        if self.skip("]") {
            // `[^]` is anything, `[]` is nothing.
            self.out.push_str(if negated { r"(?s:.)" } else { r"[^\x00-\u{10ffff}]" });
            return Some(());
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        while !self.skip("]") {
            let Some(start) = self.class_item()? else { continue };
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.skip("-");
                match self.class_item()? {
                    Some(end) if end >= start => {
                        push_literal(start, &mut self.out);
                        self.out.push('-');
                        push_literal(end, &mut self.out);
                    }
                    Some(_) => return None,
                    None => {
                        push_literal(start, &mut self.out);
                        push_literal('-', &mut self.out);
                    }
                }
            } else {
                push_literal(start, &mut self.out);
            }
        }
        self.out.push(']');
        Some(())
    }

    /// One item of a class: a character, or `None` if it was a set, which is written at once.
    #[allow(clippy::option_option)]
    fn class_item(&mut self) -> Option<Option<char>> {
        let character = self.next()?;
        if character != '\\' {
            return Some(Some(character));
        }
        let set = match self.next()? {
            'd' => "0-9".to_owned(),
            'D' => "[^0-9]".to_owned(),
            'w' => "0-9A-Za-z_".to_owned(),
            'W' => "[^0-9A-Za-z_]".to_owned(),
            's' => SPACE.to_owned(),
            'S' => format!("[^{SPACE}]"),
            'b' => return Some(Some('\u{8}')),
            '1'..='9' => return None,
            other => return Some(Some(self.character(other)?)),
        };
        self.out.push_str(&set);
        Some(None)
    }
}

/// Writes a character that stands for itself. (Not every punctuation mark may be escaped: `\<` is the start of a word.)
fn push_literal(character: char, out: &mut String) {
    if "\\.+*?()|[]{}^$#&-~".contains(character) {
        out.push('\\');
    }
    out.push(character);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn expressions_mean_what_they_mean_in_javascript() {
        for (expression, text, expected) in [
            ("(Mobile|Tablet)", "Android Mobile Browser", true),
            (r"^\d{2,3}?$", "12", true),
            (r"^\d$", "\u{663}", false),
            (r"^\w+$", "\u{e9}", false),
            (r"a{,2}", "a{,2}", true),
            (r"^[a\]\-\[&&b]+$", "a]-[&b", true),
            (r"^[^]$", "\n", true),
            (r"[]", "a", false),
            (r"^.$", "\r", false),
            (r"\u0041\x42\/", "AB/", true),
            (r"^(?<year>\d+)-(?:x|y)$", "2026-y", true),
            (r"\bcat\b", "a cat.", true),
            (r"}{]", "}{]", true),
            (r"\ud83d\ude00", "\u{1f600}", true),
            ("^.$", "\u{1f600}", false),
            ("^..$", "\u{1f600}", true),
            ("^[\u{1f600}]{2}$", "\u{1f600}", true),
            ("\u{1f600}+", "a\u{1f600}b", true),
            (r"^[\d-x]+$", "1-x", true),
            (r"\q\-", "q-", true),
        ] {
            let compiled = compile(expression, false);
            assert_eq!(compiled.as_ref().map(|regex| regex.is_match(&units(text))), Some(expected), "{expression}");
        }
    }

    #[test]
    fn what_javascript_refuses_is_refused() {
        for expression in ["/???***[)", "a++", "(", ")", "[b-a]", "a{2,1}", "*", "^*", "(?i)a", "x**", "[a", "\\"] {
            assert!(compile(expression, false).is_none(), "{expression}");
        }
        for expression in ["(?=a)", "(?!a)b", "(?<=a)b", "(?<!a)b", r"(a)\1"] {
            assert!(compile(expression, false).is_none(), "{expression} has no linear form");
        }
    }

    proptest! {
        #[test]
        fn any_expression_is_translated_or_refused_without_panic(source in "[a-c\\\\\\[\\](){}*+?.^$|,:<!=0-9dwsbux-]{0,20}") {
            if let Some(translated) = translate(&source) {
                // What is translated also compiles, but for what the size limit refuses.
                prop_assert!(RegexBuilder::new(&translated).size_limit(1 << 26).build().is_ok() || source.contains('{'), "{} -> {}", source, translated);
            }
        }

        #[test]
        fn a_text_that_is_escaped_matches_itself(text in "[ -~]{1,12}") {
            let escaped: String = text.chars().flat_map(|character| if character.is_ascii_punctuation() { vec!['\\', character] } else { vec![character] }).collect();
            let compiled = compile(&format!("^{escaped}$"), false).unwrap();
            prop_assert!(compiled.is_match(&text));
        }
    }
}
