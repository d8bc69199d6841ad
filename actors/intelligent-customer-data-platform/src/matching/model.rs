//! [`Model`]: how much each level of each field says for or against two records being about the same person (Fellegi and Sunter 1969).
//!
//! A field's level has a probability `m` among pairs of the same person and `u` among others. `u` comes from random pairs, and for equal values from how
//! many records have that value (Winkler's adjustment by term frequency), `m` and the share of matches from EM over the compared pairs (Winkler 1988). The
//! pairs of the same person are a mixture of those with few slips and those with many, since slips do not fall independently; and pairs of one household
//! are a class of their own, since what they share is no chance and yet they are not the same person.

use super::compare::{Comparer, Comparisons};
use super::levels::{CROSSED, EXACT, LEVELS, NEAR};
use super::table::{Column, MISSING, Table};
use super::types::FieldType;

/// Random pairs from which `u` is estimated.
const SAMPLE: usize = 40_000;
/// Rounds of EM.
const ROUNDS: usize = 40;
/// Rounds after which `u` is estimated anew.
const U_ROUNDS: usize = 6;
/// A pair whose probability is less teaches nothing.
const SURELY_NOT: f64 = 1e-9;
/// Logarithm of odds that count as none.
const LEAST_ODDS: f64 = -25.0;
/// EM ends when no probability moves by more.
const SETTLED: f64 = 1e-4;
/// Kinds of pairs that are no chance: of the same person with few slips and with many, and of people of one household, unless the third turns out to be
/// the same person too.
const CLASSES: usize = 3;
/// What the levels of a class are held for before any pair was seen: missing, exact, near, …, different, crossed.
const PRIOR_M: [[f64; LEVELS]; CLASSES] = [
    [0.0, 0.88, 0.05, 0.02, 0.015, 0.01, 0.005, 0.015, 0.005],
    [0.0, 0.55, 0.12, 0.06, 0.05, 0.04, 0.04, 0.13, 0.01],
    [0.0, 0.5, 0.005, 0.005, 0.005, 0.01, 0.02, 0.45, 0.005],
];
/// How many pairs that belief is worth.
const PRIOR_PAIRS: f64 = 8.0;
/// The share of the classes before any match was seen.
const PRIOR_CLASSES: [f64; CLASSES] = [0.6, 0.2, 0.2];
/// A class agrees in a field by chance only if it agrees in it no more often than this.
const CHANCE: f64 = 0.2;
/// A class is about different people if it agrees by chance only in so many of the fields that tell the members of a household apart.
const PERSONAL_FIELDS: usize = 2;

type Probabilities = Vec<[f64; LEVELS]>;

/// What the records taught.
pub(super) struct Model {
    /// `m` by class and column.
    m: [Probabilities; CLASSES],
    /// The share of each class.
    classes: [f64; CLASSES],
    /// Whether the pairs of each class are about the same person.
    same: [bool; CLASSES],
    /// `u` by column.
    u: Probabilities,
    /// The logarithm of the chance that another person has the value, by column and value.
    log_common: Vec<Vec<f32>>,
    /// The probability that two records are about the same person, before they are compared.
    matches: f64,
}

impl Model {
    /// Learns from the compared pairs.
    pub(super) fn learn(comparer: &Comparer<'_, '_>, comparisons: &Comparisons) -> Self {
        let table = comparer.table;
        let sample = comparer.compare(random_pairs(table));
        let columns = table.columns.len();
        let possible = table.possible_pairs().max(1.0);
        let mut model = Self {
            m: PRIOR_M.map(|prior| vec![prior; columns]),
            classes: PRIOR_CLASSES,
            same: [true; CLASSES],
            u: vec![[0.0; LEVELS]; columns],
            log_common: table.columns.iter().map(|column| log_common(column, 0.5, table.len())).collect(),
            matches: (table.len() as f64 * 0.3).max(1.0) / possible,
        };
        model.learn_u(&sample, &vec![0.0; sample.pairs.len()]);
        let all: Vec<u32> = (0..comparisons.pairs.len() as u32).collect();
        model.settle(table, comparisons, &sample, all.clone(), possible);
        model.learn_common(table, comparisons, &all, possible);
        model.settle(table, comparisons, &sample, all, possible);
        model.same = std::array::from_fn(|class| class == 0 || !model.different_people(table, class));
        model
    }

