//! A system's own settings, and scopes that systems declare: layered, refused by name, shown without secrets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tol_config::{Config, Explained, KnownSystem, Loaded, Secret, Sources, hash_key};

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Settings {
    limit: u32,
    name: String,
    listen: Listen,
    /// Its name tells nobody that it is secret.
    signature: Option<Secret>,
    hosts: BTreeMap<String, u32>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Listen {
    faktory: Option<String>,
    optuna: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Endpoint {
    url: String,
    code: Secret,
}

const SYSTEM: &str = "job-engine";

/// Sources with a file, in which `job-engine` has [`Settings`] and `plain-system` has none.
fn sources(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tol.toml");
    std::fs::write(&path, text).unwrap();
    let systems = vec![KnownSystem::new::<Settings>(SYSTEM), KnownSystem::new::<()>("plain-system")];
    (folder, Sources { file: Some(path), systems, ..Sources::default() })
}

fn variable(name: &str, value: &str) -> (String, String) {
    (format!("TOL__SYSTEMS__JOB_ENGINE__SETTINGS__{name}"), value.to_owned())
}

fn settings_of(config: &Config) -> Settings {
    config.system(SYSTEM).settings.read().unwrap()
}

fn refusal(text: &str) -> String {
    Loaded::load(&sources(text).1).unwrap_err().to_string()
}

fn line(loaded: &Loaded, key: &str) -> Explained {
    let key = format!("systems.job-engine.settings.{key}");
    loaded.explain().into_iter().find(|line| line.key == key).unwrap_or_else(|| panic!("{key} is not explained"))
}

#[test]
fn each_level_is_layered_by_itself() {
    let (_folder, mut sources) =
        sources("[systems.job-engine.settings]\nlimit = 3\nlisten = {faktory = \"127.0.0.1:1\", optuna = \"127.0.0.1:2\"}\nhosts.\"a.example\" = 5\n");
    sources.environment = vec![variable("LISTEN__FAKTORY", "127.0.0.1:3"), variable("HOSTS", "{\"b.example\" = 6}")];
    sources.set("systems.job-engine.settings.limit", "4", "--set");
    let loaded = Loaded::load(&sources).unwrap();
    let settings = settings_of(&loaded.config);
    assert_eq!(settings.limit, 4);
    assert_eq!((settings.listen.faktory.as_deref(), settings.listen.optuna.as_deref()), (Some("127.0.0.1:3"), Some("127.0.0.1:2")));
    assert_eq!(settings.hosts, BTreeMap::from([("a.example".to_owned(), 5), ("b.example".to_owned(), 6)]));
    for (key, origin) in
        [("limit", "flag --set"), ("listen.faktory", "FAKTORY"), ("listen.optuna", "tol.toml:3"), ("hosts.\"a.example\"", "tol.toml:4"), ("name", "default")]
    {
        assert!(line(&loaded, key).origin.to_string().ends_with(origin), "{key}: {}", line(&loaded, key).origin);
    }
    assert_eq!(line(&loaded, "limit").value, 4);
}

#[test]
fn a_value_replaces_a_table_of_a_lower_layer_and_the_other_way_round() {
    let (_folder, mut sources) = sources("[systems.job-engine.settings]\nname.first = \"a\"\nlisten = \"x\"\n");
    sources.environment = vec![variable("NAME", "b"), variable("LISTEN__FAKTORY", "c")];
    let settings = settings_of(&Loaded::load(&sources).unwrap().config);
    assert_eq!((settings.name.as_str(), settings.listen.faktory.as_deref()), ("b", Some("c")));
}

#[test]
fn a_number_of_the_environment_is_text_where_text_is_wanted() {
    let (_folder, mut sources) = sources("");
    sources.environment = vec![variable("NAME", "42"), variable("SIGNATURE", "31337"), variable("LIMIT", "7")];
    let settings = settings_of(&Loaded::load(&sources).unwrap().config);
    assert_eq!((settings.name.as_str(), settings.limit, settings.signature.unwrap().expose()), ("42", 7, "31337"));
}

#[test]
fn secrets_are_hidden_by_their_type() {
    let text = "[systems.job-engine.settings]\nsignature = \"s3cret\"\n[[systems.job-engine.settings.endpoints]]\nurl = \"http://a\"\ncode = \"c0de\"\n";
    let loaded = Loaded::load(&sources(text).1).unwrap();
    assert_eq!(line(&loaded, "signature").value, "***");
    assert_eq!(line(&loaded, "endpoints").value, json!([{"url": "http://a", "code": "***"}]));
    let shown = format!("{}{:?}{}", serde_json::to_string(&loaded.explain()).unwrap(), loaded.config, serde_json::to_string(&loaded.config).unwrap());
    assert!(!shown.contains("s3cret") && !shown.contains("c0de"), "{shown}");
    assert_eq!(settings_of(&loaded.config).signature.unwrap().expose(), "s3cret");
    let refused = refusal("[systems.job-engine.settings]\nsignature = 31337\n");
    assert!(refused.contains("settings.signature = ***") && !refused.contains("31337"), "{refused}");
}

#[test]
fn what_a_system_does_not_take_is_refused_with_key_origin_and_advice() {
    let unknown = refusal("[systems.job-engine.settings]\nlimit = 1\nlisten.factory = \"x\"\n");
    assert!(
        unknown.contains("systems.job-engine.settings.listen.factory is unknown; did you mean listen.faktory?") && unknown.contains("tol.toml:3"),
        "{unknown}"
    );
    let value = refusal("[systems.job-engine.settings]\nlimit = \"many\"\n");
    assert!(value.contains("systems.job-engine.settings.limit = \"many\"") && value.contains("u32") && value.contains("tol.toml:2"), "{value}");
    let (_folder, mut with_variable) = sources("");
    with_variable.environment = vec![variable("LIMIT", "many")];
    let message = Loaded::load(&with_variable).unwrap_err().to_string();
    assert!(message.contains("environment TOL__SYSTEMS__JOB_ENGINE__SETTINGS__LIMIT"), "{message}");
    assert!(refusal("[systems.plain-system.settings]\nlimit = 1\n").contains("plain-system.settings.limit is unknown; this system has no settings"));
    let missing = refusal("[[systems.job-engine.settings.endpoints]]\nurl = \"http://a\"\n");
    assert!(missing.contains("settings.endpoints.0") && missing.contains("code") && missing.contains("tol.toml:1"), "{missing}");
}

#[test]
fn a_misspelt_system_is_refused_and_the_nearest_named() {
    for text in ["[systems.job-engin]\nenabled = false\n", "[systems.job-engin.settings]\nlimit = 1\n"] {
        let message = refusal(text);
        assert!(message.contains("did you mean job-engine?") && message.contains("tol.toml:2"), "{message}");
    }
}

#[test]
fn scopes_are_the_cores_and_those_declared_under_any_of_their_names() {
    let load = |scopes: &str| {
        let text =
            format!("[[security.api_keys]]\nname = \"sdk\"\nhash = \"{}\"\nscopes = [{scopes}]\nattributes = {{environment = \"staging\"}}\n", hash_key("x"));
        let (_folder, mut sources) = sources(&text);
        sources.scopes = vec!["shop:browse".to_owned()];
        Loaded::load(&sources)
    };
    let keys = load("\"browse\", \"read\"").unwrap().config.security.api_keys;
    assert_eq!(keys[0].scopes, ["shop:browse", "read"]);
    assert!(keys[0].allows("shop:browse") && !keys[0].allows("publish"));
    assert_eq!(keys[0].attribute("environment"), Some("staging"));
    let message = load("\"shop:brouse\"").unwrap_err().to_string();
    assert!(message.contains("sdk") && message.contains("did you mean shop:browse?") && message.contains("tol.toml:1"), "{message}");
    assert!(load("").unwrap_err().to_string().contains("at least one scope"));
}

#[test]
fn urls_that_come_in_data_are_allowed_by_whole_hosts() {
    let load = |allow: &str| Loaded::load(&sources(&format!("[effects]\nallow = [{allow}]\n")).1);
    assert!(load("\"https://hooks.example/\"").unwrap().config.effects.allows("https://hooks.example/x"));
    for wrong in ["\"https://hooks.example\"", "\"hooks.example/\"", "\"https:///x\""] {
        assert!(load(wrong).unwrap_err().to_string().contains("effects.allow"), "{wrong}");
    }
}
