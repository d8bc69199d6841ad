//! How similar two values of a type are: one of a few levels, of which the first is the best. What a level is worth, the model learns.

use strsim::jaro_winkler;

use super::distance::slips;
use super::normal::{MAX_WORDS, Value};
use super::types::FieldType;

/// Names with less of their letters in common are not compared by their start.
const LEAST_LETTERS: f64 = 0.25;

/// A level of agreement.
pub(super) type Level = u8;
/// One of the two values is missing, or what the field says is told by another: it counts for nothing.
pub(super) const NEUTRAL: Level = 0;
/// The same.
pub(super) const EXACT: Level = 1;
/// Nearly the same: a slip of the hand.
pub(super) const NEAR: Level = 2;
/// Nothing in common.
pub(super) const DIFFERENT: Level = 7;
/// The values stand in each other's field.
pub(super) const CROSSED: Level = 8;
/// How many levels there are.
pub(super) const LEVELS: usize = 9;

/// Longest text whose letters are compared one by one; longer ones are compared by their words.
const MAX_LETTERS: usize = 48;

/// Compares two different values of a type.
pub(super) fn level(kind: FieldType, one: &Value, other: &Value) -> Level {
    match kind {
        FieldType::Name => names(one, other),
        FieldType::Text => texts(one, other),
        FieldType::Number => numbers(one, other),
        FieldType::Code => codes(one, other),
        FieldType::Date => dates(one, other),
        FieldType::Email => emails(one, other),
        FieldType::Phone => phones(&one.text, &other.text),
    }
}

/// The share of letters that stay when the longer text is typed into the other, 0 to 1.
fn likeness(distance: usize, one: &str, other: &str) -> f64 {
    let longest = length(one).max(length(other)).max(1);
    1.0 - distance as f64 / longest as f64
}

/// The number of letters.
fn length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// Tells whether two names or words differ by a slip of the hand.
pub(super) fn nearly(one: &str, other: &str) -> bool {
    let longest = one.len().max(other.len());
    if longest < 4 || one.len().abs_diff(other.len()) > 2 {
        return false;
    }
    slips(one, other) <= if longest >= 8 { 2 } else { 1 }
}

fn same_words(one: &Value, other: &Value) -> bool {
    one.words.len() > 1 && one.words.len() == other.words.len() && one.words.iter().all(|word| other.words.contains(word))
}

/// Tells whether a name is the other's beginning, initial or one of its words.
fn part_of(one: &Value, other: &Value) -> bool {
    let (short, long) = if one.text.len() <= other.text.len() { (one, other) } else { (other, one) };
    long.text.starts_with(&short.text) || short.words.iter().any(|word| word.len() > 2 && long.words.contains(word))
}

fn sound_alike(one: &Value, other: &Value) -> bool {
    one.sounds.len() == other.sounds.len() && one.sounds.iter().zip(&other.sounds).all(|(one, other)| one == other && one.len() > 1)
}

fn names(one: &Value, other: &Value) -> Level {
    let distance = slips(&one.text, &other.text);
    let letters = likeness(distance, &one.text, &other.text);
    if letters >= 0.85 || (distance == 1 && letters >= 0.75) || same_words(one, other) {
        return NEAR;
    }
    let start = if letters < LEAST_LETTERS { 0.0 } else { jaro_winkler(&one.text, &other.text) };
    if letters >= 0.7 || start >= 0.91 {
        3
    } else if sound_alike(one, other) || part_of(one, other) {
        4
    } else if letters >= 0.55 || start >= 0.82 {
        5
    } else if letters >= 0.4 || start >= 0.7 {
        6
    } else {
        DIFFERENT
    }
}

