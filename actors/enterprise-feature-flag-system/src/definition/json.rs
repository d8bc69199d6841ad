//! Taking JSON apart field by field, so that what is left over is known.

use serde_json::{Map, Value};

/// Takes a field out; `null` counts as absent.
pub(super) fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    fields.remove(name).filter(|value| !value.is_null())
}

/// Takes a text out; another type is put back.
pub(super) fn take_text(fields: &mut Map<String, Value>, name: &str) -> Option<String> {
    match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        Some(Value::Null) | None => None,
        Some(other) => {
            fields.insert(name.to_owned(), other);
            None
        }
    }
}

/// Takes a list out; another type is put back.
pub(super) fn take_list(fields: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match fields.remove(name) {
        Some(Value::Array(items)) => items,
        Some(Value::Null) | None => Vec::new(),
        Some(other) => {
            fields.insert(name.to_owned(), other);
            Vec::new()
        }
    }
}

/// Scalars as text, as Unleash takes them.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}

/// Ten-thousandths of a share between 0 and 1, if they say it exactly.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn ten_thousandths(share: f64) -> Option<u32> {
    let whole = f64::from(super::model::WHOLE);
    let part = libm::round(share * whole);
    ((0.0..=whole).contains(&part) && part / whole == share).then_some(part as u32)
}

/// A number as the formats' own files write it: without a fraction if it has none.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9.0e15 { Value::from(value as i64) } else { Value::from(value) }
}

/// A share of ten-thousandths as a number between 0 and 1.
pub(super) fn fraction(part: u32, of: u32) -> Value {
    number(f64::from(part) / f64::from(of.max(1)))
}
