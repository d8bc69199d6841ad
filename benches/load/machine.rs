//! The machine, what a process has used of it, and summaries of times.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Ticks of `/proc/*/stat` a second on Linux.
const TICKS: f64 = 100.0;

/// The facts without which a figure says nothing.
pub fn facts() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()));
    let memory = read("/proc/meminfo").lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load: String = read("/proc/loadavg").split(' ').take(2).collect::<Vec<_>>().join(" ");
    let commit = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output();
    let commit =
        commit.ok().filter(|output| output.status.success()).map_or("unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    vec![
        ("processor", model.unwrap_or_else(|| "unknown".to_owned())),
        ("cores", format!("{cores}, shared by node and load program")),
        ("memory", format!("{:.0} GiB", memory.unwrap_or_default() / 1024.0 / 1024.0)),
        ("system", format!("Linux {}", read("/proc/sys/kernel/osrelease").trim())),
        ("load before", load),
        ("commit", commit),
        ("durability", "every acknowledged event was synced (fdatasync) to the embedded log".to_owned()),
    ]
}

/// Processor time that a process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(0.0, |stat| of_stat(&stat))
}

/// Processor time of each of its threads by name, in seconds; equal names are added up.
pub fn thread_seconds(pid: u32) -> BTreeMap<String, f64> {
    let mut threads = BTreeMap::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return threads };
    for task in tasks.flatten() {
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        let name = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("?", |(name, _)| name).to_owned();
        *threads.entry(name).or_insert(0.0) += of_stat(&stat);
    }
    threads
}

fn of_stat(stat: &str) -> f64 {
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / TICKS
}

/// The five threads that used most between two looks, as text: their share of one core.
pub fn busiest(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, elapsed: Duration) -> String {
    let used = |(name, seconds): (&String, &f64)| (name.clone(), (seconds - before.get(name).copied().unwrap_or_default()) / elapsed.as_secs_f64());
    let mut used: Vec<(String, f64)> = after.iter().map(used).filter(|(_, share)| *share > 0.005).collect();
    used.sort_by(|a, b| b.1.total_cmp(&a.1));
    used.iter().take(8).map(|(name, share)| format!("{name} {:.0}%", share * 100.0)).collect::<Vec<_>>().join(", ")
}

/// A line of `/proc/PID/status` in megabytes: `VmRSS`, `VmHWM`.
pub fn megabytes(pid: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes.unwrap_or_default() * 1024.0 / 1e6
}

/// Times of requests.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Adds all of another's.
    pub fn join(&mut self, other: Times) {
        self.0.extend(other.0);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The times below which these shares of all lie, in milliseconds.
    pub fn percentiles<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        shares.map(|share| self.0.get(((self.0.len() as f64 * share) as usize).min(last)).map_or(0.0, Duration::as_secs_f64) * 1e3)
    }
}
