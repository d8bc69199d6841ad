//! [`Value`]: a value as it is compared. Letters are folded, dates parsed, numbers and telephone numbers bare.

use rphonetic::{DoubleMetaphone, Encoder};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::types::FieldType;

/// Longest value that is compared, in characters. What follows is cut off.
const MAX_CHARS: usize = 64;
/// The same of a text.
const MAX_TEXT_CHARS: usize = 192;
/// Most words of a text that are compared.
pub(super) const MAX_WORDS: usize = 16;
/// Letters of a phonetic code.
const PHONETIC_LETTERS: usize = 6;
/// What people and programs write where they know nothing.
const NOTHING: &[&str] = &["", "null", "none", "nan", "n a", "unknown"];

/// A day, in parts that need not make a real day: a mistyped month may be 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) year: u32,
    pub(super) month: u32,
    pub(super) day: u32,
}

impl Day {
    /// Counts days, nearly: months have 30.4 of them.
    pub(super) fn about(self) -> f64 {
        f64::from(self.year) * 365.25 + f64::from(self.month) * 30.44 + f64::from(self.day)
    }

    /// Exchanges day and month.
    pub(super) fn turned(self) -> Self {
        Self { year: self.year, month: self.day, day: self.month }
    }
}

/// A value as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    /// The whole value, folded.
    pub(super) text: String,
    /// Its words.
    pub(super) words: Vec<String>,
    /// How much it tells when two texts share each word, in nats. The column sets it; empty unless it is a text.
    pub(super) rarity: Vec<f32>,
    /// How each word sounds; empty for what does not sound.
    pub(super) sounds: Vec<String>,
    /// The day it means, if it is a date that can be read.
    pub(super) day: Option<Day>,
    /// The number it means, if it is a number.
    pub(super) number: Option<f64>,
    /// Bytes before the `@` of an e-mail address; else the length of `text`.
    pub(super) local: usize,
}

impl Value {
    /// Reads a value; `None` where it says nothing.
    pub(super) fn read(kind: FieldType, raw: &str) -> Option<Self> {
        let raw = bounded(raw);
        match kind {
            FieldType::Name => Self::of_words(&folded(raw, MAX_CHARS)),
            FieldType::Text => Self::of_words(&folded(raw, MAX_TEXT_CHARS)),
            FieldType::Number => Self::of_number(raw),
            FieldType::Code => Self::of_code(raw),
            FieldType::Date => Self::of_date(raw),
            FieldType::Email => Self::of_email(raw),
            FieldType::Phone => Self::of_phone(raw),
        }
    }

    fn plain(text: String) -> Self {
        let local = text.len();
        Self { text, words: Vec::new(), rarity: Vec::new(), sounds: Vec::new(), day: None, number: None, local }
    }

    fn of_words(text: &str) -> Option<Self> {
        if NOTHING.contains(&text) {
            return None;
        }
        let encoder = DoubleMetaphone::new(Some(PHONETIC_LETTERS));
        let words: Vec<String> = text.split(' ').take(MAX_WORDS).map(str::to_owned).collect();
        let sounds = words.iter().map(|word| sound(&encoder, word)).collect();
        Some(Self { words, sounds, ..Self::plain(text.to_owned()) })
    }

    fn of_code(raw: &str) -> Option<Self> {
        let spaced = folded(raw, MAX_CHARS);
        if NOTHING.contains(&spaced.as_str()) {
            return None;
        }
        Some(Self::plain(spaced.replace(' ', "")))
    }

    fn of_number(raw: &str) -> Option<Self> {
        let bare: String = raw.chars().filter(|character| character.is_ascii_digit() || matches!(character, '.' | '-' | 'e' | 'E')).collect();
        let Some(number) = bare.parse::<f64>().ok().filter(|number| number.is_finite()) else { return Self::of_code(raw) };
        let text: String = format!("{number}").chars().take(MAX_CHARS).collect();
        Some(Self { number: Some(number), ..Self::plain(text) })
    }

    fn of_date(raw: &str) -> Option<Self> {
        match day_of(raw) {
            Some(day) => Some(Self { day: Some(day), ..Self::plain(format!("{:04}{:02}{:02}", day.year, day.month, day.day)) }),
            None => Self::of_code(raw),
        }
    }

    fn of_email(raw: &str) -> Option<Self> {
        let lower: String = raw.trim().to_lowercase().chars().filter(|character| !character.is_whitespace()).take(MAX_CHARS).collect();
        if NOTHING.contains(&lower.as_str()) || lower == "n/a" {
            return None;
        }
        let Some((local, domain)) = lower.rsplit_once('@') else { return Some(Self::plain(lower)) };
        let local = local.split('+').next().unwrap_or_default();
        let length = local.len();
        Some(Self { local: length, ..Self::plain(format!("{local}@{domain}")) })
    }

    fn of_phone(raw: &str) -> Option<Self> {
        let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() { None } else { Some(Self::plain(digits.chars().take(MAX_CHARS).collect())) }
    }
}

/// Cuts off what no type of value looks at.
fn bounded(raw: &str) -> &str {
    let mut end = raw.len().min(MAX_TEXT_CHARS * 4);
    while !raw.is_char_boundary(end) {
        end -= 1;
    }
    &raw[..end]
}

