//! Templates: text with columns in it; and expressions, whose columns are numbers.

use super::number::{Exact, NumberFormat, TOO_LARGE};
use super::rows::Row;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Column(usize),
    Line,
    File,
}

/// Text with `{column}`, `{line}` and `{file}` in it; `{{` is a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads a template for a file with these columns.
    ///
    /// # Errors
    /// A name that is no column, a brace that is not closed.
    pub fn parse(text: &str, columns: &[String]) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(escaped) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = escaped;
                continue;
            }
            let closed = after.split_once('}').filter(|_| brace == "{");
            let (name, after) = closed.ok_or_else(|| format!("the brace in \"{text}\" has no partner; write {{{{ for a brace itself"))?;
            let piece = match columns.iter().position(|column| column == name) {
                Some(index) => Piece::Column(index),
                None if name == "line" => Piece::Line,
                None if name == "file" => Piece::File,
                None => return Err(format!("there is no column {{{name}}}; the columns are {}, and {{line}} and {{file}} always exist", columns.join(", "))),
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Template(pieces))
    }

    /// The text for a row.
    pub fn fill(&self, row: &Row, file: &str) -> String {
        self.0.iter().map(|piece| piece.text(row, file)).collect()
    }

    /// Names of the columns in it, for messages.
    pub fn columns(&self, names: &[String]) -> String {
        let used: Vec<&str> =
            self.0.iter().filter_map(|piece| if let Piece::Column(index) = piece { names.get(*index).map(String::as_str) } else { None }).collect();
        used.join(", ")
    }
}

impl Piece {
    fn text(&self, row: &Row, file: &str) -> String {
        match self {
            Piece::Literal(literal) => literal.clone(),
            Piece::Column(index) => row.values.get(*index).map_or("", |value| value.trim()).to_owned(),
            Piece::Line => row.line.to_string(),
            Piece::File => file.to_owned(),
        }
    }
}

/// Arithmetic with columns: `{quantity} * ({price} - {discount})`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A number.
    Number(Exact),
    /// What a piece of a template holds.
    Value(Template),
    /// Minus.
    Negative(Box<Expression>),
    /// Two with a sign between them: `+`, `-`, `*` or `/`.
    Both(Box<Expression>, char, Box<Expression>),
}

/// Parentheses in one another, at most: a mapping is no place for more, and a parser that calls itself needs a bound.
const DEEPEST: usize = 50;

impl Expression {
    /// Reads a template of a number as an expression, where it is one: beside its columns it has nothing but numbers, signs and parentheses, and at
    /// least one sign.
    ///
    /// # Errors
    /// It is one and does not parse.
    pub fn of(template: &Template) -> Result<Option<Expression>, String> {
        let literals = || template.0.iter().filter_map(|piece| if let Piece::Literal(text) = piece { Some(text.as_str()) } else { None });
        let is_arithmetic = |letter: char| letter.is_ascii_digit() || letter.is_whitespace() || "+-*/().".contains(letter);
        let has_column = template.0.iter().any(|piece| matches!(piece, Piece::Column(_) | Piece::Line));
        if !has_column || !literals().all(|text| text.chars().all(is_arithmetic)) || !literals().any(|text| text.contains(['+', '-', '*', '/', '('])) {
            return Ok(None);
        }
        let mut parser = Parser { tokens: tokens(template)?, at: 0 };
        let expression = parser.sum(0)?;
        if parser.at < parser.tokens.len() {
            return Err("an arithmetic template has a sign between each two values, for example {quantity}*{price}".to_owned());
        }
        Ok(Some(expression))
    }

