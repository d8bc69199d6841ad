//! Numbers as files write them, and exact arithmetic with them.

use std::borrow::Cow;

/// How a file writes numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    decimal: char,
    thousands: Option<char>,
}

impl Default for NumberFormat {
    fn default() -> Self {
        Self { decimal: '.', thousands: None }
    }
}

/// What separates thousands in the setting `space`: also the spaces that do not break.
const SPACES: [char; 3] = [' ', '\u{a0}', '\u{202f}'];

impl NumberFormat {
    /// Reads the settings `decimal` (`.` or `,`) and `thousands` (one character, or `space`).
    ///
    /// # Errors
    /// A setting that is none, or both the same.
    pub fn new(decimal: Option<&str>, thousands: Option<&str>) -> Result<Self, String> {
        let decimal = match decimal.unwrap_or(".") {
            "." => '.',
            "," => ',',
            other => return Err(format!("--decimal \"{other}\" is neither . nor ,")),
        };
        let thousands = match thousands {
            None | Some("") => None,
            Some("space") => Some(' '),
            Some(text) => {
                let mut letters = text.chars();
                let one = letters.next().filter(|letter| letters.next().is_none() && !letter.is_ascii_digit() && !matches!(letter, '+' | '-'));
                Some(one.ok_or_else(|| format!("--thousands \"{text}\" is not one character, or space"))?)
            }
        };
        if thousands == Some(decimal) {
            return Err(format!("numbers cannot have \"{decimal}\" before their decimals and between their thousands; set --decimal and --thousands apart"));
        }
        Ok(Self { decimal, thousands })
    }

    /// A number with a point and without thousands, for those that parse it.
    ///
    /// # Errors
    /// Thousands that are not groups of three digits, or a separator of another format.
    pub fn plain<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, String> {
        let text = text.trim();
        if *self == Self::default() {
            return Ok(text.into());
        }
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (&text[..1], rest),
            None => ("", text),
        };
        let (whole, fraction) = digits.split_once(self.decimal).map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
        let is_separator = |letter: char| self.thousands.is_some_and(|thousands| letter == thousands || thousands == ' ' && SPACES.contains(&letter));
        let groups: Vec<&str> = whole.split(is_separator).collect();
        let wrong = || format!("\"{text}\" is not a number with \"{}\" before its decimals{}", self.decimal, self.told_thousands());
        let are_threes = groups.len() == 1 || ((1..=3).contains(&groups[0].len()) && groups[1..].iter().all(|group| group.len() == 3));
        let are_digits = groups.iter().copied().chain(fraction).all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        if !are_threes || !are_digits || (whole.is_empty() && fraction.is_none_or(str::is_empty)) {
            return Err(wrong());
        }
        let fraction = fraction.map_or(String::new(), |fraction| format!(".{fraction}"));
        Ok(format!("{sign}{}{fraction}", groups.concat()).into())
    }

    fn told_thousands(&self) -> String {
        self.thousands.map_or(String::new(), |thousands| format!(" and \"{thousands}\" between its thousands"))
    }
}

/// A fraction: what arithmetic with decimal numbers gives, without rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    numerator: i128,
    /// Above 0.
    denominator: i128,
}

/// A result that 128 bits do not hold.
pub const TOO_LARGE: &str = "the result is too large";

impl Exact {
    /// 0.
    pub const ZERO: Exact = Exact { numerator: 0, denominator: 1 };

    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let (mut a, mut b) = (numerator.unsigned_abs(), denominator.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = i128::try_from(a.max(1)).ok()?;
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        if denominator < 0 {
            Some(Self { numerator: numerator.checked_neg()?, denominator: denominator.checked_neg()? })
        } else {
            Some(Self { numerator, denominator })
        }
    }

