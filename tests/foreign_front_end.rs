//! Our backend under a front-end that is not ours: one that does what QEMU's does, and hostile ones.

#[allow(dead_code, reason = "not all of it is used here")]
mod common;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "foreign/front_end.rs"]
mod front_end;
#[allow(dead_code, reason = "not all of it is used here")]
#[path = "foreign/region.rs"]
mod region;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::TIMEOUT;
use front_end::{BackendProcess, Display, FrontEnd, QUEUE_SIZE};
use virtio_loopback_gpu::driver::{
    BufferKind, BufferSpec, DriverError, GpuDriver, Submission, header,
};
use virtio_loopback_gpu::gpu::wire::{
    Command, Format, GetEdid, ResourceCreate2d, RespDisplayInfo, RespType,
};
use virtio_loopback_gpu::gpu::{Limits, Rect, StateFile};
use virtio_loopback_gpu::vhost_gpu::Request;
use virtio_loopback_gpu::vhost_gpu::message::{
    F_DMABUF2, F_EDID, F_MEMORY_SCANOUT, Scanout, Update, request,
};
use zerocopy::{FromZeros, IntoBytes};

/// What QEMU offers.
const LIKE_QEMU: u64 = F_EDID | F_DMABUF2;
const LIKE_US: u64 = LIKE_QEMU | F_MEMORY_SCANOUT;

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect { x, y, width, height }
}

/// A front-end like QEMU's: its displays are pictures it fills with what UPDATE brings.
struct Canvas {
    width: u32,
    pixels: Vec<u32>,
    /// Rectangles that came, in order.
    updates: Vec<Update>,
}

impl Canvas {
    fn new(scanout: Scanout) -> Self {
        let pixels = vec![0xdead_beef; (scanout.width * scanout.height) as usize];
        Self { width: scanout.width, pixels, updates: Vec::new() }
    }

    /// Takes the next UPDATE, of scanout 0.
    fn update(&mut self, display: &Display) -> Update {
        let Request::Update(update, pixels) = display.receive() else { panic!("no UPDATE") };
        assert_eq!(update.scanout_id, 0);
        let (rows, []) = pixels.as_chunks::<4>() else { panic!("half a pixel") };
        for (row, y) in rows.chunks(update.width as usize).zip(update.y..) {
            let start = (y * self.width + update.x) as usize;
            for (pixel, bytes) in self.pixels[start..].iter_mut().zip(row) {
                *pixel = u32::from_le_bytes(*bytes);
            }
        }
        self.updates.push(update);
        update
    }
}

#[test]
fn a_front_end_like_qemu_gets_the_pixels_and_only_the_damage() {
    for (kind, piece_pages) in
        [(BufferKind::Classic, None), (BufferKind::Blob, None), (BufferKind::Blob, Some(1))]
    {
        let (display, socket) = Display::new(LIKE_QEMU);
        let (front_end, mut gpu) = FrontEnd::start(&socket);
        drop(socket);
        assert_eq!(display.negotiated(), LIKE_QEMU);
        let mut spec = BufferSpec::new(kind, 70, 50, Format::B8g8r8x8);
        spec.piece_pages = piece_pages;
        let buffer = gpu.create_buffer(spec).unwrap();
        let colour = |x: u32, y: u32| x << 16 | y << 8 | 0x7f;
        for y in 0..50 {
            let row: Vec<_> = (0..70).map(|x| colour(x, y).into()).collect();
            buffer.write_pixels(0, y, &row).unwrap();
        }
        gpu.show_buffer(0, &buffer).unwrap();
        let Request::Scanout(scanout) = display.receive() else { panic!("no SCANOUT") };
        assert_eq!(scanout, Scanout { scanout_id: 0, width: 70, height: 50 });
        let mut canvas = Canvas::new(scanout);
        let transfer_and_flush = |gpu: &mut GpuDriver, damage: Rect| {
            let offset = buffer.offset_of(damage.x, damage.y);
            gpu.transfer_to_host_2d(buffer.resource_id(), damage, offset).unwrap();
            gpu.flush(buffer.resource_id(), damage).unwrap();
        };
        transfer_and_flush(&mut gpu, buffer.rect());
        let whole = Update { scanout_id: 0, x: 0, y: 0, width: 70, height: 50 };
        assert_eq!(canvas.update(&display), whole);
        let expected: Vec<u32> = (0..50).flat_map(|y| (0..70).map(move |x| colour(x, y))).collect();
        assert_eq!(canvas.pixels, expected, "{kind:?}");
        // All of it changes, but only a part is flushed.
        buffer.fill(buffer.rect(), 0x00ab_cdef).unwrap();
        transfer_and_flush(&mut gpu, rect(60, 10, 10, 3));
        let part = Update { scanout_id: 0, x: 60, y: 10, width: 10, height: 3 };
        assert_eq!(canvas.update(&display), part);
        for (index, pixel) in canvas.pixels.iter().enumerate() {
            let (x, y) = (index as u32 % 70, index as u32 / 70);
            let damaged = x >= 60 && (10..13).contains(&y);
            let wanted = if damaged { 0x00ab_cdef } else { colour(x, y) };
            assert_eq!(*pixel, wanted, "{kind:?} at {x}, {y}");
        }
        gpu.set_scanout(0, 0, rect(0, 0, 0, 0)).unwrap();
        let Request::Scanout(off) = display.receive() else { panic!("no SCANOUT") };
        assert_eq!((off.width, off.height), (0, 0));
        assert!(display.is_quiet());
        drop(gpu);
        assert_eq!(front_end.close(), (Some(0), String::new()));
    }
}

