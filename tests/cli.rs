//! The command line: exit codes, messages, files, signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, socket_with,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use virtio_loopback_gpu::driver::card::TestCard;

const PROGRAM: &str = env!("CARGO_BIN_EXE_virtio-loopback-gpu");
const TIMEOUT: Duration = Duration::from_secs(20);

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A place of its own for control sockets and files.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The directory of the control sockets.
    fn sockets(&self) -> PathBuf {
        self.path("virtio-loopback-gpu")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("XDG_RUNTIME_DIR", self.0.path())
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Running(Some(self.command(arguments).spawn().unwrap())).end()
    }

    /// A demo that says on standard output when it is ready.
    fn demo(&self, arguments: &[&str]) -> Running {
        let all = [&["demo", "--display", "headless", "--ready-fd", "1"], arguments].concat();
        Running(Some(self.command(&all).spawn().unwrap()))
    }

    fn status(&self) -> serde_json::Value {
        let outcome = self.run(&["ctl", "status", "--json"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// The demo's backend.
    fn backend(&self) -> i32 {
        self.status()["backend_pid"].as_i64().unwrap().try_into().unwrap()
    }
}

/// A command that runs.
struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Waits for the line that `--ready-fd` gives.
    fn ready(&mut self) -> (String, BufReader<ChildStdout>) {
        let mut stdout = BufReader::new(self.child().stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        (line, stdout)
    }

    fn signal(&mut self, signal: Signal) {
        kill(self.child().id().try_into().unwrap(), signal);
    }

    /// Waits for its end.
    fn end(mut self) -> Outcome {
        let mut child = self.0.take().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut outcome = Outcome {
            code: child.wait().unwrap().code(),
            stdout: String::new(),
            stderr: String::new(),
        };
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut outcome.stdout).unwrap();
        }
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut outcome.stderr).unwrap();
        }
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Whether the process exists and is no zombie.
fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn failed(message: &str) -> Outcome {
    let stderr = format!("virtio-loopback-gpu: {message}\n");
    Outcome { code: Some(1), stdout: String::new(), stderr }
}

#[test]
fn bad_options_are_one_line_and_exit_code_2() {
    let place = Place::new();
    let run = " (see virtio-loopback-gpu run --help)";
    let sizes = "the kernel's driver takes sizes from 32x32 to 8192x8192 (see --help)";
    let no_size = "is not a size: write it as 1280x720 or 1280x720@60 (see --help)";
    let name = "a name has 1 to 31 letters, digits, dots, dashes or underscores, \
                and begins with neither dot nor dash (see --help)";
    for (arguments, message) in [
        (&["nonsense"][..], "unrecognized subcommand 'nonsense' (see virtio-loopback-gpu --help)".into()),
        (&["run", "--nonsense"], format!("unexpected argument '--nonsense' found{run}")),
        (
            &["run", "--scanouts", "1x1"],
            format!(
                "unexpected argument '--scanouts' found (a similar argument exists: '--scanout'){run}"
            ),
        ),
        (
            &["run", "--scanout", "8x8"],
            format!("invalid value '8x8' for '--scanout <WxH[@RATE|@X,Y][,KEY=VALUE]>': {sizes}"),
        ),
        (
            &["run", "--scanout", "800x600@500"],
            "invalid value '800x600@500' for '--scanout <WxH[@RATE|@X,Y][,KEY=VALUE]>': \
             rates go from 1 to 240 frames a second (see --help)".into(),
        ),
        (
            &["ctl", "scanout", "set", "x", "640x480"],
            "invalid value 'x' for '<SCANOUT>': scanouts are numbered from 0 to 15 (see --help)".into(),
        ),
        (
            &["ctl", "record", "x.mp4"],
            "invalid value 'x.mp4' for '<PATH>': recordings are YUV4MPEG2: name it .y4m, or convert it on \
             the way, as in `ctl record - | ffmpeg -i - x.mp4` (see --help)".into(),
        ),
        (
            &["ctl", "--socket", "x", "--name", "y", "status"],
            "the argument '--socket <PATH>' cannot be used with '--name <NAME>' \
             (see virtio-loopback-gpu ctl --help)".into(),
        ),
        (
            &["run", "--scanout", "large"],
            format!("invalid value 'large' for '--scanout <WxH[@RATE|@X,Y][,KEY=VALUE]>': \"large\" {no_size}"),
        ),
        (&["run", "--name", "../x"], format!("invalid value '../x' for '--name <NAME>': {name}")),
        (&["run", "--name", "-x"], format!("invalid value '-x' for '--name <NAME>': {name}")),
        (&["demo", "--name=.x"], format!("invalid value '.x' for '--name <NAME>': {name}")),
        (
            &["ctl", "--name", "--json", "status"],
            format!("invalid value '--json' for '--name <NAME>': {name}"),
        ),
        (
            &["ctl", "--name", "x"],
            "'virtio-loopback-gpu ctl' requires a subcommand but one was not provided \
             [subcommands: status, screenshot, record, scanout, quit, detach, help] (see virtio-loopback-gpu ctl --help)"
                .into(),
        ),
        (&["run", "--name", ""], format!("invalid value '' for '--name <NAME>': {name}")),
        (
            &["demo", "--display", "crt"],
            "invalid value 'crt' for '--display <DISPLAY>': unknown display \"crt\", there are sdl, kms and headless (see --help)".into(),
        ),
        (
            // Nobody is asked for it.
            &["demo", "--display", "headless", "--drm-lease", "/nonexistent/lease"],
            "--drm-fd and --drm-lease are for --display kms (see --help)".into(),
        ),
        (
            &["demo", "--screenshot", "x.png"],
            "the following required arguments were not provided: --frames <FRAMES> \
             (see virtio-loopback-gpu demo --help)".into(),
        ),
        (
            &["run", "--backend", "x", "--render", "2d"],
            format!("the argument '--backend <SOCKET>' cannot be used with '--render <RENDER>'{run}"),
        ),
        (
            &["run", "--keep", "0"],
            "invalid value '0' for '--keep <SECONDS>': 0 is not in 1..=60 (see --help)".into(),
        ),
        (
            &["run", "--keep", "5", "--backend", "x"],
            format!("the argument '--keep <SECONDS>' cannot be used with '--backend <SOCKET>'{run}"),
        ),
        (
            &["run", "--keep-in", "keeper"],
            format!("the following required arguments were not provided: --keep <SECONDS>{run}"),
        ),
        (
            &["ctl", "screenshot"],
            "the following required arguments were not provided: <PATH> \
             (see virtio-loopback-gpu ctl screenshot --help)".into(),
        ),
        (
            &["ctl", "screenshot", "x.png", "--scanout", "16"],
            "invalid value '16' for '--scanout <SCANOUT>': scanouts are numbered from 0 to 15 (see --help)".into(),
        ),
        (
            &["backend", "--fd", "3", "--socket-path", "x"],
            "the argument '--fd <FD>' cannot be used with '--socket-path <PATH>' \
             (see virtio-loopback-gpu backend --help)".into(),
        ),
        (
            &["run", "--limit", "files=2,outstanding=48"],
            "invalid value 'outstanding=48' for '--limit <KEY=VALUE>': \
             the limit outstanding is a power of two from 16 to 1024 (see --help)".into(),
        ),
        (
            &["demo", "--limit", "dimension=16385"],
            "invalid value 'dimension=16385' for '--limit <KEY=VALUE>': \
             the limit dimension is from 64 to 16K (see --help)".into(),
        ),
        (
            &["run", "--backend", "x", "--limit", "export=1G,files=1"],
            "the limit files is for the GPU backend behind --backend to set \
             (see virtio-loopback-gpu --help)".into(),
        ),
        (
            &["backend", "--fd", "3", "--limit", "bounce=16M"],
            "a GPU backend has no limit bounce (see virtio-loopback-gpu --help)".into(),
        ),
        (
            &["run", "--backend", "x", "--cgroup", "/"],
            format!("the argument '--backend <SOCKET>' cannot be used with '--cgroup <DIR>'{run}"),
        ),
        (
            &["demo", "--cgroup", "/proc"],
            "--cgroup /proc is no directory of cgroup v2 (see mount -t cgroup2) (see --help)".into(),
        ),
        (
            &["demo", "--cgroup", "/nonexistent"],
            "--cgroup /nonexistent cannot be opened: No such file or directory (os error 2) \
             (see --help)".into(),
        ),
    ] {
        let outcome = place.run(arguments);
        let stderr = format!("error: {message}\n");
        assert_eq!(outcome, Outcome { code: Some(2), stdout: String::new(), stderr }, "{arguments:?}");
    }
    let many = [&["run"][..], &["--scanout", "64x48"].repeat(17)].concat();
    let outcome = place.run(&many);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("a device has at most 16 scanouts"), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1);
    let outcome = place.run(&[&["run"][..], &["--scanout", "8192x8192"].repeat(3)].concat());
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("at most 134217728 pixels together"), "{}", outcome.stderr);
    // Nothing at all: the page that helps.
    for (arguments, usage) in [
        (&[][..], "Usage: virtio-loopback-gpu [OPTIONS] <COMMAND>"),
        (&["ctl"], "Usage: virtio-loopback-gpu ctl [OPTIONS] <COMMAND>"),
    ] {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.stderr.contains(usage), "{}", outcome.stderr);
    }
}