/// The share of what two texts say that both say: words that are the same or nearly, each counted by its rarity (Dice's coefficient).
fn shared_words(one: &Value, other: &Value) -> f64 {
    let total: f32 = one.rarity.iter().chain(&other.rarity).sum();
    if total <= 0.0 {
        return 0.0;
    }
    let (mut taken, mut rest) = (0u32, 0u32);
    let mut shared = 0.0;
    for (index, word) in one.words.iter().enumerate() {
        match other.words.iter().enumerate().position(|(place, own)| taken & (1 << place) == 0 && own == word) {
            Some(place) => {
                taken |= 1 << place;
                shared += 2.0 * one.rarity[index];
            }
            None => rest |= 1 << index,
        }
    }
    for (index, word) in one.words.iter().enumerate().filter(|(index, _)| rest & (1 << index) != 0) {
        if let Some(place) = other.words.iter().enumerate().position(|(place, own)| taken & (1 << place) == 0 && nearly(own, word)) {
            taken |= 1 << place;
            // A mistyped word is rarer than the word that was meant.
            shared += 2.0 * one.rarity[index].min(other.rarity[place]) * 0.9;
        }
    }
    f64::from(shared / total)
}

const _: () = assert!(MAX_WORDS <= 32, "words are counted in the bits of a u32");

fn texts(one: &Value, other: &Value) -> Level {
    let short = one.text.len().max(other.text.len()) <= MAX_LETTERS;
    let letters = if short { likeness(slips(&one.text, &other.text), &one.text, &other.text) } else { 0.0 };
    if letters >= 0.85 {
        return NEAR;
    }
    let words = shared_words(one, other);
    if words >= 0.9 {
        NEAR
    } else if letters >= 0.7 || words >= 0.75 {
        3
    } else if words >= 0.5 {
        4
    } else if letters >= 0.55 || words >= 0.3 {
        5
    } else if letters >= 0.4 || words >= 0.15 {
        6
    } else {
        DIFFERENT
    }
}

fn codes(one: &Value, other: &Value) -> Level {
    let distance = slips(&one.text, &other.text);
    let letters = likeness(distance, &one.text, &other.text);
    match distance {
        0 => EXACT,
        1 if letters > 0.6 => NEAR,
        2 if letters > 0.6 => 3,
        _ if letters >= 0.5 => 4,
        _ if one.text.get(..2).is_some_and(|start| other.text.starts_with(start)) => 5,
        _ if letters > 0.3 => 6,
        _ => DIFFERENT,
    }
}

fn numbers(one: &Value, other: &Value) -> Level {
    let (Some(first), Some(second)) = (one.number, other.number) else { return codes(one, other) };
    let greatest = first.abs().max(second.abs());
    let apart = if greatest > 0.0 { (first - second).abs() / greatest } else { 0.0 };
    let distance = slips(&one.text, &other.text);
    if distance == 1 && one.text.len().max(other.text.len()) >= 3 {
        NEAR
    } else if apart <= 0.001 {
        3
    } else if distance <= 1 {
        4
    } else if apart <= 0.02 {
        5
    } else if apart <= 0.1 {
        6
    } else {
        DIFFERENT
    }
}

fn dates(one: &Value, other: &Value) -> Level {
    let (Some(first), Some(second)) = (one.day, other.day) else { return codes(one, other) };
    let distance = slips(&one.text, &other.text);
    let parts = [first.year == second.year, first.month == second.month, first.day == second.day];
    let same = parts.into_iter().filter(|same| *same).count();
    let apart = (first.about() - second.about()).abs();
    if distance == 1 || first.turned() == second {
        NEAR
    } else if same == 2 && parts[0] {
        3
    } else if same == 2 || distance == 2 {
        4
    } else if apart <= 366.0 {
        5
    } else if apart <= 3_653.0 {
        6
    } else {
        DIFFERENT
    }
}

fn emails(one: &Value, other: &Value) -> Level {
    let (one_local, other_local) = (&one.text[..one.local], &other.text[..other.local]);
    if slips(&one.text, &other.text) <= 1 {
        return NEAR;
    }
    if one_local == other_local {
        return 3;
    }
    let letters = likeness(slips(one_local, other_local), one_local, other_local);
    if letters >= 0.8 {
        4
    } else if letters >= 0.6 {
        5
    } else if one.text[one.local..] == other.text[other.local..] {
        6
    } else {
        DIFFERENT
    }
}