#[test]
fn a_cursor_reaches_a_front_end_like_qemu() {
    let (display, socket) = Display::new(LIKE_QEMU);
    let (front_end, mut gpu) = FrontEnd::start(&socket);
    display.negotiated();
    let spec = BufferSpec::new(BufferKind::Classic, 64, 64, Format::B8g8r8a8);
    let buffer = gpu.create_buffer(spec).unwrap();
    buffer.fill(rect(5, 6, 1, 1), 0x80ff_0000).unwrap();
    gpu.transfer_to_host_2d(buffer.resource_id(), buffer.rect(), 0).unwrap();
    gpu.update_cursor(2, (7, 8), buffer.resource_id(), (3, 4)).unwrap();
    let Request::CursorUpdate(update, pixels) = display.receive() else { panic!("no cursor") };
    assert_eq!((update.pos.scanout_id, update.pos.x, update.pos.y), (2, 7, 8));
    assert_eq!((update.hot_x, update.hot_y), (3, 4));
    assert_eq!(pixels.iter().filter(|pixel| **pixel != 0).count(), 1);
    assert_eq!(pixels[6 * 64 + 5], 0x80ff_0000);
    gpu.move_cursor(2, (u32::MAX, 9)).unwrap();
    assert!(
        matches!(display.receive(), Request::CursorPos(pos) if (pos.x, pos.y) == (u32::MAX, 9))
    );
    gpu.update_cursor(2, (1, 2), 0, (0, 0)).unwrap();
    assert!(matches!(display.receive(), Request::CursorHide(pos) if (pos.x, pos.y) == (1, 2)));
    drop(gpu);
    assert_eq!(front_end.close(), (Some(0), String::new()));
}