#[test]
fn options_of_windows_are_checked_and_keys_are_in_the_help() {
    let place = Place::new();
    for (option, value, message) in [
        ("--window-size", "12", "a size is WxH, each 1 to 16384, such as 1280x720"),
        ("--window-position", "1;2", "a position is X,Y, each -32768 to 32767, such as 100,50"),
        (
            "--shortcut-mod",
            "ctrl+f",
            "unknown key \"f\"; one or more, joined by +, of ctrl, alt, shift, super, lctrl, rctrl, \
             lshift, rshift, lalt, ralt, lsuper, rsuper, scrolllock, pause, menu",
        ),
    ] {
        let outcome = place.run(&["demo", option, value]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
        assert!(
            outcome.stderr.starts_with(&format!("error: invalid value '{value}' for '{option} "))
        );
        assert!(
            outcome.stderr.ends_with(&format!(": {message} (see --help)\n")),
            "{}",
            outcome.stderr
        );
    }
    let options = ["--window-position", "-5,7", "--scale", "1:1", "--filter", "nearest"];
    let running =
        place.demo(&[&options[..], &["--shortcut-mod", "Super", "--frames", "1"]].concat());
    assert_eq!(running.end().code, Some(0));
    for command in ["run", "demo"] {
        let help = place.run(&[command, "--help"]).stdout;
        assert!(help.contains("\nWindows:\n"), "{help}");
        assert!(help.contains("\n  F11, MOD+F     full screen, and back"), "{help}");
    }
}

#[test]
fn bad_file_descriptors_are_bad_options() {
    let place = Place::new();
    let bad = |message: &str| {
        let stderr = format!("error: file descriptor {message} (see --help)\n");
        Outcome { code: Some(2), stdout: String::new(), stderr }
    };
    let demo = ["demo", "--display", "headless", "--frames", "1", "--ready-fd"];
    for number in ["77", "-1"] {
        let closed = bad(&format!("{number} is not open: pass one that is"));
        assert_eq!(place.run(&[&demo[..], &[number]].concat()), closed);
        assert_eq!(place.run(&["backend", "--fd", number]), closed);
    }
    let backend = |stdin: Stdio| {
        let mut command = place.command(&["backend", "--fd", "0"]);
        Running(Some(command.stdin(stdin).spawn().unwrap())).end()
    };
    let no_socket = "0 is no socket, not a connection to a front-end: \
                     Socket operation on non-socket (os error 88)";
    assert_eq!(backend(Stdio::null()), bad(no_socket));
    let datagram = UnixDatagram::pair().unwrap().0;
    let no_stream = "0 is no Unix stream socket, not a connection to a front-end";
    assert_eq!(backend(OwnedFd::from(datagram).into()), bad(no_stream));
    let listener = UnixListener::bind(place.path("listener")).unwrap();
    let unconnected = "0 is a socket that is not connected, not a connection to a front-end: \
                       Transport endpoint is not connected (os error 107)";
    assert_eq!(backend(OwnedFd::from(listener).into()), bad(unconnected));
}

#[test]
fn help_and_version_are_no_errors() {
    let place = Place::new();
    for arguments in
        [&["--help"][..], &["run", "--help"], &["demo", "-h"], &["ctl", "--help"], &["help"]]
    {
        let outcome = place.run(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(outcome.stdout.contains("Usage: virtio-loopback-gpu"), "{arguments:?}");
    }
    let version = format!("virtio-loopback-gpu {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.run(&["--version"]).stdout, version);
}

#[test]
fn a_missing_module_is_one_line() {
    if Path::new("/dev/virtio-loopback").exists() {
        assert!(std::env::var_os("NO_TEST_SKIPPED").is_none(), "the module is loaded");
        return;
    }
    let place = Place::new();
    let message = "/dev/virtio-loopback does not exist: load the module first \
                   (modprobe virtio_loopback)";
    assert_eq!(place.run(&["run", "--display", "headless"]), failed(message));
    // The name is free again.
    assert_eq!(place.run(&["run", "--display", "headless"]), failed(message));
}

#[test]
fn what_is_not_there_is_told_of_on_one_line() {
    let place = Place::new();
    let nobody = |outcome: &Outcome, name: &str, place: &str| {
        let begin = format!("virtio-loopback-gpu: no device named {name:?} is running in {place}");
        let end = format!("): start one with `run --name {name}`\n");
        assert!(outcome.stderr.starts_with(&begin), "{}", outcome.stderr);
        assert!(outcome.stderr.ends_with(&end), "{}", outcome.stderr);
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1));
    };
    let sockets = place.sockets();
    for request in [&["status"][..], &["quit"], &["screenshot", "x.png"]] {
        let outcome = place.run(&[&["ctl", "--name", "no-such-device"], request].concat());
        nobody(&outcome, "no-such-device", sockets.to_str().unwrap());
    }
    let mut command = place.command(&["ctl", "--name", "no-such-device", "status"]);
    let outcome = Running(Some(command.env_remove("XDG_RUNTIME_DIR").spawn().unwrap())).end();
    if rustix::process::geteuid().is_root() {
        nobody(&outcome, "no-such-device", "/run/virtio-loopback-gpu");
        let elsewhere = "(other users' are in their $XDG_RUNTIME_DIR, see --socket)";
        assert!(outcome.stderr.contains(elsewhere), "{}", outcome.stderr);
    }
    let nothing = place.sockets().join("gpu0.sock");
    let nothing = nothing.to_str().unwrap();
    assert_eq!(
        place.run(&["ctl", "status", "--socket", nothing]),
        failed(&format!("no device listens on {nothing}: No such file or directory (os error 2)"))
    );
    let socket = place.path("gpu.sock");
    let socket = socket.to_str().unwrap();
    let connect = || place.run(&["demo", "--display", "headless", "--backend", socket]);
    let missing = format!(
        "cannot connect to a GPU backend at {socket} (nothing is there: is the backend running?): \
         No such file or directory (os error 2)"
    );
    assert_eq!(connect(), failed(&missing));
    drop(UnixListener::bind(socket).unwrap());
    let stale = format!(
        "cannot connect to a GPU backend at {socket} (nobody listens: if it is left over from a \
         backend that ended, remove it and start another): Connection refused (os error 111)"
    );
    assert_eq!(connect(), failed(&stale));
    let screenshot = "cannot write /nowhere/x.png: No such file or directory (os error 2)";
    let arguments =
        ["demo", "--display", "headless", "--frames", "1", "--screenshot", "/nowhere/x.png"];
    assert_eq!(place.run(&arguments), failed(screenshot));
    let outcome = place.run(&["demo", "--display", "sdl", "--frames", "1"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("use --display headless"), "{}", outcome.stderr);
}

/// The picture of a PNG file: width, height, and 3 bytes per pixel.
fn png(path: &Path) -> (u32, u32, Vec<u8>) {
    let file = BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    (info.width, info.height, pixels)
}

#[test]
fn a_demo_saves_its_last_frame() {
    let place = Place::new();
    for buffers in ["blob", "classic"] {
        let outcome = place.run(&[
            "demo",
            "--display",
            "headless",
            "--frames",
            "60",
            "--rate",
            "0",
            "--scanout",
            "400x300",
            "--buffers",
            buffers,
            "--screenshot",
            "card.png",
        ]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        assert!(outcome.stdout.starts_with("60 frames, "), "{}", outcome.stdout);
        let (width, height, pixels) = png(&place.path("card.png"));
        assert_eq!((width, height), (400, 300));
        let card = TestCard::new(400, 300);
        let (cursor_x, cursor_y) = card.cursor_at(59);
        let mut compared = 0;
        for (index, (got, wanted)) in pixels.as_chunks().0.iter().zip(card.image(59)).enumerate() {
            let (x, y) = (index as u32 % 400, index as u32 / 400);
            let in_cursor =
                (cursor_x..cursor_x + 64).contains(&x) && (cursor_y..cursor_y + 64).contains(&y);
            if !in_cursor {
                let [_, r, g, b] = wanted.to_be_bytes();
                assert_eq!(*got, [r, g, b], "at {x}, {y}");
                compared += 1;
            }
        }
        assert!(compared >= 400 * 300 - 64 * 64);
        assert_eq!(std::fs::read_dir(place.0.path()).unwrap().count(), 2, "nothing else is left");
    }
}

#[test]
fn a_demo_that_is_ended_early_has_no_screenshot() {
    let place = Place::new();
    for signal in [None, Some(Signal::TERM)] {
        let frames = ["--frames", "1000000", "--screenshot", "card.png", "--scanout", "64x48"];
        let mut demo = place.demo(&frames);
        let (_, _stdout) = demo.ready();
        match signal {
            None => assert_eq!(place.run(&["ctl", "quit"]).code, Some(0)),
            Some(signal) => demo.signal(signal),
        }
        let message = "the demo was ended before its last frame: card.png is not saved";
        let outcome = demo.end();
        assert_eq!((outcome.code, outcome.stderr), (Some(1), failed(message).stderr));
        assert!(!place.path("card.png").exists());
    }
}

#[test]
fn a_running_device_answers_ctl() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "160x100", "--scanout", "64x48"]);
    let (line, _stdout) = demo.ready();
    assert_eq!(line, "ready gpu0\n");
    wait_until("there is a picture", || place.status()["scanouts"].as_array().unwrap().len() == 2);
    let status = place.status();
    assert_eq!(status["name"], "gpu0");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], demo.child().id());
    assert_eq!(status["state"], "running");
    assert_eq!(status["driver_features"], "0x13000000e");
    assert_eq!(status["driver_feature_names"][0], "EDID");
    assert_eq!(status["nodes"], serde_json::json!([]));
    assert!(is_alive(status["backend_pid"].as_i64().unwrap() as i32));
    assert!(status["transport"]["kicks"].as_u64().unwrap() > 0);
    for (index, width, height) in [(0, 160, 100), (1, 64, 48)] {
        let scanout = &status["scanouts"][index];
        assert_eq!(scanout["scanout"], index);
        assert_eq!(scanout["signal"], "live");
        assert_eq!((&scanout["width"], &scanout["height"]), (&width.into(), &height.into()));
        assert_eq!(scanout["format"], "XR24");
        assert!(scanout["updates"].as_u64().unwrap() > 0);
        assert!(scanout["presents"].as_u64() <= scanout["updates"].as_u64());
        assert!(scanout["frames_per_second"].as_f64().unwrap() < 1000.0);
        assert!(scanout["updates_per_second"].as_f64().unwrap() < 1000.0);
        assert!(scanout["damaged_bytes"].as_u64().unwrap() >= width * height * 4);
        assert_eq!(scanout["copied_bytes"], 0, "headless");
        assert!(scanout["last_present_ms"].as_u64().unwrap() < 10_000);
    }
    let text = place.run(&["ctl", "status"]).stdout;
    assert!(text.starts_with("gpu0: running, version "), "{text}");
    assert!(text.contains("scanout 1 live, 64x48 XR24"), "{text}");
    let features = "  driver    features EDID, RESOURCE_UUID, RESOURCE_BLOB, \
                    INDIRECT_DESC, EVENT_IDX, VERSION_1\n";
    assert!(text.contains(features), "{text}");
    let saved = place.run(&["ctl", "screenshot", "second.png", "--scanout", "1"]);
    assert_eq!(saved, Outcome { code: Some(0), stdout: String::new(), stderr: String::new() });
    let (width, height, pixels) = png(&place.path("second.png"));
    assert_eq!((width, height), (64, 48));
    assert!(pixels.iter().any(|byte| *byte > 0x80));
    let wrong =
        |path: &str, scanout: &str| place.run(&["ctl", "screenshot", path, "--scanout", scanout]);
    assert_eq!(
        wrong("x.png", "2"),
        failed("there is no scanout 2: this device has 2 (`run --max-scanouts` gives it more)")
    );
    let missing = "cannot write nowhere/x.png: No such file or directory (os error 2)";
    assert_eq!(wrong("nowhere/x.png", "0"), failed(missing));
    assert_eq!(wrong("/", "0"), failed("cannot write /: is a directory"));
    assert!(!place.path("x.png").exists());
    // The name is taken, and another is not.
    let taken = "\"gpu0\" is running already: choose another --name, \
                 or end it with `ctl --name gpu0 quit`";
    assert_eq!(place.run(&["demo", "--display", "headless"]), failed(taken));
    let other = place.run(&["demo", "--display", "headless", "--name", "b", "--frames", "1"]);
    assert_eq!((other.code, other.stderr.as_str()), (Some(0), ""));
    let backend = place.backend();
    assert_eq!(place.run(&["ctl", "quit"]).code, Some(0));
    let outcome = demo.end();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert!(!is_alive(backend));
    assert!(!place.sockets().join("gpu0.sock").exists());
}

