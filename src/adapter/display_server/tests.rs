//! The display socket with a foreign, a broken and a hostile backend behind it.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loopback_driver_glue::MemoryWindow;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use virtio_loopback_display::{DisplayHandle, DisplayKind, Options, Picture, Presenter, Signal};
use zerocopy::{FromBytes, IntoBytes};

use super::{DisplayServer, DisplayServerError, MAX_BAD_REQUESTS};
use crate::adapter::monitors::Monitors;
use crate::adapter::scanouts::{ScanoutError, ScanoutMemory};
use crate::gpu::wire::{RespDisplayInfo, RespEdid};
use crate::vhost_gpu::message::{
    CursorPos, CursorUpdate, DmabufScanout, MAX_UPDATE, MemoryScanout, Scanout, Update, request,
};
use crate::vhost_gpu::{Channel, ChannelError};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the driver's memory.
const WINDOW: u64 = 1 << 20;
const XRGB8888: u32 = u32::from_le_bytes(*b"XR24");
const COLOUR: [u8; 3] = [0x12, 0x34, 0x56];
const PIXEL: [u8; 4] = [0x56, 0x34, 0x12, 0];

/// The backend's end of a served socket.
struct Backdoor {
    channel: Channel,
    display: DisplayHandle,
    server: JoinHandle<Result<(), DisplayServerError>>,
    _presenter: Presenter,
}

impl Backdoor {
    fn open() -> Self {
        Self::open_as(|_| {})
    }

    fn open_as(change: impl FnOnce(&mut DisplayServer)) -> Self {
        let (presenter, display) =
            Presenter::open(Options::new(DisplayKind::Headless, "test"), |_| {}).unwrap();
        let window = memfd("driver", WINDOW, SealFlags::SHRINK);
        let memory = ScanoutMemory::new(MemoryWindow { fd: window.as_fd(), size: WINDOW }).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let monitors = Monitors::new(vec!["64x48".parse().unwrap()], 1);
        let mut server = DisplayServer::new(theirs, display.clone(), memory, monitors).unwrap();
        change(&mut server);
        let server = std::thread::spawn(|| server.run());
        Self { channel: Channel::new(ours), display, server, _presenter: presenter }
    }

    fn send(&self, number: u32, payload: impl AsRef<[u8]>, fds: &[BorrowedFd<'_>]) {
        self.channel.send(number, 0, &[payload.as_ref()], fds).unwrap();
    }

    fn raw(&self, bytes: &[u8]) {
        self.channel.stream().write_all(bytes).unwrap();
    }

    fn reply(&self, number: u32, size: usize) -> Vec<u8> {
        let frame = self.channel.receive_within(TIMEOUT, |_| 4096).unwrap();
        assert_eq!((frame.header.request, frame.header.flags), (number, 4));
        assert_eq!(frame.payload.len(), size);
        frame.payload
    }

    /// Waits until all that was sent before has been handled.
    fn sync(&self) {
        self.send(request::GET_DISPLAY_INFO, [], &[]);
        let reply = self.reply(request::GET_DISPLAY_INFO, 408);
        let info = RespDisplayInfo::read_from_bytes(&reply).unwrap();
        assert_eq!((info.pmodes[0].r.width.get(), info.pmodes[0].r.height.get()), (64, 48));
    }

    fn picture(&self) -> Picture {
        self.sync();
        self.display.screenshot(0).unwrap()
    }

    /// Shows 8 × 6 pixels of one colour on scanout 0, which must stay whatever comes then.
    fn show_colour(&self) {
        self.send(request::SCANOUT, scanout(0, 8, 6).as_bytes(), &[]);
        self.send(request::UPDATE, pixels(update(0, 0, 0, 8, 6), |_, _| PIXEL), &[]);
        self.assert_colour();
    }

    fn assert_colour(&self) {
        let picture = self.picture();
        assert_eq!((picture.width(), picture.height()), (8, 6));
        assert!(picture.as_rgb().as_chunks().0.iter().all(|pixel| *pixel == COLOUR));
    }

    /// Hangs up, and says how the server ended.
    fn close(self) -> Result<(), DisplayServerError> {
        drop(self.channel);
        join(self.server)
    }
}

fn join(server: JoinHandle<Result<(), DisplayServerError>>) -> Result<(), DisplayServerError> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(server.join()));
    receiver.recv_timeout(TIMEOUT).expect("the server ends").expect("the server does not panic")
}

