//! A node with the puppet in a process of its own, which can be killed, and started again on the same folder.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::plug::NAME;
use super::{config, start};
use crate::common::{Http, wait};

/// The variable that makes [`node_process`] a node: data folder, settings of the puppet, whether it is enabled.
const CONFIGURATION: &str = "PUPPET_NODE";

/// This binary as a node with the puppet.
pub struct NodeProcess {
    child: Child,
    pub http: Http,
    /// Keeps its end of the pipe open, so that the child may write.
    _says: std::process::ChildStdout,
}

impl NodeProcess {
    /// Starts it with these settings of the puppet, and waits until it is ready.
    pub fn start(data: &Path, settings: &Value) -> Self {
        Self::launch(&json!({"data": data, "settings": settings, "enabled": true}))
    }

    /// Starts it with the puppet disabled.
    pub fn with_puppet_disabled(data: &Path, settings: &Value) -> Self {
        Self::launch(&json!({"data": data, "settings": settings, "enabled": false}))
    }

    fn launch(configuration: &Value) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["puppet::process::node_process", "--exact", "--ignored", "--nocapture"]).env(CONFIGURATION, configuration.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut says = child.stdout.take().unwrap();
        let lines = BufReader::new(&mut says).lines();
        let url = lines.map_while(Result::ok).find_map(|line| line.split_once("puppet listens on ").map(|(_, url)| url.to_owned())).unwrap();
        let http = Http::new(&url);
        http.wait_until_ready();
        Self { child, http, _says: says }
    }

    /// Ends it as SIGTERM would, and waits until it is gone.
    pub fn stop(mut self) {
        drop(self.child.stdin.take());
        wait("the end of the node's process", || self.child.try_wait().unwrap());
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// No test is left out here: this binary starts itself with this name to be a node in a process of its own, since only test binaries have the puppet.
#[test]
#[ignore = "a node that other tests start and end"]
fn node_process() {
    let Ok(text) = std::env::var(CONFIGURATION) else { return };
    let configuration: Value = serde_json::from_str(&text).unwrap();
    let mut node_config = config(Path::new(configuration["data"].as_str().unwrap()), &configuration["settings"]);
    node_config.systems.get_mut(NAME).unwrap().enabled = configuration["enabled"] == true;
    let (node, http) = start(node_config);
    println!("puppet listens on {}", http.url);
    // It ends when the test that started it closes the pipe.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    node.stop().unwrap();
}