#[test]
fn limits_and_what_of_them_is_used_are_in_the_status() {
    let place = Place::new();
    let options = "--buffers classic --scanout 160x100 --frames 3 --keep --limit bytes=1M,files=3 \
                   --limit resources=5 --limit outstanding=32,export=1G";
    let mut demo = place.demo(&options.split_whitespace().collect::<Vec<_>>());
    demo.ready();
    let updates = || place.status()["scanouts"][0]["updates"].as_u64().unwrap_or(0);
    wait_until("the frames are drawn", || updates() == 3);
    let limits = place.status()["limits"].take();
    // Two buffers, and a cursor of 64 × 64.
    let bytes = 2 * 160 * 100 * 4 + 64 * 64 * 4;
    let held = |limit: u64, used: u64| serde_json::json!({ "limit": limit, "used": used, "peak": used, "refused": 0 });
    let seen = |limit: u64, peak: u64| serde_json::json!({ "limit": limit, "used": null, "peak": peak, "refused": 0 });
    assert_eq!(limits["resources"], held(5, 3));
    assert_eq!(limits["bytes"], held(1 << 20, bytes));
    assert_eq!(limits["files"], held(3, 3));
    assert_eq!(limits["total_entries"], held(1 << 20, 3));
    assert_eq!(limits["entries"], seen(1 << 18, 1));
    assert_eq!(limits["dimension"], seen(16_384, 160));
    // A transfer's.
    assert_eq!(limits["command"], seen(8 << 20, 56));
    let outstanding = &limits["outstanding"];
    assert_eq!((&outstanding["limit"], &outstanding["used"]), (&32.into(), &0.into()));
    assert!((1..=32).contains(&outstanding["peak"].as_u64().unwrap()), "{outstanding}");
    // Nobody makes bounce pages or dma-bufs without the kernel.
    assert_eq!(limits["contexts"], held(256, 0));
    assert_eq!(limits.as_object().unwrap().len(), 9, "{limits}");
    assert_eq!(place.status()["cgroup"], serde_json::Value::Null);
    let text = place.run(&["ctl", "status"]).stdout;
    assert_eq!(bytes, 141 << 10);
    assert!(text.contains("  limit     resources 5, 3 used, 3 at most\n"), "{text}");
    assert!(text.contains("  limit     bytes 1M, 141K used, 141K at most\n"), "{text}");
    assert_eq!(place.run(&["ctl", "quit"]).code, Some(0));
    assert_eq!(demo.end().code, Some(0));
    // Who draws with more than there may be is told so.
    let outcome = place.run(&["demo", "--display", "headless", "--limit", "resources=1"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("ErrOutOfMemory"), "{}", outcome.stderr);
}

#[test]
fn without_a_desktop_a_line_says_so() {
    let place = Place::new();
    let outcome = place.run(&["demo", "--frames", "1", "--scanout", "64x48"]);
    let line = "virtio-loopback-gpu: no desktop found (neither WAYLAND_DISPLAY nor DISPLAY is set): \
                headless\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), line));
}

#[test]
fn warnings_are_plain_and_verbose_lines_tell_the_steps() {
    let place = Place::new();
    let demo = ["demo", "--display", "headless", "--frames", "1", "--scanout", "64x48"];
    let run = |more: &[&str]| {
        let mut command = place.command(&[&demo[..], &["--ready-fd", "1"], more].concat());
        Running(Some(command.stdout(full()).spawn().unwrap())).end().stderr
    };
    let warning = "--ready-fd cannot be written: No space left on device (os error 28)";
    let plain = run(&[]);
    let first = format!("virtio-loopback-gpu: warning: {warning}");
    assert_eq!(plain.lines().next(), Some(first.as_str()));
    let verbose = run(&["-v"]);
    let steps = [
        "adapter::backend] GPU backend: pid ",
        "adapter::device] device: offers EDID, RESOURCE_UUID, RESOURCE_BLOB, ",
        "adapter::event_loop] driver: features ok: EDID, RESOURCE_UUID, RESOURCE_BLOB, ",
        "adapter::event_loop] driver: ok, its queues run",
        warning,
    ];
    let mut lines = verbose.lines();
    for step in steps {
        assert!(
            lines.any(|line| line.starts_with('[') && line.contains(step)),
            "{step}: {verbose}"
        );
    }
}

#[test]
fn a_signal_ends_a_device_and_its_backend() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let place = Place::new();
        let mut demo = place.demo(&["--scanout", "64x48"]);
        let (_, _stdout) = demo.ready();
        let backend = place.backend();
        assert!(is_alive(backend));
        demo.signal(signal);
        let outcome = demo.end();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{signal:?}");
        assert!(!is_alive(backend));
        assert!(!place.sockets().join("gpu0.sock").exists());
    }
}

