//! An Apache Kafka of a test's own, started by `scripts/kafka.sh`. `TOL_SKIP_KAFKA=1` skips where none can run.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A broker on free ports in a folder of its own; killed when dropped.
pub struct Broker {
    folder: tempfile::TempDir,
    ports: [u16; 2],
}

/// Whether tests with Kafka are to be skipped.
pub fn skipped() -> bool {
    let skip = std::env::var("TOL_SKIP_KAFKA").is_ok_and(|value| value == "1");
    if skip {
        println!("skipped: TOL_SKIP_KAFKA=1");
    }
    skip
}

/// Below those that the system gives to outgoing connections: one of these could take the port while the broker is down.
fn free_port() -> u16 {
    let candidates = (0..200).map(|number| 12_000 + (RandomState::new().hash_one(number) % 20_000) as u16);
    candidates.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("no free port between 12000 and 32000")
}

fn script() -> PathBuf {
    // This file belongs to tests of the root package, too.
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [package.join("scripts/kafka.sh"), package.join("../scripts/kafka.sh")];
    places.into_iter().find(|place| place.exists()).expect("scripts/kafka.sh is there")
}

impl Broker {
    /// Not started yet.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), ports: [free_port(), free_port()] }
    }

    /// Started; `None` where tests with Kafka are to be skipped.
    pub fn start() -> Option<Self> {
        if skipped() {
            return None;
        }
        let broker = Self::new();
        broker.run("up").expect("no broker; set TOL_SKIP_KAFKA=1 where none can run");
        Some(broker)
    }

    /// `up`, `down` or `crash`.
    pub fn run(&self, command: &str) -> Result<(), String> {
        let mut run = Command::new(script());
        run.arg(command)
            .env("KAFKA_DIR", self.folder.path())
            .env("KAFKA_PORT", self.ports[0].to_string())
            .env("KAFKA_CONTROLLER_PORT", self.ports[1].to_string());
        // Not piped: the broker it leaves behind would keep the pipe open.
        let output = self.folder.path().join("script.log");
        let file = std::fs::File::create(&output).unwrap();
        run.stdout(file.try_clone().unwrap()).stderr(file);
        let status = run.status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", std::fs::read_to_string(output).unwrap_or_default())) }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.run("crash");
    }
}
