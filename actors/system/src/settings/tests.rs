use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Settings {
    limit: u32,
    listen: Listen,
    secret: Option<Secret>,
    endpoints: BTreeMap<String, Endpoint>,
    steps: Vec<Step>,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Listen {
    faktory: Option<String>,
}

/// Both are required: there is no endpoint without them.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Endpoint {
    url: String,
    key: Secret,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Wait(u32),
    Call { token: Secret },
}

fn refused(table: Value) -> SettingError {
    read::<Settings>(&table).unwrap_err()
}

#[test]
fn a_table_reads_as_its_type_and_shows_no_secret() {
    let table = json!({
        "limit": 3, "listen": {"faktory": "127.0.0.1:7419"}, "secret": "s3cret", "endpoints": {"a.b": {"url": "http://a", "key": "k3y"}},
        "steps": [{"wait": 5}, {"call": {"token": "t0ken"}}],
    });
    let settings: Settings = read(&table).unwrap();
    assert_eq!((settings.limit, settings.listen.faktory.as_deref()), (3, Some("127.0.0.1:7419")));
    assert_eq!(settings.endpoints["a.b"].key.expose(), "k3y");
    assert_eq!(settings.steps[0], Step::Wait(5));
    let text = shown(&settings).to_string();
    assert!(!text.contains("s3cret") && !text.contains("k3y") && !text.contains("t0ken") && text.contains("127.0.0.1:7419"), "{text}");
    assert_eq!(read::<Settings>(&json!({})).unwrap(), Settings::default());
}

#[test]
fn an_unknown_key_is_refused_at_any_depth_and_names_the_nearest() {
    assert_eq!(refused(json!({"limt": 3})).to_string(), "limt is unknown; did you mean limit?");
    assert_eq!(refused(json!({"listen": {"factory": "x"}})).to_string(), "listen.factory is unknown; did you mean listen.faktory?");
    let endpoint = json!({"endpoints": {"a.b": {"url": "u", "key": "k", "tls": true}}});
    assert_eq!(refused(endpoint).key, "endpoints.\"a.b\".tls");
    assert_eq!(refused(json!({"steps": [{"wait": 1}, {"call": {"token": "t", "tries": 3}}]})).key, "steps.1.call.tries");
    assert_eq!(read::<()>(&json!({"limit": 1})).unwrap_err().to_string(), "limit is unknown; this system has no settings");
    assert_eq!((read::<()>(&json!({})), read::<()>(&Value::Null)), (Ok(()), Ok(())));
    assert!(refused(json!(["limit"])).to_string().contains("must be a table"));
}

#[test]
fn a_type_that_refuses_unknown_keys_by_itself_says_the_same() {
    #[derive(Debug, Default, Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct Strict {
        limit: u32,
    }
    assert_eq!(read::<Strict>(&json!({"limt": 3})).unwrap_err().to_string(), "limt is unknown; did you mean limit?");
}

#[test]
fn a_bad_value_names_its_key_and_value() {
    let error = refused(json!({"limit": "many"}));
    assert_eq!((error.key.as_str(), error.value.as_deref()), ("limit", Some("\"many\"")));
    assert!(error.to_string().contains("u32"), "{error}");
    assert_eq!(refused(json!({"listen": {"faktory": 7419}})).key, "listen.faktory");
    assert_eq!(refused(json!({"steps": [{"wait": "long"}]})).key, "steps.0.wait");
    assert_eq!(refused(json!({"steps": [{"sleep": 3}]})).key, "steps.0");
    let missing = refused(json!({"endpoints": {"a": {"url": "u"}}}));
    assert!(missing.key == "endpoints.a" && missing.to_string().contains("key"), "{missing}");
}

#[test]
fn the_value_of_a_secret_is_in_no_error() {
    for table in [json!({"secret": 31_337}), json!({"endpoints": {"a": {"url": "u", "key": 31_337}}}), json!({"steps": [{"call": {"token": 31_337}}]})] {
        let error = refused(table);
        assert!(!error.to_string().contains("31337") && error.value.as_deref() == Some(REDACTED), "{error}");
    }
}
