//! An Apache Kafka of this test's own, started by `scripts/kafka.sh`. `TOL_SKIP_KAFKA=1` skips where none can run.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

pub struct Broker {
    folder: tempfile::TempDir,
    ports: [u16; 2],
}

impl Broker {
    /// Started; `None` where tests with Kafka are to be skipped.
    pub fn start() -> Option<Self> {
        if std::env::var("TOL_SKIP_KAFKA").is_ok_and(|value| value == "1") {
            println!("skipped: TOL_SKIP_KAFKA=1");
            return None;
        }
        let listeners: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = [listeners[0].local_addr().unwrap().port(), listeners[1].local_addr().unwrap().port()];
        drop(listeners);
        let broker = Self { folder: tempfile::tempdir().unwrap(), ports };
        broker.run("up");
        Some(broker)
    }

    fn run(&self, command: &str) {
        let mut run = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka.sh"));
        run.arg(command)
            .env("KAFKA_DIR", self.folder.path())
            .env("KAFKA_PORT", self.ports[0].to_string())
            .env("KAFKA_CONTROLLER_PORT", self.ports[1].to_string());
        // Not piped: the broker it leaves behind would keep the pipe open.
        let output = self.folder.path().join("script.log");
        let file = std::fs::File::create(&output).unwrap();
        run.stdout(file.try_clone().unwrap()).stderr(file);
        let status = run.status().unwrap();
        assert!(status.success(), "scripts/kafka.sh {command}: {status}: {}", std::fs::read_to_string(output).unwrap_or_default());
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.run("crash");
        } else if let Ok(pid) = std::fs::read_to_string(self.folder.path().join("pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
    }
}