fn memfd(name: &str, size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(name, flags).unwrap();
    rustix::fs::ftruncate(&file, size).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

fn scanout(scanout_id: u32, width: u32, height: u32) -> Scanout {
    Scanout { scanout_id, width, height }
}

fn update(scanout_id: u32, x: u32, y: u32, width: u32, height: u32) -> Update {
    Update { scanout_id, x, y, width, height }
}

/// An UPDATE with the pixels of a function of column and row in the update.
fn pixels(update: Update, pixel: impl Fn(u32, u32) -> [u8; 4]) -> Vec<u8> {
    let mut bytes = update.as_bytes().to_vec();
    for y in 0..update.height {
        for x in 0..update.width {
            bytes.extend(pixel(x, y));
        }
    }
    bytes
}

fn memory_scanout(width: u32, height: u32, buffer: u64) -> MemoryScanout {
    MemoryScanout {
        offset: 0,
        size: 4096,
        buffer,
        scanout_id: 0,
        width,
        height,
        stride: width.saturating_mul(4),
        fourcc: XRGB8888,
        generation: 0,
    }
}

fn dmabuf_scanout(x: u32, y: u32, width: u32, height: u32) -> DmabufScanout {
    DmabufScanout {
        scanout_id: 0,
        x,
        y,
        width,
        height,
        fd_width: 16,
        fd_height: 12,
        fd_stride: 64,
        fd_flags: 0,
        fd_drm_fourcc: XRGB8888.cast_signed(),
    }
}

#[test]
fn pixels_sent_as_bytes_are_shown_where_they_belong() {
    let backdoor = Backdoor::open();
    backdoor.send(request::SET_PROTOCOL_FEATURES, 1_u64.to_ne_bytes(), &[]);
    backdoor.send(request::SCANOUT, scanout(0, 10, 8).as_bytes(), &[]);
    let gradient = |x: u32, y: u32| [x as u8, y as u8, 0x40, 0xff];
    backdoor.send(request::UPDATE, pixels(update(0, 0, 0, 10, 8), gradient), &[]);
    backdoor.send(request::UPDATE, pixels(update(0, 7, 5, 3, 2), |_, _| PIXEL), &[]);
    let picture = backdoor.picture();
    for y in 0..8 {
        for x in 0..10 {
            let damaged = (7..10).contains(&x) && (5..7).contains(&y);
            let wanted = if damaged { COLOUR } else { [0x40, y as u8, x as u8] };
            assert_eq!(picture.pixel(x, y), Some(wanted), "at {x}, {y}");
        }
    }
    backdoor.send(request::SCANOUT, scanout(0, 0, 0).as_bytes(), &[]);
    assert_eq!(backdoor.picture(), picture);
    assert_eq!(backdoor.display.statistics(0).unwrap().signal, Signal::Off);
    backdoor.close().unwrap();
}

#[test]
fn a_sealed_file_is_shown_in_place_as_a_dma_buf_is() {
    let backdoor = Backdoor::open();
    let file = memfd("frame", 12 * 64, SealFlags::SHRINK);
    let write = |x: u64, y: u64| {
        rustix::io::pwrite(&file, &PIXEL, y * 64 + x * 4).unwrap();
    };
    write(3, 2);
    backdoor.send(request::DMABUF_SCANOUT, dmabuf_scanout(2, 1, 5, 4).as_bytes(), &[file.as_fd()]);
    backdoor.send(request::DMABUF_UPDATE, update(0, 0, 0, 5, 4).as_bytes(), &[]);
    backdoor.reply(request::DMABUF_UPDATE, 0);
    let picture = backdoor.picture();
    assert_eq!((picture.width(), picture.height()), (5, 4));
    assert_eq!(picture.pixel(1, 1), Some(COLOUR));
    assert_eq!(picture.pixel(2, 1), Some([0; 3]));
    write(4, 2);
    assert_eq!(backdoor.picture().pixel(2, 1), Some(COLOUR));
    // The same, with a modifier, and all of the buffer.
    let with_modifier = [dmabuf_scanout(0, 0, 16, 12).as_bytes(), &[0; 8]].concat();
    backdoor.send(request::DMABUF_SCANOUT2, with_modifier, &[file.as_fd()]);
    let picture = backdoor.picture();
    assert_eq!(picture.pixel(3, 2), Some(COLOUR));
    // Without a file it goes off, and the picture stays although the memory is another's now.
    backdoor.send(request::DMABUF_SCANOUT, dmabuf_scanout(0, 0, 0, 0).as_bytes(), &[]);
    backdoor.sync();
    rustix::io::pwrite(&file, &[0xff; 12 * 64], 0).unwrap();
    assert_eq!(backdoor.picture(), picture);
    backdoor.close().unwrap();
}

#[test]
fn y_0_top_is_the_lower_row_first_and_tiled_pixels_are_refused() {
    let backdoor = Backdoor::open();
    let file = memfd("frame", 12 * 64, SealFlags::SHRINK);
    rustix::io::pwrite(&file, &PIXEL, 2 * 64 + 3 * 4).unwrap();
    let flipped =
        |x, y, width, height| DmabufScanout { fd_flags: 1, ..dmabuf_scanout(x, y, width, height) };
    backdoor.send(request::DMABUF_SCANOUT, flipped(0, 0, 16, 12).as_bytes(), &[file.as_fd()]);
    assert_eq!(backdoor.picture().pixel(3, 9), Some(COLOUR));
    // Row 9 from the top is the second of this part.
    backdoor.send(request::DMABUF_SCANOUT, flipped(2, 8, 5, 3).as_bytes(), &[file.as_fd()]);
    let picture = backdoor.picture();
    for (x, y) in (0..15).map(|index| (index % 5, index / 5)) {
        let wanted = if (x, y) == (1, 1) { COLOUR } else { [0; 3] };
        assert_eq!(picture.pixel(x, y), Some(wanted), "at {x}, {y}");
    }
    // With the modifier of a driver that says nothing, and with those of tiles.
    for (modifier, is_shown) in [(0x00ff_ffff_ffff_ffff_u64, true), (1, false), (u64::MAX, false)] {
        backdoor.show_colour();
        let scanout = [dmabuf_scanout(0, 0, 16, 12).as_bytes(), &modifier.to_ne_bytes()].concat();
        backdoor.send(request::DMABUF_SCANOUT2, scanout, &[file.as_fd()]);
        backdoor.sync();
        let shown = backdoor.picture().pixel(3, 2) == Some(COLOUR)
            && backdoor.picture().pixel(0, 0) == Some([0; 3]);
        assert_eq!(shown, is_shown, "{modifier:#x}");
    }
    backdoor.close().unwrap();
}

#[test]
fn questions_get_answers_of_the_right_size() {
    let backdoor = Backdoor::open();
    backdoor.send(request::GET_PROTOCOL_FEATURES, [], &[]);
    assert_eq!(backdoor.reply(1, 8), (1_u64 << 48 | 3).to_ne_bytes());
    for (scanout, size) in [(0_u32, 128), (1, 0), (15, 0)] {
        backdoor.send(request::GET_EDID, scanout.to_ne_bytes(), &[]);
        let edid = RespEdid::read_from_bytes(&backdoor.reply(request::GET_EDID, 1056)).unwrap();
        assert!(edid.size.get() >= size, "{scanout}");
    }
    let off = MemoryScanout { scanout_id: 3, ..memory_scanout(0, 0, 0) };
    backdoor.send(request::MEMORY_SCANOUT, off.as_bytes(), &[]);
    backdoor.reply(request::MEMORY_SCANOUT, 0);
    backdoor.close().unwrap();
}

#[test]
fn an_edid_can_have_all_the_bytes_there_are() {
    let backdoor = Backdoor::open_as(DisplayServer::answer_whole_edids);
    backdoor.send(request::GET_EDID, 0_u32.to_ne_bytes(), &[]);
    let edid = RespEdid::read_from_bytes(&backdoor.reply(request::GET_EDID, 1056)).unwrap();
    assert_eq!(edid.size.get(), 1024);
    assert_eq!(edid.edid[..8], [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    // One block and no extension.
    assert_eq!((edid.edid[126], &edid.edid[128..]), (0, &[0; 896][..]));
    backdoor.close().unwrap();
}

#[test]
fn answers_come_even_when_there_is_nothing_to_update() {
    let backdoor = Backdoor::open();
    for update in [update(0, 0, 0, 8, 6), update(15, u32::MAX, u32::MAX, u32::MAX, u32::MAX)] {
        backdoor.send(request::DMABUF_UPDATE, update.as_bytes(), &[]);
        backdoor.reply(request::DMABUF_UPDATE, 0);
    }
    backdoor.show_colour();
    backdoor.send(request::DMABUF_UPDATE, update(0, 100, 100, 1, 1).as_bytes(), &[]);
    backdoor.reply(request::DMABUF_UPDATE, 0);
    backdoor.assert_colour();
    backdoor.close().unwrap();
}

#[test]
fn files_that_could_kill_a_reader_are_refused() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let regular = tempfile::tempfile().unwrap();
    regular.set_len(1 << 16).unwrap();
    let files: [OwnedFd; 7] = [
        memfd("unsealed", 1 << 16, SealFlags::empty()),
        memfd("may shrink", 1 << 16, SealFlags::GROW | SealFlags::WRITE),
        memfd("empty", 0, SealFlags::SHRINK),
        std::fs::File::open("/dev/null").unwrap().into(),
        std::fs::File::open("/").unwrap().into(),
        pipe,
        regular.into(),
    ];
    for (buffer, file) in (1..).zip(&files) {
        let message = memory_scanout(8, 6, buffer);
        backdoor.send(request::MEMORY_SCANOUT, message.as_bytes(), &[file.as_fd()]);
        backdoor.assert_colour();
        let message = dmabuf_scanout(0, 0, 16, 12);
        backdoor.send(request::DMABUF_SCANOUT, message.as_bytes(), &[file.as_fd()]);
        backdoor.assert_colour();
    }
    // Pages of a sealed file that vanish come back as zeros.
    let file = memfd("punched", 1 << 16, SealFlags::SHRINK);
    rustix::io::pwrite(&file, &[0xff; 4096], 0).unwrap();
    let message = memory_scanout(8, 6, 99);
    backdoor.send(request::MEMORY_SCANOUT, message.as_bytes(), &[file.as_fd()]);
    assert_eq!(backdoor.picture().pixel(7, 5), Some([0xff; 3]));
    assert!(rustix::fs::ftruncate(&file, 0).is_err());
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 0, 1 << 16).unwrap();
    assert_eq!(backdoor.picture().pixel(7, 5), Some([0; 3]));
    backdoor.close().unwrap();
}

#[test]
fn frames_beyond_their_memory_are_refused() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    let file = memfd("small", 4096, SealFlags::SHRINK);
    let good = memory_scanout(8, 6, 1);
    let wrong = [
        MemoryScanout { size: 4097, ..good },
        MemoryScanout { size: u64::MAX, ..good },
        MemoryScanout { size: 0, ..good },
        MemoryScanout { offset: 4096, ..good },
        MemoryScanout { offset: u64::MAX - 3, ..good },
        MemoryScanout { offset: 2, ..good },
        MemoryScanout { height: 129, ..good },
        MemoryScanout { height: 0, ..good },
        MemoryScanout { height: u32::MAX, ..good },
        MemoryScanout { width: u32::MAX, ..good },
        MemoryScanout { width: 1 << 30, ..good },
        MemoryScanout { stride: 31, ..good },
        MemoryScanout { stride: 34, ..good },
        MemoryScanout { stride: u32::MAX, ..good },
        MemoryScanout { fourcc: 0, ..good },
        MemoryScanout { fourcc: u32::MAX, ..good },
    ];
    for (buffer, message) in (2..).zip(wrong) {
        // The file's number is new each time: what was wrong is the file's first use.
        let message = MemoryScanout { buffer, ..message };
        backdoor.send(request::MEMORY_SCANOUT, message.as_bytes(), &[file.as_fd()]);
        backdoor.assert_colour();
    }
    // In the driver's memory, which ends, too.
    for offset in [WINDOW, WINDOW - 8 * 6 * 4 + 4, u64::MAX - 3, WINDOW - 2] {
        let beyond = MemoryScanout { offset, buffer: 0, ..good };
        backdoor.send(request::MEMORY_SCANOUT, beyond.as_bytes(), &[]);
        backdoor.assert_colour();
    }
    let good_dmabuf = dmabuf_scanout(0, 0, 16, 12);
    let wrong = [
        DmabufScanout { fd_height: 65, ..good_dmabuf },
        DmabufScanout { fd_height: u32::MAX, fd_stride: u32::MAX, ..good_dmabuf },
        DmabufScanout { fd_height: 0, ..good_dmabuf },
        DmabufScanout { fd_stride: 0, ..good_dmabuf },
        DmabufScanout { fd_stride: 60, ..good_dmabuf },
        DmabufScanout { y: 1, ..good_dmabuf },
        DmabufScanout { y: 1, fd_flags: 1, ..good_dmabuf },
        DmabufScanout { y: u32::MAX, height: u32::MAX, fd_flags: 1, ..good_dmabuf },
        DmabufScanout { x: u32::MAX, y: u32::MAX, ..good_dmabuf },
        DmabufScanout { width: 0, ..good_dmabuf },
        DmabufScanout { height: u32::MAX, ..good_dmabuf },
        DmabufScanout { fd_drm_fourcc: -1, ..good_dmabuf },
    ];
    for message in wrong {
        backdoor.send(request::DMABUF_SCANOUT, message.as_bytes(), &[file.as_fd()]);
        backdoor.assert_colour();
    }
    backdoor.send(request::MEMORY_SCANOUT, good.as_bytes(), &[file.as_fd()]);
    assert_eq!(backdoor.picture().pixel(0, 0), Some([0; 3]));
    backdoor.close().unwrap();
}

