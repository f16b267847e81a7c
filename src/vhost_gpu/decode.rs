//! From a received frame to a [`Request`]. Nothing here trusts the sender.

use std::os::fd::OwnedFd;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::message::{
    CURSOR_PIXELS, CursorPos, CursorUpdate, DmabufScanout, MAX_SCANOUTS, MAX_UPDATE, MemoryKeep,
    MemoryScanout, Scanout, Update, request,
};

/// What the back-end asks its front-end to do.
#[derive(Debug)]
pub enum Request {
    /// Reply: `u64`.
    GetProtocolFeatures,
    /// The features the back-end uses.
    SetProtocolFeatures(u64),
    /// Reply: [`super::message::DISPLAY_INFO_SIZE`] bytes.
    GetDisplayInfo,
    /// Reply: [`super::message::EDID_SIZE`] bytes.
    GetEdid(u32),
    /// Cursor moved and is visible.
    CursorPos(CursorPos),
    /// Cursor moved and is hidden.
    CursorHide(CursorPos),
    /// New cursor picture, 64 × 64 a8r8g8b8.
    CursorUpdate(CursorUpdate, Box<[u32]>),
    /// New size; pixels follow by [`Request::Update`].
    Scanout(Scanout),
    /// Pixels, x8r8g8b8, `width * height * 4` bytes.
    Update(Update, Vec<u8>),
    /// The scanout is a dma-buf, or off.
    DmabufScanout(DmabufScanout, u64, Option<OwnedFd>),
    /// The buffer changed. Empty reply.
    DmabufUpdate(Update),
    /// The scanout is part of a file, or off (then: empty reply).
    MemoryScanout(MemoryScanout, Option<OwnedFd>),
    /// Let go of the file of this number.
    MemoryRelease(u64),
    /// Keep this file.
    MemoryKeep(MemoryKeep, OwnedFd),
}

/// Why a frame is not a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// No such request.
    #[error("unknown request {0}")]
    Unknown(u32),
    /// The payload has the wrong length for the request.
    #[error("request {request} with {found} bytes instead of {expected}")]
    Size {
        /// Request number.
        request: u32,
        /// Bytes received or announced.
        found: usize,
        /// Bytes the request has.
        expected: usize,
    },
    /// The number of file descriptors is wrong.
    #[error("request {request} with {found} file descriptors")]
    Descriptors {
        /// Request number.
        request: u32,
        /// Descriptors received.
        found: usize,
    },
    /// A scanout index beyond the last.
    #[error("request {request} for scanout {scanout}; there are {MAX_SCANOUTS}")]
    Scanout {
        /// Request number.
        request: u32,
        /// Index received.
        scanout: u32,
    },
}

/// Most bytes of a request nobody knows, so that it can be passed over.
const MAX_UNKNOWN: u32 = 4096;

/// Most bytes a request of this number may announce.
///
/// The reader asks before it allocates.
#[must_use]
pub fn payload_bound(number: u32) -> u32 {
    const fn exact(size: usize) -> u32 {
        size as u32
    }
    match number {
        request::GET_PROTOCOL_FEATURES | request::GET_DISPLAY_INFO => 0,
        request::SET_PROTOCOL_FEATURES | request::MEMORY_RELEASE => 8,
        request::GET_EDID => 4,
        request::CURSOR_POS | request::CURSOR_POS_HIDE => exact(size_of::<CursorPos>()),
        request::CURSOR_UPDATE => exact(size_of::<CursorUpdate>() + 4 * CURSOR_PIXELS),
        request::SCANOUT => exact(size_of::<Scanout>()),
        request::UPDATE => MAX_UPDATE,
        request::DMABUF_UPDATE => exact(size_of::<Update>()),
        request::DMABUF_SCANOUT => exact(size_of::<DmabufScanout>()),
        request::DMABUF_SCANOUT2 => exact(size_of::<DmabufScanout>() + 8),
        request::MEMORY_SCANOUT => exact(size_of::<MemoryScanout>()),
        request::MEMORY_KEEP => exact(size_of::<MemoryKeep>()),
        _ => MAX_UNKNOWN,
    }
}