    /// Prepares to weigh pairs.
    pub(super) fn weights(&self) -> Weights<'_> {
        Weights::new(self)
    }

    /// Repeats expectation and maximisation until nothing moves. Pairs that are surely no match are left out after a few rounds.
    fn settle(&mut self, table: &Table<'_>, comparisons: &Comparisons, sample: &Comparisons, mut pairs: Vec<u32>, possible: f64) {
        let all: Vec<u32> = (0..sample.pairs.len() as u32).collect();
        for round in 0..ROUNDS {
            let chances = self.expect(table, comparisons, &pairs);
            let moved = self.maximise(comparisons, &pairs, &chances, possible);
            if round % U_ROUNDS == 0 {
                let sampled: Vec<f64> = self.expect(table, sample, &all).iter().map(|chance| chance.iter().sum()).collect();
                self.learn_u(sample, &sampled);
                let mut kept = chances.iter().map(|chance| chance.iter().sum::<f64>() > SURELY_NOT);
                if round > 0 {
                    pairs.retain(|_| kept.next().unwrap_or(true));
                }
            } else if moved < SETTLED {
                break;
            }
        }
    }

    /// For each of the pairs, the probability that it is a match of each class.
    fn expect(&self, table: &Table<'_>, comparisons: &Comparisons, pairs: &[u32]) -> Vec<[f64; CLASSES]> {
        let weights = self.weights();
        let chance = |index: &u32| {
            let odds = weights.by_class(table, comparisons, *index as usize);
            if odds.iter().all(|odds| *odds < LEAST_ODDS) {
                return [0.0; CLASSES];
            }
            let odds = odds.map(|odds| libm::exp(odds.min(300.0)));
            let total = 1.0 + odds.iter().sum::<f64>();
            odds.map(|odds| odds / total)
        };
        pairs.iter().map(chance).collect()
    }

    /// Tells whether a class is about different people: those of a household share surname and address, and their given names and birthdays agree by
    /// chance only. One such field is not enough: people marry and move.
    fn different_people(&self, table: &Table<'_>, class: usize) -> bool {
        let agreement = |class: usize, column: usize| self.m[class][column][EXACT as usize] + self.m[class][column][NEAR as usize];
        let personal = |column: usize| matches!(table.columns[column].kind, FieldType::Name | FieldType::Date | FieldType::Email);
        let by_chance =
            (0..table.columns.len()).filter(|column| personal(*column) && agreement(class, *column) < CHANCE && agreement(0, *column) > 2.0 * CHANCE);
        by_chance.count() >= PERSONAL_FIELDS
    }

    /// Sets `m` and the shares from the expectation; gives the greatest change.
    fn maximise(&mut self, comparisons: &Comparisons, pairs: &[u32], chances: &[[f64; CLASSES]], possible: f64) -> f64 {
        let columns = self.u.len();
        let mut totals = [0.0; CLASSES];
        let mut moved: f64 = 0.0;
        for (class, (total, m)) in totals.iter_mut().zip(&mut self.m).enumerate() {
            let mut counts = vec![[0.0; LEVELS]; columns];
            for (index, chance) in pairs.iter().zip(chances) {
                *total += chance[class];
                if chance[class] > SURELY_NOT {
                    for (counts, level) in counts.iter_mut().zip(comparisons.levels(*index as usize)) {
                        counts[*level as usize] += chance[class];
                    }
                }
            }
            for (known, counts) in m.iter_mut().zip(&counts) {
                let pairs = counts[1..].iter().sum::<f64>() + PRIOR_PAIRS;
                for ((known, count), prior) in known.iter_mut().zip(counts).zip(&PRIOR_M[class]).skip(1) {
                    let learnt = (count + prior * PRIOR_PAIRS) / pairs;
                    moved = moved.max((learnt - *known).abs());
                    *known = learnt;
                }
            }
        }
        let total: f64 = totals.iter().sum();
        for ((share, of_class), prior) in self.classes.iter_mut().zip(&totals).zip(&PRIOR_CLASSES) {
            *share = (of_class + prior * PRIOR_PAIRS) / (total + PRIOR_PAIRS);
        }
        self.matches = ((total + 0.5) / possible).min(0.5);
        moved
    }

    /// Sets `u` from random pairs, of which each counts as far as it is no match.
    fn learn_u(&mut self, sample: &Comparisons, chances: &[f64]) {
        let mut counts = vec![[0.0; LEVELS]; self.u.len()];
        for (levels, chance) in sample.all_levels().zip(chances) {
            for (counts, level) in counts.iter_mut().zip(levels) {
                counts[*level as usize] += 1.0 - chance;
            }
        }
        for (u, counts) in self.u.iter_mut().zip(&counts) {
            let total = counts[1..].iter().sum::<f64>() + 1.0;
            for (u, count) in u.iter_mut().zip(counts).skip(1) {
                *u = (count + 1.0 / LEVELS as f64) / total;
            }
        }
    }

    /// Estimates how common the values are that only one person has: by the pairs of unlike people that agree.
    fn learn_common(&mut self, table: &Table<'_>, comparisons: &Comparisons, pairs: &[u32], possible: f64) {
        let records = table.len() as f64;
        let chances = self.expect(table, comparisons, pairs);
        for (index, column) in table.columns.iter().enumerate() {
            let matched: f64 =
                comparisons.all_levels().zip(&chances).filter(|(levels, _)| levels[index] == EXACT).map(|(_, chance)| chance.iter().sum::<f64>()).sum();
            let agreeing = (agreeing_pairs(table, column) - matched).max(0.5);
            let single = (agreeing / possible * records).clamp(0.01, 1.0);
            self.log_common[index] = log_common(column, single, table.len());
        }
    }
}

