//! What `/metrics` tells of the process, its disk and its uptime. Linux tells it in `/proc`; elsewhere these metrics are absent.

use std::path::Path;
use std::time::Instant;

use super::metric_definitions;

/// `USER_HZ`: what Linux counts processor time in towards programs, on every architecture that tol builds for.
const TICKS_A_SECOND: f64 = 100.0;

/// What the system tells of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) open_files: u64,
    /// 0 where there is no limit.
    pub(super) max_files: u64,
    pub(super) threads: u64,
    /// Unix time.
    pub(super) started: f64,
}

/// Sets the gauges. Blocking.
pub(super) fn measure(data: &Path, started: Instant) {
    metric_definitions::uptime(started.elapsed().as_secs_f64());
    if let Ok(disk) = rustix::fs::statvfs(data) {
        metric_definitions::disk(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    }
    if let Some(process) = process() {
        metric_definitions::process(&process);
    }
}

fn process() -> Option<Process> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).ok();
    let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(Process { open_files, ..parse(&read("self/stat")?, &read("self/limits")?, &read("stat")?, rustix::param::page_size() as u64)? })
}

/// Reads `/proc/self/stat`, `/proc/self/limits` and `/proc/stat` (proc(5)).
fn parse(stat: &str, limits: &str, system: &str, page_bytes: u64) -> Option<Process> {
    // The command's name stands in parentheses and may hold spaces; the fields behind it are numbered from 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let max_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?.parse().unwrap_or(0);
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) as f64 / TICKS_A_SECOND,
        threads: field(20)?,
        started: booted + field(22)? as f64 / TICKS_A_SECOND,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_bytes,
        max_files,
        open_files: 0,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_read() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 1000 4096000 25 18446744073709551615 1 1";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n";
        let process = parse(stat, limits, "cpu 1 2\nbtime 1700000000\n", 4096).unwrap();
        let expected = Process {
            cpu_seconds: 3.0,
            resident_bytes: 102_400,
            virtual_bytes: 4_096_000,
            open_files: 0,
            max_files: 1024,
            threads: 7,
            started: 1_700_000_010.0,
        };
        assert_eq!(process, expected);
        assert_eq!(parse("nothing", limits, "", 4096), None);
    }

    #[test]
    fn this_process_is_measured() {
        let process = super::process().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > process.resident_bytes, "{process:?}");
        assert!(process.open_files >= 3 && process.threads >= 1 && process.started < now && process.started > now - 86_400.0, "{process:?}");
    }
}
