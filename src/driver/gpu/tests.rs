use std::thread;

use zerocopy::little_endian::U32;

use super::*;
use crate::driver::queue::QueueError;
use crate::driver::test_device::{EVENT_IDX, GpuModel, INDIRECT, TestDevice, device_config};
use crate::driver::{Completion, connect};
use crate::gpu::CursorPosition;
use crate::gpu::wire::{CURSOR_SIZE, feature, flag};

const LONG: Duration = Duration::from_secs(20);

/// A pixel that says where it is.
fn mark(x: u32, y: u32) -> u32 {
    0x0100_0000 | x << 12 | y
}

fn draw_marks(buffer: &Buffer) {
    let BufferSpec { width, height, .. } = *buffer.spec();
    for y in 0..height {
        let row: Vec<_> = (0..width).map(|x| U32::new(mark(x, y))).collect();
        buffer.write_pixels(0, y, &row).unwrap();
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, DriverError>, with: RespType) {
    match result {
        Err(DriverError::Response { response, .. }) => assert_eq!(response, with),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_device_is_asked_about_its_displays() {
    let (mut gpu, device, _) = GpuModel::start(&[(1280, 720), (64, 48)]);
    assert!(gpu.has(feature::EDID) && !gpu.has(feature::VIRGL));
    assert_eq!(gpu.preferred_kind(), BufferKind::Blob);
    assert_eq!(gpu.config().unwrap().num_scanouts.get(), 16);
    let info = gpu.display_info().unwrap();
    let sizes: Vec<_> = info.pmodes.map(|mode| (mode.r.width.get(), mode.r.height.get())).to_vec();
    assert_eq!(sizes[..3], [(1280, 720), (64, 48), (0, 0)]);
    assert_eq!(info.pmodes.map(|mode| mode.enabled.get())[..3], [1, 1, 0]);
    assert_eq!(gpu.edid(1).unwrap(), vec![2; 256]);
    refused(gpu.edid(16), RespType::ErrInvalidScanoutId);
    refused(gpu.capset_info(0), RespType::ErrInvalidParameter);
    refused(gpu.capset(2, 1, 100), RespType::ErrInvalidParameter);
    gpu.unbind(LONG).unwrap();
    device.join();
}

#[test]
fn buffers_of_every_kind_show_their_pixels() {
    let (mut gpu, device, shown) = GpuModel::start(&[(37, 29)]);
    let free = gpu.driver().memory().free_bytes();
    let format = Format::B8g8r8a8;
    let plain = |kind| BufferSpec::new(kind, 37, 29, format);
    let specs = [
        plain(BufferKind::Classic),
        BufferSpec { piece_pages: Some(1), ..plain(BufferKind::Classic) },
        plain(BufferKind::Blob),
        BufferSpec { piece_pages: Some(1), ..plain(BufferKind::Blob) },
        BufferSpec { stride: 5000, offset: 3012, ..plain(BufferKind::Blob) },
        BufferSpec { stride: 5000, offset: 3012, piece_pages: Some(2), ..plain(BufferKind::Blob) },
    ];
    for spec in specs {
        let buffer = gpu.create_buffer(spec).unwrap();
        draw_marks(&buffer);
        gpu.submit_frame(0, &buffer, true).unwrap();
        gpu.finish().unwrap();
        let marks: Vec<_> = (0..29).flat_map(|y| (0..37).map(move |x| mark(x, y))).collect();
        assert_eq!(shown.lock().unwrap().frames[&0], (37, marks.clone()), "{spec:?}");

        // A part only: what is drawn outside of it stays unseen.
        buffer.fill(buffer.rect(), 0x00aa_bbcc).unwrap();
        let part = Rect { x: 5, y: 7, width: 20, height: 3 };
        let id = buffer.resource_id();
        gpu.transfer_to_host_2d(id, part, buffer.offset_of(5, 7)).unwrap();
        gpu.flush(id, part).unwrap();
        let frame = shown.lock().unwrap().frames[&0].1.clone();
        for (index, pixel) in frame.iter().enumerate() {
            let (x, y) = (index as u32 % 37, index as u32 / 37);
            let inside = (5..25).contains(&x) && (7..10).contains(&y);
            assert_eq!(*pixel, if inside { 0x00aa_bbcc } else { mark(x, y) }, "{spec:?} {x} {y}");
        }
        gpu.set_scanout(0, 0, Rect::default()).unwrap();
        gpu.destroy_buffer(buffer).unwrap();
        assert!(shown.lock().unwrap().frames.is_empty());
        assert_eq!(gpu.driver().memory().free_bytes(), free);
        refused(gpu.flush(id, part), RespType::ErrInvalidResourceId);
    }
    gpu.unbind(LONG).unwrap();
    device.join();
}

#[test]
fn pieces_are_out_of_order_and_none_is_lost() {
    let (mut gpu, device, _) = GpuModel::start(&[(64, 64)]);
    let spec = BufferSpec {
        piece_pages: Some(1),
        ..BufferSpec::new(BufferKind::Blob, 64, 64, Format::B8g8r8x8)
    };
    let buffer = gpu.create_buffer(spec).unwrap();
    let entries: Vec<_> =
        buffer.entries().map(|entry| (entry.addr.get(), entry.length.get())).collect();
    assert_eq!(entries.len(), 4);
    assert!(entries.windows(2).all(|pair| pair[0].0 == pair[1].0 + 4096 && pair[0].1 == 4096));
    let one = BufferSpec { piece_pages: None, ..spec };
    let buffer = gpu.create_buffer(one).unwrap();
    let entries: Vec<_> = buffer.entries().map(|entry| entry.length.get()).collect();
    assert_eq!(entries, [16384]);
    drop(gpu);
    device.join();
}

#[test]
fn buffers_that_cannot_be_are_refused() {
    let (mut gpu, device, _) = GpuModel::start(&[(64, 64)]);
    let format = Format::B8g8r8x8;
    let of = |kind, width, height| BufferSpec::new(kind, width, height, format);
    for spec in [
        of(BufferKind::Blob, 0, 5),
        of(BufferKind::Blob, 5, 0),
        of(BufferKind::Blob, u32::MAX, 5),
        BufferSpec { stride: 19, ..of(BufferKind::Blob, 5, 5) },
        BufferSpec { stride: 24, ..of(BufferKind::Classic, 5, 5) },
        BufferSpec { offset: 4, ..of(BufferKind::Classic, 5, 5) },
    ] {
        assert!(matches!(gpu.create_buffer(spec), Err(DriverError::Buffer { .. })), "{spec:?}");
    }
    let buffer = gpu.create_buffer(of(BufferKind::Blob, 5, 5)).unwrap();
    let row = [U32::ZERO; 5];
    buffer.write_pixels(0, 4, &row).unwrap();
    assert!(matches!(buffer.write_pixels(1, 4, &row), Err(DriverError::Pixels { .. })));
    assert!(matches!(buffer.write_pixels(0, 5, &row), Err(DriverError::Pixels { .. })));
    assert!(matches!(buffer.pixel(u32::MAX, 0), Err(DriverError::Pixels { .. })));
    drop(gpu);
    device.join();
}

#[test]
fn errors_of_the_device_have_their_type() {
    let (mut gpu, device, _) = GpuModel::start(&[(64, 64)]);
    refused(gpu.unref(77), RespType::ErrInvalidResourceId);
    refused(gpu.create_2d(0, Format::B8g8r8x8, 4, 4), RespType::ErrInvalidResourceId);
    refused(gpu.set_scanout(16, 0, Rect::default()), RespType::ErrInvalidScanoutId);
    gpu.create_2d(5, Format::B8g8r8x8, 4, 4).unwrap();
    refused(gpu.create_2d(5, Format::B8g8r8x8, 4, 4), RespType::ErrInvalidResourceId);
    refused(gpu.flush(5, Rect::of_size(5, 4)), RespType::ErrInvalidParameter);
    let first = gpu.assign_uuid(5).unwrap();
    gpu.create_2d(6, Format::B8g8r8x8, 4, 4).unwrap();
    assert_ne!(gpu.assign_uuid(6).unwrap(), first);
    assert_eq!(gpu.assign_uuid(5).unwrap(), first);
    let error = gpu.unref(77).unwrap_err().to_string();
    assert_eq!(error, "ResourceUnref was answered with ErrInvalidResourceId");
    drop(gpu);
    device.join();
}

#[test]
fn cursors_have_an_image_and_a_place() {
    let (mut gpu, device, shown) = GpuModel::start(&[(640, 480)]);
    for kind in [BufferKind::Classic, BufferKind::Blob] {
        let spec = BufferSpec::new(kind, CURSOR_SIZE, CURSOR_SIZE, Format::B8g8r8a8);
        let buffer = gpu.create_buffer(spec).unwrap();
        draw_marks(&buffer);
        gpu.transfer_to_host_2d(buffer.resource_id(), buffer.rect(), 0).unwrap();
        gpu.update_cursor(0, (10, 20), buffer.resource_id(), (3, 4)).unwrap();
        {
            let shown = shown.lock().unwrap();
            let (scanout, position, image) = shown.cursor.as_ref().unwrap();
            assert_eq!((*scanout, *position), (0, CursorPosition { x: 10, y: 20 }));
            assert_eq!((image.hot_x, image.hot_y), (3, 4));
            assert_eq!(image.pixels[0], mark(0, 0));
            assert_eq!(image.pixels[64 * 63 + 1], mark(1, 63));
        }
        gpu.move_cursor(0, (11, 22)).unwrap();
        let position = shown.lock().unwrap().cursor.as_ref().unwrap().1;
        assert_eq!(position, CursorPosition { x: 11, y: 22 });
        gpu.update_cursor(0, (11, 22), 0, (0, 0)).unwrap();
        assert!(shown.lock().unwrap().cursor.is_none());
        gpu.destroy_buffer(buffer).unwrap();
    }
    drop(gpu);
    device.join();
}

#[test]
fn commands_are_pipelined_and_fenced() {
    const COMMANDS: u64 = 20_000;
    let (mut gpu, device, shown) = GpuModel::start(&[(64, 64)]);
    let spec = BufferSpec::new(BufferKind::Blob, 8, 8, Format::B8g8r8x8);
    let buffer = gpu.create_buffer(spec).unwrap();
    gpu.show_buffer(0, &buffer).unwrap();
    let (mut sent, mut done) = (Vec::new(), 0u64);
    while done < COMMANDS {
        while (sent.len() as u64) < COMMANDS && gpu.control().outstanding() < 64 {
            let fenced = sent.len() % 3 == 0;
            sent.push(gpu.submit_flush(buffer.resource_id(), buffer.rect(), fenced).unwrap());
        }
        gpu.control().kick().unwrap();
        gpu.control().wait_for(32, LONG).unwrap();
        while let Some(completion) = gpu.control().reap().unwrap() {
            completion.expect(RespType::OkNodata, 24).unwrap();
            assert_eq!(completion.ticket, sent[done as usize]);
            let flags = completion.header.unwrap().flags.get();
            assert_eq!(flags & flag::FENCE != 0, done % 3 == 0);
            done += 1;
        }
    }
    assert_eq!(shown.lock().unwrap().flushes, COMMANDS);
    drop(gpu);
    let counts = device.join();
    let interrupts = counts.interrupts.load(std::sync::atomic::Ordering::Relaxed);
    assert!(interrupts < COMMANDS / 4, "{interrupts} interrupts");
}

#[test]
fn what_is_finished_while_waiting_for_another_is_not_lost() {
    let (mut gpu, device, _) = GpuModel::start(&[(64, 64)]);
    let spec = BufferSpec::new(BufferKind::Classic, 8, 8, Format::B8g8r8x8);
    let buffer = gpu.create_buffer(spec).unwrap();
    let id = buffer.resource_id();
    let first = gpu.submit_flush(id, buffer.rect(), true).unwrap();
    let second = gpu.submit_transfer(id, buffer.rect(), 0).unwrap();
    assert_eq!(gpu.edid(0).unwrap(), vec![1; 256]);
    let reaped: Vec<_> = std::iter::from_fn(|| gpu.control().reap().unwrap()).collect();
    assert_eq!(reaped.iter().map(|done| done.ticket).collect::<Vec<_>>(), [first, second]);
    assert!(reaped.iter().all(|done| done.expect(RespType::OkNodata, 24).is_ok()));
    drop(gpu);
    device.join();
}

#[test]
fn raw_bytes_are_answered_with_errors() {
    let (mut gpu, device, _) = GpuModel::start(&[(64, 64)]);
    let mut send = |bytes: &[u8]| -> Completion {
        let ticket = gpu.control().submit(bytes, Submission::plain()).unwrap();
        gpu.control().kick().unwrap();
        let completion = gpu.control().wait(LONG).unwrap().unwrap();
        assert_eq!(completion.ticket, ticket);
        completion
    };
    let unknown = send(&[0xee; 24]);
    assert_eq!(unknown.header.unwrap().type_.get(), RespType::ErrUnspec.raw());
    assert_eq!(unknown.command, 0xeeee_eeee);
    let short = send(&header(Command::ResourceFlush).as_bytes()[..24]);
    assert_eq!(short.header.unwrap().type_.get(), RespType::ErrInvalidParameter.raw());
    send(&[1, 2, 3]);
    assert!(matches!(
        gpu.control().submit(&[0u8; 129], Submission::plain()),
        Err(DriverError::CommandLength { request: 129, response: 24 })
    ));
    // The device goes on.
    gpu.display_info().unwrap();
    drop(gpu);
    device.join();
}

/// A driver whose device answers every request with these bytes.
fn with_answer(answer: &[u8]) -> (GpuDriver, TestDevice) {
    let (transport, driver) = connect(device_config(INDIRECT | EVENT_IDX, 16)).unwrap();
    let answer = answer.to_vec();
    let device = TestDevice::start(transport, move |_, _: &[u8]| answer.clone());
    (GpuDriver::start(driver, u64::MAX).unwrap(), device)
}

fn answer_header(type_: u32, flags: u32, fence: u64) -> Vec<u8> {
    let hdr = CtrlHdr {
        type_: type_.into(),
        flags: flags.into(),
        fence_id: fence.into(),
        ..CtrlHdr::default()
    };
    hdr.as_bytes().to_vec()
}

#[test]
fn answers_of_a_hostile_device_are_errors() {
    let command = Command::ResourceUnref.raw();
    for length in [0, 23] {
        let (mut gpu, device) = with_answer(&vec![0; length]);
        assert!(matches!(
            gpu.unref(1),
            Err(DriverError::ResponseLength { command: c, length: l, needed: 24 })
                if c == command && l == length as u32
        ));
        drop(gpu);
        device.join();
    }
    let (mut gpu, device) = with_answer(&answer_header(0xdead_beef, 0, 0));
    assert!(matches!(
        gpu.unref(1),
        Err(DriverError::UnknownResponse { response: 0xdead_beef, .. })
    ));
    drop(gpu);
    device.join();

    let (mut gpu, device) = with_answer(&answer_header(RespType::OkDisplayInfo.raw(), 0, 0));
    refused(gpu.unref(1), RespType::OkDisplayInfo);
    assert!(matches!(
        gpu.display_info(),
        Err(DriverError::ResponseLength { length: 24, needed: 408, .. })
    ));
    drop(gpu);
    device.join();

    let mut edid = answer_header(RespType::OkEdid.raw(), 0, 0);
    edid.extend(1025u32.to_le_bytes());
    edid.resize(1056, 0);
    let (mut gpu, device) = with_answer(&edid);
    assert!(matches!(gpu.edid(0), Err(DriverError::ResponseLength { needed: 1025, .. })));
    drop(gpu);
    device.join();
}

#[test]
fn a_fence_that_is_not_repeated_is_an_error() {
    for (flags, fence) in [(0, 1), (flag::FENCE, 2)] {
        let (mut gpu, device) = with_answer(&answer_header(RespType::OkNodata.raw(), flags, fence));
        gpu.submit_flush(3, Rect::default(), true).unwrap();
        assert!(matches!(gpu.finish(), Err(DriverError::Fence { fence: 1, .. })));
        drop(gpu);
        device.join();
    }
    let (mut gpu, device) = with_answer(&answer_header(RespType::OkNodata.raw(), flag::FENCE, 1));
    gpu.submit_flush(3, Rect::default(), true).unwrap();
    gpu.finish().unwrap();
    drop(gpu);
    device.join();
}

#[test]
fn a_device_that_is_silent_costs_the_timeout() {
    let (_transport, driver) = connect(device_config(0, 8)).unwrap();
    let mut gpu = GpuDriver::start(driver, u64::MAX).unwrap();
    gpu.set_timeout(Duration::from_millis(30));
    let command = Command::GetDisplayInfo.raw();
    // Two descriptors each: the fifth has no room.
    for _ in 0..4 {
        assert!(matches!(
            gpu.display_info(),
            Err(DriverError::Timeout { command: c, .. }) if c == command
        ));
    }
    assert!(matches!(
        gpu.display_info(),
        Err(DriverError::Queue(QueueError::Full { wanted: 2, free: 0 }))
    ));
    assert!(matches!(gpu.finish(), Err(DriverError::Timeout { .. })));
    let (mut driver, result) = gpu.reset(Duration::from_millis(1));
    assert!(matches!(result, Err(DriverError::ResetTimeout { .. })));
    driver.start(0).unwrap();
}

#[test]
fn capsets_come_in_memory_of_their_own() {
    let mut answer = answer_header(RespType::OkCapset.raw(), 0, 0);
    answer.extend((0..=255).cycle().take(5000));
    let (mut gpu, device) = with_answer(&answer);
    let free = gpu.driver().memory().free_bytes();
    let capset = gpu.capset(2, 1, 5000).unwrap();
    assert_eq!(capset, answer[24..]);
    assert_eq!(gpu.driver().memory().free_bytes(), free);
    drop(gpu);
    device.join();
}

#[test]
fn a_change_of_the_displays_is_seen_once() {
    let (mut gpu, device, _) = GpuModel::start(&[(64, 64)]);
    assert!(!gpu.wait_display_change(Duration::from_millis(5)).unwrap());
    device.set_config(0, &1u32.to_le_bytes());
    assert!(gpu.wait_display_change(LONG).unwrap());
    assert_eq!(gpu.config().unwrap().events_read.get(), 0);
    assert!(!gpu.wait_display_change(Duration::from_millis(5)).unwrap());
    drop(gpu);
    device.join();
}

#[test]
fn a_driver_starts_again_after_a_reset() {
    let (mut gpu, device, shown) = GpuModel::start(&[(64, 64)]);
    for _ in 0..5 {
        let id = gpu.new_resource_id();
        gpu.submit_flush(id, Rect::default(), true).unwrap();
        gpu.control().kick().unwrap();
        let (driver, result) = gpu.reset(LONG);
        result.unwrap();
        gpu = GpuDriver::start(driver, u64::MAX).unwrap();
        gpu.display_info().unwrap();
    }
    assert_eq!(shown.lock().unwrap().flushes, 0);
    let waiting = thread::spawn(move || gpu.wait_display_change(LONG).unwrap());
    device.set_config(0, &1u32.to_le_bytes());
    assert!(waiting.join().unwrap());
    device.join();
}
