//! The back-end's side of the GPU socket.
//!
//! Replies carry no number, but they come in the order of the requests. [`Client`] keeps that
//! order: `DMABUF_UPDATE` is answered when the display has latched the pixels, which must not stop
//! the control queue, so its acknowledgements are collected on the way to other replies or by
//! [`Client::collect`] when the socket becomes readable.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zerocopy::{FromZeros, IntoBytes};

use super::channel::{Channel, ChannelError};
use super::message::{
    CURSOR_PIXELS, CursorPos, CursorUpdate, DISPLAY_INFO_SIZE, DmabufScanout, EDID_SIZE, F_DMABUF2,
    F_EDID, F_MEMORY_SCANOUT, FLAG_REPLY, MemoryScanout, Scanout, Update, request,
};

/// How long a reply may take before the front-end is called silent.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// A time limit could not be set.
    #[error("cannot set a time limit on the display socket")]
    Timeout(#[source] std::io::Error),
}

/// The display as the back-end sees it.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    features: u64,
    /// Scanouts whose `DMABUF_UPDATE` is not answered yet, oldest first.
    latching: VecDeque<u32>,
    /// Scanouts whose update was answered while another reply was awaited.
    latched: VecDeque<u32>,
}

impl Client {
    /// Agrees on protocol features with the front-end behind `stream`.
    pub fn connect(stream: UnixStream) -> Result<Self, ClientError> {
        stream.set_write_timeout(Some(REPLY_TIMEOUT)).map_err(ClientError::Timeout)?;
        let mut client = Self {
            channel: Channel::new(stream),
            features: 0,
            latching: VecDeque::new(),
            latched: VecDeque::new(),
        };
        let mut offered = 0_u64;
        client.ask(request::GET_PROTOCOL_FEATURES, &[], offered.as_mut_bytes())?;
        client.features = offered & (F_EDID | F_DMABUF2 | F_MEMORY_SCANOUT);
        let accepted = client.features;
        client.tell(request::SET_PROTOCOL_FEATURES, accepted.as_bytes(), &[])?;
        Ok(client)
    }

    /// Protocol features both sides have.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
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
        self.channel.send(
            request::CURSOR_UPDATE,
            0,
            &[update.as_bytes(), pixels.as_bytes()],
            &[],
        )?;
        Ok(())
    }

    /// `SCANOUT`.
    pub fn scanout(&mut self, scanout: Scanout) -> Result<(), ClientError> {
        self.tell(request::SCANOUT, scanout.as_bytes(), &[])
    }

    /// `UPDATE`; `pixels` are `width * height` x8r8g8b8 words.
    pub fn update(&mut self, update: Update, pixels: &[u8]) -> Result<(), ClientError> {
        self.channel.send(request::UPDATE, 0, &[update.as_bytes(), pixels], &[])?;
        Ok(())
    }

    /// `DMABUF_SCANOUT2` where the front-end has it, else `DMABUF_SCANOUT`.
    pub fn dmabuf_scanout(
        &mut self,
        scanout: DmabufScanout,
        modifier: u64,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        let fds = fd.as_slice();
        if self.features & F_DMABUF2 == 0 {
            return self.tell(request::DMABUF_SCANOUT, scanout.as_bytes(), fds);
        }
        let parts = [scanout.as_bytes(), modifier.as_bytes()];
        self.channel.send(request::DMABUF_SCANOUT2, 0, &parts, fds)?;
        Ok(())
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

    /// `DMABUF_UPDATE`; the answer is collected later.
    pub fn buffer_update(&mut self, update: Update) -> Result<(), ClientError> {
        self.tell(request::DMABUF_UPDATE, update.as_bytes(), &[])?;
        self.latching.push_back(update.scanout_id);
        Ok(())
    }

    /// Whether [`Client::collect`] has an update without reading the socket.
    #[must_use]
    pub fn has_latched(&self) -> bool {
        !self.latched.is_empty()
    }

    /// The next answered update's scanout. Reads the socket once when `readable`.
    pub fn collect(&mut self, readable: bool) -> Result<Option<u32>, ClientError> {
        if readable {
            self.receive_update()?;
        }
        Ok(self.latched.pop_front())
    }

    fn tell(&self, number: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        Ok(self.channel.send(number, 0, &[payload], fds)?)
    }

    fn ask(&mut self, number: u32, payload: &[u8], reply: &mut [u8]) -> Result<(), ClientError> {
        self.tell(number, payload, &[])?;
        while !self.latching.is_empty() {
            self.receive_update()?;
        }
        self.receive_reply(number, reply)
    }

    fn receive_update(&mut self) -> Result<(), ClientError> {
        self.receive_reply(request::DMABUF_UPDATE, &mut [])?;
        self.latched.extend(self.latching.pop_front());
        Ok(())
    }

    fn receive_reply(&self, expected: u32, reply: &mut [u8]) -> Result<(), ClientError> {
        let most = u32::try_from(reply.len()).unwrap_or(u32::MAX);
        let frame = self.channel.receive_within(REPLY_TIMEOUT, |_| most)?;
        let matches = frame.header.request == expected
            && frame.header.flags & FLAG_REPLY != 0
            && frame.payload.len() == reply.len();
        if !matches {
            let (found, size) = (frame.header.request, frame.payload.len());
            return Err(ClientError::Reply { expected, found, size });
        }
        reply.copy_from_slice(&frame.payload);
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
