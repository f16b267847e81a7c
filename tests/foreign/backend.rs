//! A vhost-user GPU backend that is not ours, in a thread: it answers as the protocol says until it
//! is told to do something else.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use virtio_loopback_gpu::vhost_gpu::Channel;
use zerocopy::IntoBytes;

/// Features of a 2D device on rings of virtio 1 with indirect descriptors, and of vhost-user.
const FEATURES: u64 = 1 << 32 | 1 << 30 | 1 << 28 | 1 << 1;
/// MQ, REPLY_ACK, CONFIG, RESET_DEVICE.
const PROTOCOL: u64 = 1 << 0 | 1 << 3 | 1 << 9 | RESET_DEVICE;
const RESET_DEVICE: u64 = 1 << 13;

/// What a backend does instead of what it should, from one of the front-end's messages on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// Nothing wrong at all.
    None,
    /// Hangs up.
    HangUp,
    /// Keeps the connection and says nothing more.
    Silence,
    /// Says that it failed, where that is possible; else as [`Misdeed::HangUp`].
    Refusal,
    /// Answers another request.
    OtherRequest,
    /// Announces a byte too many.
    TooLong,
    /// Announces a byte too few.
    TooShort,
    /// Announces 4 GiB.
    Huge,
    /// Does not say that it is a reply.
    NoReply,
    /// Sends half of the reply.
    Half,
    /// Takes four seconds for each answer.
    Slow,
    /// Does not have `RESET_DEVICE` from the start, and behaves.
    NoReset,
}

/// A backend that listens on a socket.
pub struct Foreign {
    /// Where it listens.
    pub path: PathBuf,
    /// The display socket, once it has come.
    pub display: Receiver<UnixStream>,
    thread: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Foreign {
    /// A backend that does its misdeed at message `at` of the front-end, counted from 0.
    pub fn start(misdeed: Misdeed, at: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gpu.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, display) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let channel = Channel::new(stream);
            for message in 0.. {
                let Ok(frame) = channel.receive(|_| 4096) else { return };
                let header = frame.header;
                if header.request == 33 {
                    let socket = frame.fds.into_iter().next().map(UnixStream::from).unwrap();
                    let _ = sender.send(socket);
                }
                let wants_answer = header.flags & 8 != 0;
                let mut answer = answer(header.request, &frame.payload, wants_answer);
                if misdeed == Misdeed::NoReset && header.request == 15 {
                    answer = Some((PROTOCOL & !RESET_DEVICE).as_bytes().to_vec());
                }
                let misdeed = if message < at { Misdeed::None } else { misdeed };
                if !act(&channel, misdeed, header.request, answer, wants_answer) {
                    return;
                }
            }
        });
        Self { path, display, thread, _directory: directory }
    }

    /// Waits until the front-end has hung up, or the backend has.
    pub fn join(self) {
        self.thread.join().unwrap();
    }
}

/// The payload of the right answer.
fn answer(request: u32, payload: &[u8], wants_answer: bool) -> Option<Vec<u8>> {
    match request {
        1 => Some(FEATURES.as_bytes().to_vec()),
        15 => Some(PROTOCOL.as_bytes().to_vec()),
        // GET_VRING_BASE and GET_CONFIG: any number, and zeros.
        11 | 24 => Some(payload.to_vec()),
        _ => wants_answer.then(|| vec![0; 8]),
    }
}

/// False: the backend hangs up.
fn act(
    channel: &Channel,
    misdeed: Misdeed,
    request: u32,
    answer: Option<Vec<u8>>,
    acknowledges: bool,
) -> bool {
    let send = |request: u32, flags: u32, size: u32, payload: &[u8]| {
        use std::io::Write;
        let mut bytes = [request, flags, size].as_bytes().to_vec();
        bytes.extend(payload);
        channel.stream().write_all(&bytes).is_ok()
    };
    let Some(answer) = answer else { return misdeed != Misdeed::HangUp };
    let size = answer.len() as u32;
    match misdeed {
        Misdeed::None | Misdeed::NoReset => send(request, 5, size, &answer),
        Misdeed::HangUp => false,
        Misdeed::Silence => true,
        Misdeed::Refusal => acknowledges && send(request, 5, 8, &[1, 0, 0, 0, 0, 0, 0, 0]),
        Misdeed::OtherRequest => send(request + 1, 5, size, &answer),
        Misdeed::TooLong => send(request, 5, size + 1, &[&answer[..], &[0]].concat()),
        Misdeed::TooShort => send(request, 5, size - 1, &answer[1..]),
        Misdeed::Huge => send(request, 5, u32::MAX, &answer),
        Misdeed::NoReply => send(request, 1, size, &answer),
        Misdeed::Slow => {
            std::thread::sleep(std::time::Duration::from_secs(4));
            send(request, 5, size, &answer)
        }
        Misdeed::Half => send(request, 5, size, &answer[..answer.len() / 2]),
    }
}

/// A memfd with these bytes, which cannot shrink.
pub fn sealed(bytes: &[u8]) -> OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("frame", flags).unwrap();
    rustix::io::write(&file, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    file
}
