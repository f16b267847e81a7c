//! The back-end's side of the GPU socket.
//!
//! Replies carry no number, but they come in the order of the requests. [`Client`] keeps that
//! order: `DMABUF_UPDATE` is answered when the display has latched the pixels, which must not stop
//! the control queue, so its acknowledgements are collected on the way to other replies or by
//! [`Client::collect`] when the socket becomes readable.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::channel::{Channel, ChannelError};
use super::message::{
    CURSOR_PIXELS, CursorPos, CursorUpdate, DISPLAY_INFO_SIZE, DmabufScanout, EDID_SIZE, F_DMABUF2,
    F_EDID, F_MEMORY_KEEP, F_MEMORY_SCANOUT, FLAG_REPLY, MemoryKeep, MemoryScanout, Scanout,
    Update, request,
};

/// Protocol features this side has.
const KNOWN_FEATURES: u64 = F_EDID | F_DMABUF2 | F_MEMORY_SCANOUT | F_MEMORY_KEEP;

/// How long a reply may take before the front-end is called silent. Fuzzing has no time for those that
/// never come.
pub const REPLY_TIMEOUT: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 1000 });

/// Why a request to the front-end failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed; the display is gone.
    #[error("the display socket is lost")]
    Channel(#[from] ChannelError),
    /// The reply is not the one awaited.
    #[error("the front-end answered request {expected} with {found} and {size} bytes")]
    Reply {
        /// Request that waits.
        expected: u32,
        /// Request the reply names.
        found: u32,
        /// Bytes of the reply.
        size: usize,
    },
    /// The front-end has not answered in time. Its answer may still come, and is dropped then.
    #[error("the front-end does not answer request {request}")]
    Slow {
        /// Request number.
        request: u32,
    },
    /// The front-end sent something nobody asked for.
    #[error("the front-end sent {0:#x} unasked")]
    Unasked(u32),
    /// The front-end does not take requests. This one was not sent.
    #[error("the front-end does not take request {request}")]
    Full {
        /// Request number.
        request: u32,
    },
}

/// A reply the front-end owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// To `GET_PROTOCOL_FEATURES`, before anything else.
    Features,
    /// To `DMABUF_UPDATE` of a scanout.
    Update(u32),
    /// To any other request; nobody may be waiting for it any more.
    Other { request: u32, size: usize },
}

impl Owed {
    const fn request(self) -> u32 {
        match self {
            Self::Features => request::GET_PROTOCOL_FEATURES,
            Self::Update(_) => request::DMABUF_UPDATE,
            Self::Other { request, .. } => request,
        }
    }

    const fn size(self) -> usize {
        match self {
            Self::Features => size_of::<u64>(),
            Self::Update(_) => 0,
            Self::Other { size, .. } => size,
        }
    }
}

/// The display as the back-end sees it.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    features: u64,
    /// Replies to come, oldest first.
    owed: VecDeque<Owed>,
    /// Scanouts whose update was answered while another reply was awaited.
    latched: VecDeque<u32>,
}

impl Client {
    /// Asks the front-end behind `stream` for its protocol features. It need not answer before the
    /// first call that depends on them: QEMU serves this socket only after the vhost-user requests
    /// that follow.
    pub fn connect(stream: UnixStream) -> Result<Self, ClientError> {
        let mut client = Self {
            channel: Channel::new(stream),
            features: 0,
            owed: VecDeque::new(),
            latched: VecDeque::new(),
        };
        client.tell(request::GET_PROTOCOL_FEATURES, &[], &[])?;
        client.owed.push_back(Owed::Features);
        Ok(client)
    }

    /// Protocol features both sides have. Waits for the front-end's answer; without one in time,
    /// there are none from then on.
    pub fn features(&mut self) -> Result<u64, ClientError> {
        if self.owed.front() == Some(&Owed::Features) {
            let deadline = Instant::now() + REPLY_TIMEOUT;
            match self.receive(deadline, &mut []) {
                Err(ClientError::Slow { request }) => {
                    log::warn!("the front-end does not tell its protocol features");
                    let size = size_of::<u64>();
                    if let Some(owed) = self.owed.front_mut() {
                        *owed = Owed::Other { request, size };
                    }
                }
                received => received?,
            }
        }
        Ok(self.features)
    }

