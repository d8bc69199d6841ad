#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const MINIMAL: &str = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"a.b.v1"}"#;

fn http(headers: &[(&str, &str)], body: &[u8]) -> Result<http::Decoded, Error> {
    http::decode(headers.iter().map(|(name, value)| (*name, value.as_bytes())), body)
}

fn kafka(headers: &[(&str, &str)], value: &[u8]) -> Result<Event, Error> {
    kafka::decode(headers.iter().map(|(name, value)| (*name, value.as_bytes())), value, None)
}

/// `MINIMAL` with one member replaced, added or (with an empty value) removed.
fn with(member: &str, value: &str) -> String {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(MINIMAL).unwrap();
    object.remove(member);
    if !value.is_empty() {
        object.insert(member.to_owned(), serde_json::from_str(value).unwrap());
    }
    serde_json::to_string(&object).unwrap()
}

fn refusal(json: &str) -> String {
    json::decode(json.as_bytes()).unwrap_err().to_string()
}

#[test]
fn json_event_keeps_the_senders_bytes() {
    let text = r#" {"data" : { "b":1.50, "a":[ ] } ,"specversion":"1.0","id":"\u0031","source":"/s","type":"t","time":"2020-01-01T02:00:00+02:00","color":"red","n":5,"flag":true,"subject":null} "#;
    let event = json::decode(text.as_bytes()).unwrap();
    assert_eq!(event.data, br#"{ "b":1.50, "a":[ ] }"#);
    assert_eq!((event.get(Attribute::Id), event.get(Attribute::Time)), ("1", "2020-01-01T00:00:00Z"));
    assert!(!event.attributes.contains_key(&Attribute::Subject) && !event.attributes.contains_key(&Attribute::SpecVersion));
    let extensions: Vec<(&str, &str)> = event.extensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(extensions, [("color", "red"), ("flag", "true"), ("n", "5")]);
}

#[test]
fn missing_attributes_are_named() {
    for name in ["id", "source", "type", "specversion"] {
        assert_eq!(json::decode(with(name, "").as_bytes()), Err(Error::Missing(name)));
        assert_eq!(json::decode(with(name, "null").as_bytes()), Err(Error::Missing(name)));
        let mut headers = vec![("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-specversion", "1.0")];
        headers.retain(|(header, _)| &header[3..] != name);
        assert_eq!(http(&headers, b""), Err(Error::Missing(name)));
    }
}

#[test]
fn invalid_attributes_say_why() {
    let cases = [
        ("id", r#""""#, "\"id\" is invalid: is empty"),
        ("source", r#""""#, "\"source\" is invalid: is empty"),
        ("type", r#""""#, "\"type\" is invalid: is empty"),
        ("id", "5", "\"id\" is invalid: must be a string"),
        ("subject", r#""""#, "\"subject\" is invalid: is empty"),
        ("specversion", r#""0.3""#, "is \"0.3\"; this node reads 1.0"),
        ("time", r#""yesterday""#, "\"yesterday\" is not RFC 3339"),
        ("time", r#""2020-01-01""#, "is not RFC 3339"),
        ("Color", r#""red""#, "\"Color\" is invalid: an extension's name"),
        ("my_ext", r#""red""#, "lower-case letters a-z and digits"),
        ("color", r#"{"a":1}"#, "must be a string, an integer or a boolean"),
        ("color", "1.5", "must be a string, an integer or a boolean"),
        ("color", r#""a\u0000b""#, "control character"),
        ("color", r#""a\u0085b""#, "control character"),
        ("data_base64", r#""?""#, "is not base64"),
        ("data_base64", "1", "must be a string"),
    ];
    for (member, value, expected) in cases {
        let message = refusal(&with(member, value));
        assert!(message.contains(expected), "{message}");
    }
    assert!(refusal(r#"{"id":"1","id":"2","source":"s","type":"t","specversion":"1.0"}"#).contains("\"id\" is invalid: is given twice"));
    assert!(refusal(r#"{"id":"1","data":1,"data_base64":"","source":"s","type":"t","specversion":"1.0"}"#).contains("send one of them"));
}

#[test]
fn malformed_json_is_an_error() {
    for bad in ["", "{", "[]", "null", "1", r#"{"id":}"#, &format!("{MINIMAL}x"), &MINIMAL.replace("\"1\"", "\"\u{1}\"")] {
        assert!(matches!(json::decode(bad.as_bytes()), Err(Error::Json(_))), "{bad}");
    }
    assert!(matches!(json::decode(b"{\"id\":\"\xff\"}"), Err(Error::Json(_))));
    assert!(matches!(json::decode(&[MINIMAL.trim_end_matches('}').as_bytes(), b",\"data\":\"\xff\"}"].concat()), Err(Error::Json(_))));
}

#[test]
fn bad_event_refuses_the_batch_and_is_named() {
    let good = format!("[{MINIMAL},{MINIMAL}]");
    assert_eq!(json::decode_batch(good.as_bytes()).unwrap().len(), 2);
    assert_eq!(json::decode_batch(b" [ ] ").unwrap(), []);
    let error = json::decode_batch(format!("[{MINIMAL},{},{MINIMAL}]", with("id", "")).as_bytes()).unwrap_err();
    assert_eq!(error, Error::InBatch { index: 1, error: Box::new(Error::Missing("id")) });
    assert_eq!(error.to_string(), "event 1 of the batch: attribute \"id\" is missing; a CloudEvent has id, source, type and specversion");
    for (bad, index) in
        [(format!("[{MINIMAL},{{\"id\":]"), Some(1)), (format!("[{MINIMAL},7]"), Some(1)), (MINIMAL.to_owned(), None), (format!("{good}]"), None)]
    {
        let error = json::decode_batch(bad.as_bytes()).unwrap_err();
        assert_eq!(error.index(), index, "{bad}: {error}");
    }
}

#[test]
fn data_that_is_not_json_travels_as_text_or_base64() {
    let xml = MINIMAL.replace("\"id\"", r#""datacontenttype":"text/xml","data":"<a b=\"c\"/>","id""#);
    let event = json::decode(xml.as_bytes()).unwrap();
    assert_eq!(event.data, b"<a b=\"c\"/>");
    assert_eq!(json::decode(&json::encode(&event)).unwrap(), event);
    let bytes = MINIMAL.replace("\"id\"", r#""datacontenttype":"image/png","data_base64":"AP8=","id""#);
    let event = json::decode(bytes.as_bytes()).unwrap();
    assert_eq!(event.data, [0, 255]);
    assert_eq!(json::decode(&json::encode(&event)).unwrap(), event);
    assert!(refusal(&MINIMAL.replace("\"id\"", r#""data_base64":"AP8=","id""#)).contains("read as JSON"));
}

#[test]
fn http_modes_are_told_apart() {
    let binary = [("Ce-Id", "1"), ("CE-SOURCE", "/s"), ("ce-type", "t"), ("ce-specversion", "1.0"), ("Content-Type", "application/json"), ("host", "x")];
    let decoded = http(&binary, b"{ }").unwrap();
    assert_eq!((decoded.mode, decoded.events[0].data.as_slice()), (http::Mode::Binary, b"{ }".as_slice()));
    assert_eq!(http(&[("content-type", "Application/CloudEvents+JSON; charset=utf-8")], MINIMAL.as_bytes()).unwrap().mode, http::Mode::Structured);
    let batch = http(&[("content-type", "application/cloudevents-batch+json")], format!("[{MINIMAL}]").as_bytes()).unwrap();
    assert_eq!((batch.mode, batch.events.len()), (http::Mode::Batch, 1));
    assert!(matches!(http(&binary, b"{"), Err(Error::Json(_))));
    for content_type in ["application/json", "text/plain", "application/cloudevents+avro"] {
        let message = http(&[("content-type", content_type)], MINIMAL.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(content_type) && message.contains(STRUCTURED) && message.contains(BATCH) && message.contains("ce-id"), "{message}");
    }
    assert!(http(&[], b"").unwrap_err().to_string().contains("(none)"));
}

#[test]
fn http_header_values_are_unquoted_and_percent_decoded() {
    let color = |value: &str| http(&[("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t"), ("ce-specversion", "1.0"), ("ce-color", value)], b"");
    // Example of the HTTP binding 1.0.2, section 3.1.3.2.
    assert_eq!(color("Euro%20%E2%82%AC%20%F0%9F%98%80").unwrap().events[0].extensions["color"], "Euro € 😀");
    assert_eq!(color(r#""a \" b""#).unwrap().events[0].extensions["color"], "a \" b");
    assert_eq!(color("100%25").unwrap().events[0].extensions["color"], "100%");
    for bad in ["100%", "%zz", "%f", "%FF", "\"open", "\"a\"b"] {
        assert!(matches!(color(bad), Err(Error::Invalid { attribute, .. }) if attribute == "color"), "{bad}");
    }
}

#[test]
fn kafka_bad_records_are_refused() {
    assert!(kafka(&[], MINIMAL.as_bytes()).unwrap_err().to_string().contains("application/cloudevents+json"));
    for content_type in [BATCH, "application/cloudevents+avro", "application/json"] {
        assert!(matches!(kafka(&[("content-type", content_type)], MINIMAL.as_bytes()), Err(Error::ContentType { .. })));
    }
    let headers = [("ce_id", b"1".as_slice()), ("ce_source", b"\xff")];
    assert!(kafka::decode(headers.into_iter(), b"", None).unwrap_err().to_string().contains("\"source\" is invalid: is not UTF-8"));
    assert!(matches!(kafka(&[("ce_id", "1"), ("ce_id", "2")], b""), Err(Error::Invalid { .. })));
}

#[test]
fn kafka_record_without_id_gets_its_default() {
    let headers = [("ce_source", "/s"), ("ce_type", "t"), ("ce_specversion", "1.0")];
    assert_eq!(kafka(&headers, b""), Err(Error::Missing("id")));
    let default_id: &dyn Fn() -> String = &|| "inbox-7".to_owned();
    let binary = kafka::decode(headers.iter().map(|(name, value)| (*name, value.as_bytes())), b"", Some(default_id)).unwrap();
    let structured = kafka::decode([("content-type", STRUCTURED.as_bytes())].into_iter(), with("id", "").as_bytes(), Some(default_id)).unwrap();
    assert_eq!((binary.get(Attribute::Id), structured.get(Attribute::Id)), ("inbox-7", "inbox-7"));
    assert_eq!(kafka::decode([("content-type", STRUCTURED.as_bytes())].into_iter(), MINIMAL.as_bytes(), Some(default_id)).unwrap().get(Attribute::Id), "1");
}

#[test]
fn platform_attributes_of_a_sender_are_removed() {
    let mut event = Event::new("1", "/s", "t", "a/b");
    event.set(Attribute::Sequence, "5").set(Attribute::Epoch, "5").set(Attribute::CausationId, "c").set(Attribute::CorrelationId, "r");
    clear_platform(&mut event, true);
    assert_eq!(
        event.attributes.keys().copied().collect::<Vec<_>>(),
        [Attribute::Id, Attribute::Source, Attribute::Type, Attribute::Subject, Attribute::CorrelationId, Attribute::CausationId]
    );
}

fn an_event() -> impl Strategy<Value = Event> {
    let text = "[^\\p{Cc}]{1,12}";
    (
        text,
        text,
        text,
        proptest::option::of(text),
        proptest::collection::btree_map("x[a-z0-9]{1,6}", "[^\\p{Cc}]{0,12}", 0..4),
        0i64..4_000_000_000_000_000,
        0..4u8,
    )
        .prop_map(|(id, source, event_type, subject, extensions, micros, data)| {
            let mut event = Event { extensions, ..Event::default() }.at(EventTime::from_micros(micros));
            event.set(Attribute::Id, id).set(Attribute::Source, source).set(Attribute::Type, event_type);
            if let Some(subject) = subject {
                event.set(Attribute::Subject, subject);
            }
            match data {
                0 => {}
                1 => event.data = br#"{"a": "\u20ac"}"#.to_vec(),
                2 => {
                    event.set(Attribute::DataContentType, "text/plain").data = "grün".into();
                }
                _ => {
                    event.set(Attribute::DataContentType, "application/octet-stream").data = vec![0, 255, 7];
                }
            }
            event
        })
}

proptest! {
    #[test]
    fn every_event_survives_every_binding(event in an_event()) {
        prop_assert_eq!(&json::decode(&json::encode(&event)).unwrap(), &event);
        let tree: serde_json::Value = serde_json::from_slice(&json::encode(&event)).unwrap();
        prop_assert_eq!(&tree["id"], &event.to_json()["id"]);
        prop_assert_eq!(&json::decode_batch(&json::encode_batch([&event, &event])).unwrap(), &vec![event.clone(), event.clone()]);
        let headers = kafka::encode_binary(&event);
        prop_assert_eq!(&kafka::decode(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), &event.data, None).unwrap(), &event);
        let ((name, content_type), value) = kafka::encode_structured(&event);
        prop_assert_eq!(&kafka(&[(name, content_type)], &value).unwrap(), &event);
        let headers = http::encode_binary(&event);
        prop_assert!(headers.iter().all(|(_, value)| value.bytes().all(|b| (0x20..0x7f).contains(&b))));
        let decoded = http::decode(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), &event.data).unwrap();
        prop_assert_eq!(&decoded.events, &vec![event.clone()]);
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..64) {
        let _ = json::decode(&bytes);
        let _ = json::decode_batch(&bytes);
        let _ = json::decode(&MINIMAL.as_bytes()[..cut.min(MINIMAL.len())]);
        let _ = http::decode([("ce-id", bytes.as_slice())].into_iter(), &bytes);
        let _ = kafka::decode([("ce_id", bytes.as_slice())].into_iter(), &bytes, None);
    }
}

#[test]
fn a_whole_number_written_as_a_fraction_is_an_integer() {
    let decoded = |number: &str| json::decode(format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","n":{number}}}"#).as_bytes());
    for (number, text) in [("5", "5"), ("5.0", "5"), ("-2147483648.0", "-2147483648"), ("1e3", "1000"), ("-0.0", "0")] {
        assert_eq!(decoded(number).unwrap().extensions["n"], text, "{number}");
    }
    for number in ["1.5", "2147483648.0", "1e300", "1e-300"] {
        assert!(decoded(number).is_err(), "{number}");
    }
}