    /// Its value for a row.
    ///
    /// # Errors
    /// A column that is no number, a division by 0, a result that is too large.
    pub fn evaluate(&self, row: &Row, file: &str, numbers: &NumberFormat) -> Result<Exact, String> {
        match self {
            Expression::Number(number) => Ok(*number),
            Expression::Value(template) => Exact::parse(&numbers.plain(&template.fill(row, file))?),
            Expression::Negative(inner) => Exact::ZERO.checked_sub(inner.evaluate(row, file, numbers)?).ok_or_else(|| TOO_LARGE.to_owned()),
            Expression::Both(left, sign, right) => {
                let (left, right) = (left.evaluate(row, file, numbers)?, right.evaluate(row, file, numbers)?);
                let result = match sign {
                    '+' => left.checked_add(right),
                    '-' => left.checked_sub(right),
                    '*' => left.checked_mul(right),
                    _ if right.is_zero() => return Err("it divides by 0".to_owned()),
                    _ => left.checked_div(right),
                };
                result.ok_or_else(|| TOO_LARGE.to_owned())
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Value(Expression),
    Sign(char),
}

fn tokens(template: &Template) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    for piece in &template.0 {
        let Piece::Literal(text) = piece else {
            tokens.push(Token::Value(Expression::Value(Template(vec![piece.clone()]))));
            continue;
        };
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_ascii_digit() || first == '.' {
                let length = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
                tokens.push(Token::Value(Expression::Number(Exact::parse(&rest[..length])?)));
                length
            } else {
                tokens.push(Token::Sign(first));
                first.len_utf8()
            };
            rest = rest[length..].trim_start();
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn take(&mut self, signs: &[char]) -> Option<char> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) if signs.contains(sign) => {
                self.at += 1;
                Some(*sign)
            }
            _ => None,
        }
    }

    fn sum(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.product(depth)?;
        while let Some(sign) = self.take(&['+', '-']) {
            left = Expression::Both(Box::new(left), sign, Box::new(self.product(depth)?));
        }
        Ok(left)
    }

    fn product(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.factor(depth)?;
        while let Some(sign) = self.take(&['*', '/']) {
            left = Expression::Both(Box::new(left), sign, Box::new(self.factor(depth)?));
        }
        Ok(left)
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEEPEST {
            return Err("an arithmetic template has too many signs and parentheses in one another".to_owned());
        }
        if self.take(&['-']).is_some() {
            return Ok(Expression::Negative(Box::new(self.factor(depth + 1)?)));
        }
        if self.take(&['+']).is_some() {
            return self.factor(depth + 1);
        }
        if self.take(&['(']).is_some() {
            let inner = self.sum(depth + 1)?;
            return self.take(&[')']).map(|_| inner).ok_or_else(|| "a parenthesis of an arithmetic template is not closed".to_owned());
        }
        match self.tokens.get(self.at) {
            Some(Token::Value(value)) => {
                self.at += 1;
                Ok(value.clone())
            }
            _ => Err("an arithmetic template lacks a value beside a sign, for example {quantity}*{price}".to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn columns() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    fn value(text: &str) -> Result<Option<i64>, String> {
        let row = Row { line: 7, values: ["3", "0.50", "-2"].map(str::to_owned).to_vec(), end_byte: 0 };
        let expression = Expression::of(&Template::parse(text, &columns())?)?;
        expression.map(|expression| Ok(expression.evaluate(&row, "f", &NumberFormat::default())?.scaled(2, true).unwrap_or_default())).transpose()
    }

    #[test]
    fn products_go_before_sums_and_parentheses_before_both() {
        for (text, hundredths) in [
            ("{a}*{b}", 150),
            ("{a} + {b} * 2", 400),
            ("({a} + {b}) * 2", 700),
            ("-{a}", -300),
            ("{a}-{c}", 500),
            ("{a}*-{b}", -150),
            ("{a}-{b}-{b}", 200),
            ("{a}/{b}/2", 300),
            ("{line}*1.19", 833),
            ("-(-{a})", 300),
        ] {
            assert_eq!(value(text), Ok(Some(hundredths)), "{text}");
        }
    }

    #[test]
    fn what_is_no_arithmetic_stays_text_and_what_is_wrong_is_told() {
        for text in ["{a}", "{a}.{b}", "3*4", "{a} x {b}", "EUR-{a}"] {
            assert_eq!(value(text), Ok(None), "{text}");
        }
        for (text, part) in
            [("{a}*", "lacks a value"), ("{a}*({b}", "not closed"), ("{a}{b}*2", "sign between"), ("{a}*{b})", "sign between"), ("{a}/0", "divides by 0")]
        {
            let problem = value(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
        assert!(value(&format!("{}{{a}}{}", "(".repeat(1_000), ")".repeat(1_000))).unwrap_err().contains("too many"));
    }
}
