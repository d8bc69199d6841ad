//! Money: integer minor units and an ISO 4217 currency, never a float, never added across currencies.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why an amount or a currency was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The code is not three capital letters.
    #[error("\"{0}\" is not an ISO 4217 currency code; write three capital letters, for example USD")]
    Currency(String),
    /// A sum has two currencies.
    #[error("{0} cannot be added to {1}; keep one amount for each currency")]
    Mixed(Currency, Currency),
    /// The sum does not fit 64 bits.
    #[error("the sum of {0} and {1} minor units does not fit in 64 bits")]
    Overflow(i64, i64),
    /// The text is no decimal number, or has more decimals than the currency.
    #[error("\"{0}\" is not an amount of {1}; write digits with at most {2} decimals")]
    Amount(String, Currency, u32),
}

/// An ISO 4217 currency code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Gives the letters of the code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// Gives the decimals of the minor unit (ISO 4217 table A.1): 2 for most, 0 for JPY, 3 for KWD.
    pub fn exponent(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF" | b"UGX" | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF"
            | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            b"CLF" | b"UYW" => 4,
            _ => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Currency(code)),
            _ => Err(Error::Currency(text.to_owned())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Currency;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an ISO 4217 currency code, for example USD")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Currency, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217 currency code"})
    }
}

/// An amount in minor units (cents) of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// Minor units: 1177 is 11.77 USD.
    pub minor: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// Makes an amount of `minor` minor units of `currency`.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Adds two amounts.
    ///
    /// # Errors
    /// The currencies differ, or the sum does not fit.
    pub fn checked_add(self, other: Money) -> Result<Money, Error> {
        if self.currency != other.currency {
            return Err(Error::Mixed(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(Error::Overflow(self.minor, other.minor))?;
        Ok(Money { minor, ..self })
    }

    /// Reads a decimal amount (`29.33`, `-5`, `.5`) exactly.
    ///
    /// # Errors
    /// The text is no decimal number, has more decimals than the currency (other than zeros), or does not fit.
    pub fn parse_decimal(text: &str, currency: Currency) -> Result<Money, Error> {
        let exponent = currency.exponent();
        let refuse = || Error::Amount(text.to_owned(), currency, exponent);
        let trimmed = text.trim();
        let (negative, digits) = match trimmed.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(refuse());
        }
        let kept = &fraction[..fraction.len().min(exponent as usize)];
        if fraction[kept.len()..].bytes().any(|b| b != b'0') {
            return Err(refuse());
        }
        let padded = format!("{whole}{kept:0<width$}", width = exponent as usize);
        let minor: i64 = padded.parse().map_err(|_| refuse())?;
        Ok(Money { minor: if negative { -minor } else { minor }, currency })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u64.pow(self.currency.exponent());
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match self.currency.exponent() {
            0 => write!(f, "{sign}{minor} {}", self.currency),
            decimals => write!(f, "{sign}{}.{:0width$} {}", minor / unit, minor % unit, self.currency, width = decimals as usize),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd() -> Currency {
        "USD".parse().unwrap()
    }

    proptest! {
        #[test]
        fn decimal_text_reads_back(minor in -1_000_000_000_000i64..1_000_000_000_000, code in prop_oneof!["USD", "JPY", "KWD"]) {
            let money = Money::new(minor, code.parse().unwrap());
            let text = money.to_string();
            let (amount, _) = text.split_once(' ').unwrap();
            prop_assert_eq!(Money::parse_decimal(amount, money.currency), Ok(money));
        }
    }

    #[test]
    fn amounts_are_exact_or_refused() {
        assert_eq!(Money::parse_decimal("29.33", usd()).unwrap().minor, 2933);
        assert_eq!(Money::parse_decimal(" 5 ", usd()).unwrap().minor, 500);
        assert_eq!(Money::parse_decimal("1.500", usd()).unwrap().minor, 150);
        for bad in ["", ".", "1.005", "1e3", "--1", "99999999999999999999"] {
            assert!(Money::parse_decimal(bad, usd()).is_err(), "{bad}");
        }
    }

    #[test]
    fn currencies_are_never_added_up() {
        let euro = Money::new(1, "EUR".parse().unwrap());
        assert!(matches!(Money::new(1, usd()).checked_add(euro), Err(Error::Mixed(..))));
        assert!(Money::new(i64::MAX, usd()).checked_add(Money::new(1, usd())).is_err());
        assert!("usd".parse::<Currency>().is_err());
    }
}
