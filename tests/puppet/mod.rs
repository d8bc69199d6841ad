//! A system that uses everything: effects of minutes with child processes, blobs, a port of its own, settings, questions to owners, personal data.
//!
//! * `plug`, `system`, `runners`, `listener` — the puppet
//! * `effects` — cancelled by a stop, and by `kill -9` of the node
//! * `runners_of_the_platform` — facts admitted and requests sent for the puppet
//! * `owners` — a question asked on a node that does not own the subject
//! * `folding` — events that its projection cannot fold
//! * `mounted` — settings, and keys on the port
//! * `restarts` — blobs, erased persons, the port, and a disabled system, over the end and the next start of a node
//! * `process`, `client` — a node in a process of its own, and a client of the port

mod client;
mod effects;
mod folding;
mod listener;
mod mounted;
mod owners;
mod plug;
mod process;
mod restarts;
mod runners;
mod runners_of_the_platform;
mod system;

use std::path::Path;

use serde_json::{Value, json};
use tol_config::Config;
use tol_plug::mount;
use tree_of_life::node::testing::TestNode;

use crate::common::{Http, event, wait};
use plug::PuppetPlug;

/// A node's configuration, with these settings of the puppet.
pub fn config(folder: &Path, settings: &Value) -> Config {
    let mut config = Config::default();
    config.node.data = folder.to_path_buf();
    config.http.listen = "127.0.0.1:0".to_owned();
    config.log.partitions = 2;
    config.systems.entry(plug::NAME.to_owned()).or_default().settings = tol_config::SettingsTable::new(settings.clone());
    config
}

/// A node with the puppet.
pub fn start(config: Config) -> (TestNode, Http) {
    let node = TestNode::with_plugs(config, vec![mount::<PuppetPlug>()]).unwrap();
    let http = Http::new(node.url());
    http.wait_until_ready();
    (node, http)
}

/// A fact that asks for an effect.
pub fn asking(id: &str, subject: &str, runner: &str, payload: Value) -> Value {
    event(id, system::ASKED, subject, "2026-01-05T10:00:00Z", json!({"runner": runner, "payload": payload}))
}

/// All events of a type, once there are `count`.
pub fn events(http: &Http, event_type: &str, count: usize) -> Vec<Value> {
    wait(&format!("{count} of {event_type}"), || Some(http.events(&format!("type={event_type}"))).filter(|events| events.len() >= count))
}
