//! Adapters that end under a driver: another one goes on with the device, and nothing is lost.
//!
//! The adapters are in this process, one after the other, with the software driver; the keeper and
//! the backends are processes. With the kernel's driver: tests/box/keep.sh.

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Device, TIMEOUT, program};
use loopback_driver_glue::{Transport, TransportError};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use virtio_loopback_gpu::adapter::{
    Adopt, BackendChoice, Keep, Options, RestartPolicy, Shared, State,
};
use virtio_loopback_gpu::driver::card::{CardPlayer, PlayerOptions, TestCard};
use virtio_loopback_gpu::driver::{
    BufferKind, BufferSpec, Driver, DriverError, GpuDriver, SoftwareTransport,
};
use virtio_loopback_gpu::fd_store::{FdStore, Left, Place};
use virtio_loopback_gpu::gpu::wire::Format;
use virtio_loopback_gpu::sync::lock;

const KEEP: Duration = Duration::from_secs(30);

/// Where the keeper is.
struct Store(TempDir);

impl Store {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("test.keep")
    }

    fn keep(&self, adopt: Adopt) -> Keep {
        let place = Place::Keeper { program: program(), socket: self.socket(), keep: KEEP };
        let (store, left) = FdStore::open("test", place, Left::default()).unwrap();
        Keep { store, left, adopt }
    }

    /// The first adapter's device.
    fn device(&self, modes: &[&str]) -> Device {
        self.start(modes, Box::new(|_| Err(TransportError::NotKept)))
    }

    /// Another adapter's, which goes on with the device that `again` knows.
    fn device_again(&self, modes: &[&str], again: Again) -> Device {
        let adopt = move |keepsake| Ok(Box::new(again(keepsake)?) as Box<dyn Transport>);
        self.start(modes, Box::new(adopt))
    }

    fn start(&self, modes: &[&str], adopt: Adopt) -> Device {
        let restarts = RestartPolicy { most: 100, ..RestartPolicy::default() };
        let backend = BackendChoice::Child { program: program(), arguments: Vec::new() };
        let options = Device::options(modes, backend, restarts);
        let options = Options { keep: KEEP, ..options };
        Device::with_keep(&options, None, Some(self.keep(adopt)))
    }
}

type Again =
    Box<dyn FnOnce(std::os::fd::OwnedFd) -> Result<SoftwareTransport, TransportError> + Send>;

fn again(driver: &Driver) -> Again {
    Box::new(driver.device_side())
}

/// Ends the adapter, but leaves the device.
fn leave(device: Device) {
    assert!(Shared::leave_device(&device.shared));
    device.stop().unwrap();
}

fn keeper(device: &Device) -> Pid {
    let kept = lock(&device.shared).kept.clone().unwrap();
    let id = lock(&kept).keeper().unwrap().1.unwrap();
    Pid::from_raw(id as i32).unwrap()
}

fn is_there(process: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains(") Z "))
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn assert_shows(device: &Device, card: &TestCard, frame: u64) {
    let wanted = card.image(frame);
    let picture = device.wait_for_picture(|_| true);
    assert_eq!(picture.as_rgb().len(), wanted.len() * 3);
    for (index, (got, wanted)) in picture.as_rgb().chunks(3).zip(wanted).enumerate() {
        let [_, r, g, b] = wanted.to_be_bytes();
        let (x, y) = (index as u32 % card.width(), index as u32 / card.width());
        assert_eq!(got, [r, g, b], "frame {frame} at {x}, {y}");
    }
}

#[test]
fn what_was_drawn_is_shown_by_the_next_adapter() {
    for kind in [BufferKind::Blob, BufferKind::Classic] {
        let store = Store::new();
        let mut device = store.device(&["320x200"]);
        let driver = device.driver.take().unwrap();
        let mut next: Vec<_> = (0..4).map(|_| again(&driver)).collect();
        let gpu = GpuDriver::start(driver, u64::MAX).unwrap();
        let options = PlayerOptions { kind, rate: None, cursor: false };
        let mut player = CardPlayer::new(gpu, options).unwrap();
        player.gpu().set_timeout(TIMEOUT);
        let card = TestCard::new(320, 200);
        let keeper_process = keeper(&device);
        let mut frame = player.present().unwrap();
        assert_shows(&device, &card, frame);
        while let Some(again) = next.pop() {
            leave(device);
            device = store.device_again(&["320x200"], again);
            // Without the driver's doing anything.
            assert_shows(&device, &card, frame);
            frame = player.present().unwrap();
            assert_shows(&device, &card, frame);
            assert_eq!(keeper(&device), keeper_process, "{kind:?}");
        }
        // All that was made is still there, to be given back.
        player.close().unwrap();
        device.stop().unwrap();
        assert!(!is_there(keeper_process) && !store.socket().exists());
    }
}

