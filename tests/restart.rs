//! Backends that die under a driver: another one goes on, and nobody sees more than a pause.

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Device, TIMEOUT, program};
use rustix::process::{Pid, Signal, kill_process};
use virtio_loopback_display::Picture;
use virtio_loopback_gpu::adapter::{AdapterError, BackendChoice, RestartPolicy, Shared};
use virtio_loopback_gpu::driver::card::{CardPlayer, PlayerOptions, TestCard};
use virtio_loopback_gpu::driver::{BufferKind, GpuDriver};
use virtio_loopback_gpu::sync::lock;

/// A driver must see frames again within this time: what the project promises.
const MOST: Duration = Duration::from_millis(500);

/// How often the backend is killed; `RESTART_KILLS` has another number.
fn kills() -> u64 {
    std::env::var("RESTART_KILLS").map_or(25, |number| number.parse().unwrap())
}

/// A device whose backend may die as often as it likes.
fn device(modes: &[&str]) -> Device {
    let restarts =
        RestartPolicy { most: usize::MAX, period: Duration::from_secs(30), delay: Duration::ZERO };
    let backend = BackendChoice::Child { program: program(), arguments: Vec::new() };
    Device::with_restarts(modes, backend, restarts)
}

fn backend(shared: &Mutex<Shared>) -> Option<Pid> {
    lock(shared).backend_id.and_then(|id| Pid::from_raw(id as i32))
}

/// Kills the backend there is, and returns which that was.
fn kill(shared: &Mutex<Shared>) -> Pid {
    let pid = backend(shared).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    pid
}

fn wait_for_restarts(shared: &Mutex<Shared>, restarts: u64) {
    let deadline = Instant::now() + TIMEOUT;
    while lock(shared).restarts < restarts {
        assert!(Instant::now() < deadline, "the backend is not replaced");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn assert_shows(picture: &Picture, card: &TestCard, frame: u64) {
    let wanted = card.image(frame);
    assert_eq!(picture.as_rgb().len(), wanted.len() * 3);
    for (index, (got, wanted)) in picture.as_rgb().chunks(3).zip(wanted).enumerate() {
        let [_, r, g, b] = wanted.to_be_bytes();
        let (x, y) = (index as u32 % card.width(), index as u32 / card.width());
        assert_eq!(got, [r, g, b], "frame {frame} at {x}, {y}");
    }
}

/// Times of killing from a seed, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX generator; the upper bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Draws while the backend is killed at random moments. Every frame must be shown as it was drawn,
/// and none may take longer than [`MOST`].
fn draw_under_fire(kind: BufferKind) {
    let mut device = device(&["320x200"]);
    let gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
    let options = PlayerOptions { kind, rate: None, cursor: false };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    let card = TestCard::new(320, 200);
    player.present().unwrap();
    let done = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let (shared, done) = (&*device.shared, &done);
        let killer = scope.spawn(move || {
            let mut random = Random(7);
            for count in 1..=kills() {
                std::thread::sleep(Duration::from_micros(random.below(40_000)));
                kill(shared);
                wait_for_restarts(shared, count);
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) && !killer.is_finished() {
            let begun = Instant::now();
            let frame = player.present().unwrap();
            slowest = slowest.max(begun.elapsed());
            assert_shows(&device.picture(), &card, frame);
        }
        killer.join().unwrap();
    });
    println!("{kind:?}: the slowest frame took {slowest:?}");
    assert!(slowest < MOST, "a frame took {slowest:?}");
    let frame = player.present().unwrap();
    assert_shows(&device.picture(), &card, frame);
    // All that was made is still there, to be given back.
    player.close().unwrap();
    device.stop().unwrap();
}

#[test]
fn blobs_are_drawn_on_whenever_the_backend_is_killed() {
    draw_under_fire(BufferKind::Blob);
}

#[test]
fn classic_resources_are_drawn_on_whenever_the_backend_is_killed() {
    draw_under_fire(BufferKind::Classic);
}

#[test]
fn the_picture_stays_while_there_is_no_backend() {
    for kind in [BufferKind::Blob, BufferKind::Classic] {
        let mut device = device(&["160x100"]);
        let gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
        let options = PlayerOptions { kind, rate: None, cursor: false };
        let mut player = CardPlayer::new(gpu, options).unwrap();
        let card = TestCard::new(160, 100);
        for count in 1..=3 {
            let frame = player.present().unwrap();
            kill(&device.shared);
            while lock(&device.shared).restarts < count {
                assert_shows(&device.picture(), &card, frame);
            }
            // The new backend shows it, too.
            let deadline = Instant::now() + TIMEOUT;
            while device.display.statistics(0).unwrap().updates < frame + count + 1 {
                assert!(Instant::now() < deadline, "the new backend shows nothing");
            }
            assert_shows(&device.picture(), &card, frame);
        }
        device.stop().unwrap();
    }
}

#[test]
fn a_backend_that_hangs_is_replaced() {
    let mut device = device(&["160x100"]);
    let gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
    let options = PlayerOptions { kind: BufferKind::Classic, rate: None, cursor: false };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    player.gpu().set_timeout(TIMEOUT);
    player.present().unwrap();
    let stopped = backend(&device.shared).unwrap();
    kill_process(stopped, Signal::STOP).unwrap();
    let begun = Instant::now();
    let frame = player.present().unwrap();
    // It is asked after a second, and has two for the answer.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_shows(&device.picture(), &TestCard::new(160, 100), frame);
    assert_eq!(lock(&device.shared).restarts, 1);
    assert!(!std::path::Path::new(&format!("/proc/{}", stopped.as_raw_nonzero())).exists());
    device.stop().unwrap();
}

#[test]
fn a_backend_that_keeps_dying_ends_the_device() {
    let policy = RestartPolicy { delay: Duration::from_millis(1), ..RestartPolicy::default() };
    let backend_choice = BackendChoice::Child { program: program(), arguments: Vec::new() };
    let mut device = Device::with_restarts(&["64x48"], backend_choice, policy);
    for count in 1..=5 {
        kill(&device.shared);
        wait_for_restarts(&device.shared, count);
        let deadline = Instant::now() + TIMEOUT;
        while backend(&device.shared).is_none() {
            assert!(Instant::now() < deadline, "there is no backend");
        }
    }
    kill(&device.shared);
    let error = device.join().unwrap_err();
    let AdapterError::GaveUp { last, .. } = &error else { panic!("{error}") };
    assert!(matches!(&**last, AdapterError::BackendGone(why) if why.contains("SIGKILL")), "{last}");
    assert_eq!(
        error.to_string(),
        "the GPU backend failed 6 times within 30 s and is given up; the device is removed"
    );
}
