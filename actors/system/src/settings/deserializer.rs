//! Deserialises a table of settings, and knows at which key it failed: serde alone tells what is wrong, and not where.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::secret::{REDACTED, TYPE_NAME};
use super::{SettingError, key as keys};

type Error = serde_json::Error;

/// Where reading failed.
struct Failure {
    key: String,
    value: Option<Value>,
    is_secret: bool,
}

/// Reads `table` as `T`; `default` names the keys there are.
pub(super) fn read<T: DeserializeOwned>(table: &Value, default: &Value) -> Result<T, SettingError> {
    let failure = RefCell::new(None);
    let root = At { value: table, key: String::new(), is_secret: false, failure: &failure };
    let error = match root.track(|at| T::deserialize(at)) {
        Ok(read) => return Ok(read),
        Err(error) => error.to_string(),
    };
    let Some(Failure { key, value, is_secret }) = failure.into_inner() else { return Err(SettingError::of_key("", error)) };
    // A type that refuses unknown keys by itself.
    if keys::levels(&key).last().is_some_and(|name| error.starts_with(&format!("unknown field `{name}`"))) {
        let at = keys::parent(&key);
        return Err(super::unknown(&key, &at, &Value::Null, at_key(default, &at)));
    }
    Err(match value {
        _ if is_secret => SettingError::new(key, REDACTED, "is a secret and must be text"),
        // A table or a list may hold a secret somewhere.
        Some(Value::Object(_) | Value::Array(_)) | None => SettingError::of_key(key, format!("cannot be used: {error}")),
        Some(value) => SettingError::new(key, value, error),
    })
}

/// The value at a dotted key.
fn at_key<'v>(value: &'v Value, key: &str) -> &'v Value {
    keys::levels(key).into_iter().fold(value, |value, level| value.get(level).unwrap_or(&Value::Null))
}

/// One value of the table.
struct At<'v> {
    value: &'v Value,
    key: String,
    is_secret: bool,
    failure: &'v RefCell<Option<Failure>>,
}

impl<'v> At<'v> {
    fn below(&self, name: &str, value: &'v Value) -> At<'v> {
        At { value, key: keys::join(&self.key, name), is_secret: false, failure: self.failure }
    }

    /// Reads, and remembers this place if reading fails here and not further below.
    fn track<T>(self, read: impl FnOnce(At<'v>) -> Result<T, Error>) -> Result<T, Error> {
        let (key, value, failure, is_secret) = (self.key.clone(), self.value, self.failure, self.is_secret);
        read(self).inspect_err(|_| {
            failure.borrow_mut().get_or_insert_with(|| Failure { key, value: Some(value.clone()), is_secret });
        })
    }
}

impl<'de> Deserializer<'de> for At<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(table) => {
                let mut entries = Entries { at: &self, entries: table.iter(), value: None };
                visitor.visit_map(&mut entries)
            }
            Value::Array(items) => {
                let mut items = Items { at: &self, items: items.iter().enumerate() };
                visitor.visit_seq(&mut items)
            }
            leaf => leaf.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(mut self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.is_secret |= name == TYPE_NAME;
        self.track(|at| visitor.visit_newtype_struct(at))
    }

    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match self.value.as_object().and_then(single) {
            Some((variant, value)) => {
                let content = self.below(variant, value);
                visitor.visit_enum(Variant { name: variant, content })
            }
            None => self.value.deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

fn single(table: &Map<String, Value>) -> Option<(&String, &Value)> {
    table.iter().next().filter(|_| table.len() == 1)
}

/// The keys and values of a table.
struct Entries<'a, 'v> {
    at: &'a At<'v>,
    entries: serde_json::map::Iter<'v>,
    value: Option<(&'v str, &'v Value)>,
}

impl<'v> MapAccess<'v> for &mut Entries<'_, 'v> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'v>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((name, value));
        // A key that is refused is named itself.
        let key: StrDeserializer<'v, Error> = name.as_str().into_deserializer();
        self.at.below(name, value).track(|_| seed.deserialize(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'v>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let (name, value) = self.value.take().ok_or_else(|| serde::de::Error::custom("a value was asked for before its key"))?;
        self.at.below(name, value).track(|at| seed.deserialize(at))
    }
}

/// The items of a list.
struct Items<'a, 'v> {
    at: &'a At<'v>,
    items: std::iter::Enumerate<std::slice::Iter<'v, Value>>,
}

impl<'v> SeqAccess<'v> for &mut Items<'_, 'v> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'v>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((place, item)) = self.items.next() else { return Ok(None) };
        self.at.below(&place.to_string(), item).track(|at| seed.deserialize(at)).map(Some)
    }
}

/// A variant that is written as a table with one key.
struct Variant<'v> {
    name: &'v str,
    content: At<'v>,
}

impl<'v> EnumAccess<'v> for Variant<'v> {
    type Error = Error;
    type Variant = At<'v>;

    fn variant_seed<T: DeserializeSeed<'v>>(self, seed: T) -> Result<(T::Value, At<'v>), Error> {
        let name: StrDeserializer<'v, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'v> VariantAccess<'v> for At<'v> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.track(serde::Deserialize::deserialize)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'v>>(self, seed: T) -> Result<T::Value, Error> {
        self.track(|at| seed.deserialize(at))
    }

    fn tuple_variant<V: Visitor<'v>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.track(|at| at.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'v>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.track(|at| at.deserialize_any(visitor))
    }
}