#[test]
fn a_killed_device_takes_its_backend_along_and_does_not_stop_the_next() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "64x48"]);
    let (_, _stdout) = demo.ready();
    let backend = place.backend();
    demo.signal(Signal::KILL);
    assert_eq!(demo.end().code, None);
    wait_until("the backend ends", || !is_alive(backend));
    assert!(place.sockets().join("gpu0.sock").exists(), "it had no time to tidy up");
    assert_eq!(place.run(&["ctl", "status"]).code, Some(1));
    let next = place.run(&["demo", "--display", "headless", "--frames", "1"]);
    assert_eq!((next.code, next.stderr.as_str()), (Some(0), ""));
    assert!(!place.sockets().join("gpu0.sock").exists());
}

#[test]
fn a_backend_that_is_killed_is_replaced_until_that_is_too_often() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "64x48"]);
    let (_, _stdout) = demo.ready();
    for _ in 0..5 {
        let killed = place.backend();
        kill(killed, Signal::KILL);
        wait_until("another backend comes", || {
            let now = place.status()["backend_pid"].as_i64();
            now.is_some_and(|now| now != i64::from(killed))
        });
    }
    kill(place.backend(), Signal::KILL);
    let outcome = demo.end();
    // One that is killed early enough is one that was never ready.
    let why = "(signal: 9 (SIGKILL))";
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!((outcome.code, lines.len()), (Some(1), 6), "{}", outcome.stderr);
    for line in &lines[..5] {
        assert!(line.contains(why) && line.ends_with("; another one takes its place"), "{line}");
    }
    let given_up =
        "the GPU backend failed 6 times within 30 s and is given up; the device is removed";
    assert!(lines[5].starts_with(&format!("virtio-loopback-gpu: {given_up}: ")), "{}", lines[5]);
    assert!(lines[5].contains(why), "{}", lines[5]);
}

