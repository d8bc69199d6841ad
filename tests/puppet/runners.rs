//! What the puppet does outside: a child process of minutes, and something short.

use std::time::Duration;

use serde_json::{Value, json};
use tol_plug::process::Command;
use tol_plug::{Effect, Failure};

/// Leaves a process of its own behind, and waits for a file.
const SCRIPT: &str = r#"
sleep 600 &
echo "$$ $!" > pids.new && mv pids.new pids
while [ ! -e "$1" ]; do sleep 0.05; done
printf done
"#;

/// Runs a shell with a child of its own until the file `until` is there; the numbers of both processes are the text of its progress.
pub fn work(effect: &Effect<'_>) -> Result<Value, Failure> {
    let until = effect.payload()["until"].as_str().ok_or_else(|| Failure::permanent("until is missing"))?;
    let scratch = effect.scratch().map_err(|error| Failure::retry(format!("no scratch folder: {error}")))?;
    let pids = scratch.join("pids");
    let child = Command::new("/bin/sh", Duration::from_secs(500)).args(["-c", SCRIPT, "sh", until]).current_dir(scratch).inherit("PATH");
    let finished = child.run(&|| {
        if let Ok(pids) = std::fs::read_to_string(&pids) {
            effect.progress(0.5, pids.trim());
        }
        effect.cancelled()
    })?;
    let finished = finished.successful()?;
    Ok(json!({"output": finished.stdout.text()}))
}

/// Takes as long as `wait_ms` says, cancelled or not, and gives `note` back.
pub fn short(effect: &Effect<'_>) -> Result<Value, Failure> {
    effect.progress(0.1, "begun");
    std::thread::sleep(Duration::from_millis(effect.payload()["wait_ms"].as_u64().unwrap_or(0)));
    Ok(json!({"note": effect.payload()["note"]}))
}
