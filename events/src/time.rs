//! Time of events: microseconds since 1970-01-01T00:00:00 UTC.

use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC with microsecond resolution, written as RFC 3339 with `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

impl EventTime {
    /// Makes a time from microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Makes a time from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Makes a time from whole seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Gives microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Gives milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Gives the moment `micros` microseconds later (earlier if negative), saturating.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Counts microseconds from `earlier` to this moment; negative if this moment is the earlier one.
    pub const fn micros_since(self, earlier: EventTime) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Parses RFC 3339 with any offset. A date alone (`1997-06-30`) is not a time: see [`EventTime::parse_end_of`].
    pub fn parse(text: &str) -> Option<Self> {
        parse_utc(text.as_bytes()).or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|t| Self(t.timestamp_micros())))
    }

    /// Parses RFC 3339, or a date, which stands for its last microsecond: "as of 1997-06-30" includes that day.
    pub fn parse_end_of(text: &str) -> Option<Self> {
        Self::parse(text).or_else(|| {
            let midnight = Self::parse(&format!("{text}T00:00:00Z"))?;
            (text.len() == 10).then_some(midnight.plus_micros(86_400_000_000 - 1))
        })
    }

    /// Writes the calendar month as `YYYY-MM`.
    pub fn month(self) -> String {
        let date = self.to_datetime();
        format!("{:04}-{:02}", date.year(), date.month())
    }

    /// Gives a chrono date and time; a moment out of chrono's range becomes its limit.
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(if self.0 < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC })
    }
}

impl From<DateTime<Utc>> for EventTime {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

/// Parses the common shape `YYYY-MM-DDTHH:MM:SS[.f…]Z`, five times as fast as the general parser; `None` means: use the general one.
fn parse_utc(text: &[u8]) -> Option<EventTime> {
    fn number(digits: &[u8]) -> Option<i64> {
        digits.iter().try_fold(0i64, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
    }
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' || text[13] != b':' || text[16] != b':' || text[text.len() - 1] != b'Z' {
        return None;
    }
    let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let last_day = *month_days.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if day < 1 || day > last_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = match &text[19..text.len() - 1] {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let kept = &digits[..digits.len().min(6)];
            number(&digits[kept.len()..])?;
            number(kept)? * 10i64.pow(6 - kept.len() as u32)
        }
        _ => return None,
    };
    // Days from civil date (Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil).
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(EventTime(((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + micros))
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.0 {
            t if t % 1_000_000 == 0 => SecondsFormat::Secs,
            t if t % 1_000 == 0 => SecondsFormat::Millis,
            _ => SecondsFormat::Micros,
        };
        f.write_str(&self.to_datetime().to_rfc3339_opts(format, true))
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = EventTime;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as RFC 3339, for example 2026-01-31T12:00:00Z")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EventTime, E> {
                EventTime::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl schemars::JsonSchema for EventTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventTime".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_time_parses_back(micros in -62_000_000_000_000_000i64..250_000_000_000_000_000) {
            let time = EventTime::from_micros(micros);
            prop_assert_eq!(EventTime::parse(&time.to_string()), Some(time));
        }

        #[test]
        fn fast_parser_agrees_with_chrono(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,7})?Z") {
            let slow = DateTime::parse_from_rfc3339(&text).ok().map(|t| EventTime(t.timestamp_micros()));
            prop_assert_eq!(parse_utc(text.as_bytes()), slow);
        }
    }

    #[test]
    fn a_date_means_its_end() {
        assert_eq!(EventTime::parse_end_of("1997-06-30").map(|t| t.to_string()).as_deref(), Some("1997-06-30T23:59:59.999999Z"));
        assert_eq!(EventTime::parse("1997-06-30"), None);
        assert_eq!(EventTime::parse("2020-01-01T02:00:00+02:00"), EventTime::parse("2020-01-01T00:00:00Z"));
    }
}
