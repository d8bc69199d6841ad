//! A node of the load program's own, in a folder that goes with it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::client::Client;

/// How to start nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeOptions {
    /// The binary.
    #[arg(long, env = "TOL_BIN", default_value = "bin/tol", global = true)]
    bin: PathBuf,
    /// Runs the node on this Apache Kafka instead of the embedded log.
    #[arg(long, value_name = "BOOTSTRAP", global = true)]
    pub kafka: Option<String>,
    /// Where the throw-away folders are made; a file system in memory would make durability free.
    #[arg(long, default_value = "/var/tmp", global = true)]
    folder: PathBuf,
    /// Further arguments for `tol run`.
    #[arg(long = "node-arg", value_name = "ARG", allow_hyphen_values = true, global = true)]
    node_args: Vec<String>,
    /// Measures this running node (HOST:PORT) instead of starting one.
    #[arg(long, value_name = "HOST:PORT", requires = "pid", global = true)]
    at: Option<String>,
    /// Its process, to read memory and processor time.
    #[arg(long, requires = "at", global = true)]
    pid: Option<u32>,
}

impl NodeOptions {
    /// A folder for a node inside this process.
    pub fn throw_away(&self) -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("tol-load-").tempdir_in(&self.folder)?)
    }
}

/// A running node.
pub struct Node {
    child: Option<Child>,
    folder: TempDir,
    /// `HOST:PORT`.
    pub address: String,
    /// Its process.
    pub pid: u32,
}

impl Node {
    /// Starts one and waits until it is ready.
    pub fn start(options: &NodeOptions) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tol-load-").tempdir_in(&options.folder)?;
        if let (Some(address), Some(pid)) = (&options.at, options.pid) {
            return Ok(Self { child: None, folder, address: address.clone(), pid });
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let output = std::fs::File::create(folder.path().join("output"))?;
        let mut command = Command::new(&options.bin);
        command.args(["run", "--listen", &address, "--data"]).arg(folder.path().join("data"));
        if let Some(bootstrap) = &options.kafka {
            command.args(["--kafka", bootstrap]);
        }
        command.args(&options.node_args).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("starting {}", options.bin.display()))?;
        let mut node = Self { pid: child.id(), child: Some(child), folder, address };
        node.wait_ready()?;
        Ok(node)
    }

    /// One that runs inside this process at `url`, with its folder.
    pub fn inside(url: &str, folder: TempDir) -> anyhow::Result<Self> {
        let address = url.trim_start_matches("http://").to_owned();
        let mut node = Self { child: None, folder, address, pid: std::process::id() };
        node.wait_ready()?;
        Ok(node)
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if let Ok(mut client) = Client::connect(&self.address)
                && client.json("GET", "/readyz").is_ok()
            {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("the node ended with {status}:\n{}", std::fs::read_to_string(self.folder.path().join("output"))?);
            }
            sleep(Duration::from_millis(50));
        }
        bail!("the node did not get ready:\n{}", std::fs::read_to_string(self.folder.path().join("output"))?);
    }

    /// A connection to it.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.address)
    }

    /// Waits until every projection and every system has read to the end of the log; how long that took.
    pub fn settle(&self) -> anyhow::Result<Duration> {
        let (began, mut client) = (Instant::now(), self.client()?);
        let mut quiet = 0;
        while quiet < 3 {
            let behind = lag(&client.get_json("/projections")?) + lag(&client.get_json("/systems")?);
            quiet = if behind == 0 { quiet + 1 } else { 0 };
            if began.elapsed() > Duration::from_secs(1_800) {
                bail!("the node is still {behind} events behind after 30 minutes");
            }
            sleep(Duration::from_millis(100));
        }
        Ok(began.elapsed())
    }

    /// Stops it by SIGTERM and gives its data folder; the folder goes when this is dropped.
    pub fn stop(&mut self) -> anyhow::Result<PathBuf> {
        if let Some(mut child) = self.child.take() {
            Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
            child.wait()?;
        }
        Ok(self.data().to_owned())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Bytes of its log on disk.
    pub fn log_bytes(&self) -> u64 {
        bytes_below(&self.data().join("log"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lag(statuses: &serde_json::Value) -> u64 {
    statuses.as_array().into_iter().flatten().filter_map(|status| status["lag"].as_u64()).sum()
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
