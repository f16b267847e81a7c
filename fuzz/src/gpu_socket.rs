//! A backend that sends anything to the display socket: the server neither panics nor hangs, its
//! replies are whole, and what is shown can be read.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use arbitrary::Arbitrary;
use rustix::fs::{MemfdFlags, SealFlags};
use virtio_loopback_gpu::adapter::fuzzing::serve;
use virtio_loopback_gpu::vhost_gpu::message::request;
use virtio_loopback_gpu::vhost_gpu::{Channel, payload_bound};
use zerocopy::IntoBytes;

/// Bytes of the driver's memory.
const WINDOW: u64 = 1 << 20;
/// Replies to as many messages fit into the socket, which nobody reads meanwhile.
const MAX_MESSAGES: usize = 48;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A message of a known number that says how long it is.
    Message { number: u8, file: Fd, words: Vec<Word> },
    /// Pixels for a rectangle, most of the time as many as it has.
    Update { scanout: u8, x: Word, y: Word, width: u8, height: u8, missing: u8 },
    /// A scanout of a plausible size.
    Scanout { scanout: u8, width: u8, height: u8 },
    /// A part of a file or of the driver's memory; with a buffer from 128, a file as a dma-buf is.
    Memory { scanout: u8, file: Fd, buffer: u8, offset: Word, size: Word, shape: [Word; 3] },
    /// Any bytes.
    Bytes(Vec<u8>),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Fd {
    None,
    Sealed,
    Small,
    Unsealed,
    Null,
}

/// 32 bits, with those likelier that mean something.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Word {
    Small(u8),
    Medium(u16),
    FromTop(u8),
    Power(u8),
    Fourcc(bool),
    Any(u32),
}

impl Word {
    fn value(self) -> u32 {
        match self {
            Self::Small(value) => value.into(),
            Self::Medium(value) => value.into(),
            Self::FromTop(value) => u32::MAX - u32::from(value),
            Self::Power(bit) => 1 << (bit % 32),
            Self::Fourcc(true) => u32::from_le_bytes(*b"XR24"),
            Self::Fourcc(false) => u32::from_le_bytes(*b"AR24"),
            Self::Any(value) => value,
        }
    }
}

const NUMBERS: [u32; 16] = [
    request::GET_PROTOCOL_FEATURES,
    request::SET_PROTOCOL_FEATURES,
    request::GET_DISPLAY_INFO,
    request::CURSOR_POS,
    request::CURSOR_POS_HIDE,
    request::CURSOR_UPDATE,
    request::SCANOUT,
    request::UPDATE,
    request::DMABUF_SCANOUT,
    request::DMABUF_UPDATE,
    request::GET_EDID,
    request::DMABUF_SCANOUT2,
    request::MEMORY_SCANOUT,
    request::MEMORY_RELEASE,
    request::MEMORY_KEEP,
    99,
];

struct Files {
    sealed: OwnedFd,
    small: OwnedFd,
    unsealed: OwnedFd,
    null: OwnedFd,
    window: File,
}

impl Files {
    fn new() -> Self {
        Self {
            sealed: memfd(1 << 18, SealFlags::SHRINK),
            small: memfd(64, SealFlags::SHRINK),
            unsealed: memfd(1 << 18, SealFlags::empty()),
            null: File::open("/dev/null").unwrap().into(),
            window: memfd(WINDOW, SealFlags::SHRINK).into(),
        }
    }

    fn get(&self, file: Fd) -> Option<BorrowedFd<'_>> {
        match file {
            Fd::None => None,
            Fd::Sealed => Some(self.sealed.as_fd()),
            Fd::Small => Some(self.small.as_fd()),
            Fd::Unsealed => Some(self.unsealed.as_fd()),
            Fd::Null => Some(self.null.as_fd()),
        }
    }
}

fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("fuzz", flags).unwrap();
    rustix::fs::ftruncate(&file, size).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

