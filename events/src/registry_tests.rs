#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::event::Event;

fn event(event_type: &str, subject: &str, data: &str) -> Event {
    let mut event = Event::new("1", "/test", event_type, subject);
    event.data = data.as_bytes().to_vec();
    event
}

fn refusal(event_type: &str, subject: &str, data: &str) -> String {
    validate(&event(event_type, subject, data).encode().view()).unwrap_err().to_string()
}

#[test]
fn table_is_sorted_and_consistent() {
    assert!(KNOWN.windows(2).all(|pair| pair[0].event_type < pair[1].event_type));
    for known in all() {
        assert_eq!(format!("{}.v{}", known.name, known.version), known.event_type);
        assert_eq!(split_version(known.event_type), (known.name, Some(known.version)));
        assert_eq!(known.name.split_once('.').unwrap().0, known.domain);
        assert!(std::ptr::eq(super::known(known.event_type).unwrap(), known));
    }
}

#[test]
fn unknown_version_names_the_known_ones() {
    let message = refusal("commerce.order_placed.v9", "customer/1", "{}");
    assert!(message.contains("commerce.order_placed.v9") && message.contains("it knows commerce.order_placed.v1"), "{message}");
}

#[test]
fn other_types_are_open() {
    for open in ["com.example.happened", "shop.order_placed.v1", "a.v01", "", "x"] {
        let (validity, warnings) = examine(&event(open, "anything", "not json").encode().view()).unwrap();
        assert!(matches!(validity, Validity::Open) && warnings.is_empty(), "{open}: {warnings:?}");
    }
}

#[test]
fn other_types_of_a_known_domain_are_open_with_a_warning() {
    for (open, expected) in
        [("commerce.order_shipped.v1", "order_shipped.v1 is not a type"), ("billing.invoice_sent", "it has no version"), ("Usage.seen.v1", "Usage.seen.v1")]
    {
        let (validity, warnings) = examine(&event(open, "anything", "not json").encode().view()).unwrap();
        assert!(matches!(validity, Validity::Open) && warnings.len() == 1, "{open}: {warnings:?}");
        assert!(warnings[0].kind == WarningKind::UnknownType && warnings[0].detail.contains(expected), "{warnings:?}");
    }
}

#[test]
fn a_type_that_misses_a_known_one_is_refused_with_the_one_that_was_meant() {
    for wrong in [
        "commerce.order_palced.v1",
        "commerce.order_placed",
        "commerce.order_placed.vx",
        "commerce.order_placed.V1",
        "commerce.order_placed.1",
        "commerce.order-placed.v1",
        "Commerce.OrderPlaced.v1",
        "comerce.order_placed.v1",
    ] {
        let message = refusal(wrong, "customer/1", "{}");
        assert!(message.contains(wrong) && message.contains("did you mean commerce.order_placed.v1?"), "{message}");
    }
}

#[test]
fn known_names_are_not_near_each_other() {
    // Else a right one could be taken for a slip of another once one of them is gone.
    for a in all() {
        assert!(all().iter().all(|b| a.name == b.name || !names::is_near(a.name, b.name)), "{a:?}");
    }
}

