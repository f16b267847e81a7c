//! The whole spine without the kernel: driver, rings, backend process, display socket, picture.

mod common;

use std::time::{Duration, Instant};

use common::{Device, TIMEOUT};
use virtio_loopback_display::Picture;
use virtio_loopback_gpu::adapter::{AdapterError, State};
use virtio_loopback_gpu::driver::card::{CardPlayer, PlayerOptions, TestCard};
use virtio_loopback_gpu::driver::{BufferKind, BufferSpec, DriverError, GpuDriver};
use virtio_loopback_gpu::gpu::Rect;
use virtio_loopback_gpu::gpu::wire::Format;
use virtio_loopback_gpu::sync::lock;

/// Every feature of rings and device.
const ALL: u64 = u64::MAX;
const INDIRECT: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;

fn start(device: &mut Device, features: u64) -> GpuDriver {
    GpuDriver::start(device.driver.take().unwrap(), features).unwrap()
}

/// Compares every pixel, 0x00RRGGBB.
fn assert_picture(picture: &Picture, width: u32, pixels: &[u32]) {
    assert_eq!(picture.as_rgb().len(), pixels.len() * 3);
    for (index, (got, wanted)) in picture.as_rgb().chunks(3).zip(pixels).enumerate() {
        let [_, r, g, b] = wanted.to_be_bytes();
        let (x, y) = (index as u32 % width, index as u32 / width);
        assert_eq!(got, [r, g, b], "at {x}, {y}");
    }
}

#[test]
fn test_card_is_shown_pixel_by_pixel() {
    for kind in [BufferKind::Blob, BufferKind::Classic] {
        for features in [ALL, ALL & !INDIRECT, ALL & !EVENT_IDX, ALL & !INDIRECT & !EVENT_IDX] {
            let mut device = Device::start(&["321x203"]);
            let gpu = start(&mut device, features);
            let options = PlayerOptions { kind, rate: None, cursor: false };
            let mut player = CardPlayer::new(gpu, options).unwrap();
            let card = TestCard::new(321, 203);
            for frame in 0..3 {
                assert_eq!(player.present().unwrap(), frame);
                assert_picture(&device.picture(), 321, &card.image(frame));
            }
            let figures = device.display.statistics(0).unwrap();
            assert_eq!((figures.width, figures.height, figures.updates), (321, 203, 3));
            device.stop().unwrap();
        }
    }
}

#[test]
fn a_scattered_blob_is_shown_like_any_other() {
    let mut device = Device::start(&["64x48"]);
    let mut gpu = start(&mut device, ALL);
    let mut spec = BufferSpec::new(BufferKind::Blob, 64, 48, Format::B8g8r8x8);
    spec.piece_pages = Some(1);
    spec.stride = 512;
    spec.offset = 64;
    let buffer = gpu.create_buffer(spec).unwrap();
    assert!(buffer.entries().count() > 1);
    let whole = Rect { x: 0, y: 0, width: 64, height: 48 };
    buffer.fill(whole, 0x0010_2030).unwrap();
    gpu.show_buffer(0, &buffer).unwrap();
    gpu.flush(buffer.resource_id(), whole).unwrap();
    assert_picture(&device.picture(), 64, &[0x0010_2030; 64 * 48]);
    buffer.fill(Rect { x: 3, y: 5, width: 7, height: 2 }, 0x00ff_8000).unwrap();
    gpu.flush(buffer.resource_id(), whole).unwrap();
    let picture = device.picture();
    assert_eq!(picture.pixel(3, 5), Some([0xff, 0x80, 0]));
    assert_eq!(picture.pixel(9, 6), Some([0xff, 0x80, 0]));
    assert_eq!(picture.pixel(10, 6), Some([0x10, 0x20, 0x30]));
    assert_eq!(picture.pixel(3, 7), Some([0x10, 0x20, 0x30]));
    device.stop().unwrap();
}

#[test]
fn scanouts_are_told_apart() {
    let mut device = Device::start(&["64x48", "80x60"]);
    let gpu = start(&mut device, ALL);
    let options = PlayerOptions { kind: BufferKind::Blob, rate: None, cursor: false };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    player.present().unwrap();
    for (scanout, (width, height)) in [(0, (64, 48)), (1, (80, 60))] {
        let picture = device.display.screenshot(scanout).unwrap();
        assert_picture(&picture, width, &TestCard::new(width, height).image(0));
    }
    device.stop().unwrap();
}

#[test]
fn the_driver_sees_the_modes_and_their_edid() {
    let mut device = Device::start(&["800x600@50", "1920x720"]);
    let mut gpu = start(&mut device, ALL);
    assert_eq!(gpu.config().unwrap().num_scanouts.get(), 2);
    let info = gpu.display_info().unwrap();
    let modes =
        info.pmodes.map(|mode| (mode.enabled.get(), mode.r.width.get(), mode.r.height.get()));
    assert_eq!(modes[..3], [(1, 800, 600), (1, 1920, 720), (0, 0, 0)]);
    let edid = gpu.edid(1).unwrap();
    assert_eq!(edid.len(), 128);
    let timing = &edid[54..72];
    assert_eq!(u32::from(timing[2]) | u32::from(timing[4] >> 4) << 8, 1920);
    assert_eq!(u32::from(timing[5]) | u32::from(timing[7] >> 4) << 8, 720);
    device.stop().unwrap();
}

