//! Our adapter with a GPU backend that is not ours: one that behaves as QEMU's does, ones that fail
//! to start, and hostile ones.

#[path = "foreign/backend.rs"]
mod backend;
#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backend::{Foreign, Misdeed, sealed};
use common::{Device, TIMEOUT};
use virtio_loopback_display::{DisplayKind, Options, Presenter, Signal};
use virtio_loopback_gpu::adapter::{
    self, Adapter, AdapterError, BackendChoice, BackendProcessError, DisplayServerError,
    MonitorSpec, Monitors, RestartPolicy, Shared, State,
};
use virtio_loopback_gpu::driver::{self, GpuDriver};
use virtio_loopback_gpu::one_line;
use virtio_loopback_gpu::sync::lock;
use virtio_loopback_gpu::vhost_gpu::message::{DmabufScanout, Scanout, Update, request};
use virtio_loopback_gpu::vhost_gpu::{Channel, ChannelError};
use zerocopy::IntoBytes;

const COLOUR: [u8; 3] = [0x12, 0x34, 0x56];

/// All of a device's life with this backend and a driver that starts and resets: its error.
fn life(backend: BackendChoice) -> Result<(), AdapterError> {
    life_of(backend, Arc::default(), UnixStream::pair().unwrap())
}

/// The same, told of in `shared` and ended by whoever writes to the first end of `stop`.
fn life_of(
    backend: BackendChoice,
    shared: Arc<Mutex<Shared>>,
    (stop, stopped): (UnixStream, UnixStream),
) -> Result<(), AdapterError> {
    let (presenter, display) =
        Presenter::open(Options::new(DisplayKind::Headless, "test"), |_| {}).unwrap();
    let restarts = RestartPolicy::default();
    let monitors = Monitors::new(vec![MonitorSpec::default()], 1);
    let options = adapter::Options {
        name: "test".into(),
        monitors,
        backend,
        restarts,
        keep: Duration::ZERO,
        limits: Default::default(),
        program: None,
        cgroup: None,
    };
    let mut made = None;
    let mut adapter = Adapter::start(&options, display, shared, stopped.into(), None, |config| {
        let (transport, driver) = driver::connect(config.clone()).unwrap();
        made = Some(driver);
        Ok(Box::new(transport))
    })?;
    let mut driver = made.unwrap();
    let driver = std::thread::spawn(move || {
        let _ = driver.start(u64::MAX);
        // The reset comes when the rings have been started, or have failed to.
        std::thread::sleep(Duration::from_millis(50));
        let result = driver.reset(Duration::from_secs(20));
        // Whoever still runs ends now.
        let _ = (&stop).write_all(&[0]);
        result
    });
    let result = adapter.run(|_| {});
    drop((adapter, presenter));
    let _ = driver.join().unwrap();
    result
}

fn misbehave(misdeed: Misdeed, at: usize) -> (Result<(), AdapterError>, Duration) {
    let foreign = Foreign::start(misdeed, at);
    let begun = Instant::now();
    let result = life(BackendChoice::Socket(foreign.path.clone()));
    let took = begun.elapsed();
    foreign.join();
    (result, took)
}

/// The front-end's messages until and with the driver's reset.
const MESSAGES: usize = 23;

