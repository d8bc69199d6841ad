//! [`Table`]: the records of a request as columns of distinct values.

use std::borrow::Cow;
use std::collections::HashMap;

use super::normal::Value;
use super::types::{FieldType, MatchRequest, MatchedPair, Record};
use super::{Error, MAX_FIELDS, MAX_ID, MAX_RECORDS};

/// Number of a distinct value in its column; [`MISSING`] where a record says nothing.
pub(super) type ValueId = u32;
/// A record says nothing in this field.
pub(super) const MISSING: ValueId = u32::MAX;

/// A field of all records.
pub(super) struct Column {
    /// Its type.
    pub(super) kind: FieldType,
    /// The value of each record.
    pub(super) cells: Vec<ValueId>,
    /// The distinct values.
    pub(super) values: Vec<Value>,
    /// How many records have each value.
    pub(super) counts: Vec<u32>,
    /// The number of each value among the values of all columns, by which values in each other's field are found.
    pub(super) everywhere: Vec<u32>,
}

/// The records of a request, in the order of their sides and ids.
pub(super) struct Table<'a> {
    ids: Vec<&'a str>,
    /// Its columns, in the order of the fields' names.
    pub(super) columns: Vec<Column>,
    /// The number of records of `left`, which come first.
    pub(super) split: usize,
    /// Whether `left` is matched with itself.
    pub(super) within: bool,
    /// How often each value occurs in any column, by [`Column::everywhere`].
    pub(super) counts_everywhere: Vec<u32>,
}

impl<'a> Table<'a> {
    /// Sorts the records and reads their values.
    pub(super) fn new(request: &'a MatchRequest<'_>) -> Result<Self, Error> {
        let right = request.right.as_deref().unwrap_or_default();
        checked(request, right)?;
        let mut records = sorted("left", &request.left)?;
        let split = records.len();
        records.extend(sorted("right", right)?);
        let mut everywhere = HashMap::new();
        let columns: Vec<Column> = request.fields.iter().map(|(name, kind)| Column::new(name, *kind, &records, &mut everywhere)).collect();
        let mut counts_everywhere = vec![0; everywhere.len()];
        for column in &columns {
            for (value, count) in column.everywhere.iter().zip(&column.counts) {
                counts_everywhere[*value as usize] += count;
            }
        }
        let ids = records.iter().map(|record| record.id.as_ref()).collect();
        Ok(Self { ids, columns, split, within: request.right.is_none(), counts_everywhere })
    }

    /// The number of records.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The number of pairs that could match.
    pub(super) fn possible_pairs(&self) -> f64 {
        let (left, right) = (self.split as f64, (self.len() - self.split) as f64);
        if self.within { left * (left - 1.0) / 2.0 } else { left * right }
    }

    /// Tells whether two records could match.
    pub(super) fn may_match(&self, one: usize, other: usize) -> bool {
        one != other && (self.within || (one < self.split) != (other < self.split))
    }

    /// Gives a pair by the ids of its records.
    pub(super) fn named(&self, left: u32, right: u32, probability: f64) -> MatchedPair<'a> {
        MatchedPair { left: self.ids[left as usize], right: self.ids[right as usize], probability }
    }
}

impl Column {
    fn new(name: &str, kind: FieldType, records: &[&Record<'_>], everywhere: &mut HashMap<String, u32>) -> Self {
        let mut column = Self { kind, cells: Vec::with_capacity(records.len()), values: vec![], counts: vec![], everywhere: vec![] };
        // Keyed by the text as it came too, since most values occur often and need be read once.
        let mut read: HashMap<&str, ValueId> = HashMap::new();
        let mut known: HashMap<String, ValueId> = HashMap::new();
        for record in records {
            // Of a member that is given twice the last counts, as in most readers of JSON.
            let raw = record.values.iter().rev().find(|(field, _)| field == name).map(|(_, raw)| raw.as_ref());
            let id = match raw {
                None => MISSING,
                Some(raw) => *read.entry(raw).or_insert_with(|| column.intern(raw, &mut known, everywhere)),
            };
            if let Some(count) = column.counts.get_mut(id as usize) {
                *count += 1;
            }
            column.cells.push(id);
        }
        if kind == FieldType::Text {
            column.rate_words();
        }
        column
    }

    fn intern(&mut self, raw: &str, known: &mut HashMap<String, ValueId>, everywhere: &mut HashMap<String, u32>) -> ValueId {
        let Some(value) = Value::read(self.kind, raw) else { return MISSING };
        if let Some(id) = known.get(&value.text) {
            return *id;
        }
        let id = self.values.len() as ValueId;
        let next = everywhere.len() as u32;
        self.everywhere.push(*everywhere.entry(value.text.clone()).or_insert(next));
        known.insert(value.text.clone(), id);
        self.values.push(value);
        self.counts.push(0);
        id
    }

    /// Rates each word by the logarithm of how few records have it.
    fn rate_words(&mut self) {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for (value, count) in self.values.iter().zip(&self.counts) {
            let mut words: Vec<&String> = value.words.iter().collect();
            words.sort_unstable();
            words.dedup();
            for word in words {
                *counts.entry(word.clone()).or_default() += count;
            }
        }
        let records = self.counts.iter().map(|count| f64::from(*count)).sum::<f64>();
        let rarity = |word: &String| counts.get(word).map_or(0.0, |count| libm::log(1.0 + records / f64::from(*count)) as f32);
        for value in &mut self.values {
            value.rarity = value.words.iter().map(rarity).collect();
        }
    }
}

fn checked(request: &MatchRequest<'_>, right: &[Record<'_>]) -> Result<(), Error> {
    let (fields, records) = (request.fields.len(), request.left.len() + right.len());
    if fields == 0 {
        return Err(Error::NoFields);
    }
    if fields > MAX_FIELDS {
        return Err(Error::TooManyFields { fields });
    }
    if request.fields.contains_key("id") {
        return Err(Error::FieldNamedId);
    }
    if records > MAX_RECORDS {
        return Err(Error::TooManyRecords { records });
    }
    if !(request.threshold > 0.0 && request.threshold <= 1.0) {
        return Err(Error::Threshold { threshold: request.threshold });
    }
    Ok(())
}

fn sorted<'r, 'a>(side: &'static str, records: &'r [Record<'a>]) -> Result<Vec<&'r Record<'a>>, Error> {
    let mut sorted: Vec<&Record<'a>> = records.iter().collect();
    sorted.sort_by(|one, other| one.id.cmp(&other.id));
    if let Some(record) = sorted.iter().find(|record| record.id.len() > MAX_ID) {
        return Err(Error::LongId { side, bytes: record.id.len() });
    }
    if sorted.first().is_some_and(|record| record.id.is_empty()) {
        return Err(Error::MissingId { side });
    }
    let repeated = sorted.windows(2).find(|pair| pair[0].id == pair[1].id).map(|pair| Cow::as_ref(&pair[0].id).to_owned());
    repeated.map_or(Ok(sorted), |id| Err(Error::RepeatedId { side, id }))
}
