//! The types a field may have, and how text becomes JSON.

use std::str::FromStr;

use chrono::{NaiveDate, NaiveDateTime};
use serde_json::{Value, json};
use tol_events::{Currency, EventTime, Money};

/// What a field's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// As it is, without white space around it.
    Text,
    /// A whole number of 64 bits.
    Int,
    /// A decimal number.
    Number,
    /// true/false, yes/no, 1/0.
    Bool,
    /// A decimal amount: `29.33` becomes 2933 minor units, exactly.
    Money(Currency),
    /// An amount in minor units.
    Minor(Currency),
    /// A date of this strftime format; its midnight UTC.
    Date(String),
    /// A date and time of this strftime format, UTC.
    Time(String),
    /// A time as RFC 3339.
    Rfc3339,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
}

impl FromStr for FieldType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, parameter) = text.split_once(':').unwrap_or((text, ""));
        let currency = || parameter.parse::<Currency>().map_err(|error| error.to_string());
        let format =
            |example: &str| if parameter.is_empty() { Err(format!("{name} needs a format, for example {name}:{example}")) } else { Ok(parameter.to_owned()) };
        match name {
            "string" | "" => Ok(FieldType::Text),
            "int" => Ok(FieldType::Int),
            "number" => Ok(FieldType::Number),
            "bool" => Ok(FieldType::Bool),
            "money" => Ok(FieldType::Money(currency()?)),
            "minor" => Ok(FieldType::Minor(currency()?)),
            "date" => Ok(FieldType::Date(format("%Y-%m-%d")?)),
            "time" => Ok(FieldType::Time(format("%Y-%m-%d %H:%M:%S")?)),
            "rfc3339" => Ok(FieldType::Rfc3339),
            "seconds" => Ok(FieldType::Seconds),
            "millis" => Ok(FieldType::Millis),
            _ => Err(format!(
                "\"{name}\" is not a type; the types are string, int, number, bool, money:USD, minor:USD, date:FORMAT, time:FORMAT, rfc3339, seconds, millis"
            )),
        }
    }
}

impl FieldType {
    /// The JSON of a text of this type, or why it is none.
    pub fn json(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            FieldType::Text => Ok(text.into()),
            FieldType::Int => text.parse::<i64>().map(Value::from).map_err(|_| format!("\"{text}\" is not a whole number")),
            FieldType::Number => text.parse::<serde_json::Number>().map(Value::Number).map_err(|_| format!("\"{text}\" is not a number")),
            FieldType::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Ok(true.into()),
                "false" | "no" | "0" => Ok(false.into()),
                _ => Err(format!("\"{text}\" is neither true nor false")),
            },
            FieldType::Money(currency) => {
                let money = Money::parse_decimal(text, *currency).map_err(|error| error.to_string())?;
                Ok(json!({"minor": money.minor, "currency": currency.as_str()}))
            }
            FieldType::Minor(currency) => {
                let minor: i64 = text.parse().map_err(|_| format!("\"{text}\" is not a whole number of minor units"))?;
                Ok(json!({"minor": minor, "currency": currency.as_str()}))
            }
            _ => {
                let time = self.time(text)?.to_string();
                // RFC 3339 has years of four digits: the node would refuse the event.
                if EventTime::parse(&time).is_some() { Ok(time.into()) } else { Err(format!("\"{text}\" is a time outside of the years 0000 to 9999")) }
            }
        }
    }

    /// Whether it is a moment.
    pub fn is_time(&self) -> bool {
        matches!(self, FieldType::Date(_) | FieldType::Time(_) | FieldType::Rfc3339 | FieldType::Seconds | FieldType::Millis)
    }

    fn time(&self, text: &str) -> Result<EventTime, String> {
        let midnight = |date: NaiveDate| EventTime::from_secs(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp());
        match self {
            FieldType::Date(format) => {
                NaiveDate::parse_from_str(text, format).map(midnight).map_err(|error| format!("\"{text}\" is not a date like {format}: {error}"))
            }
            FieldType::Time(format) => {
                let parsed = NaiveDateTime::parse_from_str(text, format);
                parsed
                    .map(|time| EventTime::from_micros(time.and_utc().timestamp_micros()))
                    .map_err(|error| format!("\"{text}\" is not a time like {format}: {error}"))
            }
            FieldType::Seconds => text.parse().map(EventTime::from_secs).map_err(|_| format!("\"{text}\" is not a whole number of seconds")),
            FieldType::Millis => text.parse().map(EventTime::from_millis).map_err(|_| format!("\"{text}\" is not a whole number of milliseconds")),
            _ => EventTime::parse(text).ok_or_else(|| format!("\"{text}\" is not a time like 2026-01-31T12:00:00Z")),
        }
    }
}
