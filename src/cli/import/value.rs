//! The types a field may have, and how text becomes JSON.

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use tol_events::{Currency, EventTime, Money};

use super::number::{Exact, NumberFormat};

/// What a field's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// As it is, without white space around it.
    Text,
    /// A whole number of 64 bits; rounded, where that is asked for.
    Int(Rounding),
    /// A decimal number.
    Number,
    /// true/false, yes/no, 1/0.
    Bool,
    /// A decimal amount: `29.33` becomes 2933 minor units.
    Money(CurrencyOf, Rounding),
    /// An amount in minor units.
    Minor(CurrencyOf, Rounding),
    /// A date of this strftime format; its first moment in the mapping's time zone.
    Date(String),
    /// A date and time of this strftime format, in the mapping's time zone where the format has no offset.
    Time(String),
    /// A time as RFC 3339.
    Rfc3339,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
}

/// The currency of an amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurrencyOf {
    /// The same in each row.
    Fixed(Currency),
    /// What this template gives in each row.
    Template(String),
}

/// What to do with digits for which there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Refuse them.
    Exact,
    /// Round to the nearest, halves away from 0.
    Nearest,
}

/// A time zone: one of the tz database, or an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// One with a name and a history.
    Named(Tz),
    /// The same offset for ever.
    Offset(FixedOffset),
}

/// What the values of a mapping have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How numbers are written.
    pub numbers: NumberFormat,
    /// Where clocks stood that wrote dates and times.
    pub zone: Zone,
}

impl Default for Zone {
    fn default() -> Self {
        Zone::Named(Tz::UTC)
    }
}

impl FromStr for Zone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(zone) = text.parse::<Tz>() {
            return Ok(Zone::Named(zone));
        }
        text.parse::<FixedOffset>()
            .map(Zone::Offset)
            .map_err(|_| format!("--zone \"{text}\" is not a time zone; write for example Europe/Berlin, UTC or +02:00"))
    }
}

impl Zone {
    /// The moment at which clocks there show this; the first of two, where they are put back.
    fn moment(self, local: NaiveDateTime) -> Option<EventTime> {
        fn first<T: chrono::TimeZone>(found: LocalResult<DateTime<T>>) -> Option<EventTime> {
            found.earliest().map(|time| EventTime::from_micros(time.with_timezone(&Utc).timestamp_micros()))
        }
        match self {
            Zone::Named(zone) => first(zone.from_local_datetime(&local)),
            Zone::Offset(offset) => first(offset.from_local_datetime(&local)),
        }
    }

    /// The first moment of a day: midnight, or where clocks are put forward at midnight, the first quarter of an hour that there is.
    fn start_of(self, date: NaiveDate) -> Option<EventTime> {
        let midnight = date.and_time(chrono::NaiveTime::MIN);
        (0..=96).find_map(|quarters| self.moment(midnight.checked_add_signed(chrono::Duration::minutes(15 * quarters))?))
    }

    fn name(self) -> String {
        match self {
            Zone::Named(zone) => zone.name().to_owned(),
            Zone::Offset(offset) => offset.to_string(),
        }
    }
}

const TYPES: &str = "the types are string, int, number, bool, money:USD, minor:USD, date:FORMAT, time:FORMAT, rfc3339, seconds, millis";

impl FromStr for FieldType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, parameter) = text.split_once(':').unwrap_or((text, ""));
        let (amount, rounding) = match parameter.strip_suffix(":round").or_else(|| (parameter == "round").then_some("")) {
            Some(rest) => (rest, Rounding::Nearest),
            None => (parameter, Rounding::Exact),
        };
        let currency = || match amount {
            template if template.contains('{') => Ok(CurrencyOf::Template(template.to_owned())),
            code => code.parse().map(CurrencyOf::Fixed).map_err(|error: tol_events::money::Error| error.to_string()),
        };
        let format =
            |example: &str| if parameter.is_empty() { Err(format!("{name} needs a format, for example {name}:{example}")) } else { Ok(parameter.to_owned()) };
        match name {
            "string" | "" => Ok(FieldType::Text),
            "int" => Ok(FieldType::Int(rounding)),
            "number" => Ok(FieldType::Number),
            "bool" => Ok(FieldType::Bool),
            "money" => Ok(FieldType::Money(currency()?, rounding)),
            "minor" => Ok(FieldType::Minor(currency()?, rounding)),
            "date" => Ok(FieldType::Date(format("%Y-%m-%d")?)),
            "time" => Ok(FieldType::Time(format("%Y-%m-%d %H:%M:%S")?)),
            "rfc3339" => Ok(FieldType::Rfc3339),
            "seconds" => Ok(FieldType::Seconds),
            "millis" => Ok(FieldType::Millis),
            _ => Err(format!("\"{name}\" is not a type; {TYPES}")),
        }
    }
}

