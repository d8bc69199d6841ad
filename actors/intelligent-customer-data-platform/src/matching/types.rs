//! What goes into matching, and what comes out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The type of a field, which decides how its values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A name of a person: spelling, sound, initials, and names in each other's field.
    Name,
    /// Words: an address, a town, a company. Rare words count more.
    Text,
    /// A quantity.
    Number,
    /// Letters and digits without meaning: a postcode, a customer number.
    Code,
    /// A day: `YYYYMMDD`, ISO 8601, or day, month and year with separators.
    Date,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
}

/// A record: its id and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its id, empty where it has none.
    pub id: Cow<'a, str>,
    /// Its values by field, as they came. What is no text, number or truth value counts as missing.
    pub values: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Records to match.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRequest<'a> {
    /// The fields to compare, with their types. Other values of records are not looked at.
    pub fields: BTreeMap<String, FieldType>,
    /// Records.
    #[serde(borrow)]
    pub left: Vec<Record<'a>>,
    /// Records to find among `left`; where absent, the records of `left` are matched with each other.
    #[serde(borrow, default)]
    pub right: Option<Vec<Record<'a>>>,
    /// Least probability of a pair in the answer.
    #[serde(default = "half")]
    pub threshold: f64,
}

/// A pair of records that are probably about the same person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MatchedPair<'a> {
    /// Id of the record of `left`; within `left`, the lesser id of the two.
    pub left: &'a str,
    /// Id of the record of `right`; within `left`, the greater id of the two.
    pub right: &'a str,
    /// The probability that they are about the same person.
    pub probability: f64,
}

fn half() -> f64 {
    0.5
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record: an object with an id and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Record<'de>, A::Error> {
        let mut record = Record::default();
        while let Some(Name(name)) = members.next_key()? {
            let Scalar(value) = members.next_value()?;
            let Some(value) = value else { continue };
            if name == "id" {
                record.id = value;
            } else {
                record.values.push((name, value));
            }
        }
        Ok(record)
    }
}

/// Text, borrowed where the JSON has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Scalar(text) = Scalar::deserialize(deserializer)?;
        Ok(Name(text.unwrap_or_default()))
    }
}

/// A value as text; `None` for null, arrays and objects.
struct Scalar<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Scalar)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(if truth { "true" } else { "false" })))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
