//! `ctl` and signals while a device starts and ends.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(20);

fn command(place: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_virtio-loopback-gpu"));
    command
        .args(arguments)
        .env("XDG_RUNTIME_DIR", place.path())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A demo without a window that ends with this value.
struct Demo(Child);

impl Demo {
    fn start(place: &TempDir, arguments: &[&str]) -> Self {
        let all = [&["demo", "--display", "headless", "--scanout", "64x48"], arguments].concat();
        Self(command(place, &all).spawn().unwrap())
    }

    fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Exit code, standard output and standard error of `ctl`.
fn ctl(place: &TempDir, request: &str) -> (Option<i32>, String, String) {
    let output = command(place, &["ctl", request]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn answers(place: &TempDir) -> bool {
    ctl(place, "status").0 == Some(0)
}

#[test]
fn a_name_is_free_when_quit_returns() {
    let place = tempfile::tempdir().unwrap();
    for _ in 0..10 {
        let demo = Demo::start(&place, &[]);
        wait_until("it runs", || ctl(&place, "status").1.starts_with("gpu0: running"));
        assert_eq!(ctl(&place, "quit"), (Some(0), String::new(), String::new()));
        assert!(!place.path().join("virtio-loopback-gpu/gpu0.sock").exists());
        // At once, under the same name.
        let output = command(&place, &["demo", "--display", "headless", "--frames", "1"]).output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
        assert_eq!(demo.end().code(), Some(0));
    }
}

/// Whether all threads of the process are stopped.
fn is_stopped(pid: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    threads
        .map(|thread| thread.unwrap().path().join("stat"))
        .all(|stat| std::fs::read_to_string(stat).unwrap_or_default().contains(") T "))
}

#[test]
fn quit_says_when_the_device_stays() {
    let place = tempfile::tempdir().unwrap();
    let demo = Demo::start(&place, &[]);
    wait_until("it runs", || ctl(&place, "status").1.starts_with("gpu0: running"));
    // It cannot answer.
    let pid = Pid::from_child(&demo.0);
    kill_process(pid, Signal::STOP).unwrap();
    // The other threads go on for a moment.
    wait_until("it stands still", || is_stopped(pid));
    let begun = Instant::now();
    let (code, stdout, stderr) = ctl(&place, "quit");
    assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert_eq!(stderr, "virtio-loopback-gpu: the device did not answer within 15 s\n");
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(demo.end().code(), Some(0));
}

/// A backend that takes the connection and says nothing.
fn silent_backend(path: &Path) -> UnixListener {
    UnixListener::bind(path).unwrap()
}

#[test]
fn a_device_whose_backend_says_nothing_can_be_asked_and_ended() {
    for signal in [None, Some(Signal::TERM), Some(Signal::INT)] {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("gpu.sock");
        let _backend = silent_backend(&socket);
        let demo = Demo::start(&place, &["--backend", socket.to_str().unwrap()]);
        wait_until("it answers", || answers(&place));
        let begun = Instant::now();
        let (_, stdout, _) = ctl(&place, "status");
        assert!(stdout.starts_with("gpu0: waiting for the GPU backend, "), "{stdout}");
        match signal {
            None => assert_eq!(ctl(&place, "quit"), (Some(0), String::new(), String::new())),
            Some(signal) => kill_process(Pid::from_child(&demo.0), signal).unwrap(),
        }
        assert_eq!(demo.end().code(), Some(0), "{signal:?}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{signal:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_backend_that_hangs_is_not_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let demo = Demo::start(&place, &[]);
    wait_until("it runs", || ctl(&place, "status").1.starts_with("gpu0: running"));
    let status = command(&place, &["ctl", "status", "--json"]).output().unwrap().stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let backend = status["backend_pid"].as_i64().unwrap() as i32;
    kill_process(Pid::from_raw(backend).unwrap(), Signal::STOP).unwrap();
    let begun = Instant::now();
    assert_eq!(ctl(&place, "status").0, Some(0));
    assert_eq!(ctl(&place, "quit").0, Some(0));
    // A question it does not answer would take five seconds.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!Path::new(&format!("/proc/{backend}")).exists());
    assert_eq!(demo.end().code(), Some(0));
}

#[test]
fn what_nohup_starts_outlives_its_terminal() {
    let place = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_virtio-loopback-gpu");
    let script = format!("trap '' HUP; exec {program} demo --display headless --scanout 64x48");
    let mut nohup = Command::new("sh");
    nohup.args(["-c", &script]).env("XDG_RUNTIME_DIR", place.path()).stdin(Stdio::null());
    let demo = Demo(nohup.spawn().unwrap());
    wait_until("the demo answers", || answers(&place));
    kill_process(Pid::from_child(&demo.0), Signal::HUP).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(answers(&place));
    assert_eq!(ctl(&place, "quit").0, Some(0));
    assert_eq!(demo.end().code(), Some(0));
}