#[test]
fn updates_outside_of_their_scanout_change_nothing() {
    let backdoor = Backdoor::open();
    let early = pixels(update(0, 0, 0, 8, 6), |_, _| PIXEL);
    backdoor.send(request::UPDATE, &early, &[]);
    backdoor.sync();
    assert!(backdoor.display.screenshot(0).is_err());
    backdoor.show_colour();
    let other = |_, _| [0xff; 4];
    for outside in [
        update(0, 1, 0, 8, 6),
        update(0, 0, 1, 8, 6),
        update(0, u32::MAX, 0, 1, 1),
        update(0, 0, u32::MAX, 1, 1),
        update(0, 8, 6, 1, 1),
        update(1, 0, 0, 1, 1),
        update(15, 0, 0, 8, 6),
        update(16, 0, 0, 1, 1),
        update(u32::MAX, 0, 0, 1, 1),
    ] {
        backdoor.send(request::UPDATE, pixels(outside, other), &[]);
        backdoor.assert_colour();
    }
    for empty in [update(0, 0, 0, 0, 0), update(0, 0, 0, u32::MAX, 0), update(0, 9, 9, 0, 9)] {
        backdoor.send(request::UPDATE, empty.as_bytes(), &[]);
        backdoor.assert_colour();
    }
    // Sizes whose product only fits 32 bits wrapped.
    for (width, height) in [(1 << 30, 1), (1 << 31, 2), (65536, 65536), (u32::MAX, u32::MAX)] {
        backdoor.send(request::UPDATE, update(0, 0, 0, width, height).as_bytes(), &[]);
        backdoor.send(request::SCANOUT, scanout(0, width, height).as_bytes(), &[]);
        backdoor.assert_colour();
    }
    backdoor.close().unwrap();
}

