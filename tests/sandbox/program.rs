//! The real program: what the kernel and `ctl` say of its processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;
use tempfile::TempDir;

use super::{ORDINARY, is_root};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A place that the user `uid` may enter, with the program in it.
struct Place {
    directory: TempDir,
    uid: Option<u32>,
}

impl Place {
    fn new(uid: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if let Some(uid) = uid {
            fs::copy(env!("CARGO_BIN_EXE_virtio-loopback-gpu"), directory.path().join("program"))
                .unwrap();
            chown(directory.path(), Some(uid), Some(uid)).unwrap();
        }
        Self { directory, uid }
    }

    fn program(&self) -> PathBuf {
        match self.uid {
            Some(_) => self.directory.path().join("program"),
            None => env!("CARGO_BIN_EXE_virtio-loopback-gpu").into(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(arguments).current_dir(self.directory.path());
        command.env("XDG_RUNTIME_DIR", self.directory.path());
        for name in ["DISPLAY", "WAYLAND_DISPLAY", "RUST_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A demo that is ready.
    fn demo(&self, arguments: &[&str]) -> Running {
        let mut all = vec!["demo", "--display", "headless", "--ready-fd", "1"];
        all.extend(arguments);
        Running::start(&mut self.command(&all))
    }

    fn status(&self) -> serde_json::Value {
        let output = self.command(&["ctl", "status", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn backend(&self) -> u32 {
        self.status()["backend_pid"].as_u64().unwrap().try_into().unwrap()
    }
}

struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let running = Self(child);
        assert_eq!(line, "ready gpu0\n");
        running
    }

    /// Ends it, and what it said.
    fn end(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap();
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `/proc/PID/status`, by field.
fn fields(pid: u32) -> BTreeMap<String, String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    status.lines().filter_map(field).collect()
}

/// Asserts that the kernel takes the process for confined, and for the user `uid`.
fn assert_confined(pid: u32, uid: u32) {
    let fields = fields(pid);
    let none = "0000000000000000";
    let mut expected = vec![
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "2"),
        ("Threads", "1"),
        ("CapInh", none),
        ("CapPrm", none),
        ("CapEff", none),
        ("CapAmb", none),
    ];
    if is_root() && uid != ORDINARY {
        expected.push(("CapBnd", none));
        expected.push(("Groups", ""));
    }
    for (name, value) in expected {
        assert_eq!(fields[name], value, "{name}");
    }
    assert_eq!(fields["Uid"], format!("{uid} {uid} {uid} {uid}"));
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for (name, most) in [("Max core file size", 0), ("Max processes", 0), ("Max open files", 4096)]
    {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let values: Vec<u64> =
            line.split_whitespace().take(2).map(|value| value.parse().unwrap()).collect();
        assert!(values.iter().all(|value| *value <= most), "{name} {values:?}");
    }
}

/// Who a backend started by this process is.
fn expected_user() -> u32 {
    if is_root() { 65534 } else { rustix::process::geteuid().as_raw() }
}

/// Whether the kernel has Landlock.
fn landlock() -> bool {
    let nothing = std::ptr::null::<u8>();
    // SAFETY: asked for its version (1), the call takes neither a pointer nor a size.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, 1_u32) };
    version > 0
}

pub fn a_backend_is_confined() {
    for mode in ["on", "strict"] {
        let place = Place::new(None);
        let demo = place.demo(&["--sandbox", mode]);
        let status = place.status();
        let sandbox = &status["sandbox"];
        let pid = place.backend();
        assert_confined(pid, expected_user());
        assert_eq!(sandbox["mode"], mode);
        assert_eq!(sandbox["uid"], expected_user());
        assert_eq!(sandbox["no_new_privs"], true);
        assert_eq!(sandbox["seccomp"], true);
        assert_eq!(sandbox["capabilities"], "0x0");
        assert!(!landlock() || sandbox["landlock_abi"].as_u64().is_some_and(|abi| abi > 0));
        let text = place.command(&["ctl", "status"]).output().unwrap().stdout;
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!("\n  sandbox   {mode}: user ")), "{text}");
        assert_eq!(demo.end(), "");
    }
    if is_root() {
        let place = Place::new(None);
        let demo = place.demo(&["--user", "12345:12346"]);
        let fields = fields(place.backend());
        assert_eq!(fields["Uid"], "12345 12345 12345 12345");
        assert_eq!(fields["Gid"], "12346 12346 12346 12346");
        assert_eq!(demo.end(), "");
    }
}

pub fn an_ordinary_users_backend_is_confined() {
    if !is_root() {
        println!("(all of these tests run as an ordinary user)");
        return;
    }
    let place = Place::new(Some(ORDINARY));
    let demo = place.demo(&["--sandbox=strict"]);
    assert_confined(place.backend(), ORDINARY);
    assert_eq!(place.status()["sandbox"]["uid"], ORDINARY);
    assert_eq!(demo.end(), "");
}

pub fn a_backend_alone_is_confined() {
    let place = Place::new(None);
    let path = place.directory.path().join("gpu.sock");
    let mut child =
        place.command(&["backend", "--socket-path", "gpu.sock"]).spawn().map(Running).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    let front_end = loop {
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let pid = child.0.id();
    // Before it has read a byte.
    while fields(pid)["Seccomp_filters"] != "2" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_confined(pid, expected_user());
    drop(front_end);
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

pub fn a_backend_again_is_confined() {
    for uid in super::users() {
        let place = Place::new(uid);
        let demo = place.demo(&["--sandbox=strict"]);
        let first = place.backend();
        let pid = rustix::process::Pid::from_raw(first.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let second = loop {
            // In between there may be none, or one that is not confined yet.
            let status = place.status();
            let pid = status["backend_pid"].as_u64().filter(|pid| *pid != u64::from(first));
            if let (Some(pid), true) = (pid, status["sandbox"]["seccomp"] == true) {
                break pid.try_into().unwrap();
            }
            assert!(Instant::now() < deadline, "{status}");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_confined(second, uid.unwrap_or_else(expected_user));
        drop(demo);
    }
}

pub fn a_backend_finds_no_secrets() {
    let place = Place::new(None);
    let mut command = place.command(&["demo", "--display", "headless", "--ready-fd", "1"]);
    command.env_remove("LD_LIBRARY_PATH").env("SECRET", "of-the-adapter").env("RUST_LOG", "error");
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(writer.as_fd(), FdFlags::empty()).unwrap();
    let demo = Running::start(&mut command);
    drop(writer);
    let pid = place.backend();
    if is_root() {
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        assert_eq!(environment, "RUST_LOG=error\0");
        let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets: Vec<_> =
            links.map(|link| fs::read_link(link.unwrap().path()).unwrap()).collect();
        let own = ["socket:", "/dev/null", "anon_inode:[event", "/memfd:virtio-gpu"];
        let standard_error = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap();
        for target in targets.iter().filter(|target| **target != standard_error) {
            let text = target.to_str().unwrap();
            assert!(own.iter().any(|prefix| text.starts_with(prefix)), "{targets:?}");
        }
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), PathBuf::from("/"));
    }
    assert_eq!(demo.end(), "");
    // With the demo its copy of the other end is gone, and the backend had none.
    let mut text = Vec::new();
    { reader }.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"");
}

pub fn the_adapter_keeps_only_what_it_needs() {
    let place = Place::new(None);
    let demo = place.demo(&[]);
    let fields = fields(demo.0.id());
    assert_eq!(fields["NoNewPrivs"], "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let kept = if is_root() { 0x1e2 } else { 0 };
        let value = u64::from_str_radix(&fields[set], 16).unwrap();
        assert_eq!(value & !kept, 0, "{set} is {value:#x}");
    }
    // Of every thread, not only of the first.
    for task in fs::read_dir(format!("/proc/{}/task", demo.0.id())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains(&format!("CapEff:\t{}", fields["CapEff"])), "{status}");
    }
    assert_eq!(demo.end(), "");
}

pub fn a_backend_does_not_outlive_its_adapter() {
    for uid in super::users() {
        let place = Place::new(uid);
        let mut demo = place.demo(&[]);
        let pid = place.backend();
        // Stopped, it does not see that its sockets are closed.
        let stopped = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
        demo.0.kill().unwrap();
        demo.0.wait().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            assert!(Instant::now() < deadline, "it lives on");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub fn without_a_sandbox_a_warning_says_so() {
    let place = Place::new(None);
    let demo = place.demo(&["--sandbox=off"]);
    let sandbox = &place.status()["sandbox"];
    assert_eq!(sandbox["mode"], "off");
    assert_eq!(sandbox["landlock_abi"], serde_json::Value::Null);
    let ours = fields(std::process::id());
    let fields = fields(place.backend());
    for name in ["Uid", "NoNewPrivs", "Seccomp", "CapEff"] {
        assert_eq!(fields[name], ours[name], "{name}");
    }
    let said = demo.end();
    assert!(said.contains("warning: the GPU backend runs without its sandbox"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

pub fn bad_users_are_refused() {
    let place = Place::new(None);
    for (arguments, what) in [
        (&["demo", "--user", "0:0"][..], "must not run as root"),
        (&["backend", "--fd", "0", "--user", "root"], "must not run as root"),
        (&["run", "--user", "no-such-user"], "there is no user"),
        (&["run", "--user", "7"], "is not a user"),
        (&["demo", "--sandbox", "maybe"], "possible values: on, off, strict"),
        (&["demo", "--backend", "x.sock", "--sandbox", "on"], "cannot be used with"),
        (&["demo", "--backend", "x.sock", "--user", "1:1"], "cannot be used with"),
    ] {
        let output = place.command(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(what) && text.lines().count() == 1, "{text}");
    }
}