    /// `GET_DISPLAY_INFO`: a `struct virtio_gpu_resp_display_info`.
    pub fn display_info(&mut self) -> Result<[u8; DISPLAY_INFO_SIZE], ClientError> {
        let mut reply = [0; DISPLAY_INFO_SIZE];
        self.ask(request::GET_DISPLAY_INFO, &[], &mut reply)?;
        Ok(reply)
    }

    /// `GET_EDID`: a `struct virtio_gpu_resp_edid`.
    pub fn edid(&mut self, scanout: u32) -> Result<[u8; EDID_SIZE], ClientError> {
        let mut reply = [0; EDID_SIZE];
        self.ask(request::GET_EDID, scanout.as_bytes(), &mut reply)?;
        Ok(reply)
    }

    /// `CURSOR_POS`, or `CURSOR_POS_HIDE`.
    pub fn cursor_move(&mut self, pos: CursorPos, visible: bool) -> Result<(), ClientError> {
        let number = if visible { request::CURSOR_POS } else { request::CURSOR_POS_HIDE };
        self.tell(number, pos.as_bytes(), &[])
    }

    /// `CURSOR_UPDATE`; pixels are a8r8g8b8.
    pub fn cursor_update(
        &mut self,
        update: CursorUpdate,
        pixels: &[u32; CURSOR_PIXELS],
    ) -> Result<(), ClientError> {
        let parts = [update.as_bytes(), pixels.as_bytes()];
        self.send(request::CURSOR_UPDATE, &parts, &[])
    }

    /// `SCANOUT`.
    pub fn scanout(&mut self, scanout: Scanout) -> Result<(), ClientError> {
        self.tell(request::SCANOUT, scanout.as_bytes(), &[])
    }

    /// `UPDATE`; `pixels` are `width * height` x8r8g8b8 words.
    pub fn update(&mut self, update: Update, pixels: &[u8]) -> Result<(), ClientError> {
        self.send(request::UPDATE, &[update.as_bytes(), pixels], &[])
    }

    /// `DMABUF_SCANOUT2` where the front-end has it, else `DMABUF_SCANOUT`.
    pub fn dmabuf_scanout(
        &mut self,
        scanout: DmabufScanout,
        modifier: u64,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        let fds = fd.as_slice();
        if self.features()? & F_DMABUF2 == 0 {
            return self.tell(request::DMABUF_SCANOUT, scanout.as_bytes(), fds);
        }
        let parts = [scanout.as_bytes(), modifier.as_bytes()];
        self.send(request::DMABUF_SCANOUT2, &parts, fds)
    }

    /// `DMABUF_SCANOUT` off.
    pub fn dmabuf_scanout_off(&mut self, scanout_id: u32) -> Result<(), ClientError> {
        let off = DmabufScanout { scanout_id, ..DmabufScanout::new_zeroed() };
        self.dmabuf_scanout(off, 0, None)
    }

    /// `MEMORY_SCANOUT` with pixels.
    pub fn memory_scanout(
        &mut self,
        scanout: MemoryScanout,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        self.tell(request::MEMORY_SCANOUT, scanout.as_bytes(), fd.as_slice())
    }

    /// `MEMORY_SCANOUT` off. Returns when the front-end reads the old pixels no more.
    pub fn memory_scanout_off(&mut self, scanout_id: u32) -> Result<(), ClientError> {
        let off = MemoryScanout { scanout_id, ..MemoryScanout::new_zeroed() };
        self.ask(request::MEMORY_SCANOUT, off.as_bytes(), &mut [])
    }

    /// `MEMORY_RELEASE`.
    pub fn memory_release(&mut self, buffer: u64) -> Result<(), ClientError> {
        self.tell(request::MEMORY_RELEASE, buffer.as_bytes(), &[])
    }

    /// `MEMORY_KEEP`, if the front-end has it.
    pub fn memory_keep(
        &mut self,
        keep: MemoryKeep,
        file: BorrowedFd<'_>,
    ) -> Result<(), ClientError> {
        if self.features()? & F_MEMORY_KEEP == 0 {
            return Ok(());
        }
        self.tell(request::MEMORY_KEEP, keep.as_bytes(), &[file])
    }