#[test]
fn a_backend_that_behaves_serves_a_whole_life() {
    let (result, took) = misbehave(Misdeed::None, 0);
    result.unwrap();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn every_wrong_answer_is_an_error_at_once() {
    let misdeeds = [
        Misdeed::HangUp,
        Misdeed::Refusal,
        Misdeed::OtherRequest,
        Misdeed::TooLong,
        Misdeed::TooShort,
        Misdeed::Huge,
        Misdeed::NoReply,
    ];
    for misdeed in misdeeds {
        for at in 0..MESSAGES {
            let (result, took) = misbehave(misdeed, at);
            let error = result.expect_err(&format!("{misdeed:?} at {at}"));
            let known = matches!(
                error,
                AdapterError::FrontEnd(_) | AdapterError::BackendGone(_) | AdapterError::Loop(_)
            );
            assert!(known, "{misdeed:?} at {at}: {error:?}");
            assert!(took < Duration::from_secs(2), "{misdeed:?} at {at}: {took:?}");
        }
    }
}

#[test]
fn silence_is_an_error_in_bounded_time() {
    let mut lives = Vec::new();
    for misdeed in [Misdeed::Silence, Misdeed::Half] {
        for at in 0..MESSAGES {
            lives.push((misdeed, at, std::thread::spawn(move || misbehave(misdeed, at))));
        }
    }
    for (misdeed, at, life) in lives {
        let (result, took) = life.join().unwrap();
        let error = result.expect_err(&format!("{misdeed:?} at {at}"));
        assert!(matches!(error, AdapterError::FrontEnd(_)), "{misdeed:?} at {at}: {error:?}");
        // The time for one answer, and some for threads that all do this at once.
        assert!(took < Duration::from_secs(15), "{misdeed:?} at {at}: {took:?}");
    }
}

#[test]
fn a_silent_backend_delays_neither_the_end_nor_a_question() {
    let life = |at| {
        let foreign = Foreign::start(Misdeed::Silence, at);
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let life = std::thread::spawn({
            let backend = BackendChoice::Socket(foreign.path.clone());
            let (shared, stop) = (Arc::clone(&shared), stop.try_clone().unwrap());
            move || life_of(backend, shared, (stop, stopped))
        });
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        let state = lock(&shared).state;
        (&stop).write_all(&[0]).unwrap();
        let result = life.join().unwrap();
        let took = begun.elapsed();
        foreign.join();
        (state, result, took)
    };
    let lives = (0..MESSAGES).map(|at| std::thread::spawn(move || (at, life(at))));
    for life in lives.collect::<Vec<_>>() {
        let (at, (state, result, took)) = life.join().unwrap();
        assert!(took < Duration::from_secs(1), "{at}: {took:?}");
        match state {
            State::Starting => assert!(matches!(result, Err(AdapterError::Stopped)), "{result:?}"),
            State::Waiting | State::Running => result.unwrap(),
        }
    }
}

#[test]
fn slow_answers_share_one_time_limit() {
    // One after the other, they would take a minute.
    let (result, took) = misbehave(Misdeed::Slow, 7);
    let error = result.unwrap_err();
    assert!(matches!(error, AdapterError::FrontEnd(_)), "{error:?}");
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(7), "{took:?}");
}

#[test]
fn a_backend_that_cannot_be_reset_serves_one_driver() {
    for (misdeed, served) in [(Misdeed::NoReset, 1), (Misdeed::None, 3)] {
        let foreign = Foreign::start(misdeed, 0);
        let choice = BackendChoice::Socket(foreign.path.clone());
        let mut device = Device::with_backend(&["64x48"], choice);
        let mut driver = device.driver.take().unwrap();
        for _ in 0..served {
            driver.start(u64::MAX).unwrap();
            device.wait_for_state(State::Running);
            driver.reset(TIMEOUT).unwrap();
            device.wait_for_state(State::Waiting);
        }
        if misdeed == Misdeed::None {
            device.stop().unwrap();
        } else {
            driver.start(u64::MAX).unwrap();
            let line = one_line(&device.join().unwrap_err());
            assert!(line.contains("cannot be reset"), "{line}");
            assert!(line.contains("start the backend and the device again"), "{line}");
        }
        foreign.join();
    }
}