#[test]
fn answers_come_to_questions_that_make_no_sense() {
    let backdoor = Backdoor::open();
    let no_edid = |backdoor: &Backdoor| {
        let edid = RespEdid::read_from_bytes(&backdoor.reply(request::GET_EDID, 1056)).unwrap();
        assert_eq!((edid.hdr.type_.get(), edid.size.get()), (0x1104, 0));
    };
    for scanout in [16_u32, 17, u32::MAX] {
        backdoor.send(request::GET_EDID, scanout.to_ne_bytes(), &[]);
        no_edid(&backdoor);
        backdoor.send(request::DMABUF_UPDATE, update(scanout, 0, 0, 8, 6).as_bytes(), &[]);
        backdoor.reply(request::DMABUF_UPDATE, 0);
    }
    // Too short, and with a file nobody asked for.
    backdoor.send(request::GET_EDID, [0; 3], &[]);
    no_edid(&backdoor);
    let file = memfd("frame", 4096, SealFlags::SHRINK);
    backdoor.send(request::GET_EDID, [0; 4], &[file.as_fd()]);
    no_edid(&backdoor);
    backdoor.send(request::DMABUF_UPDATE, [0; 19], &[]);
    backdoor.reply(request::DMABUF_UPDATE, 0);
    backdoor.send(request::GET_DISPLAY_INFO, [], &[file.as_fd()]);
    backdoor.reply(request::GET_DISPLAY_INFO, 408);
    backdoor.send(request::GET_PROTOCOL_FEATURES, [], &[file.as_fd()]);
    backdoor.reply(request::GET_PROTOCOL_FEATURES, 8);
    backdoor.close().unwrap();
}