/// Turns a frame into a request.
pub fn decode(number: u32, payload: &[u8], fds: Vec<OwnedFd>) -> Result<Request, DecodeError> {
    let frame = Payload { number, bytes: payload };
    let takes_fd = matches!(
        number,
        request::DMABUF_SCANOUT
            | request::DMABUF_SCANOUT2
            | request::MEMORY_SCANOUT
            | request::MEMORY_KEEP
    );
    if fds.len() > usize::from(takes_fd) {
        return Err(DecodeError::Descriptors { request: number, found: fds.len() });
    }
    let fd = fds.into_iter().next();
    match number {
        request::GET_PROTOCOL_FEATURES => frame.empty().map(|()| Request::GetProtocolFeatures),
        request::SET_PROTOCOL_FEATURES => frame.exact().map(Request::SetProtocolFeatures),
        request::GET_DISPLAY_INFO => frame.empty().map(|()| Request::GetDisplayInfo),
        request::GET_EDID => frame.exact().and_then(|id| frame.scanout(id, Request::GetEdid(id))),
        request::CURSOR_POS => frame
            .exact()
            .and_then(|p: CursorPos| frame.scanout(p.scanout_id, Request::CursorPos(p))),
        request::CURSOR_POS_HIDE => frame
            .exact()
            .and_then(|p: CursorPos| frame.scanout(p.scanout_id, Request::CursorHide(p))),
        request::CURSOR_UPDATE => frame.cursor_update(),
        request::SCANOUT => {
            frame.exact().and_then(|s: Scanout| frame.scanout(s.scanout_id, Request::Scanout(s)))
        }
        request::UPDATE => frame.update(),
        request::DMABUF_UPDATE => frame
            .exact()
            .and_then(|u: Update| frame.scanout(u.scanout_id, Request::DmabufUpdate(u))),
        request::DMABUF_SCANOUT => frame.exact().and_then(|s: DmabufScanout| {
            frame.scanout(s.scanout_id, Request::DmabufScanout(s, 0, fd))
        }),
        request::DMABUF_SCANOUT2 => frame.dmabuf_scanout2(fd),
        request::MEMORY_SCANOUT => frame.memory_scanout(fd),
        request::MEMORY_RELEASE => frame.exact().map(Request::MemoryRelease),
        request::MEMORY_KEEP => frame.memory_keep(fd),
        _ => Err(DecodeError::Unknown(number)),
    }
}

struct Payload<'a> {
    number: u32,
    bytes: &'a [u8],
}

impl Payload<'_> {
    fn size_error(&self, expected: usize) -> DecodeError {
        DecodeError::Size { request: self.number, found: self.bytes.len(), expected }
    }

    fn empty(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.size_error(0)) }
    }

    fn exact<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<T, DecodeError> {
        T::read_from_bytes(self.bytes).map_err(|_| self.size_error(size_of::<T>()))
    }

    fn prefix<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<(T, &[u8]), DecodeError> {
        T::read_from_prefix(self.bytes).map_err(|_| self.size_error(size_of::<T>()))
    }

    fn scanout(&self, scanout: u32, request: Request) -> Result<Request, DecodeError> {
        if scanout < MAX_SCANOUTS {
            Ok(request)
        } else {
            Err(DecodeError::Scanout { request: self.number, scanout })
        }
    }

    fn cursor_update(&self) -> Result<Request, DecodeError> {
        let (update, pixels) = self.prefix::<CursorUpdate>()?;
        let expected = size_of::<CursorUpdate>() + 4 * CURSOR_PIXELS;
        if self.bytes.len() != expected {
            return Err(self.size_error(expected));
        }
        let pixels = pixels.as_chunks().0.iter().map(|&p| u32::from_ne_bytes(p)).collect();
        self.scanout(update.pos.scanout_id, Request::CursorUpdate(update, pixels))
    }

    fn update(&self) -> Result<Request, DecodeError> {
        let (update, pixels) = self.prefix::<Update>()?;
        let wanted = (u64::from(update.width) * u64::from(update.height)).saturating_mul(4);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if pixels.len() != wanted {
            return Err(self.size_error(wanted.saturating_add(size_of::<Update>())));
        }
        self.scanout(update.scanout_id, Request::Update(update, pixels.to_vec()))
    }

    fn dmabuf_scanout2(&self, fd: Option<OwnedFd>) -> Result<Request, DecodeError> {
        let (scanout, modifier) = self.prefix::<DmabufScanout>()?;
        let modifier = u64::read_from_bytes(modifier)
            .map_err(|_| self.size_error(size_of::<DmabufScanout>() + 8))?;
        self.scanout(scanout.scanout_id, Request::DmabufScanout(scanout, modifier, fd))
    }

    fn memory_keep(&self, fd: Option<OwnedFd>) -> Result<Request, DecodeError> {
        let keep = self.exact()?;
        let fd = fd.ok_or(DecodeError::Descriptors { request: self.number, found: 0 })?;
        Ok(Request::MemoryKeep(keep, fd))
    }

    fn memory_scanout(&self, fd: Option<OwnedFd>) -> Result<Request, DecodeError> {
        let scanout = self.exact::<MemoryScanout>()?;
        if fd.is_some() != (scanout.width != 0 && scanout.buffer != 0) {
            let found = usize::from(fd.is_some());
            return Err(DecodeError::Descriptors { request: self.number, found });
        }
        self.scanout(scanout.scanout_id, Request::MemoryScanout(scanout, fd))
    }
}
