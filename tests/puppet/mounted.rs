//! What the node does with a mounted system: its settings and its port.

use serde_json::json;
use tol_config::{ApiKey, Config, generate_key, hash_key};
use tol_plug::mount;
use tree_of_life::node::testing::TestNode;

use super::client::{Client, free_port};
use super::plug::{NAME, PLAY, PuppetPlug};
use super::{asking, config, start};
use crate::common::wait;

/// Why a node does not start.
fn refused(config: Config) -> String {
    format!("{:#}", TestNode::with_plugs(config, vec![mount::<PuppetPlug>()]).expect_err("it started"))
}

#[test]
fn settings_are_refused_by_name_and_a_secret_is_shown_nowhere() {
    const TOKEN: &str = "whsec_not_for_anybody";
    let folder = tempfile::tempdir().unwrap();
    let why = refused(config(folder.path(), &json!({"limitt": 3, "token": TOKEN})));
    assert!(why.contains("systems.puppet-system.settings.limitt") && why.contains("did you mean limit?") && !why.contains(TOKEN), "{why}");
    let why = refused(config(folder.path(), &json!({"limit": 0, "token": TOKEN})));
    assert!(why.contains("settings.limit = 0: must be at least 1") && !why.contains(TOKEN), "{why}");
    let why = refused(config(folder.path(), &json!({"token": [TOKEN]})));
    assert!(why.contains("settings.token") && !why.contains(TOKEN), "{why}");
    let why = refused(config(folder.path(), &json!({"listen": {"pupet": "127.0.0.1:1"}})));
    assert!(why.contains("listen.pupet"), "{why}");

    let config = config(folder.path(), &json!({"limit": 1, "token": TOKEN}));
    for printed in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(printed.contains("token") && !printed.contains(TOKEN), "{printed}");
    }
    let (node, http) = start(config);
    assert_eq!(http.get("/compat/puppet/hello/ann").ok(), json!({"hello": "ann", "caller": "local", "token": true}));
    let short = |id: &str| asking(id, "customer/1", "puppet.short", json!({"note": id}));
    http.publish(&[short("first"), short("second")]).ok();
    let parked = wait("the limit to be met", || http.get(&format!("/dead-letters?system={NAME}")).ok()["items"].as_array()?.first().cloned());
    assert_eq!((&parked["event_id"], parked["error"].as_str().unwrap().contains("for 1 effects")), (&json!("second"), true));
    let document = http.get("/openapi.json").ok();
    let paths = document["paths"].as_object().unwrap().keys().filter(|path| !path.contains('{') && *path != "/events/stream");
    let system = [format!("/systems/{NAME}"), format!("/systems/{NAME}?subject=customer/1")];
    for path in paths.map(String::as_str).chain(system.iter().map(String::as_str)) {
        assert!(!http.get(path).text.contains(TOKEN), "{path}");
    }
    for event in http.events("") {
        assert!(!event.to_string().contains(TOKEN), "{event}");
    }
    node.stop().unwrap();
}

#[test]
fn beyond_this_machine_the_port_opens_with_keys_only_and_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut config = config(folder.path(), &json!({"listen": {"puppet": format!("0.0.0.0:{port}")}}));
    let why = refused(config.clone());
    assert!(why.contains("listen.puppet") && why.contains("loopback"), "{why}");

    let (player, reader) = (generate_key().unwrap(), generate_key().unwrap());
    config.security.api_keys =
        vec![ApiKey::new("player", hash_key(player.expose()), &[PLAY.0]), ApiKey::new("reader", hash_key(reader.expose()), &[tol_config::scope::READ])];
    let (node, http) = start(config);
    let mut client = Client::connect(port);
    assert_eq!(client.ask("PING"), "ERROR key");
    assert_eq!(client.ask(&format!("AUTH {}", reader.expose())), "ERROR key");
    assert_eq!(client.ask(&format!("AUTH {}", player.expose())), "HELLO player");
    assert_eq!(client.ask("PING"), "PONG");
    // The protocol over HTTP: its own header, its own form of errors.
    let hello = |key: &str| {
        let answer = http.try_send("GET", "/compat/puppet/hello/ann", &[("x-puppet-key", key)], &[]).unwrap();
        (answer.status, answer.text)
    };
    assert_eq!(hello(reader.expose()), (403, "missing-scope".to_owned()));
    assert_eq!(hello("tol_wrong"), (401, "invalid-key".to_owned()));
    let (status, text) = hello(player.expose());
    assert!(status == 200 && text.contains("\"player\""), "{text}");
    node.stop().unwrap();
}