#[test]
fn the_control_socket_is_its_owners() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "64x48"]);
    let (_, _stdout) = demo.ready();
    let directory = std::fs::symlink_metadata(place.sockets()).unwrap();
    assert_eq!(directory.mode() & 0o7777, 0o700);
    assert!(directory.is_dir());
    drop(demo);
    // A directory others may enter, or that is none of ours, is not used.
    std::fs::set_permissions(place.sockets(), PermissionsExt::from_mode(0o755)).unwrap();
    let outcome = place.run(&["demo", "--display", "headless", "--frames", "1"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1));
    assert!(outcome.stderr.contains("open to others; remove it"), "{}", outcome.stderr);
    std::fs::remove_dir_all(place.sockets()).unwrap();
    let elsewhere = place.path("elsewhere");
    std::fs::DirBuilder::new().mode(0o700).create(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.sockets()).unwrap();
    let outcome = place.run(&["demo", "--display", "headless", "--frames", "1"]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(1), 1));
    assert_eq!(std::fs::read_dir(elsewhere).unwrap().count(), 0);
    // One of another user's, such as that of whoever has called `su`.
    let others = place.path("others");
    std::fs::DirBuilder::new().mode(0o500).create(&others).unwrap();
    std::fs::set_permissions(place.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = place.command(&["demo", "--display", "headless", "--frames", "1"]);
    command.env("XDG_RUNTIME_DIR", &others).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(65534);
    }
    let message = format!(
        "cannot make the control socket {}/virtio-loopback-gpu/gpu0.sock: XDG_RUNTIME_DIR names a \
         directory of another user; unset it, or set it to one of this user's: Permission denied \
         (os error 13)",
        others.display()
    );
    assert_eq!(Running(Some(command.spawn().unwrap())).end(), failed(&message));
    // No directory to make it in.
    let outcome = Running(Some(
        place
            .command(&["demo", "--display", "headless", "--frames", "1"])
            .env("XDG_RUNTIME_DIR", "/nowhere")
            .spawn()
            .unwrap(),
    ))
    .end();
    let message = "cannot make the control socket /nowhere/virtio-loopback-gpu/gpu0.sock: \
                   No such file or directory (os error 2)";
    assert_eq!(outcome, failed(message));
}