impl FieldType {
    /// Whether it is a moment.
    pub fn is_time(&self) -> bool {
        matches!(self, FieldType::Date(_) | FieldType::Time(_) | FieldType::Rfc3339 | FieldType::Seconds | FieldType::Millis)
    }

    /// Whether its text is a number: it can be computed, and summed up.
    pub fn is_number(&self) -> bool {
        matches!(self, FieldType::Int(_) | FieldType::Number | FieldType::Money(..) | FieldType::Minor(..))
    }

    /// The currency of an amount.
    pub fn currency(&self) -> Option<&CurrencyOf> {
        match self {
            FieldType::Money(currency, _) | FieldType::Minor(currency, _) => Some(currency),
            _ => None,
        }
    }

    /// The JSON of a text of this type that is no number, or why it is none.
    pub fn json(&self, text: &str, reading: &Reading) -> Result<Value, String> {
        let text = text.trim();
        match self {
            FieldType::Text => Ok(text.into()),
            FieldType::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Ok(true.into()),
                "false" | "no" | "0" => Ok(false.into()),
                _ => Err(format!("\"{text}\" is neither true nor false")),
            },
            FieldType::Number => {
                let plain = reading.numbers.plain(text)?;
                plain.parse::<serde_json::Number>().map(Value::Number).map_err(|_| format!("\"{text}\" is not a number"))
            }
            FieldType::Int(_) | FieldType::Money(..) | FieldType::Minor(..) => Err(format!("\"{text}\" is a number")),
            _ => {
                let time = self.time(text, reading.zone)?.to_string();
                // RFC 3339 has years of four digits: the node would refuse the event.
                if EventTime::parse(&time).is_some() { Ok(time.into()) } else { Err(format!("\"{text}\" is a time outside of the years 0000 to 9999")) }
            }
        }
    }

    /// The JSON of a number of this type, with the currency of an amount.
    ///
    /// # Errors
    /// It has digits for which there is no place, or is too large.
    pub fn json_of(&self, number: Exact, currency: Option<Currency>) -> Result<Value, String> {
        let whole = |decimals: u32, rounding: Rounding, what: &str| {
            let scaled = number.scaled(decimals, rounding == Rounding::Nearest);
            scaled.ok_or_else(|| format!("{} is not {what}, or too large; {} as the type rounds it", number.to_f64(), rounded(self)))
        };
        match (self, currency) {
            (FieldType::Int(rounding), _) => whole(0, *rounding, "a whole number").map(Value::from),
            (FieldType::Number, _) => Ok(serde_json::Number::from_f64(number.to_f64()).map_or(Value::Null, Value::Number)),
            (FieldType::Minor(_, rounding), Some(currency)) => {
                whole(0, *rounding, "a whole number of minor units").map(|minor| json!({"minor": minor, "currency": currency.as_str()}))
            }
            (FieldType::Money(_, rounding), Some(currency)) => {
                let minor = whole(currency.exponent(), *rounding, &format!("an amount of {currency} with at most {} decimals", currency.exponent()))?;
                Ok(json!(Money::new(minor, currency)))
            }
            _ => Err("it is no number".to_owned()),
        }
    }

    fn time(&self, text: &str, zone: Zone) -> Result<EventTime, String> {
        let absent = || format!("\"{text}\" does not exist in {}: clocks were put forward over it", zone.name());
        match self {
            FieldType::Date(format) => {
                let date = NaiveDate::parse_from_str(text, format).map_err(|error| format!("\"{text}\" is not a date like {format}: {error}"))?;
                zone.start_of(date).ok_or_else(absent)
            }
            FieldType::Time(format) => {
                // A format with an offset says itself where the clock stood.
                if let Ok(time) = DateTime::parse_from_str(text, format) {
                    return Ok(EventTime::from_micros(time.with_timezone(&Utc).timestamp_micros()));
                }
                let local = NaiveDateTime::parse_from_str(text, format).map_err(|error| format!("\"{text}\" is not a time like {format}: {error}"))?;
                zone.moment(local).ok_or_else(absent)
            }
            FieldType::Seconds => text.parse().map(EventTime::from_secs).map_err(|_| format!("\"{text}\" is not a whole number of seconds")),
            FieldType::Millis => text.parse().map(EventTime::from_millis).map_err(|_| format!("\"{text}\" is not a whole number of milliseconds")),
            _ => EventTime::parse(text).ok_or_else(|| format!("\"{text}\" is not a time like 2026-01-31T12:00:00Z")),
        }
    }
}

/// The type with rounding, for advice.
fn rounded(kind: &FieldType) -> String {
    match kind {
        FieldType::Money(CurrencyOf::Fixed(currency), _) => format!("money:{currency}:round"),
        FieldType::Money(CurrencyOf::Template(template), _) => format!("money:{template}:round"),
        FieldType::Minor(CurrencyOf::Fixed(currency), _) => format!("minor:{currency}:round"),
        FieldType::Minor(CurrencyOf::Template(template), _) => format!("minor:{template}:round"),
        _ => "int:round".to_owned(),
    }
}