#[test]
fn a_backend_may_read_its_replies_late() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    for _ in 0..2000 {
        backdoor.send(request::DMABUF_UPDATE, update(0, 0, 0, 8, 6).as_bytes(), &[]);
    }
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..2000 {
        backdoor.reply(request::DMABUF_UPDATE, 0);
    }
    backdoor.close().unwrap();
}

#[test]
fn messages_of_a_wrong_length_or_kind_are_passed_over() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    let ours = [request::MEMORY_SCANOUT, request::MEMORY_RELEASE, request::MEMORY_KEEP];
    for number in (0..=13).chain(ours).chain([u32::MAX]) {
        // All but those without a payload are too short with 3 bytes.
        if !matches!(number, request::GET_PROTOCOL_FEATURES | request::GET_DISPLAY_INFO) {
            backdoor.send(number, [1, 2, 3], &[]);
            match number {
                request::GET_EDID => drop(backdoor.reply(number, 1056)),
                request::DMABUF_UPDATE => drop(backdoor.reply(number, 0)),
                _ => {}
            }
            backdoor.assert_colour();
        }
    }
    for number in [0, 13, 99, 0x564c_0004, u32::MAX] {
        backdoor.send(number, [0; 4096], &[]);
        backdoor.assert_colour();
    }
    // Files nobody asked for, and two where one belongs.
    let file = memfd("frame", 4096, SealFlags::SHRINK);
    backdoor.send(request::CURSOR_POS, [0; 12], &[file.as_fd()]);
    backdoor.send(request::SCANOUT, scanout(0, 0, 0).as_bytes(), &[file.as_fd()]);
    let two = [file.as_fd(), file.as_fd()];
    backdoor.send(request::DMABUF_SCANOUT, dmabuf_scanout(0, 0, 16, 12).as_bytes(), &two);
    backdoor.send(request::MEMORY_SCANOUT, memory_scanout(8, 6, 1).as_bytes(), &two);
    backdoor.send(request::MEMORY_SCANOUT, memory_scanout(8, 6, 1).as_bytes(), &[]);
    backdoor.send(request::MEMORY_SCANOUT, memory_scanout(8, 6, 0).as_bytes(), &[file.as_fd()]);
    backdoor.send(request::MEMORY_RELEASE, u64::MAX.to_ne_bytes(), &[]);
    backdoor.send(request::MEMORY_KEEP, [1; 16], &[]);
    backdoor.send(request::MEMORY_KEEP, [1; 16], &two);
    // Not offered here, so nothing is kept.
    backdoor.send(request::MEMORY_KEEP, [1; 16], &[file.as_fd()]);
    assert_eq!(backdoor.display.statistics(0).unwrap().signal, Signal::Live);
    backdoor.assert_colour();
    backdoor.close().unwrap();
}

