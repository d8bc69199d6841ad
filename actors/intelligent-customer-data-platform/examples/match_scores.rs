//! Scores matching on cases that `benches/match/run` writes: `match_scores CASE.json...` prints a line of JSON a case.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::time::Instant;

use serde::Deserialize;
use tol_intelligent_customer_data_platform::matching::{MatchRequest, Record, match_records};

#[derive(Deserialize)]
struct Case<'a> {
    name: String,
    #[serde(borrow)]
    request: MatchRequest<'a>,
    /// Who each record is about.
    people: HashMap<String, String>,
}

impl Case<'_> {
    fn person(&self, id: &str) -> &str {
        self.people.get(id).map_or("", String::as_str)
    }

    /// The number of pairs that are about the same person.
    fn matches(&self) -> u64 {
        let count = |records: &[Record<'_>]| {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for record in records {
                *counts.entry(self.person(&record.id)).or_default() += 1;
            }
            counts
        };
        let left = count(&self.request.left);
        match &self.request.right {
            None => left.values().map(|count| count * (count - 1) / 2).sum(),
            Some(right) => count(right).iter().map(|(person, count)| count * left.get(person).copied().unwrap_or_default()).sum(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        let case: Case<'_> = serde_json::from_str(&text)?;
        let began = Instant::now();
        let pairs = match_records(&case.request)?;
        let seconds = began.elapsed().as_secs_f64();
        let hits = pairs.iter().filter(|pair| case.person(pair.left) == case.person(pair.right)).count() as f64;
        let (found, matches) = (pairs.len() as f64, case.matches() as f64);
        let line = serde_json::json!({
            "name": case.name, "precision": hits / found.max(1.0), "recall": hits / matches.max(1.0),
            "f1": 2.0 * hits / (found + matches).max(1.0), "seconds": seconds,
        });
        println!("{line}");
    }
    Ok(())
}