#[test]
fn no_fence_is_lost_of_commands_that_nobody_serves() {
    let store = Store::new();
    let mut device = store.device(&["64x48"]);
    let driver = device.driver.take().unwrap();
    let again = again(&driver);
    let mut gpu = GpuDriver::start(driver, u64::MAX).unwrap();
    gpu.set_timeout(TIMEOUT);
    let spec = BufferSpec::new(BufferKind::Classic, 64, 48, Format::B8g8r8x8);
    let buffer = gpu.create_buffer(spec).unwrap();
    buffer.fill(buffer.rect(), 0x0012_3456).unwrap();
    gpu.show_buffer(0, &buffer).unwrap();
    leave(device);
    // The driver waits for an adapter to come.
    let (sender, receiver) = mpsc::channel();
    let driver = std::thread::spawn(move || {
        for _ in 0..100 {
            gpu.submit_transfer(buffer.resource_id(), buffer.rect(), 0).unwrap();
            gpu.submit_flush(buffer.resource_id(), buffer.rect(), true).unwrap();
        }
        // Checks every response and fence.
        gpu.finish().unwrap();
        sender.send(()).unwrap();
        (gpu, buffer)
    });
    let waits = receiver.recv_timeout(Duration::from_millis(300));
    assert_eq!(waits, Err(mpsc::RecvTimeoutError::Timeout), "nobody is there");
    let device = store.device_again(&["64x48"], again);
    receiver.recv_timeout(TIMEOUT).unwrap();
    let (gpu, _buffer) = driver.join().unwrap();
    let shown = device.picture();
    assert!(shown.as_rgb().chunks(3).all(|pixel| pixel == [0x12, 0x34, 0x56]));
    device.stop().unwrap();
    drop(gpu);
}

#[test]
fn a_driver_that_came_meanwhile_starts_afresh() {
    let store = Store::new();
    let mut device = store.device(&["64x48"]);
    let driver = device.driver.take().unwrap();
    let again = again(&driver);
    let mut gpu = GpuDriver::start(driver, u64::MAX).unwrap();
    gpu.set_timeout(TIMEOUT);
    let spec = BufferSpec::new(BufferKind::Blob, 64, 48, Format::B8g8r8x8);
    let first = gpu.create_buffer(spec).unwrap().resource_id();
    leave(device);
    let (driver, result) = gpu.reset(TIMEOUT);
    result.unwrap();
    let mut gpu = GpuDriver::start(driver, u64::MAX).unwrap();
    gpu.set_timeout(TIMEOUT);
    let next = std::thread::spawn(move || {
        let buffer = gpu.create_buffer(spec).unwrap();
        buffer.fill(buffer.rect(), 0x0065_4321).unwrap();
        gpu.show_buffer(0, &buffer).unwrap();
        gpu.submit_flush(buffer.resource_id(), buffer.rect(), true).unwrap();
        gpu.finish().unwrap();
        (gpu, buffer)
    });
    let device = store.device_again(&["64x48"], again);
    let (gpu, buffer) = next.join().unwrap();
    // It has the number that the first driver gave, and no driver has given it twice.
    assert_eq!(buffer.resource_id(), first);
    let shown = device.picture();
    assert!(shown.as_rgb().chunks(3).all(|pixel| pixel == [0x65, 0x43, 0x21]));
    device.stop().unwrap();
    drop(gpu);
}

#[test]
fn a_device_that_shall_be_another_one_is_replaced() {
    let store = Store::new();
    let mut device = store.device(&["64x48"]);
    let driver = device.driver.take().unwrap();
    let again = again(&driver);
    leave(device);
    let device = store.device_again(&["64x48", "32x32"], again);
    // It has a driver of its own, and the first one's device is gone.
    let other = device.driver.as_ref().expect("it was made anew");
    assert_eq!(other.device().config[8], 2);
    let error = GpuDriver::start(driver, u64::MAX).err().unwrap();
    assert!(matches!(error, DriverError::Gone), "{error}");
    device.stop().unwrap();
}

#[test]
fn a_keeper_that_dies_is_replaced_and_knows_everything() {
    let store = Store::new();
    let mut device = store.device(&["160x100"]);
    let driver = device.driver.take().unwrap();
    let mut next: Vec<_> = (0..3).map(|_| again(&driver)).collect();
    let gpu = GpuDriver::start(driver, u64::MAX).unwrap();
    let options = PlayerOptions { kind: BufferKind::Classic, rate: None, cursor: false };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    player.gpu().set_timeout(TIMEOUT);
    let card = TestCard::new(160, 100);
    while let Some(again) = next.pop() {
        let frame = player.present().unwrap();
        let dead = keeper(&device);
        kill_process(dead, Signal::KILL).unwrap();
        wait_until("there is another keeper", || keeper(&device) != dead);
        wait_until("the dead one is waited for", || !is_there(dead));
        leave(device);
        device = store.device_again(&["160x100"], again);
        assert_shows(&device, &card, frame);
    }
    device.stop().unwrap();
}

#[test]
fn a_keeper_that_hangs_holds_nobody_up() {
    let store = Store::new();
    let mut device = store.device(&["64x48"]);
    let driver = device.driver.take().unwrap();
    device.wait_for_state(State::Waiting);
    let hanging = keeper(&device);
    kill_process(hanging, Signal::STOP).unwrap();
    let begun = Instant::now();
    device.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(!is_there(hanging), "it would keep the device");
    let error = GpuDriver::start(driver, u64::MAX).err().unwrap();
    assert!(matches!(error, DriverError::Gone), "{error}");
}