/// Sends what fits into the socket. False: the rest has no room.
fn send(backend: &Channel, files: &Files, step: Step) -> bool {
    let message = |number: u32, payload: &[u8], file: Fd| {
        backend.send(number, 0, &[payload], files.get(file).as_slice()).is_ok()
    };
    match step {
        Step::Message { number, file, words } => {
            let number = NUMBERS[usize::from(number) % NUMBERS.len()];
            let mut payload: Vec<u8> =
                words.iter().take(32).flat_map(|word| word.value().to_ne_bytes()).collect();
            let bound = payload_bound(number) as usize;
            if number == request::CURSOR_UPDATE {
                payload.resize(bound, 0x55);
            }
            payload.truncate(bound);
            message(number, &payload, file)
        }
        Step::Update { scanout, x, y, width, height, missing } => {
            let (x, y) = (x.value(), y.value());
            let (width, height) = (u32::from(width % 64), u32::from(height % 64));
            let mut payload = [u32::from(scanout % 20), x, y, width, height].as_bytes().to_vec();
            let pixels = (width * height * 4).saturating_sub(u32::from(missing / 64));
            payload.resize(payload.len() + pixels as usize, 0xaa);
            message(request::UPDATE, &payload, Fd::None)
        }
        Step::Scanout { scanout, width, height } => {
            let payload = [scanout % 20, width, height].map(u32::from);
            message(request::SCANOUT, payload.as_bytes(), Fd::None)
        }
        Step::Memory { scanout, file, buffer, offset, size, shape: [width, height, stride] } => {
            let [width, height, stride] = [width, height, stride].map(Word::value);
            let (id, fourcc) = (u32::from(scanout % 20), u32::from_le_bytes(*b"XR24"));
            if buffer >= 128 {
                let (x, y) = (size.value(), offset.value());
                let y_0_top = u32::from(buffer & 1);
                let payload = [id, x, y, width, height, width, height, stride, y_0_top, fourcc];
                return message(request::DMABUF_SCANOUT, payload.as_bytes(), file);
            }
            let mut payload = [0; 12];
            payload[0] = offset.value();
            payload[2] = size.value();
            payload[4] = u32::from(buffer % 8);
            payload[6] = id;
            payload[7..11].copy_from_slice(&[width, height, stride, fourcc]);
            message(request::MEMORY_SCANOUT, payload.as_bytes(), file)
        }
        Step::Bytes(bytes) => backend.stream().write_all(&bytes[..bytes.len().min(4096)]).is_ok(),
    }
}

/// Replies are whole, and of sizes that replies have.
fn check_replies(mut replies: &[u8]) {
    while !replies.is_empty() {
        let (header, rest) = replies.split_at(12);
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let size = match word(0) {
            request::GET_PROTOCOL_FEATURES => 8,
            request::GET_DISPLAY_INFO => 408,
            request::GET_EDID => 1056,
            request::DMABUF_UPDATE | request::MEMORY_SCANOUT => 0,
            other => panic!("a reply to {other}"),
        };
        assert_eq!((word(4), word(8)), (4, size));
        replies = &rest[size as usize..];
    }
}

thread_local! {
    static FILES: OnceCell<Files> = const { OnceCell::new() };
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    crate::play(bytes, sequence)
}

fn sequence(steps: Vec<Step>) {
    FILES.with(|files| {
        let files = files.get_or_init(Files::new);
        let (backend, server) = UnixStream::pair().unwrap();
        // Nobody reads while this writes.
        backend.set_nonblocking(true).unwrap();
        let backend = Channel::new(backend);
        for step in steps.into_iter().take(MAX_MESSAGES) {
            if !send(&backend, files, step) {
                break;
            }
        }
        backend.stream().shutdown(Shutdown::Write).unwrap();
        let _ = serve(server, &files.window, WINDOW);
        let mut replies = Vec::new();
        backend.stream().set_nonblocking(false).unwrap();
        let mut stream = backend.stream();
        match stream.read_to_end(&mut replies) {
            Ok(_) => {}
            // The server has not read everything, because it had enough of it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        check_replies(&replies);
    });
}