#[test]
fn a_child_that_fails_at_once_is_told_of_with_its_status() {
    for (program, status) in [("/bin/false", "exit status: 1"), ("/bin/true", "exit status: 0")] {
        let arguments = Vec::new();
        let begun = Instant::now();
        let error = life(BackendChoice::Child { program: program.into(), arguments }).unwrap_err();
        assert!(matches!(error, AdapterError::BackendNotReady(_)), "{error:?}");
        let line = one_line(&error);
        assert!(line.contains(status) && !line.contains('\n'), "{line}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    // It says why itself, too, and that is not ours to see here.
    let program = common::program();
    let error =
        life(BackendChoice::Child { program, arguments: vec!["--nonsense".into()] }).unwrap_err();
    assert!(one_line(&error).contains("exit status: 2"), "{error:?}");
}

#[test]
fn a_child_that_talks_nonsense_is_told_of_and_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (program, pid) = (directory.path().join("backend"), directory.path().join("pid"));
    let script =
        "#!/bin/sh\necho $$ >\"${0%/*}/pid\"\nprintf nonsense-nonsense >&0\nexec sleep 60\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let begun = Instant::now();
    let mut error = life(BackendChoice::Child { program: program.clone(), arguments: Vec::new() });
    // Another test's child may have inherited the script, still open for writing, for a moment.
    while let Err(AdapterError::Process(_)) = error {
        assert!(begun.elapsed() < TIMEOUT, "{error:?}");
        error = life(BackendChoice::Child { program: program.clone(), arguments: Vec::new() });
    }
    let error = error.unwrap_err();
    assert!(matches!(error, AdapterError::FrontEnd(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists());
}

#[test]
fn a_child_that_cannot_be_started_is_told_of_with_its_path() {
    for program in ["/nowhere/virtio-loopback-gpu", "/etc/passwd", "/"] {
        let choice = BackendChoice::Child { program: program.into(), arguments: Vec::new() };
        let error = life(choice).unwrap_err();
        let start = matches!(
            &error,
            AdapterError::Process(BackendProcessError::Start { program: path, .. })
                if path.as_path() == Path::new(program)
        );
        assert!(start && one_line(&error).contains(program), "{error:?}");
    }
}

#[test]
fn nobody_at_the_socket_is_told_of_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu.sock");
    let error = life(BackendChoice::Socket(path.clone())).unwrap_err();
    assert!(one_line(&error).contains(path.to_str().unwrap()), "{error:?}");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = life(BackendChoice::Socket(path)).unwrap_err();
    assert!(one_line(&error).contains("Connection refused"), "{error:?}");
}

/// A device on a foreign backend that has shown 8 × 6 pixels of one colour.
fn showing() -> (Device, Foreign, Channel) {
    let foreign = Foreign::start(Misdeed::None, 0);
    let mut device = Device::with_backend(&["64x48"], BackendChoice::Socket(foreign.path.clone()));
    let channel = Channel::new(foreign.display.recv_timeout(TIMEOUT).unwrap());
    let gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX);
    // This backend does not look at rings.
    std::mem::forget(gpu);
    let scanout = Scanout { scanout_id: 0, width: 8, height: 6 };
    channel.send(request::SCANOUT, 0, &[scanout.as_bytes()], &[]).unwrap();
    let update = Update { scanout_id: 0, x: 0, y: 0, width: 8, height: 6 };
    let pixels = [0x56, 0x34, 0x12, 0xff].repeat(8 * 6);
    channel.send(request::UPDATE, 0, &[update.as_bytes(), &pixels], &[]).unwrap();
    device.wait_for_picture(|picture| picture.pixel(7, 5) == Some(COLOUR));
    (device, foreign, channel)
}

fn assert_last_picture(device: &Device) {
    let picture = device.picture();
    assert!(picture.as_rgb().as_chunks().0.iter().all(|pixel| *pixel == COLOUR));
    assert_eq!(device.display.statistics(0).unwrap().signal, Signal::Lost);
}

#[test]
fn a_backend_like_qemus_is_shown_pixel_by_pixel() {
    let (device, foreign, channel) = showing();
    let picture = device.picture();
    assert_eq!((picture.width(), picture.height()), (8, 6));
    assert!(picture.as_rgb().as_chunks().0.iter().all(|pixel| *pixel == COLOUR));
    // A part of it.
    let update = Update { scanout_id: 0, x: 2, y: 3, width: 2, height: 1 };
    let pixels = [[1_u8, 2, 3, 0], [4, 5, 6, 0]];
    channel.send(request::UPDATE, 0, &[update.as_bytes(), pixels.as_bytes()], &[]).unwrap();
    let picture = device.wait_for_picture(|picture| picture.pixel(2, 3) == Some([3, 2, 1]));
    assert_eq!(picture.pixel(3, 3), Some([6, 5, 4]));
    assert_eq!(picture.pixel(4, 3), Some(COLOUR));
    // A buffer shared as a file.
    let file = sealed(&[0x10, 0x20, 0x30, 0].repeat(16 * 16));
    let scanout = DmabufScanout {
        scanout_id: 0,
        x: 0,
        y: 0,
        width: 16,
        height: 16,
        fd_width: 16,
        fd_height: 16,
        fd_stride: 64,
        fd_flags: 0,
        fd_drm_fourcc: i32::from_le_bytes(*b"XR24"),
    };
    channel.send(request::DMABUF_SCANOUT, 0, &[scanout.as_bytes()], &[file.as_fd()]).unwrap();
    let update = Update { scanout_id: 0, x: 0, y: 0, width: 16, height: 16 };
    channel.send(request::DMABUF_UPDATE, 0, &[update.as_bytes()], &[]).unwrap();
    let reply = channel.receive_within(TIMEOUT, |_| 0).unwrap();
    assert_eq!((reply.header.request, reply.header.flags), (request::DMABUF_UPDATE, 4));
    let picture = device.picture();
    assert_eq!((picture.width(), picture.height()), (16, 16));
    assert!(picture.as_rgb().as_chunks().0.iter().all(|pixel| *pixel == [0x30, 0x20, 0x10]));
    device.stop().unwrap();
    foreign.join();
}

#[test]
fn a_broken_display_protocol_ends_the_device_and_keeps_the_picture() {
    let (mut device, foreign, channel) = showing();
    channel.stream().write_all([request::SCANOUT, 0, 4096].as_bytes()).unwrap();
    let error = device.join().unwrap_err();
    assert!(
        matches!(
            &error,
            AdapterError::Display(DisplayServerError::Channel(ChannelError::Oversized { .. }))
        ),
        "{error:?}"
    );
    assert!(one_line(&error).contains("request 7 announces 4096 bytes"), "{}", one_line(&error));
    assert_last_picture(&device);
    foreign.join();
}

#[test]
fn a_display_socket_that_is_hung_up_ends_the_device_and_keeps_the_picture() {
    let (mut device, foreign, channel) = showing();
    drop(channel);
    let error = device.join().unwrap_err();
    assert!(matches!(error, AdapterError::DisplayClosed), "{error:?}");
    assert_last_picture(&device);
    foreign.join();
}

#[test]
fn a_backend_that_keeps_its_display_socket_does_not_delay_the_end() {
    // Of the vhost-user socket nothing is left after the driver's start; of the other, all.
    let foreign = Foreign::start(Misdeed::HangUp, 7);
    let mut device = Device::with_backend(&["64x48"], BackendChoice::Socket(foreign.path.clone()));
    let display = foreign.display.recv_timeout(TIMEOUT).unwrap();
    let begun = Instant::now();
    let mut driver = device.driver.take().unwrap();
    driver.start(u64::MAX).unwrap();
    device.join().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    foreign.join();
    drop(display);
}

#[test]
fn a_backend_that_hangs_in_the_middle_of_a_message_is_ended_in_time() {
    let (device, foreign, channel) = showing();
    channel.stream().write_all(&[8, 0, 0, 0, 0]).unwrap();
    let begun = Instant::now();
    device.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    foreign.join();
}

#[test]
fn a_backend_that_speaks_out_of_turn_ends_the_device() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // Before anything was asked.
        for _ in 0..100 {
            let _ = (&stream).write_all(&[0x5a; 100]);
        }
        std::thread::sleep(TIMEOUT);
    });
    let begun = Instant::now();
    let error = life(BackendChoice::Socket(path)).unwrap_err();
    assert!(matches!(error, AdapterError::FrontEnd(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}