#[test]
fn a_reset_ends_the_scanouts_and_a_driver_starts_again() {
    let (display, socket) = Display::new(LIKE_QEMU);
    let (mut front_end, mut gpu) = FrontEnd::start(&socket);
    display.negotiated();
    for _ in 0..3 {
        show(&mut gpu);
        assert!(matches!(display.receive(), Request::Scanout(scanout) if scanout.width == 8));
        let (driver, result) = std::thread::scope(|scope| {
            let reset = scope.spawn(|| gpu.reset(TIMEOUT));
            while !reset.is_finished() {
                front_end.follow();
                std::thread::sleep(Duration::from_millis(1));
            }
            reset.join().unwrap()
        });
        result.unwrap();
        assert!(matches!(display.receive(), Request::Scanout(scanout) if scanout.width == 0));
        gpu = GpuDriver::start(driver, u64::MAX).unwrap();
        front_end.follow();
    }
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

/// Shows a buffer of 8 × 8 pixels on scanout 0.
fn show(gpu: &mut GpuDriver) -> u32 {
    let spec = BufferSpec::new(BufferKind::Blob, 8, 8, Format::B8g8r8x8);
    let buffer = gpu.create_buffer(spec).unwrap();
    gpu.show_buffer(0, &buffer).unwrap();
    let id = buffer.resource_id();
    // The device reads it as long as it runs.
    std::mem::forget(buffer);
    id
}

/// Submits flushes of the whole buffer that [`show`] has shown.
fn submit_flushes(gpu: &mut GpuDriver, id: u32, count: usize) {
    for _ in 0..count {
        gpu.submit_flush(id, rect(0, 0, 8, 8), false).unwrap();
    }
    gpu.control().kick().unwrap();
}

/// Commands that come back within a short time.
fn returned(gpu: &mut GpuDriver) -> usize {
    returned_within(gpu, Duration::from_millis(100))
}

fn returned_within(gpu: &mut GpuDriver, timeout: Duration) -> usize {
    let mut count = 0;
    while let Some(completion) = gpu.control().wait(timeout).unwrap() {
        assert_eq!(completion.header.unwrap().type_.get(), RespType::OkNodata.raw());
        count += 1;
    }
    count
}

/// A display like ours, the driver that shows something on it, and the resource shown.
fn latching() -> (Display, FrontEnd, GpuDriver, u32) {
    let (display, socket) = Display::new(LIKE_US);
    let (front_end, mut gpu) = FrontEnd::start(&socket);
    assert_eq!(display.negotiated(), LIKE_US);
    let id = show(&mut gpu);
    assert!(matches!(display.receive(), Request::MemoryScanout(_, None)));
    (display, front_end, gpu, id)
}

fn receive_updates(display: &Display, count: usize) {
    for _ in 0..count {
        assert!(matches!(display.receive(), Request::DmabufUpdate(_)));
    }
}

fn answer_updates(display: &Display, count: usize) {
    for _ in 0..count {
        display.reply(request::DMABUF_UPDATE, &[]);
    }
}

#[test]
fn flushes_come_back_when_they_are_latched_and_other_commands_at_once() {
    let (display, front_end, mut gpu, id) = latching();
    submit_flushes(&mut gpu, id, 3);
    receive_updates(&display, 3);
    gpu.create_2d(100, Format::B8g8r8x8, 4, 4).unwrap();
    gpu.unref(100).unwrap();
    assert_eq!(returned(&mut gpu), 0);
    answer_updates(&display, 1);
    assert_eq!(returned(&mut gpu), 1);
    answer_updates(&display, 2);
    assert_eq!(returned(&mut gpu), 2);
    // Answers nobody has asked for.
    answer_updates(&display, 5);
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&display, 1);
    gpu.create_2d(100, Format::B8g8r8x8, 4, 4).unwrap();
    answer_updates(&display, 1);
    assert_eq!(returned(&mut gpu), 1);
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

/// A resource is made with a fence, which waits for that of a flush, and taken away without one, as
/// the kernel's driver does for a client of the render node. Then the backend is killed. `again`: the
/// driver has used the number for another resource by then.
fn kill_with_a_creation_held_back(again: bool) {
    let state = StateFile::create(&Limits::default()).unwrap();
    let (display, socket) = Display::new(LIKE_US);
    let (mut front_end, mut gpu) = FrontEnd::start_keeping(&socket, Some(&state));
    assert_eq!(display.negotiated(), LIKE_US);
    let id = show(&mut gpu);
    assert!(matches!(display.receive(), Request::MemoryScanout(_, None)));
    let create = ResourceCreate2d {
        hdr: header(Command::ResourceCreate2d),
        resource_id: 5.into(),
        format: (Format::B8g8r8x8 as u32).into(),
        width: 4.into(),
        height: 4.into(),
    };
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&display, 1);
    gpu.control().submit(&create, Submission::fenced(77)).unwrap();
    gpu.unref(5).unwrap();
    if again {
        gpu.create_2d(5, Format::B8g8r8x8, 8, 8).unwrap();
    }
    assert_eq!(gpu.control().outstanding(), 2);
    let (display, socket) = Display::new(LIKE_US);
    assert_eq!(front_end.replace(&socket, &state), 2);
    assert_eq!(display.negotiated(), LIKE_US);
    assert!(matches!(display.receive(), Request::MemoryScanout(_, None)));
    // The frame that is there, and the flush that was outstanding, for which both wait.
    receive_updates(&display, 2);
    assert_eq!(returned(&mut gpu), 0);
    answer_updates(&display, 2);
    let mut next = || gpu.control().wait(TIMEOUT).unwrap().unwrap();
    let (flush, created) = (next(), next());
    assert_eq!((flush.fence, created.fence), (None, Some(77)));
    flush.expect(RespType::OkNodata, 24).unwrap();
    created.expect(RespType::OkNodata, 24).unwrap();
    if again {
        // The one that came last is there: the other has no such rectangle.
        gpu.set_scanout(1, 5, rect(0, 0, 8, 8)).unwrap();
        gpu.unref(5).unwrap();
    } else {
        gpu.create_2d(5, Format::B8g8r8x8, 4, 4).unwrap();
    }
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_creation_that_was_held_back_is_not_made_again_behind_its_end() {
    kill_with_a_creation_held_back(false);
}

#[test]
fn a_creation_that_was_held_back_takes_no_later_resource_away() {
    kill_with_a_creation_held_back(true);
}

#[test]
fn fences_come_back_in_order() {
    let (display, front_end, mut gpu, id) = latching();
    submit_flushes(&mut gpu, id, 2);
    receive_updates(&display, 2);
    // Nothing is on screen of this one, but its fence comes after those of the flushes. What has no
    // fence need not wait.
    let rect = rect(0, 0, 8, 8);
    gpu.submit_flush(99, rect, true).unwrap();
    gpu.submit_flush(98, rect, false).unwrap();
    gpu.control().kick().unwrap();
    let mut next = || gpu.control().wait(Duration::from_millis(100)).unwrap();
    assert_eq!(next().map(|unfenced| unfenced.fence), Some(None));
    assert!(next().is_none());
    answer_updates(&display, 1);
    assert_eq!(next().map(|flush| flush.header.unwrap().type_.get()), Some(0x1100));
    assert!(next().is_none());
    answer_updates(&display, 1);
    assert_eq!(next().map(|flush| flush.header.unwrap().type_.get()), Some(0x1100));
    let fenced = next().unwrap();
    assert_eq!((fenced.fence, fenced.header.unwrap().type_.get()), (Some(1), 0x1203));
    drop((gpu, display));
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_display_that_takes_nothing_for_a_while_is_shown_all_again() {
    let (display, front_end, mut gpu, _) = latching();
    let spec = BufferSpec::new(BufferKind::Classic, 64, 64, Format::B8g8r8a8);
    let buffer = gpu.create_buffer(spec).unwrap();
    // Far more than its socket holds, and nothing that it owes an answer to.
    for shade in 0..100 {
        buffer.fill(rect(0, 0, 64, 64), 0xff00_0000 | shade).unwrap();
        gpu.transfer_to_host_2d(buffer.resource_id(), buffer.rect(), 0).unwrap();
        gpu.update_cursor(0, (7, 8), buffer.resource_id(), (3, 4)).unwrap();
    }
    let mut last = 0;
    // What it was sent before that.
    loop {
        match display.receive() {
            Request::CursorUpdate(_, pixels) => last = pixels[0],
            Request::MemoryScanout(off, None) => break assert_eq!(off.width, 0),
            other => panic!("{other:?}"),
        }
        // It is back, which shows with the next command.
        gpu.move_cursor(0, (9, 10)).unwrap();
    }
    assert!((0xff00_0000..0xff00_0063).contains(&last), "{last:x}");
    display.reply(request::MEMORY_SCANOUT, &[]);
    let Request::MemoryScanout(scanout, None) = display.receive() else { panic!("no scanout") };
    assert_eq!((scanout.scanout_id, scanout.width, scanout.height), (0, 8, 8));
    receive_updates(&display, 1);
    let Request::CursorUpdate(update, pixels) = display.receive() else { panic!("no cursor") };
    assert_eq!((update.pos.x, pixels[0], pixels[4095]), (9, 0xff00_0063, 0xff00_0063));
    answer_updates(&display, 1);
    drop((gpu, display));
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_display_that_never_answers_holds_the_ring_until_it_hangs_up() {
    let (display, front_end, mut gpu, id) = latching();
    let size = usize::from(QUEUE_SIZE);
    submit_flushes(&mut gpu, id, size - 1);
    receive_updates(&display, size - 1);
    // One entry is left, and the queue goes on with it.
    for _ in 0..10 {
        gpu.create_2d(100, Format::B8g8r8x8, 4, 4).unwrap();
        gpu.unref(100).unwrap();
    }
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&display, 1);
    assert_eq!(returned(&mut gpu), 0);
    let before = front_end.backend.ticks();
    std::thread::sleep(Duration::from_millis(250));
    let ran = front_end.backend.ticks() - before;
    assert!(ran <= 2, "{ran} of 25 ticks with a full ring");
    drop(display);
    assert_eq!(returned_within(&mut gpu, Duration::from_secs(1)), size);
    // The device goes on unseen.
    for _ in 0..2 * size {
        gpu.flush(id, rect(0, 0, 8, 8)).unwrap();
    }
    assert!(matches!(
        gpu.display_info(),
        Err(DriverError::Response { response: RespType::ErrUnspec, .. })
    ));
    drop(gpu);
    assert_eq!(front_end.close(), (Some(0), String::new()));
}

#[test]
fn an_answer_that_comes_before_another_returns_its_flush() {
    let (display, front_end, mut gpu, id) = latching();
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&display, 1);
    let edid = GetEdid { hdr: header(Command::GetEdid), ..GetEdid::default() };
    gpu.control().submit(&edid, Submission { response: 1056, ..Submission::default() }).unwrap();
    gpu.control().kick().unwrap();
    assert!(matches!(display.receive(), Request::GetEdid(0)));
    // Read while the EDID is awaited: the socket is quiet afterwards.
    answer_updates(&display, 1);
    display.reply(request::GET_EDID, &[0; 1056]);
    for _ in 0..2 {
        let completion = gpu.control().wait(Duration::from_secs(1)).unwrap();
        assert!(completion.is_some(), "both come back");
    }
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_display_that_is_found_silent_returns_its_flushes() {
    let (display, front_end, mut gpu, id) = latching();
    submit_flushes(&mut gpu, id, 2);
    receive_updates(&display, 2);
    let begun = Instant::now();
    assert!(matches!(
        gpu.display_info(),
        Err(DriverError::Response { response: RespType::ErrUnspec, .. })
    ));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(returned(&mut gpu), 2);
    drop((gpu, display));
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_display_that_hangs_is_left_alone_until_it_answers() {
    let (display, front_end, mut gpu, id) = latching();
    submit_flushes(&mut gpu, id, 2);
    receive_updates(&display, 2);
    // The driver does not hang with the display, and whatever it does next needs no answer.
    assert_eq!(returned_within(&mut gpu, Duration::from_secs(3)), 2);
    for _ in 0..300 {
        gpu.flush(id, rect(0, 0, 8, 8)).unwrap();
    }
    gpu.move_cursor(0, (1, 2)).unwrap();
    answer_updates(&display, 2);
    // It has missed all of that, and is shown what is on its scanout now.
    let Request::MemoryScanout(off, None) = display.receive() else { panic!("not off") };
    assert_eq!((off.scanout_id, off.width), (0, 0));
    display.reply(request::MEMORY_SCANOUT, &[]);
    let Request::MemoryScanout(scanout, None) = display.receive() else { panic!("no scanout") };
    assert_eq!((scanout.scanout_id, scanout.width, scanout.height), (0, 8, 8));
    receive_updates(&display, 1);
    answer_updates(&display, 1);
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&display, 1);
    answer_updates(&display, 1);
    assert_eq!(returned(&mut gpu), 1);
    drop((gpu, display));
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_display_that_hangs_keeps_its_monitors_and_is_told_of_once() {
    let (display, front_end, mut gpu, id) = latching();
    let ask = |gpu: &mut GpuDriver| {
        gpu.control()
            .submit(
                &header(Command::GetDisplayInfo),
                Submission {
                    response: size_of::<RespDisplayInfo>() as u32,
                    ..Submission::default()
                },
            )
            .unwrap();
        gpu.control().kick().unwrap();
    };
    ask(&mut gpu);
    assert!(matches!(display.receive(), Request::GetDisplayInfo));
    let mut info = RespDisplayInfo::new_zeroed();
    info.hdr.type_ = RespType::OkDisplayInfo.raw().into();
    (info.pmodes[0].enabled, info.pmodes[0].r.width) = (1.into(), 8.into());
    display.reply(request::GET_DISPLAY_INFO, info.as_bytes());
    assert!(gpu.control().wait(Duration::from_secs(1)).unwrap().is_some());
    // It answers nothing, twice, with a sign of life in between.
    for owed in [1, 2] {
        submit_flushes(&mut gpu, id, 1);
        receive_updates(&display, 1);
        assert_eq!(returned_within(&mut gpu, Duration::from_secs(3)), 1);
        // The driver is told what was known, not that there are no monitors.
        let known = gpu.display_info().unwrap();
        assert_eq!((known.pmodes[0].enabled.get(), known.pmodes[0].r.width.get()), (1, 8));
        answer_updates(&display, owed);
        assert!(matches!(display.receive(), Request::MemoryScanout(_, None)));
        display.reply(request::MEMORY_SCANOUT, &[]);
        assert!(matches!(display.receive(), Request::MemoryScanout(_, None)));
        receive_updates(&display, 1);
    }
    answer_updates(&display, 1);
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&display, 1);
    answer_updates(&display, 1);
    assert_eq!(returned(&mut gpu), 1);
    drop((gpu, display));
    let (code, said) = front_end.close();
    assert_eq!(code, Some(0));
    assert_eq!(said.matches("has not answered for 1 s: frames are dropped").count(), 1, "{said}");
    assert_eq!(said.matches("the display answers again, after ").count(), 1, "{said}");
}

#[test]
fn a_second_display_socket_replaces_the_first() {
    let (first, front_end, mut gpu, id) = latching();
    submit_flushes(&mut gpu, id, 3);
    receive_updates(&first, 3);
    let (second, socket) = Display::new(LIKE_US);
    front_end.set_display(&socket);
    drop(socket);
    assert_eq!(second.negotiated(), LIKE_US);
    // What the first has not answered comes back, and the second sees what is shown.
    assert_eq!(returned(&mut gpu), 3);
    let Request::MemoryScanout(scanout, None) = second.receive() else { panic!("no scanout") };
    assert_eq!((scanout.scanout_id, scanout.width, scanout.height), (0, 8, 8));
    receive_updates(&second, 1);
    // The driver has not asked for that update: its answer returns no flush.
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&second, 1);
    answer_updates(&second, 1);
    assert_eq!(returned(&mut gpu), 0);
    answer_updates(&second, 1);
    assert_eq!(returned(&mut gpu), 1);
    assert!(first.0.receive_within(TIMEOUT, |_| 0).is_err());
    // A third that can only take bytes.
    let (third, socket) = Display::new(0);
    front_end.set_display(&socket);
    assert_eq!(third.negotiated(), 0);
    let Request::Scanout(scanout) = third.receive() else { panic!("no scanout") };
    assert_eq!((scanout.width, scanout.height), (8, 8));
    let Request::Update(update, pixels) = third.receive() else { panic!("no pixels") };
    assert_eq!((update.width, update.height, pixels.len()), (8, 8, 256));
    gpu.flush(id, rect(1, 1, 2, 2)).unwrap();
    let Request::Update(update, pixels) = third.receive() else { panic!("no pixels") };
    assert_eq!((update.x, update.y, pixels.len()), (1, 1, 16));
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn answers_for_flushes_of_a_stopped_ring_return_no_later_one() {
    let (display, mut front_end, mut gpu, id) = latching();
    submit_flushes(&mut gpu, id, 2);
    receive_updates(&display, 2);
    let base = front_end.stop_ring(0);
    assert_eq!(returned(&mut gpu), 2);
    front_end.start_ring(0, base);
    submit_flushes(&mut gpu, id, 1);
    receive_updates(&display, 1);
    answer_updates(&display, 2);
    assert_eq!(returned(&mut gpu), 0);
    answer_updates(&display, 1);
    assert_eq!(returned(&mut gpu), 1);
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_display_that_owes_answers_for_a_stopped_ring_only_is_not_waited_for_either() {
    let (display, mut front_end, mut gpu, id) = latching();
    // As many as the display may owe before no more commands are taken.
    for _ in 0..4 {
        submit_flushes(&mut gpu, id, 16);
        receive_updates(&display, 16);
        let base = front_end.stop_ring(0);
        assert_eq!(returned(&mut gpu), 16);
        front_end.start_ring(0, base);
    }
    let begun = Instant::now();
    gpu.create_2d(100, Format::B8g8r8x8, 4, 4).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // When it has answered, all is shown on it again.
    answer_updates(&display, 64);
    gpu.unref(100).unwrap();
    assert!(matches!(display.receive(), Request::MemoryScanout(off, None) if off.width == 0));
    display.reply(request::MEMORY_SCANOUT, &[]);
    assert!(matches!(display.receive(), Request::MemoryScanout(on, None) if on.width == 8));
    drop((gpu, display));
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_display_that_talks_nonsense_is_dropped() {
    for nonsense in [
        [request::GET_EDID, 4, 0].as_bytes(),
        [request::DMABUF_UPDATE, 0, 0].as_bytes(),
        [request::DMABUF_UPDATE, 4, 1, 0].as_bytes(),
        [request::DMABUF_UPDATE, 4, u32::MAX].as_bytes(),
    ] {
        let (display, front_end, mut gpu, id) = latching();
        submit_flushes(&mut gpu, id, 1);
        receive_updates(&display, 1);
        display.0.stream().write_all(nonsense).unwrap();
        assert_eq!(returned(&mut gpu), 1);
        gpu.flush(id, rect(0, 0, 8, 8)).unwrap();
        drop(gpu);
        let (code, text) = front_end.close();
        assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
        assert!(text.contains("the display is lost"), "{text}");
    }
}

#[test]
fn a_display_that_was_dropped_costs_nothing_whoever_keeps_its_socket() {
    let (display, socket) = Display::new(LIKE_US);
    let (front_end, mut gpu) = FrontEnd::start(&socket);
    display.negotiated();
    // `socket` stays open here: for the kernel it is the same one as the backend's.
    display.0.stream().write_all(&[0x5a; 1000]).unwrap();
    show(&mut gpu);
    std::thread::sleep(Duration::from_millis(20));
    let before = front_end.backend.ticks();
    std::thread::sleep(Duration::from_millis(250));
    let ran = front_end.backend.ticks() - before;
    assert!(ran <= 2, "{ran} of 25 ticks");
    drop((gpu, socket));
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn a_front_end_that_breaks_the_protocol_ends_the_backend() {
    let silent = "the front-end sent half a message and is silent";
    for (bytes, silence, code, message) in [
        // Hung up, between messages or within one.
        (&[][..], false, 0, ""),
        (&[1, 1][..], false, 0, ""),
        (&[2, 1, 8, 5][..], false, 0, ""),
        (&[2, 1, 8, 5][..], true, 1, silent),
        (&[2][..], true, 1, silent),
        (&[1, 1, 4097][..], true, 1, "the front-end announces a message of 4097 bytes"),
        (&[1, 1, u32::MAX][..], true, 1, "the front-end announces a message of 4294967295 bytes"),
        (&[33, 1, 0][..], true, 1, "a request of the front-end failed"),
        (&[33, 1, 9, 0, 0, 0][..], true, 1, "the front-end's display socket could not be received"),
    ] {
        let (backend, mut stream) = BackendProcess::start();
        stream.write_all(bytes.as_bytes()).unwrap();
        let begun = Instant::now();
        if !silence {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
        let (got, text) = backend.end();
        assert_eq!(got, Some(code), "{bytes:?}: {text}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{bytes:?}");
        assert!(text.contains(message) && text.lines().count() <= 1, "{bytes:?}: {text}");
        assert_eq!(text.is_empty(), code == 0, "{bytes:?}: {text}");
    }
}

#[test]
fn requests_the_backend_cannot_serve_leave_it_running() {
    let (backend, stream) = BackendProcess::start();
    let channel = virtio_loopback_gpu::vhost_gpu::Channel::new(stream.try_clone().unwrap());
    let ask = |number: u32, payload: &[u32]| {
        // Version 1, and an answer is wanted.
        channel.send(number, 1 | 8, &[payload.as_bytes()], &[]).unwrap();
        channel.receive_within(TIMEOUT, |_| 4096).unwrap().payload
    };
    channel.send(3, 1, &[], &[]).unwrap();
    assert_eq!(ask(1, &[]).len(), 8);
    assert_eq!(ask(15, &[]).len(), 8);
    channel.send(16, 1, &[(1_u64 << 9 | 1 << 3).as_bytes()], &[]).unwrap();
    let refused = |answer: Vec<u8>| {
        assert_eq!(answer.len(), 8);
        assert_ne!(answer, [0; 8]);
    };
    // QEMU passes on RING_RESET of a driver that has accepted it from the transport.
    assert_eq!(ask(2, &[1 << 30, 1 | 1 << 8]), [0; 8]);
    // Features that were not offered, rings that are not there or have impossible sizes or places.
    refused(ask(2, &[1 << 30, 0x8000_0000]));
    for (index, size) in [(0, 0), (0, 3), (0, 2048), (0, 65536), (0, u32::MAX), (2, 16)] {
        refused(ask(8, &[index, size]));
    }
    refused(ask(9, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    refused(ask(9, &[0, 0, u32::MAX - 15, u32::MAX, 8, 0, 16, 0, 0, 0]));
    refused(ask(10, &[0, 65536]));
    // Memory that its file does not have.
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    for (address, size, offset) in
        [(0, (1 << 20) + 1, 0_u64), (0, 1 << 20, 4096), (0, 1 << 40, 0), (1 << 40, 4096, 1 << 20)]
    {
        // One region; the front-end's own address is of no interest here.
        let table = [1, address, size, 0, offset];
        channel.send(5, 1 | 8, &[table.as_bytes()], &[file.as_fd()]).unwrap();
        refused(channel.receive_within(TIMEOUT, |_| 4096).unwrap().payload);
    }
    // The configuration space beyond its end has no bytes.
    assert!(ask(24, &[8, 16, 0, 0, 0, 0, 0]).len() <= 12);
    assert_eq!(ask(1, &[]).len(), 8);
    drop((channel, stream));
    assert_eq!(backend.end().0, Some(0));
}

#[test]
fn a_question_without_an_answer_ends_the_backend() {
    let (backend, stream) = BackendProcess::start();
    let channel = virtio_loopback_gpu::vhost_gpu::Channel::new(stream.try_clone().unwrap());
    // GET_VRING_BASE of a ring that is not there.
    channel.send(11, 1, &[[2_u32, 0].as_bytes()], &[]).unwrap();
    assert!(channel.receive_within(TIMEOUT, |_| 4096).is_err());
    drop((channel, stream));
    let (code, said) = backend.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("a request of the front-end failed"), "{said}");
}

#[test]
fn a_pair_of_sockets_is_enough() {
    // Nothing here depends on a display: a driver can work unseen.
    let (unused, socket) = UnixStream::pair().unwrap();
    drop(unused);
    let (front_end, mut gpu) = FrontEnd::start(&socket);
    let id = show(&mut gpu);
    gpu.flush(id, rect(0, 0, 8, 8)).unwrap();
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}