#[test]
fn a_device_is_found_whatever_the_environment_of_its_user() {
    let place = Place::new();
    let name = format!("cli-{}", std::process::id());
    let mut command = place.command(&["demo", "--display", "headless", "--ready-fd", "1"]);
    command.args(["--scanout", "64x48", "--name", &name]).env_remove("XDG_RUNTIME_DIR");
    let mut demo = Running(Some(command.spawn().unwrap()));
    let (_, _stdout) = demo.ready();
    let said = |arguments: &[&str]| {
        let outcome = place.run(&[&["ctl"], arguments].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        outcome.stdout
    };
    // As from a login shell, which has XDG_RUNTIME_DIR.
    assert!(said(&["status", "--name", &name]).starts_with(&format!("{name}: ")));
    // As of another user: by its socket.
    let directory = if rustix::process::geteuid().is_root() {
        PathBuf::from("/run/virtio-loopback-gpu")
    } else {
        let user = rustix::process::geteuid().as_raw();
        std::env::temp_dir().join(format!("virtio-loopback-gpu-{user}"))
    };
    let socket = directory.join(format!("{name}.sock"));
    let by_socket = said(&["--socket", socket.to_str().unwrap(), "status"]);
    assert!(by_socket.starts_with(&format!("{name}: ")), "{by_socket}");
    // The name may stand anywhere.
    assert_eq!(said(&["scanout", "--name", &name, "set", "0", "80x60"]), "");
    assert_eq!(said(&["scanout", "set", "0", "96x64", "--name", &name]), "");
    assert_eq!(said(&["quit", "--name", &name]), "");
    assert_eq!(demo.end().code, Some(0));
}

#[test]
fn a_device_that_is_kept_is_not_said_to_be_missing() {
    let place = Place::new();
    std::fs::DirBuilder::new().mode(0o700).create(place.sockets()).unwrap();
    let path = place.sockets().join("gpu0.keep");
    let keeper = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .unwrap();
    bind(&keeper, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&keeper, 1).unwrap();
    let message = "the device \"gpu0\" is kept, and nobody serves it: go on with it by \
                   `run --name gpu0`, before the seconds of its `--keep` are over";
    assert_eq!(place.run(&["ctl", "status"]), failed(message));
    // It was not disturbed.
    assert_eq!(accept(&keeper).unwrap_err(), rustix::io::Errno::AGAIN);
    // A socket that is left over keeps nothing.
    drop(keeper);
    let outcome = place.run(&["ctl", "status"]);
    assert!(outcome.stderr.contains("no device named \"gpu0\" is running"), "{}", outcome.stderr);
}

/// A client that says something to the control socket and reads the answer.
fn say(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bad_control_clients_do_no_harm() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "64x48"]);
    let (_, _stdout) = demo.ready();
    let socket = place.sockets().join("gpu0.sock");
    for request in [
        &b"\n"[..],
        b"{}\n",
        b"nonsense\n",
        b"{\"command\":\"explode\"}\n",
        b"{\"command\":\"screenshot\"}\n",
        b"{\"command\":\"screenshot\",\"scanout\":-1}\n",
        b"{\"command\":\"screenshot\",\"scanout\":99999999999}\n",
        b"{\"command\":\"screenshot\",\"scanout\":4294967295}\n",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
    ] {
        let answer = say(&socket, request);
        let text = String::from_utf8_lossy(request);
        assert!(answer.starts_with("{\"error\":"), "{text}: {answer}");
        assert_eq!(answer.lines().count(), 1, "{request:?}");
    }
    // What is no text is not answered.
    assert_eq!(say(&socket, &[0xff, 0xfe, b'\n']), "");
    // A line without end: only so much is read.
    let mut stream = UnixStream::connect(&socket).unwrap();
    let _ = stream.write_all(&vec![b'a'; 4 << 20]);
    assert_eq!(place.run(&["ctl", "status"]).code, Some(0));
    // Clients that say nothing, or go on slowly, delay the next a little.
    let silent = UnixStream::connect(&socket).unwrap();
    let mut slow = UnixStream::connect(&socket).unwrap();
    let trickle = std::thread::spawn(move || {
        while slow.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let begun = Instant::now();
    assert_eq!(place.run(&["ctl", "status"]).code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    trickle.join().unwrap();
    drop(silent);
    assert_eq!(place.run(&["ctl", "quit"]).code, Some(0));
    assert_eq!(demo.end().code, Some(0));
}

/// A pipe nobody reads any more.
fn closed_pipe() -> OwnedFd {
    rustix::pipe::pipe().unwrap().1
}

fn full() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn output_that_nobody_takes_is_no_crash() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "64x48"]);
    let (_, _stdout) = demo.ready();
    let commands: [&[&str]; 5] = [
        &["ctl", "status"],
        &["ctl", "status", "--json"],
        &["backend", "--print-capabilities"],
        &["demo", "--display", "headless", "--name", "other", "--frames", "1"],
        &["--help"],
    ];
    for arguments in commands {
        let mut command = place.command(arguments);
        let outcome = Running(Some(command.stdout(closed_pipe()).spawn().unwrap())).end();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let mut command = place.command(arguments);
        let outcome = Running(Some(command.stdout(full()).spawn().unwrap())).end();
        if *arguments != ["--help"] {
            let message = "cannot write to standard output: No space left on device (os error 28)";
            assert_eq!(outcome, failed(message), "{arguments:?}");
        }
    }
    for arguments in [&["help"][..], &["--version"], &["ctl", "--help"], &["help", "run"]] {
        let mut command = place.command(arguments);
        let outcome = Running(Some(command.stdout(closed_pipe()).spawn().unwrap())).end();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
    for arguments in [&[][..], &["ctl"]] {
        let mut command = place.command(arguments);
        let outcome = Running(Some(command.stderr(closed_pipe()).spawn().unwrap())).end();
        assert_eq!(outcome.code, Some(2), "{arguments:?}");
    }
    // Nor are errors that nobody wants to read.
    for stderr in [full(), closed_pipe().into()] {
        let mut command = place.command(&["ctl", "--name", "none", "status"]);
        assert_eq!(Running(Some(command.stderr(stderr).spawn().unwrap())).end().code, Some(1));
        let mut command = place.command(&["run", "--nonsense"]);
        assert_eq!(Running(Some(command.stderr(full()).spawn().unwrap())).end().code, Some(2));
    }
    // And a device goes on whoever has stopped listening to it.
    let mut command = place.command(&[
        "demo",
        "--display",
        "headless",
        "--name",
        "third",
        "--frames",
        "1",
        "--ready-fd",
        "1",
        "-vv",
    ]);
    let spawned = command.stdout(closed_pipe()).stderr(closed_pipe()).spawn().unwrap();
    assert_eq!(Running(Some(spawned)).end().code, Some(0));
}

