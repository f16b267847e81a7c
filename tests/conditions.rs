//! Whole processes on a machine that is short of something. What needs a machine of its own is in
//! tests/box: `full_disk.sh`, `memory.sh`, `stopped.sh`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_virtio-loopback-gpu");
const TIMEOUT: Duration = Duration::from_secs(30);
const TOO_MANY: &str = "Too many open files (os error 24)";

/// The program with at most `descriptors` open files.
fn limited(place: &TempDir, descriptors: u64, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh"])
        .args([&descriptors.to_string(), PROGRAM])
        .args(arguments);
    in_place(command, place)
}

fn in_place(mut command: Command, place: &TempDir) -> Command {
    command
        .env("XDG_RUNTIME_DIR", place.path())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Exit code and standard error of a process that ends in time.
fn outcome(mut child: Child) -> (Option<i32>, String) {
    let deadline = Instant::now() + TIMEOUT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

/// One line that says what could not be done and why. Where it is the backend that could not be
/// started, each attempt may have one.
fn assert_told(text: &str, descriptors: u64) {
    let lines: Vec<_> = text.lines().collect();
    for line in &lines {
        let what = line.strip_prefix("virtio-loopback-gpu: ").unwrap_or_default();
        assert!(what.contains(&format!(": {TOO_MANY}")), "with {descriptors}: {text}");
    }
    let attempts = lines.iter().filter(|line| line.ends_with("; another one takes its place"));
    assert_eq!(lines.len(), attempts.count() + 1, "with {descriptors}: {text}");
    assert!(lines.last().unwrap().ends_with(TOO_MANY), "with {descriptors}: {text}");
}

#[test]
fn too_few_descriptors_are_one_clear_line() {
    let demo = ["demo", "--display", "headless", "--scanout", "64x48", "--frames", "3"];
    let mut worked = 0;
    for descriptors in 4..64 {
        let place = tempfile::tempdir().unwrap();
        let child = limited(&place, descriptors, &demo).spawn().unwrap();
        let (code, text) = outcome(child);
        println!("{descriptors}: {code:?} {text}");
        match code {
            Some(0) => {
                assert_eq!(text, "", "with {descriptors}");
                worked += 1;
            }
            Some(1) => {
                // More of them never make it worse.
                assert_eq!(worked, 0, "with {descriptors}: {text}");
                assert_told(&text, descriptors);
            }
            other => panic!("with {descriptors}: {other:?}, {text}"),
        }
        let left = std::fs::read_dir(place.path().join("virtio-loopback-gpu"));
        let left: Vec<_> = left.into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|name| name == "gpu0.sock"), "with {descriptors}: {left:?}");
    }
    assert!(worked > 0, "63 descriptors are not enough");
}

/// Asks `ctl` for something; returns exit code, standard output and error.
fn ctl(place: &TempDir, request: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["ctl", "--name", "gpu0"]).args(request);
    let output = in_place(command, place).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A demo that goes on drawing, once it has drawn something.
fn drawing(place: &TempDir) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["demo", "--display", "headless", "--scanout", "64x48", "--rate", "50"]);
    let child = in_place(command, place).spawn().unwrap();
    wait_until("it draws", || ctl(place, &["status"]).1.contains("scanout 0 live"));
    child
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn status(place: &TempDir) -> serde_json::Value {
    let (_, json, error) = ctl(place, &["status", "--json"]);
    serde_json::from_str(&json).unwrap_or_else(|_| panic!("no status: {error}"))
}

fn number(place: &TempDir, field: &str) -> u64 {
    status(place).pointer(field).and_then(serde_json::Value::as_u64).unwrap()
}

fn descriptor(pid: Pid, fd: u64) -> PathBuf {
    Path::new("/proc").join(format!("{}/fd/{fd}", pid.as_raw_nonzero()))
}

fn pid(number: u64) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

#[test]
fn a_device_without_free_descriptors_goes_on_and_ends_clearly_when_its_backend_dies() {
    let place = tempfile::tempdir().unwrap();
    let child = drawing(&place);
    let adapter = pid(child.id().into());
    let backend = pid(number(&place, "/backend_pid"));
    // None is free from now on, not even for a client of `ctl`.
    let first_free = (0..).find(|fd| !descriptor(adapter, *fd).exists());
    let limit = Rlimit { current: first_free, maximum: Some(4096) };
    prlimit(Some(adapter), Resource::Nofile, limit).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let enough = Rlimit { current: Some(1024), ..limit };
    prlimit(Some(adapter), Resource::Nofile, enough).unwrap();
    let before = number(&place, "/scanouts/0/updates");
    wait_until("it goes on", || number(&place, "/scanouts/0/updates") > before + 5);
    // With none at all another backend cannot be started.
    prlimit(Some(adapter), Resource::Nofile, limit).unwrap();
    kill_process(backend, Signal::KILL).unwrap();
    let (code, text) = outcome(child);
    assert_eq!(code, Some(1), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("virtio-loopback-gpu: ") && last.ends_with(TOO_MANY), "{text}");
}

#[test]
fn a_stopped_adapter_does_not_answer_and_goes_on_afterwards() {
    let place = tempfile::tempdir().unwrap();
    let mut child = drawing(&place);
    let adapter = pid(child.id().into());
    kill_process(adapter, Signal::STOP).unwrap();
    let begun = Instant::now();
    let (code, _, error) = ctl(&place, &["status"]);
    assert_eq!(code, Some(1));
    assert_eq!(error, "virtio-loopback-gpu: the device did not answer within 15 s\n");
    assert!(begun.elapsed() >= Duration::from_secs(15));
    kill_process(adapter, Signal::CONT).unwrap();
    let before = number(&place, "/scanouts/0/updates");
    wait_until("it goes on", || number(&place, "/scanouts/0/updates") > before + 5);
    kill_process(adapter, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_stopped_adapter_that_is_killed_leaves_no_backend() {
    let place = tempfile::tempdir().unwrap();
    let mut child = drawing(&place);
    let backend = number(&place, "/backend_pid");
    kill_process(pid(backend), Signal::STOP).unwrap();
    kill_process(pid(child.id().into()), Signal::STOP).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the backend is gone", || {
        // It is a zombie until whoever reaps orphans has done so.
        let stat = std::fs::read_to_string(format!("/proc/{backend}/stat"));
        stat.map_or(true, |stat| stat.rsplit(") ").next().unwrap().starts_with('Z'))
    });
    // The name is free again.
    let again = drawing(&place);
    assert_eq!(ctl(&place, &["quit"]), (Some(0), String::new(), String::new()));
    assert_eq!(outcome(again), (Some(0), String::new()));
}