/// Lower case without accents; words of letters and digits between single spaces.
fn folded(raw: &str, most: usize) -> String {
    let mut text = String::with_capacity(raw.len().min(most * 4));
    let mut length = 0;
    let mut gap = false;
    let mut push = |character: char| {
        let spaced = gap && !text.is_empty();
        if length + usize::from(spaced) >= most {
            return;
        }
        if character.is_alphanumeric() {
            if spaced {
                text.push(' ');
                length += 1;
            }
            gap = false;
            text.push(character);
            length += 1;
        } else if !matches!(character, '\'' | '’' | '`' | '.') {
            gap = true;
        }
    };
    for character in raw.nfkd().filter(|character| !is_combining_mark(*character)).flat_map(char::to_lowercase) {
        match character {
            'ß' => ['s', 's'].into_iter().for_each(&mut push),
            'æ' => ['a', 'e'].into_iter().for_each(&mut push),
            'œ' => ['o', 'e'].into_iter().for_each(&mut push),
            'ø' => push('o'),
            'ł' => push('l'),
            'đ' | 'ð' => push('d'),
            other => push(other),
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn sound(encoder: &DoubleMetaphone, word: &str) -> String {
    if word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_lowercase()) { encoder.encode(word) } else { String::new() }
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn day_of(raw: &str) -> Option<Day> {
    let date = raw.trim().split(['T', 't']).next().filter(|date| date.bytes().any(|byte| byte.is_ascii_digit())).unwrap_or(raw.trim());
    let parts: Vec<&str> = date.split(|character: char| !character.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).take(4).collect();
    let number = |text: &str| text.parse::<u32>().ok();
    match *parts.as_slice() {
        [whole] if whole.len() == 8 => Some(Day { year: number(&whole[..4])?, month: number(&whole[4..6])?, day: number(&whole[6..])? }),
        [year, month, day, ..] if year.len() == 4 => Some(Day { year: number(year)?, month: month_of(month)?, day: small(day)? }),
        [first, second, year, ..] if year.len() == 4 => {
            let year = number(year)?;
            if let Some(month) = named_month(first) {
                return Some(Day { year, month, day: small(second)? });
            }
            let (first, second) = (small(first)?, month_of(second)?);
            // Day first, as most of the world writes; month first only where nothing else is possible.
            let turned = second > 12 && first <= 12;
            Some(if turned { Day { year, month: first, day: second } } else { Day { year, month: second, day: first } })
        }
        _ => None,
    }
}

fn small(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number < 100)
}

fn named_month(text: &str) -> Option<u32> {
    let start = text.get(..3)?.to_ascii_lowercase();
    (1..).zip(MONTHS).find(|(_, name)| **name == start).map(|(number, _)| number)
}

fn month_of(text: &str) -> Option<u32> {
    small(text).or_else(|| named_month(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(kind: FieldType, raw: &str) -> String {
        Value::read(kind, raw).map(|value| value.text).unwrap_or_default()
    }

    #[test]
    fn letters_are_folded() {
        assert_eq!(text(FieldType::Name, "  O'Brien-Müller  "), "obrien muller");
        assert_eq!(text(FieldType::Name, "Łukasz STRAßE"), "lukasz strasse");
        assert_eq!(text(FieldType::Code, "SW1A 1AA"), "sw1a1aa");
        assert_eq!(text(FieldType::Email, " Ann.B+news@Example.COM "), "ann.b@example.com");
        assert_eq!(text(FieldType::Phone, "+44 (0)20 7946-0018"), "4402079460018");
        assert_eq!(text(FieldType::Number, "1,200.50"), "1200.5");
    }

    #[test]
    fn dates_are_read_in_several_forms_also_impossible_ones() {
        for raw in ["19390712", "1939-07-12", "1939-07-12T10:00:00Z", "12/07/1939", "12.7.1939", "12 July 1939", "Jul 12, 1939"] {
            assert_eq!(text(FieldType::Date, raw), "19390712", "{raw}");
        }
        assert_eq!(text(FieldType::Date, "07/25/1939"), "19390725");
        assert_eq!(text(FieldType::Date, "19391320"), "19391320");
        assert_eq!(text(FieldType::Date, "spring 1939"), "spring1939");
    }

    #[test]
    fn what_says_nothing_is_missing() {
        for kind in [FieldType::Name, FieldType::Text, FieldType::Number, FieldType::Code, FieldType::Date, FieldType::Email, FieldType::Phone] {
            for raw in ["", "  ", "null", "N/A", "unknown"] {
                assert_eq!(Value::read(kind, raw), None, "{kind:?} {raw:?}");
            }
        }
    }

    #[test]
    fn long_values_are_cut() {
        let long = "ab ".repeat(10_000);
        let value = Value::read(FieldType::Text, &long).unwrap();
        assert!(value.text.chars().count() <= MAX_TEXT_CHARS && value.words.len() <= MAX_WORDS);
        assert!(Value::read(FieldType::Name, &"é".repeat(10_000)).unwrap().text.len() <= MAX_CHARS);
    }

    proptest! {
        #[test]
        fn any_text_is_read(raw in "\\PC{0,40}") {
            for kind in [FieldType::Name, FieldType::Text, FieldType::Number, FieldType::Code, FieldType::Date, FieldType::Email, FieldType::Phone] {
                if let Some(value) = Value::read(kind, &raw) {
                    prop_assert!(!value.text.is_empty());
                    prop_assert!(value.text.is_char_boundary(value.local));
                }
            }
        }
    }
}
