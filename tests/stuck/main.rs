//! Backends that answer and do no more: one that starts no commands is replaced, one that takes its
//! time with those it has started is not.
//!
//! This program is its own test harness, for it is the backend as well: started with `backend`, as
//! the adapter starts a child.

mod backend;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "../common/mod.rs"]
mod common;

use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::Device;
use virtio_loopback_gpu::adapter::{AdapterError, BackendChoice, RestartPolicy, State};
use virtio_loopback_gpu::driver::Driver;
use virtio_loopback_gpu::driver::queue::{Part, Queue, Token};
use virtio_loopback_gpu::sync::lock;

/// How soon a backend that starts no commands is found out: it is looked at once a second, and five
/// times more than once.
const FOUND_OUT: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_secs(8);

const TESTS: &[(&str, fn())] = &[
    ("a_backend_that_starts_no_commands_is_given_up", a_backend_that_starts_nothing_is_given_up),
    ("another_backend_starts_what_it_did_not", another_backend_starts_what_it_did_not),
    ("a_command_that_was_started_may_take_20_seconds", a_command_may_take_20_seconds),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, _, _, rest @ ..] = &arguments[..]
        && first == "backend"
    {
        backend::run(rest);
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = TESTS.iter().filter(|(name, _)| {
        wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
    });
    // They do nothing but wait, so they do it together.
    let results: Vec<_> = std::thread::scope(|scope| {
        let run: Vec<_> = chosen
            .map(|(name, test)| (name, scope.spawn(move || catch_unwind(test).is_ok())))
            .collect();
        run.into_iter().map(|(name, thread)| (name, thread.join().unwrap_or(false))).collect()
    });
    for (name, ok) in &results {
        println!("test {name} ... {}", if *ok { "ok" } else { "FAILED" });
    }
    let failed = results.iter().filter(|(_, ok)| !ok).count();
    let (result, passed) = (if failed == 0 { "ok" } else { "FAILED" }, results.len() - failed);
    println!("test result: {result}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A device on this program as a backend, and its driver.
fn device(conduct: &[&str], most: usize) -> (Device, Driver) {
    let arguments = conduct.iter().map(ToString::to_string).collect();
    let program = std::env::current_exe().unwrap();
    let restarts = RestartPolicy { most, ..RestartPolicy::default() };
    let mut device =
        Device::with_restarts(&["64x48"], BackendChoice::Child { program, arguments }, restarts);
    let mut driver = device.driver.take().unwrap();
    driver.start(u64::MAX).unwrap();
    device.wait_for_state(State::Running);
    (device, driver)
}

/// Gives the device a command. What it is does not matter.
fn submit(driver: &mut Driver) -> (Queue, Token) {
    let memory = driver.memory().allocate(4096).unwrap();
    let address = memory.address();
    // Lives as long as the device does.
    std::mem::forget(memory);
    let mut queue = driver.take_queue(0).unwrap();
    let request = Part { address, length: 24 };
    let token = queue.add(&[request], &[Part { address: address + 2048, length: 24 }]).unwrap();
    queue.kick().unwrap();
    (queue, token)
}

fn a_backend_that_starts_nothing_is_given_up() {
    let (mut device, mut driver) = device(&["stuck"], 0);
    let pid = lock(&device.shared).backend_id.unwrap();
    // As long as there is nothing to start, nothing is wrong.
    std::thread::sleep(Duration::from_secs(4));
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    let begun = Instant::now();
    let _queue = submit(&mut driver);
    let error = device.join().unwrap_err();
    assert!(matches!(error, AdapterError::BackendStuck { queue: 0 }), "{error}");
    assert_eq!(error.to_string(), "the GPU backend starts no more commands of queue 0");
    assert!(FOUND_OUT.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

fn another_backend_starts_what_it_did_not() {
    let place = tempfile::tempdir().unwrap();
    let mark = place.path().join("mark");
    let (device, mut driver) = device(&["stuck-once", mark.to_str().unwrap()], 5);
    let begun = Instant::now();
    let (mut queue, token) = submit(&mut driver);
    let used = queue.wait_used(Duration::from_secs(15)).unwrap().expect("the command comes back");
    assert_eq!((used.token, used.length), (token, 0));
    assert!(FOUND_OUT.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(lock(&device.shared).restarts, 1);
    device.stop().unwrap();
}

fn a_command_may_take_20_seconds() {
    let (device, mut driver) = device(&["slow"], 0);
    let begun = Instant::now();
    let (mut queue, token) = submit(&mut driver);
    let used = queue.wait_used(Duration::from_secs(30)).unwrap().expect("the command comes back");
    assert_eq!((used.token, used.length), (token, 0));
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(lock(&device.shared).restarts, 0);
    device.stop().unwrap();
}