#[test]
fn oversized_messages_end_the_service() {
    for (number, size) in [
        (request::UPDATE, MAX_UPDATE + 1),
        (request::UPDATE, u32::MAX),
        (request::GET_DISPLAY_INFO, 1),
        (request::SCANOUT, 13),
        (request::CURSOR_UPDATE, 16405),
        (request::MEMORY_SCANOUT, 49),
        (77, 4097),
        (u32::MAX, u32::MAX),
    ] {
        let backdoor = Backdoor::open();
        backdoor.show_colour();
        backdoor.raw([number, 0, size].as_bytes());
        let display = backdoor.display.clone();
        let error = join(backdoor.server).unwrap_err();
        assert!(
            matches!(error, DisplayServerError::Channel(ChannelError::Oversized { request, size: got })
                if request == number && got == size),
            "{error:?}"
        );
        assert_eq!(display.screenshot(0).unwrap().pixel(0, 0), Some(COLOUR));
    }
}

#[test]
fn more_files_than_any_message_has_end_the_service() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    let file = memfd("frame", 4096, SealFlags::SHRINK);
    // Byte by byte, each with files of its own.
    let message = [request::MEMORY_SCANOUT, 0, 48];
    for byte in message.as_bytes() {
        let fds = [file.as_fd(); 4];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
        let slices = [std::io::IoSlice::new(std::slice::from_ref(byte))];
        let flags = rustix::net::SendFlags::NOSIGNAL;
        // The other end may have hung up already.
        let _ = rustix::net::sendmsg(backdoor.channel.stream(), &slices, &mut control, flags);
    }
    let error = join(backdoor.server).unwrap_err();
    let expected = DisplayServerError::Channel(ChannelError::TooManyDescriptors);
    assert_eq!(error.to_string(), expected.to_string());
    assert_eq!(backdoor.display.screenshot(0).unwrap().pixel(0, 0), Some(COLOUR));
}

