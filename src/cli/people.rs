//! Values as people write them: money with its decimals, durations with their units, shares in percent. A field's name says what its number is.

use serde_json::Value;
use tol_events::Money;

/// Endings of names of durations, and the microseconds of one.
const DURATIONS: [(&str, f64); 6] = [("_seconds", 1e6), ("_s", 1e6), ("_millis", 1e3), ("_ms", 1e3), ("_micros", 1.0), ("_us", 1.0)];

/// Endings of names of shares from 0 to 1.
const SHARES: [&str; 3] = ["_rate", "_share", "_ratio"];

/// Units of durations, the largest first.
const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];

/// A name without the unit that the value is printed with.
pub fn label(name: &str) -> &str {
    if let Some(share) = name.strip_suffix("_ppm") {
        return share;
    }
    let unit = DURATIONS.iter().find(|(ending, _)| name.len() > ending.len() && name.ends_with(ending));
    unit.map_or(name, |(ending, _)| &name[..name.len() - ending.len()])
}

/// Whether an object is read as one value.
pub fn is_one_value(value: &Value) -> bool {
    money(value).is_some()
}

/// The value of the field `name`.
pub fn cell(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64().and_then(|number| measure(name, number)) {
            Some(text) => text,
            None => number.to_string(),
        },
        Value::Bool(_) => value.to_string(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => {
            let separator = if items.iter().any(|item| item.is_object() && money(item).is_none()) { "; " } else { ", " };
            items.iter().map(|item| cell(name, item)).collect::<Vec<_>>().join(separator)
        }
        Value::Object(fields) => match money(value) {
            Some(money) => money.to_string(),
            None if fields.is_empty() => "-".into(),
            None => fields.iter().map(|(name, field)| format!("{} {}", label(name), cell(name, field))).collect::<Vec<_>>().join(", "),
        },
    }
}

/// An amount, where the value is one.
fn money(value: &Value) -> Option<Money> {
    value.as_object().filter(|fields| fields.len() == 2)?;
    serde_json::from_value(value.clone()).ok()
}

/// A number whose unit the name tells.
fn measure(name: &str, number: f64) -> Option<String> {
    if name == "ppm" || name.ends_with("_ppm") {
        return Some(percent(number / 1e6));
    }
    if (name == "progress" || SHARES.iter().any(|ending| name.ends_with(ending))) && (0.0..=1.0).contains(&number) {
        return Some(percent(number));
    }
    let (_, micros) = DURATIONS.iter().find(|(ending, _)| name.len() > ending.len() && name.ends_with(ending))?;
    Some(duration(number * micros))
}

/// With as many of four decimals as say something: `12.5 %`.
fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Its two largest units: `1 d 2 h`. Below a minute with decimals.
fn duration(micros: f64) -> String {
    let (sign, micros) = if micros < 0.0 { ("-", -micros) } else { ("", micros) };
    let text = match micros {
        _ if micros < 1e3 => format!("{} µs", micros.round()),
        _ if micros < 1e6 => decimals(micros / 1e3, "ms"),
        _ if micros < 60e6 => decimals(micros / 1e6, "s"),
        _ => {
            let mut rest = (micros / 1e6).round() as u64;
            let mut parts = Vec::new();
            for (seconds, unit) in UNITS {
                if rest >= seconds {
                    parts.push(format!("{} {unit}", rest / seconds));
                    rest %= seconds;
                } else if !parts.is_empty() {
                    break;
                }
                if parts.len() == 2 {
                    break;
                }
            }
            parts.join(" ")
        }
    };
    if micros == 0.0 { "0 s".to_owned() } else { format!("{sign}{text}") }
}

fn decimals(number: f64, unit: &str) -> String {
    let text = format!("{number:.3}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        for (minor, currency, text) in
            [(1_177, "USD", "11.77 USD"), (-5, "EUR", "-0.05 EUR"), (1_177, "JPY", "1177 JPY"), (1_177, "KWD", "1.177 KWD"), (0, "USD", "0.00 USD")]
        {
            assert_eq!(cell("spent", &json!({"minor": minor, "currency": currency})), text);
        }
        assert_eq!(cell("spent", &json!([{"minor": 1, "currency": "USD"}, {"minor": 500, "currency": "JPY"}])), "0.01 USD, 500 JPY");
        assert_eq!(cell("item", &json!({"minor": 1, "currency": "USD", "sku": "a"})), "currency USD, minor 1, sku a", "no amount alone");
    }

    #[test]
    fn durations_have_units_and_shares_are_percent() {
        for (name, number, text) in [
            ("lead_time_seconds", json!(7_200), "2 h"),
            ("lead_time_seconds", json!(3_300), "55 min"),
            ("down_s", json!(93_784), "1 d 2 h"),
            ("down_s", json!(86_405), "1 d"),
            ("down_s", json!(90), "1 min 30 s"),
            ("time_to_restore_seconds", json!(12.5), "12.5 s"),
            ("for_ms", json!(1_250), "1.25 s"),
            ("for_ms", json!(12), "12 ms"),
            ("down_s", json!(0), "0 s"),
            ("change_failure_rate", json!(0.125), "12.5 %"),
            ("change_failure_rate", json!(1), "100 %"),
            ("progress", json!(0.42), "42 %"),
            ("ppm", json!(999_900), "99.99 %"),
            ("target_ppm", json!(1_000_000), "100 %"),
            ("deployments_per_day", json!(1.5), "1.5"),
            ("events_per_second", json!(1_000), "1000"),
            ("attempts", json!(3), "3"),
            ("change_failure_rate", Value::Null, "-"),
        ] {
            assert_eq!(cell(name, &number), text, "{name} {number}");
        }
        assert_eq!(["lead_time_seconds", "target_ppm", "for_ms", "orders", "_s"].map(label), ["lead_time", "target", "for", "orders", "_s"]);
    }

    #[test]
    fn lists_of_objects_are_readable() {
        let months = json!([{"month": "2026-01", "net": {"minor": 5_000, "currency": "USD"}}, {"month": "2026-02", "net": {"minor": -100, "currency": "USD"}}]);
        assert_eq!(cell("months", &months), "month 2026-01, net 50.00 USD; month 2026-02, net -1.00 USD");
        assert_eq!([json!([]), json!({}), json!(["a", "b"])].map(|value| cell("x", &value)), ["-", "-", "a, b"]);
    }
}
