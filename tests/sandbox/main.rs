//! The backend's sandbox, from inside and from outside.
//!
//! This program is its own test harness, for a confined process must not have threads: started with
//! `attempt NAME`, it confines itself as the backend does and tries to break out. Each test runs as
//! the user it is started as, and as an ordinary one where that is root.

mod attempts;
mod program;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::catch_unwind;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use attempts::ATTEMPTS;
use rustix::io::FdFlags;
use virtio_loopback_gpu::sandbox::{Mode, Settings, close_inherited, enter};

/// An ordinary user, who need not have a name.
const ORDINARY: u32 = 65533;

const TESTS: &[(&str, fn())] = &[
    ("everything_a_taken_over_backend_would_try_is_refused", attempts_are_refused),
    ("the_same_succeeds_outside", attempts_succeed_outside),
    ("what_was_inherited_is_closed", what_was_inherited_is_closed),
    ("a_confined_process_ends_in_order", a_confined_process_ends_in_order),
    ("a_backend_is_confined_by_the_kernels_word", program::a_backend_is_confined),
    ("an_ordinary_users_backend_is_confined", program::an_ordinary_users_backend_is_confined),
    ("a_backend_that_stands_alone_is_confined", program::a_backend_alone_is_confined),
    ("a_backend_that_is_started_again_is_confined", program::a_backend_again_is_confined),
    ("a_backend_finds_no_secrets", program::a_backend_finds_no_secrets),
    ("the_adapter_keeps_only_what_it_needs", program::the_adapter_keeps_only_what_it_needs),
    ("a_backend_does_not_outlive_its_adapter", program::a_backend_does_not_outlive_its_adapter),
    ("without_a_sandbox_a_warning_says_so", program::without_a_sandbox_a_warning_says_so),
    ("bad_users_are_refused", program::bad_users_are_refused),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, mode, name] = &arguments[..]
        && first == "attempt"
    {
        std::process::exit(confined(mode, name));
    }
    // As the usual harness does; other options of it mean nothing here.
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(*part)) {
            continue;
        }
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Confines this process and does what `name` says; the exit code.
fn confined(mode: &str, name: &str) -> i32 {
    // As the backend's log does, which is not to be in the way of the test's.
    if mode == "strict" {
        close_inherited(&[]).unwrap();
        let settings = Settings { mode: Mode::Strict, ..Settings::default() };
        enter(&settings).unwrap();
    }
    match name {
        "exit" => 7,
        "panic" => panic!("as wanted"),
        "abort" => std::process::abort(),
        "write" => i32::from(write_everywhere()),
        _ => attempts::make(name),
    }
}

/// Whether any descriptor but standard ones can be written.
fn write_everywhere() -> bool {
    (3..1024).any(|number| {
        // SAFETY: nothing in this process owns one of these; if it is open, a test wants to know.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        rustix::io::write(fd, b"x").is_ok()
    })
}

/// This program as another process, as the user `uid` if there is one.
fn attempt(mode: &str, name: &str, uid: Option<u32>) -> ExitStatus {
    // By descriptor: an ordinary user may not enter the directory it is in.
    let program = File::open("/proc/self/exe").unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.args(["attempt", mode, name]).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command.status().unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whom to be: who this is, and an ordinary user.
fn users() -> Vec<Option<u32>> {
    if is_root() { vec![None, Some(ORDINARY)] } else { vec![None] }
}

/// Attempts that are answered with an error. Who makes another one is killed.
const ANSWERED: &[&str] = &[
    "open a file",
    "open the memory",
    "open the module",
    "open its own memory map",
    "make a file",
    "read a link",
];

fn attempts_are_refused() {
    for uid in users() {
        for attempt_of in ATTEMPTS {
            let status = attempt("strict", attempt_of.name, uid);
            let name = attempt_of.name;
            if ANSWERED.contains(&name) {
                assert_eq!(status.code(), Some(0), "{name} as {uid:?}: {status}");
            } else {
                let end = (status.signal(), status.core_dumped());
                assert_eq!(end, (Some(libc::SIGSYS), false), "{name} as {uid:?}: {status}");
            }
        }
    }
}

/// Or the test above would show nothing.
fn attempts_succeed_outside() {
    // The parent is to be the same user: all of it happens as this one.
    for attempt_of in ATTEMPTS.iter().filter(|attempt| attempt.ordinary) {
        let status = attempt("off", attempt_of.name, None);
        assert_eq!(status.code(), Some(1), "{}: {status}", attempt_of.name);
    }
}

fn what_was_inherited_is_closed() {
    for (mode, written) in [("strict", 0), ("off", 1)] {
        let (mut reader, writer) = io::pipe().unwrap();
        // Not closed by exec, as others are.
        rustix::io::fcntl_setfd(writer.as_fd(), FdFlags::empty()).unwrap();
        let status = attempt(mode, "write", None);
        drop(writer);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert_eq!((status.code(), text.len()), (Some(written), written as usize), "{mode}");
    }
}

fn a_confined_process_ends_in_order() {
    for uid in users() {
        assert_eq!(attempt("strict", "exit", uid).code(), Some(7));
        assert_eq!(attempt("strict", "panic", uid).code(), Some(101));
        let status = attempt("strict", "abort", uid);
        assert_eq!((status.signal(), status.core_dumped()), (Some(libc::SIGABRT), false));
    }
}
