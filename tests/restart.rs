//! Backends that die under a driver: another one goes on, and nobody sees more than a pause.

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Device, TIMEOUT, program};
use loopback_driver_glue::DeviceConfig;
use rustix::process::{Pid, Signal, kill_process};
use virtio_loopback_display::Picture;
use virtio_loopback_gpu::adapter::{
    AdapterError, BackendChoice, Replug, RestartPolicy, Shared, State,
};
use virtio_loopback_gpu::driver::card::{CardPlayer, PlayerOptions, TestCard};
use virtio_loopback_gpu::driver::{self, BufferKind, BufferSpec, GpuDriver};
use virtio_loopback_gpu::gpu::wire::Format;
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

/// Kills the backend at random moments, one in four before it has even begun to work. Returns the
/// times from a kill to new frames, the shortest first; `frames` counts those.
fn kill_now_and_then(shared: &Mutex<Shared>, frames: &AtomicU64) -> Vec<Duration> {
    let mut random = Random(7);
    let mut times = Vec::new();
    for count in 1..=kills() {
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        let (begun, before) = (Instant::now(), frames.load(Ordering::SeqCst));
        kill(shared);
        wait_for_restarts(shared, count);
        if random.below(4) == 0 {
            continue;
        }
        // The frame that is being drawn may be done already.
        while frames.load(Ordering::SeqCst) < before + 2 {
            assert!(begun.elapsed() < TIMEOUT, "there are no new frames");
            std::thread::sleep(Duration::from_micros(100));
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

/// Draws while the backend is killed. Every frame must be shown as it was drawn.
fn draw_under_fire(kind: BufferKind) {
    let mut device = device(&["320x200"]);
    let gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
    let options = PlayerOptions { kind, rate: None, cursor: false };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    player.gpu().set_timeout(TIMEOUT);
    let card = TestCard::new(320, 200);
    player.present().unwrap();
    let frames = AtomicU64::new(0);
    let times = std::thread::scope(|scope| {
        let (shared, frames) = (&*device.shared, &frames);
        let killer = scope.spawn(move || kill_now_and_then(shared, frames));
        while !killer.is_finished() {
            let frame = player.present().unwrap();
            frames.fetch_add(1, Ordering::SeqCst);
            assert_shows(&device.picture(), &card, frame);
        }
        killer.join().unwrap()
    });
    let (middle, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{kind:?}: {middle:?} from a kill to new frames, at most {slowest:?}");
    // Not the slowest: other tests run meanwhile.
    assert!(middle < MOST, "{times:?}");
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
    // It is asked after a second, and has five for the answer.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_shows(&device.picture(), &TestCard::new(160, 100), frame);
    assert_eq!(lock(&device.shared).restarts, 1);
    assert!(!std::path::Path::new(&format!("/proc/{}", stopped.as_raw_nonzero())).exists());
    device.stop().unwrap();
}

#[test]
fn no_fence_is_lost_of_many_commands_at_once() {
    let mut device = device(&["64x48"]);
    let mut gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
    gpu.set_timeout(TIMEOUT);
    let mut random = Random(3);
    let buffers = [BufferKind::Blob, BufferKind::Classic]
        .map(|kind| gpu.create_buffer(BufferSpec::new(kind, 64, 48, Format::B8g8r8x8)).unwrap());
    for round in 1..=kills() {
        let colour = 0x0001_0203 * (round as u32 % 64);
        let buffer = &buffers[round as usize % 2];
        buffer.fill(buffer.rect(), colour).unwrap();
        gpu.show_buffer(0, buffer).unwrap();
        for _ in 0..100 {
            if round % 2 == 1 {
                gpu.submit_transfer(buffer.resource_id(), buffer.rect(), 0).unwrap();
            }
            gpu.submit_flush(buffer.resource_id(), buffer.rect(), true).unwrap();
        }
        gpu.control().kick().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        kill(&device.shared);
        // Resources come and go meanwhile.
        let other = gpu.create_buffer(*buffer.spec()).unwrap();
        gpu.destroy_buffer(other).unwrap();
        // Checks every response and fence.
        gpu.finish().unwrap();
        assert_eq!(gpu.control().outstanding(), 0);
        let [_, r, g, b] = colour.to_be_bytes();
        let picture = device.picture();
        assert!(picture.as_rgb().chunks(3).all(|pixel| pixel == [r, g, b]), "round {round}");
        wait_for_restarts(&device.shared, round);
    }
    device.stop().unwrap();
}

#[test]
fn the_cursor_stays_and_moves_on() {
    let mut device = device(&["128x96"]);
    let gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
    let options = PlayerOptions { kind: BufferKind::Blob, rate: None, cursor: true };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    let card = TestCard::new(128, 96);
    for count in 0..6 {
        let frame = player.present().unwrap();
        let (x, y) = card.cursor_at(frame);
        // The tip of the arrow is black, and the bars are not.
        device.wait_for_picture(|picture| picture.pixel(x, y) == Some([0, 0, 0]));
        kill(&device.shared);
        wait_for_restarts(&device.shared, count + 1);
        assert_eq!(device.picture().pixel(x, y), Some([0, 0, 0]));
    }
    device.stop().unwrap();
}

#[test]
fn a_driver_that_resets_while_there_is_no_backend_starts_afresh() {
    let mut device = device(&["64x48"]);
    let mut gpu = GpuDriver::start(device.driver.take().unwrap(), u64::MAX).unwrap();
    let mut random = Random(11);
    for count in 1..=kills() {
        let options = PlayerOptions { kind: BufferKind::Classic, rate: None, cursor: false };
        let mut player = CardPlayer::new(gpu, options).unwrap();
        let frame = player.present().unwrap();
        assert_shows(&device.picture(), &TestCard::new(64, 48), frame);
        kill(&device.shared);
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        // It uses the same numbers for its resources the next time.
        let (driver, result) = player.into_gpu().reset(TIMEOUT);
        result.unwrap();
        gpu = GpuDriver::start(driver, u64::MAX).unwrap();
        wait_for_restarts(&device.shared, count);
    }
    device.stop().unwrap();
}

/// A backend that our adapter did not start.
fn start_foreign(socket: &std::path::Path) -> Child {
    let child =
        Command::new(program()).args(["backend", "--socket-path"]).arg(socket).spawn().unwrap();
    let deadline = Instant::now() + TIMEOUT;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "the backend does not listen");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_device_is_unplugged_until_a_foreign_backend_is_back() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("gpu.sock");
    let mut foreign = start_foreign(&socket);
    let (sender, made) = std::sync::mpsc::channel();
    let replug: Replug = Box::new(move |config: &DeviceConfig| {
        let (transport, driver) = driver::connect(config.clone()).unwrap();
        sender.send(driver).unwrap();
        Ok(Box::new(transport))
    });
    let backend = BackendChoice::Socket(socket.clone());
    let policy = RestartPolicy::default();
    let mut device = Device::with_replug(&["160x100"], backend, policy, Some(replug));
    let card = TestCard::new(160, 100);
    let options = PlayerOptions { kind: BufferKind::Blob, rate: None, cursor: false };
    let mut driver = device.driver.take().unwrap();
    for count in 0..3 {
        let gpu = GpuDriver::start(driver, u64::MAX).unwrap();
        let mut player = CardPlayer::new(gpu, options).unwrap();
        let frame = player.present().unwrap();
        assert_shows(&device.picture(), &card, frame);
        foreign.kill().unwrap();
        foreign.wait().unwrap();
        device.wait_for_state(State::Starting);
        assert_shows(&device.picture(), &card, frame);
        // The driver is told.
        player.present().unwrap_err();
        assert!(made.try_recv().is_err());
        foreign = start_foreign(&socket);
        driver = made.recv_timeout(TIMEOUT).unwrap();
        wait_for_restarts(&device.shared, count + 1);
    }
    device.stop().unwrap();
    let _ = foreign.kill();
    foreign.wait().unwrap();
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