    /// `DMABUF_UPDATE`; the answer is collected later.
    pub fn buffer_update(&mut self, update: Update) -> Result<(), ClientError> {
        self.tell(request::DMABUF_UPDATE, update.as_bytes(), &[])?;
        self.owed.push_back(Owed::Update(update.scanout_id));
        Ok(())
    }

    /// Replies to come.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.owed.len()
    }

    /// Whether [`Client::collect`] has an update without reading the socket.
    #[must_use]
    pub fn has_latched(&self) -> bool {
        !self.latched.is_empty()
    }

    /// The next answered update's scanout. When `readable`, reads all replies that are there.
    pub fn collect(&mut self, readable: bool) -> Result<Option<u32>, ClientError> {
        let mut readable = readable;
        while readable {
            self.receive(Instant::now() + REPLY_TIMEOUT, &mut [])?;
            readable = self.channel.is_readable(Instant::now())?;
        }
        Ok(self.latched.pop_front())
    }

    fn tell(&self, number: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        self.send(number, &[payload], fds)
    }

    fn send(
        &self,
        number: u32,
        parts: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        self.channel.send(number, 0, parts, fds).map_err(|error| match error {
            ChannelError::Timeout => ClientError::Full { request: number },
            error => error.into(),
        })
    }

    /// Whether the front-end takes requests.
    pub fn takes_requests(&self) -> Result<bool, ClientError> {
        Ok(self.channel.is_writable()?)
    }

    /// Sends a request and waits for its reply, which comes after all that are owed already.
    fn ask(&mut self, number: u32, payload: &[u8], reply: &mut [u8]) -> Result<(), ClientError> {
        self.tell(number, payload, &[])?;
        self.owed.push_back(Owed::Other { request: number, size: reply.len() });
        let deadline = Instant::now() + REPLY_TIMEOUT;
        while !self.owed.is_empty() {
            match self.receive(deadline, reply) {
                Err(ClientError::Slow { .. }) => {
                    return Err(ClientError::Slow { request: number });
                }
                received => received?,
            }
        }
        Ok(())
    }

    /// Receives the next reply. The last one that is owed goes to `reply`, if it has its size.
    fn receive(&mut self, deadline: Instant, reply: &mut [u8]) -> Result<(), ClientError> {
        let expected = self.owed.front().copied();
        let request = expected.map_or(0, Owed::request);
        if !self.channel.is_readable(deadline)? {
            return Err(ClientError::Slow { request });
        }
        let most = u32::try_from(expected.map_or(0, Owed::size)).unwrap_or(u32::MAX);
        let frame = self.channel.receive_within(REPLY_TIMEOUT, |_| most)?;
        let Some(owed) = expected else {
            return match frame.header.request {
                // One answer too many to a buffer that was updated does no harm.
                request::DMABUF_UPDATE => Ok(()),
                other => Err(ClientError::Unasked(other)),
            };
        };
        let matches = frame.header.request == owed.request()
            && frame.header.flags & FLAG_REPLY != 0
            && frame.payload.len() == owed.size();
        if !matches {
            let (found, size) = (frame.header.request, frame.payload.len());
            return Err(ClientError::Reply { expected: request, found, size });
        }
        self.owed.pop_front();
        self.take(owed, &frame.payload, reply)
    }

    fn take(&mut self, owed: Owed, payload: &[u8], reply: &mut [u8]) -> Result<(), ClientError> {
        match owed {
            Owed::Features => {
                let offered = u64::read_from_bytes(payload).unwrap_or(0);
                self.features = offered & KNOWN_FEATURES;
                let accepted = self.features;
                self.tell(request::SET_PROTOCOL_FEATURES, accepted.as_bytes(), &[])?;
            }
            Owed::Update(scanout) => self.latched.push_back(scanout),
            Owed::Other { .. } if self.owed.is_empty() && payload.len() == reply.len() => {
                reply.copy_from_slice(payload);
            }
            // Nobody waits for it any more.
            Owed::Other { .. } => {}
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