#[test]
fn nothing_but_nonsense_ends_the_service() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    for _ in 1..MAX_BAD_REQUESTS {
        backdoor.send(99, [], &[]);
    }
    backdoor.assert_colour();
    for _ in 0..MAX_BAD_REQUESTS {
        backdoor.send(99, [], &[]);
    }
    let error = join(backdoor.server).unwrap_err();
    assert!(matches!(error, DisplayServerError::Nonsense), "{error:?}");
    assert_eq!(backdoor.display.screenshot(0).unwrap().pixel(0, 0), Some(COLOUR));
}

#[test]
fn hanging_up_anywhere_ends_the_service_and_keeps_the_picture() {
    let message = [&[request::UPDATE, 0, 24][..], &[0, 0, 0, 1, 1, 0x00ff_ffff]].concat();
    let message = message.as_bytes();
    for length in 0..message.len() {
        let backdoor = Backdoor::open();
        backdoor.show_colour();
        backdoor.raw(&message[..length]);
        let display = backdoor.display.clone();
        backdoor.close().unwrap();
        let picture = display.screenshot(0).unwrap();
        assert_eq!(picture.pixel(0, 0), Some(COLOUR), "after {length} bytes");
    }
}

#[test]
fn a_backend_that_reads_no_reply_is_given_up() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    let begun = Instant::now();
    let mut asked = 0;
    while backdoor.channel.send(request::GET_EDID, 0, &[&[0; 4]], &[]).is_ok() {
        asked += 1;
        assert!(asked < 1_000_000 && begun.elapsed() < TIMEOUT, "{asked} questions are taken");
    }
    let error = join(backdoor.server).unwrap_err();
    assert!(matches!(error, DisplayServerError::NotReading), "{error:?}");
    assert_eq!(backdoor.display.screenshot(0).unwrap().pixel(0, 0), Some(COLOUR));
}

/// Mappings of this process of memfds of a name.
fn mappings(name: &str) -> usize {
    let wanted = format!("/memfd:{name} ");
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&wanted)).count()
}

#[test]
fn thousands_of_files_leave_few_mapped() {
    let backdoor = Backdoor::open();
    let show = |buffer: u64| {
        let file = memfd("one of many", 4096, SealFlags::SHRINK);
        rustix::io::pwrite(&file, &buffer.to_ne_bytes()[..3], 0).unwrap();
        let message = memory_scanout(8, 6, buffer);
        backdoor.send(request::MEMORY_SCANOUT, message.as_bytes(), &[file.as_fd()]);
    };
    for buffer in 1..=3000 {
        show(buffer);
    }
    assert_eq!(backdoor.picture().pixel(0, 0), Some([0, (3000_u64 >> 8) as u8, 3000_u64 as u8]));
    let mapped = mappings("one of many");
    assert!((1..=257).contains(&mapped), "{mapped} files are mapped");
    for buffer in 1..=3000_u64 {
        backdoor.send(request::MEMORY_RELEASE, buffer.to_ne_bytes(), &[]);
    }
    backdoor.sync();
    assert_eq!(mappings("one of many"), 1, "only what is shown");
    backdoor.close().unwrap();
}

#[test]
fn huge_scanouts_are_refused_when_they_are_too_many() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    let huge = memfd("huge", 16384 * 16384 * 4, SealFlags::SHRINK);
    let message = MemoryScanout { size: 16384 * 16384 * 4, ..memory_scanout(16384, 16384, 1) };
    backdoor.send(request::MEMORY_SCANOUT, message.as_bytes(), &[huge.as_fd()]);
    backdoor.send(request::SCANOUT, scanout(0, 16384, 16384).as_bytes(), &[]);
    backdoor.assert_colour();
    backdoor.close().unwrap();
    // 16 displays of 3840 × 2160 are possible, and no larger ones.
    let window = memfd("driver", WINDOW, SealFlags::SHRINK);
    let mut memory = ScanoutMemory::new(MemoryWindow { fd: window.as_fd(), size: WINDOW }).unwrap();
    for id in 0..16 {
        memory.copied_frame(&scanout(id, 3840, 2160)).unwrap();
    }
    let error = memory.copied_frame(&scanout(15, 4096, 4096)).unwrap_err();
    assert!(matches!(error, ScanoutError::TooManyPixels), "{error:?}");
    memory.copied_frame(&scanout(14, 1024, 768)).unwrap();
    memory.copied_frame(&scanout(15, 4096, 2304)).unwrap();
}

