use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Command {
    Command::new("/bin/sh", SOON).args(["-c", script]).env("PATH", "/usr/bin:/bin")
}

fn run(command: &Command) -> Finished {
    command.run(&|| false).unwrap()
}

/// A folder of the test's own.
fn folder() -> PathBuf {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let folder = std::env::temp_dir().join(format!("tol-process-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Whether a process runs: one that ended and that nobody has waited for does not.
fn runs(id: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X'])
}

/// Waits until `holds`.
fn wait(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The numbers that a script has written to a file, once there are `count`.
fn numbers(file: &std::path::Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    wait("the script tells its processes", || read().len() == count);
    read()
}

#[test]
fn a_child_has_the_environment_folder_and_input_it_is_given_and_nothing_else() {
    let folder = folder();
    let finished = run(&shell("env; pwd; cat; echo oops >&2; exit 3").env("GIVEN", "yes").current_dir(&folder).input("told"));
    let mut lines: Vec<String> = finished.stdout.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some("told"));
    assert_eq!(lines.pop().map(PathBuf::from), Some(folder.clone()));
    lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL=") && !line.starts_with("_="));
    lines.sort();
    assert_eq!(lines, ["GIVEN=yes", "PATH=/usr/bin:/bin"]);
    assert_eq!((finished.status.code(), finished.truncated()), (Some(3), false));
    let problem = finished.successful().unwrap_err().to_string();
    assert_eq!(problem, "/bin/sh ended with exit status: 3: oops");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn more_input_and_output_than_a_pipe_holds_goes_through() {
    let input = vec![b'x'; 1 << 20];
    let finished = run(&shell("cat").input(input.clone()).output_limit(4 << 20));
    assert_eq!(finished.stdout.bytes(), input);
    let finished = run(&shell("exit 0").input(input));
    assert!(finished.status.success(), "a child that does not read its input is no error");
}

#[test]
fn of_much_output_the_beginning_and_the_end_are_kept_and_the_rest_is_counted() {
    let finished = run(&shell("echo first; head -c 1000000 /dev/zero | tr '\\0' x; echo last; echo few >&2").output_limit(1_000));
    let text = finished.stdout.text();
    assert!(text.starts_with("first\nxxx") && text.ends_with("xxxlast\n"), "{text}");
    assert_eq!((finished.stdout.dropped(), finished.stdout.bytes().len()), (1_000_011 - 1_000, 1_000));
    assert!(text.contains("\n[999011 bytes dropped]\n") && finished.truncated());
    assert_eq!((finished.stderr.text().as_str(), finished.stderr.dropped()), ("few\n", 0));
}

#[test]
fn one_that_writes_without_end_is_ended_by_its_time_with_all_its_descendants() {
    let folder = folder();
    let file = folder.join("ids");
    let script = format!("sleep 1000 & echo $! >> {0}; echo $$ >> {0}; echo working >&2; while :; do echo y; done", file.display());
    let command = Command { time_limit: Duration::from_millis(500), ..shell(&script) };
    let started = Instant::now();
    let error = command.run(&|| false).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(error.to_string(), "/bin/sh ran longer than 0.5 s and was killed; it had written: working");
    for id in numbers(&file, 2) {
        wait("it is killed", || !runs(&id));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn cancelling_kills_the_group_within_half_a_second() {
    let folder = folder();
    let file = folder.join("ids");
    let script = format!("(sleep 1000 & echo $! >> {0}; wait) & echo $$ >> {0}; wait", file.display());
    let told = file.clone();
    let asked = std::cell::Cell::new(None);
    let cancelled = || {
        let ready = std::fs::read_to_string(&told).is_ok_and(|text| text.lines().count() == 2);
        if ready && asked.get().is_none() {
            asked.set(Some(Instant::now()));
        }
        ready
    };
    let error = shell(&script).run(&cancelled).unwrap_err();
    let took = asked.get().unwrap().elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    for id in numbers(&file, 2) {
        wait("it is killed", || !runs(&id));
    }
    assert_eq!(Failure::from(error), Failure::Cancelled);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_a_child_leaves_running_ends_with_it() {
    let folder = folder();
    let file = folder.join("ids");
    let finished = run(&shell(&format!("sleep 1000 & echo $! >> {}; echo done", file.display())));
    assert_eq!((finished.stdout.text().as_str(), finished.seconds < 5.0), ("done\n", true), "it holds the pipe, and is not waited for");
    wait("it is killed", || !runs(&numbers(&file, 1)[0]));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_child_may_use_no_more_than_its_limits() {
    let folder = folder();
    let limits = ResourceLimits { address_space: Some(256 << 20), cpu_seconds: Some(1), open_files: Some(20), file_size: Some(4_096) };
    let finished = run(&shell("ulimit -v; ulimit -t; ulimit -n; ulimit -c").limits(limits));
    assert_eq!(finished.stdout.text(), "262144\n1\n20\n0\n");
    let finished = run(&shell("head -c 100000 /dev/zero > large; ls -l large").current_dir(&folder).limits(limits));
    assert!(finished.stdout.text().contains(" 4096 "), "{}", finished.stdout.text());
    let spinning = run(&shell("while :; do :; done").limits(limits));
    assert!(!spinning.status.success() && spinning.seconds < 15.0, "{:?} after {} s", spinning.status, spinning.seconds);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_memory_of_a_child_is_seen() {
    let finished = run(&shell("head -c 50000000 /dev/zero | tail -c 40000000 > /dev/null; sleep 0.5"));
    assert!(finished.peak_bytes.is_some_and(|bytes| bytes > 100_000), "{:?}", finished.peak_bytes);
}

#[test]
fn a_program_that_is_not_there_is_an_error_that_no_try_mends() {
    let error = Command::new("/nowhere/git", SOON).run(&|| false).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/git could not be started: No such file"), "{error}");
    assert!(matches!(Failure::from(error), Failure::Permanent(_)));
}

const HELPER: &str = "TOL_PROCESS_TEST_IDS";

/// The test starts itself again as the node; that one is killed, and nothing it started is left.
#[test]
fn nothing_is_left_of_a_child_whose_node_is_killed() {
    if let Some(file) = std::env::var_os(HELPER) {
        let file = PathBuf::from(file);
        // Of a child that ended before, and of one that did not start, the guard must know no more.
        run(&shell("exit 0"));
        assert!(Command::new("/nowhere/git", SOON).run(&|| false).is_err());
        let script = format!("(trap '' TERM HUP INT; sleep 1000 & echo $! >> {0}; wait) & echo $$ >> {0}; wait", file.display());
        let ended = Command { time_limit: Duration::from_secs(1_000), ..shell(&script) }.run(&|| false);
        panic!("the child ended before its node: {ended:?}");
    }
    let folder = folder();
    let file = folder.join("ids");
    let mut node = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::tests::nothing_is_left_of_a_child_whose_node_is_killed"])
        .env(HELPER, &file)
        .spawn()
        .unwrap();
    let ids = numbers(&file, 2);
    assert!(ids.iter().all(|id| runs(id)));
    node.kill().unwrap();
    node.wait().unwrap();
    for id in ids {
        wait("it is killed", || !runs(&id));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