/// The number of possible pairs with the same value.
fn agreeing_pairs(table: &Table<'_>, column: &Column) -> f64 {
    if table.within {
        return column.counts.iter().map(|count| f64::from(*count) * (f64::from(*count) - 1.0) / 2.0).sum();
    }
    let mut left = vec![0.0; column.values.len()];
    for cell in column.cells[..table.split].iter().filter(|cell| **cell != MISSING) {
        left[*cell as usize] += 1.0;
    }
    left.iter().zip(&column.counts).map(|(left, count)| left * (f64::from(*count) - left)).sum()
}

/// The logarithm of how common each value is among other people, if two records of one have it; `single` stands for values that nobody else has.
fn log_common(column: &Column, single: f64, records: usize) -> Vec<f32> {
    column.counts.iter().map(|count| libm::log(((f64::from(*count) - 2.0).max(0.0) + single) / records as f64).min(-0.01) as f32).collect()
}

/// Logarithms of the model.
pub(super) struct Weights<'m> {
    model: &'m Model,
    /// The logarithm of the odds of a match before the records are compared.
    pub(super) prior_odds: f64,
    /// `m / u` by class, column and level; of exact and crossed levels `m` alone.
    ratios: [Vec<[f64; LEVELS]>; CLASSES],
    classes: [f64; CLASSES],
}

impl<'m> Weights<'m> {
    fn new(model: &'m Model) -> Self {
        let ratio = |level: usize, m: f64, u: f64| match level {
            0 => 0.0,
            _ if level == EXACT as usize || level == CROSSED as usize => libm::log(m),
            _ => libm::log(m / u),
        };
        let of = |class: usize| model.m[class].iter().zip(&model.u).map(|(m, u)| std::array::from_fn(|level| ratio(level, m[level], u[level]))).collect();
        Self { model, prior_odds: libm::log(model.matches / (1.0 - model.matches)), ratios: std::array::from_fn(of), classes: model.classes.map(libm::log) }
    }

    /// The logarithm of the odds that a compared pair is about the same person.
    pub(super) fn log_odds(&self, table: &Table<'_>, comparisons: &Comparisons, index: usize) -> f64 {
        let odds = self.by_class(table, comparisons, index);
        let sum = |same: bool, chance: f64| {
            let of = || odds.iter().zip(&self.model.same).filter(move |(_, is)| **is == same).map(|(odds, _)| *odds);
            let greatest = of().fold(chance, f64::max);
            greatest + libm::log(of().map(|odds| libm::exp(odds - greatest)).sum::<f64>() + libm::exp(chance - greatest))
        };
        sum(true, f64::NEG_INFINITY) - sum(false, 0.0)
    }

    /// The logarithms of the odds of each class against no match.
    fn by_class(&self, table: &Table<'_>, comparisons: &Comparisons, index: usize) -> [f64; CLASSES] {
        let levels = comparisons.levels(index);
        let one = comparisons.pairs[index].0 as usize;
        let mut common = f64::from(comparisons.crossed[index]);
        for ((column, commons), level) in table.columns.iter().zip(&self.model.log_common).zip(levels) {
            if *level == EXACT {
                common += f64::from(commons[column.cells[one] as usize]);
            }
        }
        let told = |class: usize| levels.iter().zip(&self.ratios[class]).map(|(level, ratios)| ratios[*level as usize]).sum::<f64>();
        std::array::from_fn(|class| self.prior_odds + self.classes[class] - common + told(class))
    }
}