    /// Reads a decimal number with a point.
    ///
    /// # Errors
    /// The text is none, or has too many digits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a number");
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let numerator: i128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
        let denominator = u32::try_from(fraction.len()).ok().and_then(|length| 10i128.checked_pow(length)).ok_or_else(wrong)?;
        Self::new(sign * numerator, denominator).ok_or_else(wrong)
    }

    /// The sum, if it is not too large; so for the other operations.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let crossed = self.numerator.checked_mul(other.denominator)?.checked_add(other.numerator.checked_mul(self.denominator)?)?;
        Self::new(crossed, self.denominator.checked_mul(other.denominator)?)
    }

    /// The difference.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self { numerator: other.numerator.checked_neg()?, ..other })
    }

    /// The product.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        Self::new(self.numerator.checked_mul(other.numerator)?, self.denominator.checked_mul(other.denominator)?)
    }

    /// The quotient; `None` also where `other` is 0.
    pub fn checked_div(self, other: Self) -> Option<Self> {
        if other.is_zero() { None } else { Self::new(self.numerator.checked_mul(other.denominator)?, self.denominator.checked_mul(other.numerator)?) }
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self.numerator == 0
    }

    /// The whole number that is `10^decimals` times as large. With `round` the nearest, halves away from 0; else only where nothing is lost.
    pub fn scaled(self, decimals: u32, round: bool) -> Option<i64> {
        let numerator = self.numerator.checked_mul(10i128.checked_pow(decimals)?)?;
        let (whole, rest) = (numerator / self.denominator, numerator % self.denominator);
        let rounded = match rest {
            0 => whole,
            _ if !round => return None,
            _ if rest.unsigned_abs() >= self.denominator.unsigned_abs().div_ceil(2) => whole + rest.signum(),
            _ => whole,
        };
        i64::try_from(rounded).ok()
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// Compares two; `None` where the comparison is too large.
    pub fn compare(self, other: Self) -> Option<std::cmp::Ordering> {
        Some(self.checked_sub(other)?.numerator.cmp(&0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    #[test]
    fn numbers_of_other_countries_are_read_or_refused() {
        let german = NumberFormat::new(Some(","), Some(".")).unwrap();
        for (text, plain) in [("1.234,56", "1234.56"), ("-1.234.567,8", "-1234567.8"), ("1234,5", "1234.5"), ("12", "12"), (" 7,00 ", "7.00"), (",5", ".5")] {
            assert_eq!(german.plain(text).unwrap(), plain);
        }
        for text in ["1,234.56", "1.23,4", "12.34", "1.2345", "", "-", "1..234", "x", "1,2,3"] {
            assert!(german.plain(text).is_err(), "{text}");
        }
        let swiss = NumberFormat::new(None, Some("'")).unwrap();
        assert_eq!(swiss.plain("1'234.50").unwrap(), "1234.50");
        assert!(swiss.plain("1,234.50").is_err());
        let french = NumberFormat::new(Some(","), Some("space")).unwrap();
        assert_eq!(french.plain("1 234\u{202f}567,5").unwrap(), "1234567.5");
        let decimal_only = NumberFormat::new(Some(","), None).unwrap();
        assert!(decimal_only.plain("1.234").is_err(), "a point would be taken for a decimal point");
        for (decimal, thousands) in [(Some(";"), None), (Some(","), Some(",")), (None, Some("ab")), (None, Some("1"))] {
            assert!(NumberFormat::new(decimal, thousands).is_err(), "{decimal:?} {thousands:?}");
        }
    }

    #[test]
    fn arithmetic_is_exact_and_rounds_only_where_it_is_told_to() {
        let third = exact("1").checked_div(exact("3")).unwrap();
        assert_eq!((third.scaled(2, false), third.scaled(2, true)), (None, Some(33)));
        assert_eq!(exact("3").checked_mul(exact("0.335")).unwrap().scaled(2, true), Some(101), "1.005 is half a cent up");
        assert_eq!(exact("-1.005").scaled(2, true), Some(-101));
        assert_eq!(third.checked_mul(exact("3")).unwrap(), exact("1"));
        assert_eq!(exact("1").checked_div(exact("0")), None);
        assert_eq!(exact("170141183460469231731687303715884105727").checked_mul(exact("10")), None);
    }

    proptest! {
        #[test]
        fn sums_and_products_of_cents_are_those_of_integers(a in -1_000_000_000i64..1_000_000_000, b in -1_000_000i64..1_000_000) {
            let cents = |minor: i64| exact(&format!("{}{}.{:02}", if minor < 0 { "-" } else { "" }, minor.abs() / 100, minor.abs() % 100));
            prop_assert_eq!(cents(a).checked_add(cents(b)).unwrap().scaled(2, false), Some(a + b));
            prop_assert_eq!(cents(a).checked_sub(cents(b)).unwrap().scaled(2, false), Some(a - b));
            prop_assert_eq!(cents(a).checked_mul(cents(b)).unwrap().scaled(4, false), Some(a * b));
        }

        #[test]
        fn no_text_makes_a_number_fail_hard(text in ".{0,40}") {
            let _ = Exact::parse(&text);
            let _ = NumberFormat::new(Some(","), Some(".")).unwrap().plain(&text);
        }
    }
}
