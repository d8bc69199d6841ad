//! Chooses the pairs that are compared, so that their number grows with the records and not with their square.
//!
//! Each value gives some keys: itself, its sound, its words, its beginning and end, parts of a date, and pairs of coarse keys of two fields. A key that
//! many records have says little and is left out; of the others each counts by its rarity. Each record is then compared with the few records with which
//! it shares the most. So no rule must be chosen by hand: which keys serve is decided by how often they occur in these records.

use xxhash_rust::xxh3::xxh3_64;

use super::normal::Value;
use super::table::{Column, MISSING, Table};
use super::types::FieldType;

/// Most pairs that are compared.
const MAX_CANDIDATES: usize = 2_000_000;
/// The fewest and the most records that each record is compared with.
const NEIGHBOURS: (usize, usize) = (4, 24);
/// Work of counting shared keys, in visits of a record.
const MAX_VISITS: usize = 200_000_000;
/// The smallest and the largest number of records that may share a key.
const SHARERS: (usize, usize) = (12, 128);
/// Most columns whose keys are paired.
const PAIRED_COLUMNS: usize = 8;

/// A pair of records, by their place in the table; the first is the lesser.
pub(super) type Pair = (u32, u32);

/// Gives the pairs to compare, sorted.
pub(super) fn candidates(table: &Table<'_>) -> Vec<Pair> {
    let records = table.len();
    if records < 2 {
        return Vec::new();
    }
    let neighbours = (MAX_CANDIDATES / records).clamp(NEIGHBOURS.0, NEIGHBOURS.1);
    let mut pairs = equal_records(table, neighbours);
    let keys = Keys::new(table);
    keys.best_neighbours(table, neighbours, &mut pairs);
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// Pairs each record with the next ones of those that say the same: their keys may all be too common.
fn equal_records(table: &Table<'_>, neighbours: usize) -> Vec<Pair> {
    let mut order: Vec<u32> = (0..table.len() as u32).collect();
    let row = |record: u32| table.columns.iter().map(move |column| column.cells[record as usize]);
    order.sort_by(|one, other| row(*one).cmp(row(*other)).then(one.cmp(other)));
    let mut pairs = Vec::new();
    for same in order.chunk_by(|one, other| row(*one).eq(row(*other))) {
        if row(same[0]).all(|cell| cell == MISSING) {
            continue;
        }
        if table.within {
            for (index, record) in same.iter().enumerate() {
                pairs.extend(same[index + 1..].iter().take(neighbours).map(|next| (*record, *next)));
            }
        } else {
            let (left, right) = same.split_at(same.partition_point(|record| (*record as usize) < table.split));
            for (index, record) in left.iter().enumerate() {
                let from = index.min(right.len().saturating_sub(neighbours));
                pairs.extend(right[from..].iter().take(neighbours).map(|other| (*record, *other)));
            }
        }
    }
    pairs
}

/// The keys that several records share.
struct Keys {
    /// Records by key: those of key `k` are `sharers[starts[k]..starts[k + 1]]`.
    sharers: Vec<u32>,
    starts: Vec<u32>,
    /// How much each key tells, in nats.
    weights: Vec<f32>,
    /// Keys by record, laid out in the same way.
    keys: Vec<u32>,
    key_starts: Vec<u32>,
}

impl Keys {
    fn new(table: &Table<'_>) -> Self {
        let mut all = all_keys(table);
        all.sort_unstable();
        all.dedup();
        let most = (MAX_VISITS / all.len().max(1)).clamp(SHARERS.0, SHARERS.1);
        let (mut sharers, mut starts, mut weights) = (Vec::new(), vec![0], Vec::new());
        for same in all.chunk_by(|one, other| one.0 == other.0) {
            let crosses = table.within || ((same[0].1 as usize) < table.split && (same[same.len() - 1].1 as usize) >= table.split);
            if same.len() < 2 || same.len() > most || !crosses {
                continue;
            }
            sharers.extend(same.iter().map(|(_, record)| *record));
            starts.push(sharers.len() as u32);
            weights.push(libm::log(table.len() as f64 / same.len() as f64) as f32 + 0.1);
        }
        let (keys, key_starts) = by_record(&sharers, &starts, table.len());
        Self { sharers, starts, weights, keys, key_starts }
    }

    /// Adds, for each record, the pairs with those records with which it shares the most.
    fn best_neighbours(&self, table: &Table<'_>, neighbours: usize, pairs: &mut Vec<Pair>) {
        let mut scores = vec![0.0f32; table.len()];
        let mut seen: Vec<u32> = Vec::new();
        for record in 0..table.len() {
            for key in &self.keys[self.key_starts[record] as usize..self.key_starts[record + 1] as usize] {
                let key = *key as usize;
                for other in &self.sharers[self.starts[key] as usize..self.starts[key + 1] as usize] {
                    let score = &mut scores[*other as usize];
                    if *score == 0.0 {
                        seen.push(*other);
                    }
                    *score += self.weights[key];
                }
            }
            seen.retain(|other| {
                let may = table.may_match(record, *other as usize);
                if !may {
                    scores[*other as usize] = 0.0;
                }
                may
            });
            let best_first = |one: &u32, other: &u32| scores[*other as usize].total_cmp(&scores[*one as usize]).then(one.cmp(other));
            if seen.len() > neighbours {
                seen.select_nth_unstable_by(neighbours, best_first);
            }
            pairs.extend(seen.iter().take(neighbours).map(|other| ((record as u32).min(*other), (record as u32).max(*other))));
            for other in seen.drain(..) {
                scores[other as usize] = 0.0;
            }
        }
    }
}

/// Turns lists of records by key into lists of keys by record.
fn by_record(sharers: &[u32], starts: &[u32], records: usize) -> (Vec<u32>, Vec<u32>) {
    let mut ends = vec![0u32; records + 1];
    for record in sharers {
        ends[*record as usize + 1] += 1;
    }
    for record in 0..records {
        ends[record + 1] += ends[record];
    }
    let mut keys = vec![0; sharers.len()];
    let mut next = ends.clone();
    for (key, bounds) in starts.windows(2).enumerate() {
        for record in &sharers[bounds[0] as usize..bounds[1] as usize] {
            let place = &mut next[*record as usize];
            keys[*place as usize] = key as u32;
            *place += 1;
        }
    }
    (keys, ends)
}

/// All keys of all records.
fn all_keys(table: &Table<'_>) -> Vec<(u64, u32)> {
    let keys: Vec<Vec<Vec<u64>>> =
        table.columns.iter().enumerate().map(|(index, column)| column.values.iter().map(|value| keys_of(index, column, value)).collect()).collect();
    let coarse: Vec<Vec<u64>> =
        table.columns.iter().enumerate().map(|(index, column)| column.values.iter().map(|value| coarse_key(index, column, value)).collect()).collect();
    let paired = paired_columns(table, &coarse);
    let mut all = Vec::new();
    for record in 0..table.len() {
        for (column, keys) in table.columns.iter().zip(&keys) {
            if let Some(keys) = keys.get(column.cells[record] as usize) {
                all.extend(keys.iter().map(|key| (*key, record as u32)));
            }
        }
        let of = |column: usize| coarse[column].get(table.columns[column].cells[record] as usize).copied();
        for (place, one) in paired.iter().enumerate() {
            for other in &paired[place + 1..] {
                if let (Some(first), Some(second)) = (of(*one), of(*other)) {
                    all.push((first.rotate_left(17) ^ second, record as u32));
                }
            }
        }
    }
    all
}

/// The columns whose coarse keys say the most, at most [`PAIRED_COLUMNS`].
fn paired_columns(table: &Table<'_>, coarse: &[Vec<u64>]) -> Vec<usize> {
    let mut rated: Vec<(usize, usize)> = Vec::new();
    for (index, keys) in coarse.iter().enumerate() {
        let mut distinct = keys.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let filled = table.columns[index].cells.iter().filter(|cell| **cell != MISSING).count();
        if distinct.len() > 1 {
            rated.push((filled.min(distinct.len() * 4), index));
        }
    }
    rated.sort_unstable_by(|one, other| other.cmp(one));
    rated.truncate(PAIRED_COLUMNS);
    let mut columns: Vec<usize> = rated.into_iter().map(|(_, index)| index).collect();
    columns.sort_unstable();
    columns
}

/// Kinds of keys. Words, sounds and whole values mean the same in every column, so that values in each other's field are found.
#[derive(Clone, Copy)]
enum Rule {
    Word = 1,
    Sound,
    Start,
    End,
    Whole,
    TwoWords,
    FirstPart,
    SecondPart,
    ThirdPart,
    Coarse,
}

fn key(rule: Rule, column: usize, text: &[u8]) -> u64 {
    xxh3_64(text) ^ (rule as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(column as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The first and the second half of a text, as letters.
fn halves(text: &str) -> (&str, &str) {
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(text.len(), |(index, _)| index);
    text.split_at(middle)
}

fn keys_of(index: usize, column: &Column, value: &Value) -> Vec<u64> {
    let own = index + 1;
    let text = value.text.as_bytes();
    let mut keys = vec![key(Rule::Whole, 0, text)];
    match column.kind {
        FieldType::Name | FieldType::Text => {
            for word in value.words.iter().filter(|word| word.len() > 1) {
                keys.push(key(Rule::Word, 0, word.as_bytes()));
                if word.len() >= 5 {
                    let (start, end) = (word.char_indices().nth(4), word.char_indices().rev().nth(3));
                    keys.extend(start.map(|(start, _)| key(Rule::Start, own, &word.as_bytes()[..start])));
                    keys.extend(end.map(|(end, _)| key(Rule::End, own, &word.as_bytes()[end..])));
                }
            }
            keys.extend(value.sounds.iter().filter(|sound| sound.len() > 1).map(|sound| key(Rule::Sound, 0, sound.as_bytes())));
            keys.extend(value.words.windows(2).map(|pair| key(Rule::TwoWords, 0, pair.concat().as_bytes())));
        }
        FieldType::Date => {
            if let Some(day) = value.day {
                let part = |rule, one: u32, other: u32| key(rule, own, &[one.to_be_bytes(), other.to_be_bytes()].concat());
                let (least, greatest) = (day.month.min(day.day), day.month.max(day.day));
                keys.push(part(Rule::FirstPart, day.year, day.month));
                keys.push(part(Rule::SecondPart, least, greatest));
                keys.push(part(Rule::ThirdPart, day.year, day.day));
            }
        }
        FieldType::Code | FieldType::Number | FieldType::Phone => {
            if text.len() >= 6 {
                let (first, second) = halves(&value.text);
                keys.push(key(Rule::FirstPart, own, first.as_bytes()));
                keys.push(key(Rule::SecondPart, own, second.as_bytes()));
            }
        }
        FieldType::Email => {
            let local = &value.text[..value.local];
            keys.push(key(Rule::Word, 0, local.as_bytes()));
            keys.push(key(Rule::Start, own, halves(local).0.as_bytes()));
            keys.push(key(Rule::End, own, halves(local).1.as_bytes()));
        }
    }
    keys
}

/// A key that survives most slips and that many records may have: it serves together with that of another column.
fn coarse_key(index: usize, column: &Column, value: &Value) -> u64 {
    let text = match column.kind {
        FieldType::Name | FieldType::Text => value.sounds.iter().find(|sound| !sound.is_empty()).unwrap_or(&value.text),
        _ => &value.text,
    };
    match value.day {
        Some(day) => key(Rule::Coarse, index + 1, &day.year.to_be_bytes()),
        None => key(Rule::Coarse, index + 1, text.as_bytes()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::types::{MatchRequest, Record};
    use super::*;

    fn names(left: &[&str], right: Option<&[&str]>) -> MatchRequest<'static> {
        let side = |names: &[&str]| {
            let record = |(id, name): (usize, &&str)| Record { id: format!("{id:06}").into(), values: vec![("name".into(), name.to_string().into())] };
            names.iter().enumerate().map(record).collect()
        };
        MatchRequest { fields: [("name".to_owned(), FieldType::Name)].into(), left: side(left), right: right.map(side), threshold: 0.5 }
    }

    fn pairs(asked: &MatchRequest<'_>) -> Vec<Pair> {
        candidates(&Table::new(asked).unwrap())
    }

    #[test]
    fn records_that_share_a_rare_key_are_compared() {
        // The same; the same sound; the same start; a word of several; nothing.
        let asked = names(&["mary", "catherine", "katherine", "robertson", "robertsen", "ann van dyke", "dyke", "zoe"], None);
        assert_eq!(pairs(&asked), [(1, 2), (3, 4), (5, 6)]);
    }

    #[test]
    fn pairs_between_two_sides_have_a_record_of_each() {
        let asked = names(&["mary", "mary", "john"], Some(&["mary", "john"]));
        assert_eq!(pairs(&asked), [(0, 3), (1, 3), (2, 4)]);
    }

    #[test]
    fn pairs_grow_with_the_records_and_not_with_their_square() {
        for name in ["smith", "a b c d e f"] {
            let equal = vec![name; 5_000];
            assert!(pairs(&names(&equal, None)).len() <= 5_000 * NEIGHBOURS.1);
            assert!(pairs(&names(&equal, Some(&equal))).len() <= 5_000 * NEIGHBOURS.1);
        }
    }

    #[test]
    fn a_key_that_many_share_is_left_to_rarer_ones() {
        let mut many = vec!["smith"; 1_000];
        many.extend(["smith zebulon", "zebulon"]);
        let found = pairs(&names(&many, None));
        assert!(found.contains(&(1_000, 1_001)));
        assert!(!found.contains(&(0, 1_000)));
    }
}
