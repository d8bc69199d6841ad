//! Layering, origins, unknown keys, redaction, refusals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use tol_config::{Config, Error, KnownSystem, Loaded, LogKind, Origin, Sources, hash_key};

fn from_file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tol.toml");
    std::fs::write(&path, text).unwrap();
    (folder, Sources { file: Some(path), ..Sources::default() })
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn message_of(sources: &Sources) -> String {
    Loaded::load(sources).unwrap_err().to_string()
}

#[test]
fn nothing_set_gives_the_defaults_and_says_so() {
    let loaded = Loaded::load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.config.log_kind(), LogKind::Embedded);
    assert!(loaded.explain().len() > 20 && loaded.explain().iter().all(|line| line.origin == Origin::Default));
}

#[test]
fn each_layer_wins_over_the_one_below_and_keeps_its_origin() {
    let (_folder, mut sources) = from_file("[http]\nworkers = 3\nlisten = \"127.0.0.1:1\"\n\n[log]\npartitions = 4\nsync = false\n");
    sources.environment =
        vec![variable("TOL__HTTP__LISTEN", "127.0.0.1:2"), variable("TOL__LOG__PARTITIONS", "16"), variable("TOL_URL", "x"), variable("HOME", "/")];
    sources.set("http.listen", "127.0.0.1:3", "--listen");
    let loaded = Loaded::load(&sources).unwrap();
    assert_eq!((loaded.config.http.listen.as_str(), loaded.config.http.workers, loaded.config.log.partitions), ("127.0.0.1:3", 3, 16));
    assert!(!loaded.config.log.sync);
    assert_eq!(loaded.origin("http.listen").to_string(), "flag --listen");
    assert_eq!(loaded.origin("log.partitions").to_string(), "environment TOL__LOG__PARTITIONS");
    assert!(loaded.origin("http.workers").to_string().ends_with("tol.toml:2"), "{}", loaded.origin("http.workers"));
    assert!(loaded.origin("log.sync").to_string().ends_with("tol.toml:7"));
    assert_eq!(loaded.origin("clock.tick_ms"), Origin::Default);
}

#[test]
fn text_that_looks_like_a_number_stays_text_where_text_is_wanted() {
    let environment =
        vec![variable("TOL__NODE__NAME", "42"), variable("TOL__LOG__SYNC", "false"), variable("TOL__SYSTEMS__REVENUE_AGENT_SYSTEM__UPTIME_TARGET", "99.9")];
    let config = Loaded::load(&Sources { environment, ..Sources::default() }).unwrap().config;
    assert_eq!((config.node.name.as_str(), config.log.sync), ("42", false));
    assert_eq!(config.system("revenue-agent-system").uptime_target, Some(99.9));
    assert!(config.system("another-system").enabled);
}

#[test]
fn arrays_and_tables_come_from_the_environment_as_toml() {
    let keys = format!("[{{name = \"ci\", hash = \"{}\", scopes = [\"publish\", \"read\"]}}]", hash_key("x"));
    let environment = vec![variable("TOL__SECURITY__API_KEYS", &keys), variable("TOL__LOG__KAFKA__SETTINGS__SECURITY_PROTOCOL", "SASL_SSL")];
    let config = Loaded::load(&Sources { environment, ..Sources::default() }).unwrap().config;
    assert_eq!(config.security.api_keys[0].scopes.len(), 2);
    assert_eq!(config.log.kafka.settings["security.protocol"].expose(), "SASL_SSL");
}

#[test]
fn unknown_keys_are_named_with_origin_and_nearest_key() {
    let (_folder, sources) = from_file("[http]\nlissten = \"127.0.0.1:1\"\n");
    let message = message_of(&sources);
    assert!(message.contains("unknown key http.lissten") && message.contains("tol.toml:2") && message.contains("did you mean http.listen?"), "{message}");
    let sources = Sources { environment: vec![variable("TOL__STOP__LEASE", "5")], ..Sources::default() };
    let message = message_of(&sources);
    assert!(message.contains("TOL__STOP__LEASE") && message.contains("stop.lease_ms"), "{message}");
    let mut sources = Sources { systems: vec![KnownSystem::new::<()>("revenue-agent-system")], ..Sources::default() };
    sources.set("systems.revenue-agent.enabled", "false", "--set");
    assert!(message_of(&sources).contains("revenue-agent-system"));
    let mut sources = Sources::default();
    sources.set("systems.revenue-agent-system.enabld", "false", "--set");
    assert!(message_of(&sources).contains("did you mean systems.revenue-agent-system.enabled?"));
    let mut sources = Sources::default();
    sources.set("quantum.entanglement.level", "11", "--set");
    assert!(matches!(Loaded::load(&sources), Err(Error::UnknownKey { .. })));
}