/// Random pairs of records, the same for the same records.
fn random_pairs(table: &Table<'_>) -> Vec<(u32, u32)> {
    let (records, split) = (table.len() as u64, table.split as u64);
    if table.possible_pairs() < 1.0 {
        return Vec::new();
    }
    let mut state = 0x5EED_u64;
    let mut below = |bound: u64| {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) % bound
    };
    let wanted = (table.possible_pairs() as usize).min(SAMPLE);
    let mut pairs = Vec::with_capacity(wanted);
    while pairs.len() < wanted {
        let (one, other) = if table.within { (below(records), below(records)) } else { (below(split), split + below(records - split)) };
        if one != other {
            pairs.push((one.min(other) as u32, one.max(other) as u32));
        }
    }
    pairs
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::borrow::Cow;

    use super::super::blocking::candidates;
    use super::super::levels::{DIFFERENT, NEUTRAL};
    use super::super::types::{MatchRequest, Record};
    use super::*;

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    /// How many values each field has, and how often two records of a person agree in it.
    const FIELDS: [(u64, f64); 5] = [(40, 0.95), (300, 0.9), (2_000, 0.8), (60, 0.7), (900, 0.85)];

    struct Dice(u64);

    impl Dice {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }

        /// A code that no slip turns into another.
        fn code(&mut self, values: u64) -> String {
            let number = (self.unit() * values as f64) as u64;
            (0..6).map(|place| char::from(b'a' + (xxhash_rust::xxh3::xxh3_64(&[number.to_be_bytes(), [place; 8]].concat()) % 26) as u8)).collect()
        }
    }

    /// Records on both sides of which the first `matches` are about the same people.
    fn population(records: usize, matches: usize) -> MatchRequest<'static> {
        let mut dice = Dice(1);
        let record = |id: usize, codes: &[String]| Record {
            id: id.to_string().into(),
            values: NAMES.iter().zip(codes).map(|(name, code)| (Cow::Borrowed(*name), code.clone().into())).collect(),
        };
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for id in 0..records {
            let codes: Vec<String> = FIELDS.iter().map(|(values, _)| dice.code(*values)).collect();
            let other: Vec<String> =
                FIELDS.iter().zip(&codes).map(|((values, m), code)| if id < matches && dice.unit() < *m { code.clone() } else { dice.code(*values) }).collect();
            left.push(record(id, &codes));
            right.push(record(id, &other));
        }
        MatchRequest { fields: NAMES.iter().map(|name| ((*name).to_owned(), FieldType::Code)).collect(), left, right: Some(right), threshold: 0.5 }
    }

    #[test]
    fn em_finds_how_often_fields_agree_and_how_many_records_match() {
        let asked = population(3_000, 1_200);
        let table = Table::new(&asked).unwrap();
        let comparer = Comparer::new(&table);
        let comparisons = comparer.compare(candidates(&table));
        let model = Model::learn(&comparer, &comparisons);
        let matches = model.matches * table.possible_pairs();
        assert!((matches - 1_200.0).abs() < 60.0, "{matches}");
        for (column, (values, m)) in FIELDS.into_iter().enumerate() {
            let learnt: f64 = (0..CLASSES).map(|class| model.classes[class] * model.m[class][column][EXACT as usize]).sum();
            // A value that was drawn anew may be the same.
            let known = m + (1.0 - m) / values as f64;
            assert!((learnt - known).abs() < 0.03, "column {column}: {learnt}, not {known}");
            let common: f64 = model.log_common[column].iter().map(|log| libm::exp(f64::from(*log))).sum::<f64>() / model.log_common[column].len() as f64;
            assert!((common * values as f64 - 1.0).abs() < 0.25, "column {column}: {common}, not 1 in {values}");
        }
    }

    #[test]
    fn more_agreement_is_never_less_probable_and_missing_values_are_neutral() {
        let asked = population(2_000, 800);
        let table = Table::new(&asked).unwrap();
        let comparer = Comparer::new(&table);
        let comparisons = comparer.compare(candidates(&table));
        let model = Model::learn(&comparer, &comparisons);
        let weights = model.weights();
        for (column, commons) in model.log_common.iter().enumerate() {
            let common = f64::from(commons.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let same = |class: &usize| model.same[*class];
            for ratios in (0..CLASSES).filter(same).map(|class| weights.ratios[class][column]) {
                assert!(ratios[EXACT as usize] - common > 0.0, "column {column}: agreement counts against");
                assert!(ratios[DIFFERENT as usize] < 0.0, "column {column}: disagreement counts for");
                assert_eq!(ratios[NEUTRAL as usize], 0.0);
            }
        }
    }

    #[test]
    fn random_pairs_are_possible_pairs() {
        let asked = population(50, 0);
        let table = Table::new(&asked).unwrap();
        let pairs = random_pairs(&table);
        assert_eq!(pairs.len(), 2_500);
        assert!(pairs.iter().all(|(one, other)| table.may_match(*one as usize, *other as usize)));
    }
}