#[test]
fn cursors_beyond_every_limit_do_no_harm() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    for (x, y) in [(0, 0), (u32::MAX, u32::MAX), (i32::MAX as u32, i32::MIN as u32), (7, 5)] {
        let pos = CursorPos { scanout_id: 0, x, y };
        let cursor = CursorUpdate { pos, hot_x: u32::MAX, hot_y: u32::MAX };
        backdoor.send(request::CURSOR_UPDATE, [cursor.as_bytes(), &[0xff; 16384]].concat(), &[]);
        backdoor.send(request::CURSOR_POS, pos.as_bytes(), &[]);
        backdoor.picture();
        backdoor.send(request::CURSOR_POS_HIDE, pos.as_bytes(), &[]);
        backdoor.assert_colour();
    }
    backdoor.close().unwrap();
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Numbers that are often near a limit.
    fn word(&mut self) -> u32 {
        let bits = self.next();
        match bits & 7 {
            0..4 => (bits >> 8) as u32 % 20,
            4 => u32::MAX - (bits >> 8) as u32 % 4,
            5 => 1 << ((bits >> 8) % 32),
            6 => XRGB8888,
            _ => (bits >> 8) as u32,
        }
    }
}

#[test]
fn random_messages_do_no_harm() {
    let backdoor = Backdoor::open();
    let file = memfd("frame", 1 << 16, SealFlags::SHRINK);
    let mut replies = backdoor.channel.stream().try_clone().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut replies, &mut std::io::sink()));
    let mut random = Random(0x5eed);
    for _ in 0..5000 {
        let number = match random.next() % 14 {
            0 => request::MEMORY_SCANOUT,
            1 => request::MEMORY_RELEASE,
            number => number as u32,
        };
        let words: Vec<u32> = (0..20).map(|_| random.word()).collect();
        let payload = words.as_bytes();
        let most = crate::vhost_gpu::payload_bound(number) as usize;
        let payload = &payload[..most.min(payload.len())];
        let files = [file.as_fd()];
        let fds = if random.next().is_multiple_of(2) { &files[..] } else { &[] };
        backdoor.send(number, payload, fds);
        // Makes sense, so the nonsense in a row is never too much.
        backdoor.send(request::SET_PROTOCOL_FEATURES, [0; 8], &[]);
    }
    let display = backdoor.display.clone();
    backdoor.channel.stream().shutdown(std::net::Shutdown::Write).unwrap();
    join(backdoor.server).unwrap();
    reader.join().unwrap().unwrap();
    // Still works.
    assert!(display.set_scanout(0, None).is_ok());
}

#[test]
fn silence_in_the_middle_of_a_message_stops_nothing_else() {
    let backdoor = Backdoor::open();
    backdoor.show_colour();
    backdoor.raw(&[7, 0, 0, 0, 0]);
    assert_eq!(backdoor.display.screenshot(0).unwrap().pixel(0, 0), Some(COLOUR));
    // Whoever ends the device shuts the socket down.
    backdoor.channel.stream().shutdown(std::net::Shutdown::Both).unwrap();
    let mut rest = Vec::new();
    let mut stream = backdoor.channel.stream();
    assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0);
    join(backdoor.server).unwrap();
}

#[test]
fn the_driver_is_told_to_ask_again_when_a_display_that_hung_goes_on() {
    let (asked, asks) = mpsc::channel();
    let late = Arc::new(AtomicBool::new(false));
    let hangs = Arc::clone(&late);
    let backend = Backdoor::open_as(|server| {
        server.late = hangs;
        server.after_hangs(move || asked.send(()).unwrap());
    });
    let ask = || {
        backend.send(request::GET_DISPLAY_INFO, [], &[]);
        backend.channel.receive_within(TIMEOUT, |_| 4096).unwrap();
    };
    ask();
    assert!(asks.try_recv().is_err());
    late.store(true, Ordering::Relaxed);
    ask();
    ask();
    assert_eq!(asks.recv_timeout(TIMEOUT), Ok(()));
    ask();
    assert!(asks.try_recv().is_err(), "once");
}