#[test]
fn a_cursor_moves_and_hides() {
    let mut device = Device::start(&["128x96"]);
    let gpu = start(&mut device, ALL);
    let options = PlayerOptions { kind: BufferKind::Blob, rate: None, cursor: true };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    let card = TestCard::new(128, 96);
    for frame in 0..4 {
        player.present().unwrap();
        let (x, y) = card.cursor_at(frame);
        // The tip of the arrow is black, and the bars are not, where it starts.
        device.wait_for_picture(|picture| picture.pixel(x, y) == Some([0, 0, 0]));
    }
    player.gpu().update_cursor(0, (0, 0), 0, (0, 0)).unwrap();
    let (x, y) = card.cursor_at(3);
    device.wait_for_picture(|picture| picture.pixel(x, y) != Some([0, 0, 0]));
    assert_picture(&device.picture(), 128, &card.image(3));
    device.stop().unwrap();
}

#[test]
fn a_thousand_flushes_at_once_stop_neither_queue() {
    let mut device = Device::start(&["64x48"]);
    let mut gpu = start(&mut device, ALL);
    let buffer = gpu.create_buffer(BufferSpec::new(BufferKind::Blob, 64, 48, Format::B8g8r8x8));
    let buffer = buffer.unwrap();
    gpu.show_buffer(0, &buffer).unwrap();
    for round in 1..=5 {
        for _ in 0..1000 {
            gpu.submit_flush(buffer.resource_id(), buffer.rect(), false).unwrap();
        }
        gpu.control().kick().unwrap();
        gpu.move_cursor(0, (round, round)).unwrap();
        gpu.finish().unwrap();
    }
    assert_eq!(device.display.statistics(0).unwrap().updates, 5000);
    device.stop().unwrap();
}

#[test]
fn the_last_frame_stays_when_a_scanout_goes_off_and_its_memory_away() {
    for kind in [BufferKind::Blob, BufferKind::Classic] {
        let mut device = Device::start(&["160x100"]);
        let gpu = start(&mut device, ALL);
        let options = PlayerOptions { kind, rate: None, cursor: false };
        let mut player = CardPlayer::new(gpu, options).unwrap();
        player.present().unwrap();
        let mut gpu = player.close().unwrap();
        // New buffers take the old ones' pages and overwrite them.
        let spec = BufferSpec::new(kind, 160, 100, Format::B8g8r8x8);
        let buffer = gpu.create_buffer(spec).unwrap();
        buffer.fill(buffer.rect(), 0x00ff_0000).unwrap();
        assert_picture(&device.picture(), 160, &TestCard::new(160, 100).image(0));
        device.stop().unwrap();
    }
}

#[test]
fn a_driver_resets_and_starts_again() {
    let mut device = Device::start(&["64x48"]);
    let mut gpu = start(&mut device, ALL);
    for _ in 0..5 {
        let options = PlayerOptions { kind: BufferKind::Classic, rate: None, cursor: true };
        let mut player = CardPlayer::new(gpu, options).unwrap();
        player.present().unwrap();
        assert_picture_without_cursor(&device.picture());
        // The driver forgets everything without a word, as a reboot would.
        let (driver, result) = player.into_gpu().reset(TIMEOUT);
        result.unwrap();
        gpu = GpuDriver::start(driver, ALL).unwrap();
    }
    device.stop().unwrap();
}

#[test]
fn what_a_driver_left_behind_is_not_reported() {
    let mut device = Device::start(&["64x48"]);
    let gpu = start(&mut device, ALL);
    device.wait_for_state(State::Running);
    {
        let mut shared = lock(&device.shared);
        assert_ne!(shared.driver_features, 0);
        // As a driver of the kernel has them.
        shared.nodes = Some(vec!["/dev/dri/card7".into()]);
    }
    let (driver, result) = gpu.reset(TIMEOUT);
    result.unwrap();
    {
        let shared = lock(&device.shared);
        assert_eq!((shared.state, shared.driver_features), (State::Waiting, 0));
        assert_eq!(shared.nodes, None);
    }
    // The next one.
    let gpu = GpuDriver::start(driver, ALL & !EVENT_IDX).unwrap();
    device.wait_for_state(State::Running);
    assert_eq!(lock(&device.shared).driver_features & EVENT_IDX, 0);
    drop(gpu);
    device.stop().unwrap();
}

/// Below the cursor, which is 64 pixels high at most.
fn assert_picture_without_cursor(picture: &Picture) {
    let image = TestCard::new(64, 48).image(0);
    for x in 32..64 {
        let [_, r, g, b] = image[(47 * 64 + x) as usize].to_be_bytes();
        assert_eq!(picture.pixel(x, 47), Some([r, g, b]));
    }
}

#[test]
fn a_killed_backend_ends_the_device_and_leaves_the_picture() {
    let mut device = Device::start(&["160x100"]);
    let gpu = start(&mut device, ALL);
    let options = PlayerOptions { kind: BufferKind::Blob, rate: None, cursor: false };
    let mut player = CardPlayer::new(gpu, options).unwrap();
    player.present().unwrap();
    let pid = rustix::process::Pid::from_raw(device.backend_id.unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let error = device.join().unwrap_err();
    assert!(matches!(&error, AdapterError::BackendGone(why) if why.contains("SIGKILL")), "{error}");
    assert_picture(&device.picture(), 160, &TestCard::new(160, 100).image(0));
    // The driver is told, and does not wait for ever.
    let begun = Instant::now();
    let error = player.present().unwrap_err();
    assert!(matches!(error, DriverError::Queue(_) | DriverError::Gone), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn stopping_ends_the_backend() {
    let device = Device::start(&["64x48"]);
    let pid = device.backend_id.unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    device.stop().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
