//! Who asks: Unleash's context, read as Unleash reads it.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The context of an evaluation. Strings borrow from the JSON it was read from.
#[derive(Clone, Debug, Default)]
pub struct Context<'a> {
    /// The user.
    pub user_id: Option<Cow<'a, str>>,
    /// The session, which stands in for a user who is not logged in.
    pub session_id: Option<Cow<'a, str>>,
    /// The environment the caller names.
    pub environment: Option<Cow<'a, str>>,
    /// The application the caller names.
    pub app_name: Option<Cow<'a, str>>,
    /// The caller's IP address.
    pub remote_address: Option<Cow<'a, str>>,
    /// The host the application runs on; only the strategy `applicationHostname` asks for it.
    pub hostname: Option<Cow<'a, str>>,
    /// The time the caller names, as it was written.
    current_time: Option<Cow<'a, str>>,
    /// `current_time` or else the clock, read once and not at every date constraint.
    date: Option<DateTime<Utc>>,
    /// The clock, for a context that names no time.
    clock: Option<DateTime<Utc>>,
    /// The same as text, once somebody asks for it.
    clock_text: OnceLock<String>,
    /// Everything else, sorted by name.
    properties: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Up to this many properties a linear search beats a binary one.
const LINEAR: usize = 8;

impl<'a> Context<'a> {
    /// An empty context at a time: evaluation has no clock of its own.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { date: Some(now), clock: Some(now), ..Self::default() }
    }

    /// Reads a context as Unleash does: strings, numbers and booleans become strings, anything else is left out, and what it does not know
    /// at the top becomes a property if it is a string. A context wrapped in `{"context": …}` is unwrapped.
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn from_json(json: &'a str, now: DateTime<Utc>) -> Result<Self, serde_json::Error> {
        let Fields(mut fields) = serde_json::from_str(json)?;
        if let Some(Field::Fields(inner)) = take(&mut fields, "context") {
            fields = inner;
        }
        let mut properties = match take(&mut fields, "properties") {
            Some(Field::Fields(inner)) => inner,
            _ => Vec::new(),
        };
        let mut known = |name: &str| match take(&mut fields, name).or_else(|| take(&mut properties, name)) {
            Some(Field::Text(text) | Field::Scalar(text)) => Some(text),
            _ => None,
        };
        let mut context = Self::at(now);
        context.user_id = known("userId");
        context.session_id = known("sessionId");
        context.environment = known("environment");
        context.app_name = known("appName");
        context.remote_address = known("remoteAddress");
        if let Some(time) = known("currentTime") {
            context = context.with_current_time(time);
        }
        for (name, field) in properties {
            if let Field::Text(text) | Field::Scalar(text) = field {
                context.set(name, text);
            }
        }
        for (name, field) in fields {
            if let Field::Text(text) = field {
                context.set(name, text);
            }
        }
        Ok(context)
    }

    /// Sets the time the caller names. One that is no date fails every date constraint.
    #[must_use]
    pub fn with_current_time(mut self, time: Cow<'a, str>) -> Self {
        self.date = time.parse().ok();
        self.current_time = Some(time);
        self
    }

    /// Sets a property.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        match self.properties.binary_search_by(|(key, _)| key.cmp(&name)) {
            Ok(position) => self.properties[position].1 = value,
            Err(position) => self.properties.insert(position, (name, value)),
        }
    }

    /// A property.
    #[inline]
    pub fn property(&self, name: &str) -> Option<&str> {
        if self.properties.len() <= LINEAR {
            return self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref());
        }
        let position = self.properties.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        Some(&self.properties[position].1)
    }

    /// The time the caller named, as text.
    pub(super) fn given_time(&self) -> Option<&str> {
        self.current_time.as_deref()
    }

    /// The time the caller named or else the clock, as text.
    pub(super) fn time(&self) -> Option<&str> {
        let of_clock = |now: DateTime<Utc>| self.clock_text.get_or_init(|| now.format("%Y-%m-%dT%H:%M:%SZ").to_string()).as_str();
        self.current_time.as_deref().or_else(|| self.clock.map(of_clock))
    }

    /// The same as a date.
    #[inline]
    pub(super) fn date(&self) -> Option<DateTime<Utc>> {
        self.date
    }
}

/// Removes the last field of that name, as the last of two equal keys wins.
fn take<'a>(fields: &mut Vec<(Cow<'a, str>, Field<'a>)>, name: &str) -> Option<Field<'a>> {
    let position = fields.iter().rposition(|(key, _)| key == name)?;
    let found = fields.remove(position).1;
    fields.retain(|(key, _)| key != name);
    Some(found)
}

/// One field as it was read.
enum Field<'a> {
    /// A string.
    Text(Cow<'a, str>),
    /// A number or a boolean, written out.
    Scalar(Cow<'a, str>),
    /// An object.
    Fields(Vec<(Cow<'a, str>, Field<'a>)>),
    /// `null` or an array.
    Other,
}

struct Fields<'a>(Vec<(Cow<'a, str>, Field<'a>)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a context object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                entries(map).map(Fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

fn entries<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vec<(Cow<'de, str>, Field<'de>)>, A::Error> {
    let mut entries = Vec::new();
    while let Some((Key(key), field)) = map.next_entry::<Key<'de>, Field<'de>>()? {
        entries.push((key, field));
    }
    Ok(entries)
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;
        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = Field<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON")
            }
            fn visit_bool<E>(self, bool: bool) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Cow::Borrowed(if bool { "true" } else { "false" })))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Cow::Owned(number.to_string())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Field::Scalar(Cow::Owned(number.to_string())))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                // As serde_json prints it, which is what Unleash's own engine uses: `1.0`, not `1`.
                Ok(serde_json::Number::from_f64(number).map_or(Field::Other, |number| Field::Scalar(Cow::Owned(number.to_string()))))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Field::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Field::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Field::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                while sequence.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                entries(map).map(Field::Fields)
            }
        }
        deserializer.deserialize_any(FieldVisitor)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scalars_become_strings_and_strange_fields_become_properties() {
        let json = r#"{"userId": 7, "appName": null, "plan": "pro", "seats": 3, "properties": {"age": 1.0, "gone": null, "appName": "x", "on": true}}"#;
        let context = Context::from_json(json, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(context.user_id.as_deref(), Some("7"));
        assert_eq!(context.app_name, None, "a null at the top hides the property");
        assert_eq!(context.property("appName"), Some("x"));
        assert_eq!(context.property("plan"), Some("pro"));
        assert_eq!(context.property("seats"), None, "only strings move");
        assert_eq!((context.property("age"), context.property("on"), context.property("gone")), (Some("1.0"), Some("true"), None));
        assert_eq!(context.time(), Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn a_wrapped_context_is_unwrapped() {
        let context = Context::from_json(r#"{"context": {"userId": "a"}, "userId": "b"}"#, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(context.user_id.as_deref(), Some("a"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,60}") {
            let _ = Context::from_json(&text, DateTime::UNIX_EPOCH);
        }

        #[test]
        fn every_property_is_found(names in proptest::collection::btree_set("[a-z]{1,4}", 0..30)) {
            let mut context = Context::at(DateTime::UNIX_EPOCH);
            for name in &names {
                context.set(name.clone(), format!("value of {name}"));
            }
            for name in &names {
                prop_assert_eq!(context.property(name).unwrap(), format!("value of {name}"));
            }
            prop_assert_eq!(context.property("NOT"), None);
        }
    }
}
