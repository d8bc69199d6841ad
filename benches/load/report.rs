//! The table of figures.

use crate::machine;

struct Row {
    what: String,
    reach: &'static str,
    measured: String,
    details: String,
}

/// Collects rows, printing each as it comes.
pub struct Report {
    facts: Vec<(&'static str, String)>,
    rows: Vec<Row>,
}

impl Report {
    /// Prints the machine's facts.
    pub fn begin(kafka: bool) -> Self {
        let mut facts = machine::facts();
        if kafka {
            facts.retain(|(name, _)| *name != "durability");
            facts.push(("durability", "acknowledged by Apache Kafka with acks=all".to_owned()));
        }
        facts.iter().for_each(|(name, fact)| println!("{name}: {fact}"));
        Self { facts, rows: Vec::new() }
    }

    /// Adds a figure.
    pub fn row(&mut self, what: impl Into<String>, reach: &'static str, measured: impl Into<String>, details: impl Into<String>) {
        let row = Row { what: what.into(), reach, measured: measured.into(), details: details.into() };
        println!("\n{} (reach: {})\n  {}\n  {}", row.what, row.reach, row.measured, row.details);
        self.rows.push(row);
    }

    /// All of it as a page.
    pub fn markdown(&self) -> String {
        let today = chrono::Utc::now().format("%Y-%m-%d");
        let facts: String = self.facts.iter().map(|(name, fact)| format!("- {name}: {fact}\n")).collect();
        let line = |row: &Row| format!("| {} | {} | {} | {} |\n", row.what, row.reach, row.measured, row.details);
        let rows: String = self.rows.iter().map(line).collect();
        format!(
            "# Results of {today}\n\nWritten by `scripts/bench`; what each row means is in [README.md](README.md).\n\n{facts}\n| what | reach | measured | details |\n|---|---|---|---|\n{rows}"
        )
    }
}

/// 1234567 as "1,234,567".
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
