//! [`Comparisons`]: how similar the records of each pair are, field by field.

use strsim::jaro_winkler;

use super::blocking::Pair;
use super::levels::{CROSSED, EXACT, LEVELS, Level, NEAR, NEUTRAL, level, nearly};
use super::normal::Value;
use super::table::{MISSING, Table};
use super::types::FieldType;

/// Least similarity of names in each other's field.
const CROSSED_LIKENESS: f64 = 0.9;

/// Compares records of a table.
pub(super) struct Comparer<'t, 'a> {
    /// The table.
    pub(super) table: &'t Table<'a>,
    /// The pairs of columns whose values may stand in each other's field.
    exchanges: Vec<(usize, usize)>,
}

/// Pairs of records with the level of agreement of each field.
pub(super) struct Comparisons {
    /// The pairs.
    pub(super) pairs: Vec<Pair>,
    /// The levels, pair by pair, in the order of the columns.
    levels: Vec<Level>,
    /// For each pair the logarithm of the chance that unlike people have such values in each other's field; 0 where none are.
    pub(super) crossed: Vec<f32>,
    columns: usize,
}

impl<'t, 'a> Comparer<'t, 'a> {
    /// Prepares to compare.
    pub(super) fn new(table: &'t Table<'a>) -> Self {
        Self { table, exchanges: exchanges(table) }
    }

    /// Compares the records of each pair.
    pub(super) fn compare(&self, pairs: Vec<Pair>) -> Comparisons {
        let columns = self.table.columns.len();
        let mut levels = vec![NEUTRAL; pairs.len() * columns];
        let mut crossed = vec![0.0; pairs.len()];
        for ((pair, levels), crossed) in pairs.iter().zip(levels.chunks_mut(columns)).zip(&mut crossed) {
            *crossed = compare(self.table, &self.exchanges, *pair, levels);
        }
        Comparisons { pairs, levels, crossed, columns }
    }
}

impl Comparisons {
    /// The levels of a pair.
    pub(super) fn levels(&self, index: usize) -> &[Level] {
        &self.levels[index * self.columns..(index + 1) * self.columns]
    }

    /// The levels of all pairs.
    pub(super) fn all_levels(&self) -> impl Iterator<Item = &[Level]> {
        self.levels.chunks(self.columns)
    }
}

fn exchanges(table: &Table<'_>) -> Vec<(usize, usize)> {
    let words = |kind| matches!(kind, FieldType::Name | FieldType::Text);
    let numbers = |kind| matches!(kind, FieldType::Code | FieldType::Number | FieldType::Phone);
    let kinds: Vec<FieldType> = table.columns.iter().map(|column| column.kind).collect();
    let mut found = Vec::new();
    for (one, first) in kinds.iter().copied().enumerate() {
        for (other, second) in kinds.iter().copied().enumerate().skip(one + 1) {
            if first == second || (words(first) && words(second)) || (numbers(first) && numbers(second)) {
                found.push((one, other));
            }
        }
    }
    found
}

fn compare(table: &Table<'_>, exchanges: &[(usize, usize)], pair: Pair, levels: &mut [Level]) -> f32 {
    let (one, other) = (pair.0 as usize, pair.1 as usize);
    for (column, found) in table.columns.iter().zip(levels.iter_mut()) {
        *found = match (column.cells[one], column.cells[other]) {
            (MISSING, _) | (_, MISSING) => NEUTRAL,
            (first, second) if first == second => EXACT,
            (first, second) => level(column.kind, &column.values[first as usize], &column.values[second as usize]),
        };
    }
    let mut chance = 0.0;
    for (first, second) in exchanges {
        let agree = |found: Level| matches!(found, EXACT | NEAR | CROSSED);
        if agree(levels[*first]) || agree(levels[*second]) {
            continue;
        }
        if let Some(found) = exchanged(table, (*first, *second), (one, other)) {
            // What both fields say is told once.
            levels[*first] = CROSSED;
            levels[*second] = NEUTRAL;
            chance += found;
        }
    }
    chance
}

/// Tells whether the values of two columns stand in each other's field: the logarithm of the chance of that among unlike people.
fn exchanged(table: &Table<'_>, columns: (usize, usize), records: (usize, usize)) -> Option<f32> {
    let (first, second) = (&table.columns[columns.0], &table.columns[columns.1]);
    let there = Moved::of(table, first.cells[records.0], columns.0, second.cells[records.1], columns.1);
    let back = Moved::of(table, first.cells[records.1], columns.0, second.cells[records.0], columns.1);
    match (there, back) {
        (Moved::Same(there), Moved::Same(back) | Moved::Near(back)) | (Moved::Near(there), Moved::Same(back)) => Some(there + back),
        (Moved::Near(there), Moved::Near(back)) if first.kind == FieldType::Name && second.kind == FieldType::Name => Some(there + back),
        (Moved::Same(chance), Moved::Unknown) | (Moved::Unknown, Moved::Same(chance)) => Some(chance),
        _ => None,
    }
}

/// How a value of one column compares with a value of another; with the logarithm of how common it is.
enum Moved {
    Same(f32),
    Near(f32),
    Unknown,
    No,
}

impl Moved {
    fn of(table: &Table<'_>, one: u32, first: usize, other: u32, second: usize) -> Self {
        let (first, second) = (&table.columns[first], &table.columns[second]);
        if one == MISSING || other == MISSING {
            return Moved::Unknown;
        }
        let (place, other_place) = (first.everywhere[one as usize], second.everywhere[other as usize]);
        let chance = |count: u32, more: f64| libm::log(((f64::from(count) - 2.0).max(0.0) + more) / table.len() as f64).min(0.0) as f32;
        let count = table.counts_everywhere[place as usize];
        if place == other_place {
            Moved::Same(chance(count, 1.0))
        } else if words_nearly(&first.values[one as usize], &second.values[other as usize], first.kind, second.kind) {
            Moved::Near(chance(count.max(table.counts_everywhere[other_place as usize]), 5.0))
        } else {
            Moved::No
        }
    }
}

fn words_nearly(one: &Value, other: &Value, first: FieldType, second: FieldType) -> bool {
    match (first, second) {
        (FieldType::Name, FieldType::Name) => nearly(&one.text, &other.text) || jaro_winkler(&one.text, &other.text) >= CROSSED_LIKENESS,
        _ => nearly(&one.text, &other.text),
    }
}

const _: () = assert!((CROSSED as usize) < LEVELS);