/// The last digits, which do not change with the prefix of the country.
fn tail(digits: &str, length: usize) -> &str {
    &digits[digits.len().saturating_sub(length)..]
}

fn phones(one: &str, other: &str) -> Level {
    if one.len().min(other.len()) >= 7 && tail(one, 8) == tail(other, 8) {
        return NEAR;
    }
    match slips(tail(one, 10), tail(other, 10)) {
        0 | 1 => 3,
        2 => 4,
        3 => 5,
        _ if tail(one, 4) == tail(other, 4) => 6,
        _ => DIFFERENT,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn levels(kind: FieldType, pairs: &[(&str, &str)]) -> Vec<Level> {
        let rated = |raw: &str| {
            let mut value = Value::read(kind, raw).unwrap();
            value.rarity = value.words.iter().map(|word| if word == "street" { 0.5 } else { 5.0 }).collect();
            value
        };
        let compared = |(one, other): &(&str, &str)| {
            let (one, other) = (rated(one), rated(other));
            let there = level(kind, &one, &other);
            assert_eq!(there, level(kind, &other, &one), "{one:?} {other:?}");
            there
        };
        pairs.iter().map(compared).collect()
    }

    #[test]
    fn names_are_compared_by_letters_sound_and_parts() {
        let pairs = [
            ("sondergeld", "sondergelt"),
            ("maria", "marai"),
            ("anna maria", "maria anna"),
            ("jon", "john"),
            ("katherine", "catherine"),
            ("ann", "annabelle"),
            ("j", "john"),
            ("smith", "garcia"),
        ];
        assert_eq!(levels(FieldType::Name, &pairs), [NEAR, NEAR, NEAR, NEAR, NEAR, 4, 4, DIFFERENT]);
    }

    #[test]
    fn words_that_are_common_count_little_in_texts() {
        let pairs = [
            ("12 tullaroop street", "12 tullarop street"),
            ("tullaroop street", "tullaroop"),
            ("tullaroop street hume", "hume tullaroop street"),
            ("tullaroop street", "goldfinch street"),
        ];
        assert_eq!(levels(FieldType::Text, &pairs), [NEAR, NEAR, NEAR, 6]);
    }

    #[test]
    fn dates_are_compared_by_slips_parts_and_distance() {
        let pairs = [
            ("1960-02-10", "1960-02-11"),
            ("1960-02-10", "1960-10-02"),
            ("1960-02-10", "1960-02-25"),
            ("1960-02-10", "1978-02-10"),
            ("1960-02-10", "1960-11-25"),
            ("1960-02-10", "1967-09-25"),
            ("1960-02-10", "1999-12-31"),
        ];
        assert_eq!(levels(FieldType::Date, &pairs), [NEAR, NEAR, 3, 4, 5, 6, DIFFERENT]);
    }

    #[test]
    fn codes_numbers_emails_and_phones_have_levels_of_their_own() {
        assert_eq!(
            levels(FieldType::Code, &[("6988048", "6988084"), ("6988048", "6988148"), ("6988048", "6918047"), ("2600", "4814")]),
            [NEAR, NEAR, 3, DIFFERENT]
        );
        assert_eq!(
            levels(FieldType::Number, &[("1200", "1300"), ("10000", "10005.5"), ("5", "6"), ("100000", "101999"), ("10", "900")]),
            [NEAR, 3, 4, 5, DIFFERENT]
        );
        let emails =
            [("ann.lee@x.com", "ann.le@x.com"), ("ann.lee@x.com", "ann.lee@other.org"), ("ann.lee@x.com", "bob@x.com"), ("ann.lee@x.com", "zoe@other.org")];
        assert_eq!(levels(FieldType::Email, &emails), [NEAR, 3, 6, DIFFERENT]);
        assert_eq!(levels(FieldType::Phone, &[("+44 20 7946 0018", "020 7946 0018"), ("5550018", "5550081"), ("79460018", "31112222")]), [NEAR, 3, DIFFERENT]);
    }
}
