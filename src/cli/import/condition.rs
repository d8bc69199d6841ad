//! Conditions: which rows are imported.

use std::cmp::Ordering;

use super::number::{Exact, NumberFormat};
use super::rows::Row;
use super::template::Template;

/// A condition on a row: `{status}=paid|shipped`, `{order}!=C*`, `{amount}>0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    left: Template,
    operator: Operator,
    right: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    /// Whether it is one of several texts.
    Is(bool),
    /// How a number is to compare, and whether an equal one will do.
    Compares(Ordering, bool),
}

/// Longer ones first: `<=` begins as `<` does.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::Is(false)),
    ("<=", Operator::Compares(Ordering::Less, true)),
    (">=", Operator::Compares(Ordering::Greater, true)),
    ("=", Operator::Is(true)),
    ("<", Operator::Compares(Ordering::Less, false)),
    (">", Operator::Compares(Ordering::Greater, false)),
];

impl Condition {
    /// Reads a condition for a file with these columns.
    ///
    /// # Errors
    /// No operator, a column that there is not, a number that is none.
    pub fn parse(text: &str, columns: &[String], numbers: &NumberFormat) -> Result<Condition, String> {
        let mut inside = false;
        let at = text.char_indices().find_map(|(at, letter)| {
            inside = match letter {
                '{' => true,
                '}' => false,
                _ => inside,
            };
            let operator = OPERATORS.iter().find(|(sign, _)| text[at..].starts_with(sign)).filter(|_| !inside);
            operator.map(|(sign, operator)| (at, sign.len(), *operator))
        });
        let (at, length, operator) =
            at.ok_or_else(|| format!("\"{text}\" is not a condition; write for example '{{status}}=paid', with one of =, !=, <, <=, >, >="))?;
        let (left, right) = (Template::parse(text[..at].trim(), columns)?, text[at + length..].trim().to_owned());
        if let Operator::Compares(..) = operator {
            Exact::parse(&numbers.plain(&right)?)?;
        }
        Ok(Condition { left, operator, right })
    }

    /// Whether it holds of a row.
    ///
    /// # Errors
    /// A number is to be compared that is none.
    pub fn holds(&self, row: &Row, file: &str, numbers: &NumberFormat) -> Result<bool, String> {
        let left = self.left.fill(row, file);
        match self.operator {
            Operator::Is(wanted) => Ok(self.right.split('|').any(|one| is(left.trim(), one.trim())) == wanted),
            Operator::Compares(wanted, or_equal) => {
                let found = Exact::parse(&numbers.plain(&left)?)?.compare(Exact::parse(&numbers.plain(&self.right)?)?);
                let found = found.ok_or_else(|| format!("{left} is too large to be compared"))?;
                Ok(found == wanted || (or_equal && found == Ordering::Equal))
            }
        }
    }

    /// Names of its columns, for messages.
    pub fn columns(&self, names: &[String]) -> String {
        self.left.columns(names)
    }
}

/// Whether a text is the one, or begins as one that ends in `*` does.
fn is(text: &str, one: &str) -> bool {
    one.strip_suffix('*').map_or(text == one, |begin| text.starts_with(begin))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn holds(text: &str, numbers: &NumberFormat) -> Result<bool, String> {
        let columns: Vec<String> = ["status", "amount", "order", "none"].map(str::to_owned).to_vec();
        let row = Row { line: 2, values: ["paid", "12,50", "C17", ""].map(str::to_owned).to_vec(), end_byte: 0 };
        Condition::parse(text, &columns, numbers)?.holds(&row, "f", numbers)
    }

    #[test]
    fn rows_are_chosen_by_text_and_by_number() {
        let numbers = NumberFormat::new(Some(","), None).unwrap();
        for (text, expected) in [
            ("{status}=paid", true),
            ("{status} = shipped | paid", true),
            ("{status}!=paid", false),
            ("{order}!=C*", false),
            ("{order}=C*", true),
            ("{none}=", true),
            ("{status}!=", true),
            ("{amount}>12,4", true),
            ("{amount}<=12,50", true),
            ("{amount}<12,50", false),
            ("{amount}>=100", false),
            ("{status}-{order}=paid-C17", true),
        ] {
            assert_eq!(holds(text, &numbers), Ok(expected), "{text}");
        }
        for (text, part) in [("{status}", "not a condition"), ("{nothing}=1", "no column"), ("{amount}>x", "not a number"), ("{status}>1", "not a number")] {
            let problem = holds(text, &numbers).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
