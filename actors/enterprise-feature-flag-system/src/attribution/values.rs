//! What a fact says, by the names that metrics have.

use std::collections::BTreeMap;

use serde_json::Value;
use tol_events::EventView;
use tol_events::registry::split_version;

/// Whether a metric of that name is made of facts about customers: `billing.…` or `usage.…`.
pub fn is_attributable(metric: &str) -> bool {
    metric.starts_with("billing.") || metric.starts_with("usage.")
}

/// By how much each metric grows with this fact: its type without the version (times), the same with `.amount.{CURRENCY}` (minor units), and of
/// `usage.feature_used` the feature, `usage.{feature}`. With `.count` behind it a metric is the same number; an experiment then compares means.
pub(super) fn values(event: &EventView<'_>) -> BTreeMap<String, i64> {
    let (name, _) = split_version(event.event_type());
    // A type that nobody declared may hold anything.
    let data: Value = serde_json::from_slice(event.data()).unwrap_or_default();
    let feature = data["feature"].as_str().filter(|_| name == "usage.feature_used");
    let times = match feature {
        Some(_) => i64::try_from(data["count"].as_u64().unwrap_or(1)).unwrap_or(i64::MAX),
        None => 1,
    };
    let mut values = BTreeMap::new();
    let names = std::iter::once(name.to_owned()).chain(feature.map(|feature| format!("usage.{feature}")));
    for name in names {
        values.insert(format!("{name}.count"), times);
        values.insert(name, times);
    }
    if let (Some(minor), Some(currency)) = (data["amount"]["minor"].as_i64(), data["amount"]["currency"].as_str()) {
        values.insert(format!("{name}.amount.{currency}"), minor);
    }
    values
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;
    use tol_events::Event;

    use super::*;

    fn of(event_type: &str, data: &Value) -> Vec<(String, i64)> {
        let mut event = Event::new("1", "/test", event_type, "customer/42");
        event.data = data.to_string().into_bytes();
        values(&event.encode().view()).into_iter().collect()
    }

    fn named(names: &[(&str, i64)]) -> Vec<(String, i64)> {
        names.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_fact_says_how_often_how_much_and_which_feature() {
        let failed = of("billing.payment_failed.v1", &json!({"amount": {"minor": 1999, "currency": "EUR"}}));
        assert_eq!(failed, named(&[("billing.payment_failed", 1), ("billing.payment_failed.amount.EUR", 1999), ("billing.payment_failed.count", 1)]));
        let used = of("usage.feature_used.v1", &json!({"feature": "export", "count": 3}));
        assert_eq!(used, named(&[("usage.export", 3), ("usage.export.count", 3), ("usage.feature_used", 3), ("usage.feature_used.count", 3)]));
        assert_eq!(of("usage.signed_in.v7", &json!([1])), named(&[("usage.signed_in", 1), ("usage.signed_in.count", 1)]));
        assert!(is_attributable("usage.export") && !is_attributable("errors"));
    }
}