#[test]
fn what_qemu_and_libvirt_are_told_of_the_backend_is_true() {
    let text = include_str!("../packaging/50-virtio-loopback-gpu.json");
    let description: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(description["type"], "gpu");
    let binary = Path::new(description["binary"].as_str().unwrap());
    // Installed as this says, it is the backend.
    let place = Place::new();
    let link = place.path(binary.file_name().unwrap().to_str().unwrap());
    std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    let output = Command::new(link).arg("--print-capabilities").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let capabilities: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(capabilities["type"], description["type"]);
}

#[test]
fn the_backend_program_follows_the_conventions() {
    let place = Place::new();
    let outcome = place.run(&["backend", "--print-capabilities"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let capabilities: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(capabilities["type"], "gpu");
    assert!(capabilities["features"].is_array());
    let socket = place.path("gpu.sock");
    let start = || {
        let mut command = place.command(&["backend", "--socket-path", "gpu.sock"]);
        let running = Running(Some(command.spawn().unwrap()));
        wait_until("it listens", || socket.exists());
        running
    };
    let ended = Outcome { code: Some(0), stdout: String::new(), stderr: String::new() };
    // Ended while it waits for a front-end, and while it has one.
    for signal in [Signal::TERM, Signal::INT] {
        let mut backend = start();
        // Bound, and so listening, a moment later.
        std::thread::sleep(Duration::from_millis(20));
        backend.signal(signal);
        assert_eq!(backend.end(), ended);
        assert!(!socket.exists());
        let mut backend = start();
        let mut front_end = None;
        wait_until("it accepts", || {
            front_end = UnixStream::connect(&socket).ok();
            front_end.is_some()
        });
        wait_until("the path is free", || !socket.exists());
        backend.signal(signal);
        assert_eq!(backend.end(), ended);
    }
    // A front-end that hangs up is the usual end.
    let backend = start();
    wait_until("it accepts", || UnixStream::connect(&socket).is_ok());
    assert_eq!(backend.end(), ended);
    assert!(!socket.exists());
    // What is there is not taken away.
    std::fs::write(&socket, "somebody's").unwrap();
    let message = "gpu.sock exists already: remove it if it is left over from a backend that \
                   ended, or choose another path";
    assert_eq!(place.run(&["backend", "--socket-path", "gpu.sock"]), failed(message));
    assert_eq!(std::fs::read(&socket).unwrap(), b"somebody's");
    let message = "cannot listen on nowhere/gpu.sock (make its directory first): \
                   No such file or directory (os error 2)";
    assert_eq!(place.run(&["backend", "--socket-path", "nowhere/gpu.sock"]), failed(message));
}

#[test]
fn a_demo_uses_a_backend_that_runs_already() {
    let place = Place::new();
    let socket = place.path("gpu.sock");
    let mut command = place.command(&["backend", "--socket-path", "gpu.sock"]);
    let backend = Running(Some(command.spawn().unwrap()));
    wait_until("it listens", || socket.exists());
    std::thread::sleep(Duration::from_millis(20));
    let outcome = place.run(&[
        "demo",
        "--display",
        "headless",
        "--backend",
        "gpu.sock",
        "--frames",
        "3",
        "--scanout",
        "320x200",
        "--screenshot",
        "card.png",
    ]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let (width, height, pixels) = png(&place.path("card.png"));
    assert_eq!((width, height), (320, 200));
    // Below the cursor.
    let [_, r, g, b] = TestCard::new(320, 200).image(2).last().unwrap().to_be_bytes();
    assert_eq!(pixels.last_chunk(), Some(&[r, g, b]));
    let outcome = backend.end();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
}

/// What a program without OpenGL says; with it, `tests/virgl.rs` has it render.
#[cfg(not(feature = "virgl"))]
#[test]
fn opengl_that_is_not_there_is_told_of_or_done_without() {
    let place = Place::new();
    let arguments = ["demo", "--display", "headless", "--frames", "1", "--render"];
    let outcome = place.run(&[&arguments[..], &["virgl"]].concat());
    assert_eq!(outcome.code, Some(1));
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{outcome:?}");
    assert!(
        lines[0].contains("built without OpenGL") && lines[0].contains("--render 2d"),
        "{lines:?}"
    );
    let outcome = place.run(&[&arguments[..], &["auto"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stderr.contains("2D only: this program was built without OpenGL"),
        "{outcome:?}"
    );
}

#[test]
fn monitors_change_while_a_client_draws() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "160x100", "--max-scanouts", "2"]);
    demo.ready();
    let said = |arguments: &[&str]| {
        let outcome = place.run(&[&["ctl", "scanout"], arguments].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        outcome.stdout
    };
    // Of each scanout that had a picture whether it is drawn, and its size.
    let shown = || {
        let status = place.status();
        let scanouts = status["scanouts"].as_array().unwrap().iter();
        let texts = scanouts.map(|scanout| {
            let signal = scanout["signal"].as_str().unwrap();
            format!("{signal} {}x{}", scanout["width"], scanout["height"])
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    wait_until("there is a picture", || shown() == "live 160x100");
    assert_eq!(said(&["set", "0", "128x96@50,dpi=120"]), "");
    wait_until("the client follows", || shown() == "live 128x96");
    assert_eq!(said(&["add", "64x48,name=second"]), "1\n");
    wait_until("there are two", || shown() == "live 128x96, live 64x48");
    assert_eq!(said(&["move", "1", "0,96"]), "");
    assert_eq!(
        place.status()["monitors"],
        serde_json::json!([
            { "scanout": 0, "monitor": "128x96@50,dpi=120" },
            { "scanout": 1, "monitor": "64x48@0,96,refresh=60,name=second" },
        ])
    );
    assert_eq!(said(&["remove", "0"]), "");
    wait_until("one is off", || shown() == "unplugged 128x96, live 64x48");
    for (arguments, error) in [
        (&["remove", "0"][..], "scanout 0 has no monitor"),
        (&["move", "0", "1,1"], "scanout 0 has no monitor"),
        (
            &["set", "2", "64x48"],
            "there is no scanout 2: this device has 2 (`run --max-scanouts` gives it more)",
        ),
    ] {
        let outcome = place.run(&[&["ctl", "scanout"], arguments].concat());
        assert_eq!(outcome, failed(error), "{arguments:?}");
    }
    // A line of JSON that the program does not write itself is judged no less.
    let mut stream = UnixStream::connect(place.sockets().join("gpu0.sock")).unwrap();
    let request = br#"{"command":"scanout","change":"add","monitor":"9x9"}"#;
    stream.write_all(&[&request[..], b"\n"].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with(r#"{"error":{"message":"the kernel's driver takes sizes"#),
        "{answer}"
    );
    assert_eq!(place.run(&["ctl", "quit"]).code, Some(0));
    assert_eq!(demo.end().code, Some(0));
}

#[test]
fn recordings_have_the_frames_that_were_asked_for() {
    let place = Place::new();
    let mut demo = place.demo(&["--scanout", "160x100"]);
    demo.ready();
    wait_until("there is a picture", || {
        place.status()["scanouts"][0]["presents"].as_u64() > Some(0)
    });
    let begun = Instant::now();
    let recorded = place.run(&["ctl", "record", "out.y4m", "--seconds", "2", "--rate", "10"]);
    assert_eq!((recorded.code, recorded.stdout.as_str()), (Some(0), ""), "{}", recorded.stderr);
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
    let bytes = std::fs::read(place.path("out.y4m")).unwrap();
    let header = b"YUV4MPEG2 W160 H100 F10:1 C444\n";
    let (head, frames) = bytes.split_at(header.len());
    assert_eq!(head, header);
    let frames: Vec<&[u8]> = frames.chunks(6 + 160 * 100 * 3).collect();
    assert_eq!(frames.len(), 20);
    for frame in &frames {
        assert_eq!((frame.len(), &frame[..6]), (6 + 160 * 100 * 3, &b"FRAME\n"[..]));
    }
    // The card moves.
    let different = frames.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(different >= 10, "{different} of 19 frames differ from the one before");
    assert_eq!(
        place.run(&["ctl", "record", "x.y4m", "--scanout", "1"]),
        failed("there is no scanout 1: this device has 1 (`run --max-scanouts` gives it more)")
    );
    assert!(!place.path("x.y4m").exists());
    assert_eq!(
        place.run(&["ctl", "record", "nowhere/x.y4m"]),
        failed("cannot write nowhere/x.y4m: No such file or directory (os error 2)")
    );
    assert_eq!(place.run(&["ctl", "quit"]).code, Some(0));
    assert_eq!(demo.end().code, Some(0));
}