#[test]
fn fields_that_a_type_does_not_have_are_warned_about() {
    let data = r#"{"order_id":"o","customer_id":"1","colour":"red","total":{"minor":1,"currency":"USD","vat":3},"items":[{"sku":"a","quantity":1,"unit_price":{"minor":1,"currency":"USD"},"size":1}]}"#;
    let (_, warnings) = examine(&event("commerce.order_placed.v1", "customer/1", data).encode().view()).unwrap();
    let fields: Vec<&str> = warnings.iter().filter_map(|warning| warning.detail.split('"').nth(1)).collect();
    assert_eq!(fields, ["colour", "total.vat", "items.0.size"]);
    assert!(warnings.iter().all(|warning| warning.kind == WarningKind::UnknownField));
    let many: String = (0..1_000).map(|number| format!(r#","f{number}":1"#)).collect();
    let (_, warnings) =
        examine(&event("usage.feature_used.v1", "customer/1", &format!(r#"{{"customer_id":"1","feature":"f"{many}}}"#)).encode().view()).unwrap();
    assert_eq!(warnings.len(), MOST_FIELDS);
}

#[test]
fn amounts_are_bounded_and_their_currencies_known() {
    let payment = |minor: &str, currency: &str| format!(r#"{{"payment_id":"p","customer_id":"1","amount":{{"minor":{minor},"currency":"{currency}"}}}}"#);
    let payment_type = "billing.payment_succeeded.v1";
    assert!(validate(&event(payment_type, "customer/1", &payment("100000000000000", "USD")).encode().view()).is_ok());
    assert!(refusal(payment_type, "customer/1", &payment("9223372036854775807", "USD")).contains("amount.minor is 9223372036854775807; an amount is at most"));
    assert!(refusal(payment_type, "customer/1", &payment("1", "UDS")).contains("amount.currency is UDS, which ISO 4217 does not have"));
    let subscription = r#"{"subscription_id":"s","customer_id":"1","plan":"p","interval":"month","quantity":18446744073709551615,"unit_price":{"minor":1000,"currency":"EUR"}}"#;
    assert!(refusal("billing.subscription_started.v1", "customer/1", subscription).contains("quantity is 18446744073709551615"));
}

#[test]
fn an_environment_with_white_space_around_it_is_refused() {
    let opened = |environment: &str| format!(r#"{{"incident_id":"i","service":"web","environment":"{environment}","opened_at":"2026-01-01T00:00:00Z"}}"#);
    assert!(validate(&event("delivery.incident_opened.v1", "service/web", &opened("my production")).encode().view()).is_ok());
    for odd in ["production ", " production", "pro\\u0000duction"] {
        assert!(refusal("delivery.incident_opened.v1", "service/web", &opened(odd)).contains("environment is"), "{odd}");
    }
}

#[test]
fn what_was_admitted_before_there_were_bounds_still_reads() {
    use crate::domain::DomainEvent;
    let data = r#"{"payment_id":"p","customer_id":"1","amount":{"minor":9223372036854775807,"currency":"UDS"}}"#;
    let payment: crate::billing::PaymentSucceeded<'_> = serde_json::from_str(data).unwrap();
    assert!(payment.validate().is_ok());
}

#[test]
fn data_must_fit_its_type() {
    let order = "commerce.order_placed.v1";
    assert!(refusal(order, "customer/1", r#"{"customer_id":"1","total":{"minor":1,"currency":"USD"}}"#).contains("order_id"));
    let wrong_type = refusal(order, "customer/1", r#"{"order_id":"o","customer_id":"1","total":{"minor":"1","currency":"USD"}}"#);
    assert!(wrong_type.contains("total: invalid type: string"), "{wrong_type}");
    assert!(refusal(order, "customer/1", "").contains("EOF"));
    assert!(refusal(order, "customer/1", r#"{"order_id":"o","customer_id":"1","total":{"minor":1,"currency":"usd"}}"#).contains("ISO 4217"));
    let open = event(order, "customer/1", r#"{"order_id":"o","customer_id":"1","total":{"minor":1,"currency":"USD"},"colour":"red"}"#);
    assert!(matches!(validate(&open.encode().view()), Ok(Validity::Known(_))), "unknown fields are accepted");
}

#[test]
fn rules_name_the_field() {
    let money = r#""amount":{"minor":0,"currency":"USD"}"#;
    let cases = [
        ("commerce.order_placed.v1", r#"{"order_id":"o","customer_id":"1","total":{"minor":-1,"currency":"USD"}}"#.to_owned(), "total.minor is -1"),
        ("commerce.order_placed.v1", r#"{"order_id":"","customer_id":"1","total":{"minor":1,"currency":"USD"}}"#.to_owned(), "order_id is empty"),
        (
            "commerce.order_placed.v1",
            r#"{"order_id":"o","customer_id":"1","total":{"minor":1,"currency":"USD"},"items":[{"sku":"a","quantity":0,"unit_price":{"minor":1,"currency":"USD"}}]}"#.to_owned(),
            "items[0].quantity is 0",
        ),
        ("commerce.order_refunded.v1", format!(r#"{{"order_id":"o","customer_id":"1","refund_id":"r",{money}}}"#), "amount.minor is 0"),
        ("billing.payment_succeeded.v1", format!(r#"{{"payment_id":"p","customer_id":"1",{money}}}"#), "amount.minor is 0"),
        ("billing.subscription_started.v1", r#"{"subscription_id":"s","customer_id":"1","plan":"p","interval":"fortnight","quantity":1,"unit_price":{"minor":1,"currency":"USD"}}"#.to_owned(), "interval: unknown variant `fortnight`"),
        ("billing.subscription_started.v1", r#"{"subscription_id":"s","customer_id":"1","plan":"p","interval":"week","interval_count":0,"quantity":1,"unit_price":{"minor":1,"currency":"USD"}}"#.to_owned(), "interval_count is 0"),
        ("revenue.refunded.v1", r#"{"customer_id":"1","amount":{"minor":0,"currency":"USD"},"reference":"r"}"#.to_owned(), "amount.minor is 0"),
        ("revenue.recognition_restated.v1", r#"{"customer_id":"1","source":"order","reference":"o"}"#.to_owned(), "must say what it corrects"),
        ("revenue.scheduled.v1", r#"{"customer_id":"1","kind":"mrr","reference":"s","of":{"id":"f","kind":"subscription_changed","at":"2026-01-01T00:00:00Z"},"was":{"minor":1,"currency":"USD"},"now":{"minor":1,"currency":"EUR"}}"#.to_owned(), "restate each currency by itself"),
        ("usage.feature_used.v1", r#"{"customer_id":"1","feature":"f","count":0}"#.to_owned(), "count is 0"),
        ("usage.feature_used.v1", r#"{"customer_id":"1","feature":"f","count":-1}"#.to_owned(), "count: invalid value"),
        ("commerce.customer_registered.v1", r#"{"customer_id":"1","name":{"$personal":"AAAA"}}"#.to_owned(), "name is already sealed"),
        ("revenue.mrr_moved.v1", r#"{"subscription_id":"s","customer_id":"1","class":"churn","amount":{"minor":5,"currency":"USD"},"mrr_after":{"minor":0,"currency":"USD"}}"#.to_owned(), "must be below 0"),
    ];
    for (event_type, data, expected) in cases {
        let message = refusal(event_type, "customer/1", &data);
        assert!(message.contains(expected), "{message}");
    }
    let finished = r#"{"deployment_id":"d","service":"web","environment":"production","version":"1","outcome":"failed","started_at":"2026-01-02T00:00:00Z","finished_at":"2026-01-01T00:00:00Z"}"#;
    assert!(refusal("delivery.deployment_finished.v1", "service/web", finished).contains("finished_at is 2026-01-01T00:00:00Z"));
}

#[test]
fn subject_must_be_the_one_the_data_names() {
    let data = r#"{"customer_id":"1","feature":"f"}"#;
    assert!(validate(&event("usage.feature_used.v1", "customer/1", data).encode().view()).is_ok());
    for subject in ["customer/2", "customer/", "customer", "1", "service/1", ""] {
        assert!(refusal("usage.feature_used.v1", subject, data).contains("must be \"customer/1\""), "{subject}");
    }
}

#[test]
fn personal_fields_may_be_missing() {
    // Of an erased person they are null: an event that cannot be read without them could not be folded any more.
    for known in all() {
        let schema = serde_json::to_value((known.schema)()).unwrap();
        let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        assert!(known.personal.iter().all(|field| !required.contains(&field.trim_end_matches(".*"))), "{}: {required:?}", known.event_type);
    }
}

#[test]
fn the_person_that_an_event_names_must_be_one() {
    let mut event = crate::Event::new("1", "/crm", "commerce.customer_registered.v1", "customer/1");
    event.data = br#"{"customer_id":"1"}"#.to_vec();
    for (person, valid) in [("customer/42", true), ("ada@example.com", false), ("", false), ("customer/4\n2", false)] {
        event.extensions.insert(PERSONAL_SUBJECT.to_owned(), person.to_owned());
        let outcome = validate(&event.encode().view());
        assert_eq!(outcome.is_ok(), valid, "{person}: {outcome:?}");
    }
}