#[test]
fn a_wrong_type_names_key_and_origin() {
    let (_folder, sources) = from_file("[log]\npartitions = \"many\"\n");
    let message = message_of(&sources);
    assert!(message.contains("log.partitions") && message.contains("tol.toml:2") && message.contains("many"), "{message}");
    let (_folder, sources) = from_file("[log]\npartitions = = 3\n");
    assert!(matches!(Loaded::load(&sources), Err(Error::Syntax { .. })));
    let sources = Sources { file: Some(PathBuf::from("/nowhere/tol.toml")), ..Sources::default() };
    assert!(message_of(&sources).contains("/nowhere/tol.toml"));
}

#[test]
fn secrets_are_shown_nowhere() {
    let master = "5ec2e7".repeat(10) + "abcd";
    let text = format!(
        "[security]\nmaster_key = \"{master}\"\n[[security.api_keys]]\nname = \"ci\"\nhash = \"{}\"\nscopes = [\"read\"]\n\
         [log.kafka.settings]\n\"sasl.password\" = \"hunter2\"\nsecurity.protocol = \"SSL\"\n[systems.revenue-agent-system.settings]\nstripe_secret = \"sk_live\"\nlimit = 3\n",
        hash_key("k")
    );
    let (_folder, sources) = from_file(&text);
    let loaded = Loaded::load(&sources).unwrap();
    let shown = format!("{}{:?}{:?}", serde_json::to_string(&loaded.explain()).unwrap(), loaded.config.security, loaded.config.log);
    for secret in [master.as_str(), "hunter2", "sk_live", &hash_key("k")[7..]] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let value_of = |key: &str| loaded.explain().into_iter().find(|line| line.key == key).unwrap().value;
    assert_eq!(value_of("security.master_key"), "***");
    assert_eq!(value_of("log.kafka.settings.sasl.password"), "***");
    assert_eq!(value_of("log.kafka.settings.security.protocol"), "SSL");
    assert_eq!(value_of("systems.revenue-agent-system.settings.limit"), 3);
    assert_eq!(loaded.config.log.kafka.settings["sasl.password"].expose(), "hunter2");
    let (_folder, wrong) = from_file("[security]\nmaster_key = \"too short and secret\"\n");
    assert!(!message_of(&wrong).contains("too short and secret"));
}

#[test]
fn an_open_port_without_keys_is_refused_and_the_message_says_what_to_do() {
    let mut sources = Sources::default();
    sources.set("http.listen", "0.0.0.0:7700", "--listen");
    let message = message_of(&sources);
    assert!(message.contains("flag --listen") && message.contains("tol keys new"), "{message}");
    sources.set("security.api_keys", format!("[{{name = \"a\", hash = \"{}\", scopes = [\"admin\"]}}]", hash_key("x")), "--set");
    assert!(Loaded::load(&sources).is_ok());
}

#[test]
fn values_out_of_range_are_refused_with_their_origin() {
    for pair in [
        "log.partitions=0",
        "http.listen=7700",
        "stop.lease_ms=1",
        "systems.x.uptime_target=101",
        "supervision.hung_after_ms=1",
        "log.kafka.bootstrap=broker",
        "security.api_keys=[{name='a',hash='md5:1',scopes=['read']}]",
    ] {
        let mut sources = Sources::default();
        sources.set_pair(pair).unwrap();
        let message = message_of(&sources);
        assert!(message.contains(pair.split_once('=').unwrap().0) && message.contains("flag --set"), "{pair}: {message}");
    }
    assert!(Sources::default().set_pair("http.listen").is_err());
}

#[test]
fn profiles_load() {
    let load = |name: &str| {
        let file = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles").join(name));
        Loaded::load(&Sources { file, ..Sources::default() }).unwrap().config
    };
    assert_eq!(load("dev.toml").log_kind(), LogKind::Embedded);
    let production = load("production.toml");
    assert_eq!(production.log_kind(), LogKind::Kafka);
    assert_eq!(production.system("tree-of-life-system").uptime_target_ppm(), Some(999_900));
}
