//! vhost-user requests of a front-end (QEMU `docs/interop/vhost-user.rst`).
//!
//! The `vhost` crate's front-end waits for a reply without end and trusts what it announces. Here
//! each reply has a time limit, the request it belongs to, and its exact size. Numbers are
//! native-endian: both ends are processes of one machine.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::vhost_gpu::{Channel, ChannelError, Frame, Limits};
use crate::vhost_user::{
    FLAG_NEED_REPLY, FLAG_REPLY, FLAG_VERSION, FLAG_VERSION_MASK, GPU_SET_SOCKET, RESTORE_MEMORY,
    SET_REPEATED, SET_STATE,
};
pub use crate::vhost_user::{RestoreMemory, RingState};

/// How long the backend may take with all the requests of one step: to agree, to start, to stop.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// As [`STEP_TIMEOUT`], for one that has just been started.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Request numbers of the front-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    /// Reply: the features, `u64`.
    GetFeatures = 1,
    /// `u64`.
    SetFeatures = 2,
    /// Nothing.
    SetOwner = 3,
    /// [`MemoryTable`], with a file descriptor per region.
    SetMemTable = 5,
    /// [`RingState`]: entries.
    SetVringNum = 8,
    /// [`RingAddresses`].
    SetVringAddr = 9,
    /// [`RingState`]: index of the available ring to begin at.
    SetVringBase = 10,
    /// [`RingState`], and so is the reply: where the ring stopped.
    GetVringBase = 11,
    /// `u64`: the ring, with an eventfd.
    SetVringKick = 12,
    /// `u64`: the ring, with an eventfd.
    SetVringCall = 13,
    /// Reply: the protocol features, `u64`.
    GetProtocolFeatures = 15,
    /// `u64`.
    SetProtocolFeatures = 16,
    /// [`RingState`]: 1 or 0.
    SetVringEnable = 18,
    /// [`ConfigAccess`] and as many bytes; so is the reply.
    GetConfig = 24,
    /// Nothing, with the display socket.
    GpuSetSocket = GPU_SET_SOCKET,
    /// Nothing.
    ResetDevice = 34,
    /// Nothing, with the state file.
    SetState = SET_STATE,
    /// [`RestoreMemory`], with the file.
    RestoreMemory = RESTORE_MEMORY,
    /// [`RingState`]: buffers that may have been used already.
    SetRepeated = SET_REPEATED,
}

/// Where a ring is, in the address space of the front-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RingAddresses {
    /// The ring.
    pub index: u32,
    /// 0: no dirty log.
    pub flags: u32,
    /// The descriptor table.
    pub descriptors: u64,
    /// The used ring.
    pub used: u64,
    /// The available ring.
    pub available: u64,
    /// 0.
    pub log: u64,
}

/// A memory table of one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryTable {
    /// 1.
    pub regions: u32,
    /// 0.
    pub padding: u32,
    /// First address as the driver counts.
    pub guest_address: u64,
    /// Bytes.
    pub size: u64,
    /// First address as the front-end counts.
    pub user_address: u64,
    /// First byte in the file.
    pub offset: u64,
}

/// A part of the configuration space; its bytes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConfigAccess {
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// 0.
    pub flags: u32,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The socket failed, or nothing came in time.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The reply is another one's, or has another size.
    #[error("it answered with message {found} of {size} bytes")]
    Reply {
        /// Request the reply names.
        found: u32,
        /// Its bytes.
        size: usize,
    },
    /// The backend reports a failure.
    #[error("it answered that it failed")]
    Refused,
}

/// The front-end's end of the vhost-user socket.
#[derive(Debug)]
pub struct Requests {
    channel: Channel,
    acknowledged: bool,
    /// Readable when the answers are no longer waited for.
    stop: OwnedFd,
    /// When the backend must be done with the step.
    deadline: Instant,
    /// The answer to [`Requests::ping`] is still to come.
    pinged: Cell<bool>,
}

impl Requests {
    /// Requests over `stream`, as long as `stop` is not readable.
    pub fn new(stream: UnixStream, stop: OwnedFd) -> Self {
        let deadline = Instant::now() + STEP_TIMEOUT;
        let (channel, pinged) = (Channel::new(stream), Cell::new(false));
        Self { channel, acknowledged: false, stop, deadline, pinged }
    }

    /// The requests from here on belong to a new step, with a time limit of its own.
    pub fn begin_step(&mut self) {
        self.deadline = Instant::now() + STEP_TIMEOUT;
    }

    /// As [`Requests::begin_step`], for the first step of a backend that was just started.
    pub fn begin_start(&mut self) {
        self.deadline = Instant::now() + START_TIMEOUT;
    }

    /// Asks something without waiting for the answer.
    pub fn ping(&self) -> Result<(), RequestError> {
        self.send_first(Request::GetFeatures, 0, &[], &[])?;
        self.pinged.set(true);
        Ok(())
    }

    /// Takes the answer to [`Requests::ping`] when the socket is readable. False: nothing was asked.
    pub fn pong(&mut self) -> Result<bool, RequestError> {
        self.begin_step();
        self.take_pong()
    }

    fn take_pong(&self) -> Result<bool, RequestError> {
        if !self.pinged.replace(false) {
            return Ok(false);
        }
        self.receive::<u64>(Request::GetFeatures).map(|_| true)
    }

    /// The backend acknowledges each request from now on (`REPLY_ACK`).
    pub fn expect_acknowledgements(&mut self) {
        self.acknowledged = true;
    }

    /// Sends a request that has no reply of its own, and waits for the acknowledgement, if any.
    pub fn tell<P: IntoBytes + Immutable>(
        &self,
        request: Request,
        payload: &P,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), RequestError> {
        if !self.acknowledged {
            return self.tell_unacknowledged(request, payload, fds);
        }
        self.send(request, FLAG_NEED_REPLY, payload.as_bytes(), fds)?;
        match self.receive(request)? {
            0_u64 => Ok(()),
            _ => Err(RequestError::Refused),
        }
    }

    /// Sends a request of which no acknowledgement is wanted. QEMU wants none for the display
    /// socket, and so no backend is used to it.
    pub fn tell_unacknowledged<P: IntoBytes + Immutable>(
        &self,
        request: Request,
        payload: &P,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), RequestError> {
        self.send(request, 0, payload.as_bytes(), fds)
    }

    /// Sends a request, and waits for its reply.
    pub fn ask<P, R>(&self, request: Request, payload: &P) -> Result<R, RequestError>
    where
        P: IntoBytes + Immutable,
        R: FromBytes + IntoBytes,
    {
        self.send(request, 0, payload.as_bytes(), &[])?;
        self.receive(request)
    }

    fn send(
        &self,
        request: Request,
        flags: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), RequestError> {
        // Answers come in the order of the questions.
        self.take_pong()?;
        self.send_first(request, flags, payload, fds)
    }

    fn send_first(
        &self,
        request: Request,
        flags: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), RequestError> {
        // A backend that has not even taken what fills the socket is silent.
        Ok(self.channel.send_now(request as u32, FLAG_VERSION | flags, &[payload], fds)?)
    }

    fn receive<R: FromBytes + IntoBytes>(&self, request: Request) -> Result<R, RequestError> {
        let most = const { size_of::<R>() as u32 };
        let limits = Limits { deadline: Some(self.deadline), stop: Some(self.stop.as_fd()) };
        let Frame { header, payload, fds } = self.channel.receive_limited(limits, |_| most)?;
        let flags = header.flags & (FLAG_VERSION_MASK | FLAG_REPLY);
        let mut reply = R::new_zeroed();
        if header.request != request as u32
            || flags != FLAG_VERSION | FLAG_REPLY
            || payload.len() != size_of::<R>()
            || !fds.is_empty()
        {
            return Err(RequestError::Reply { found: header.request, size: payload.len() });
        }
        reply.as_mut_bytes().copy_from_slice(&payload);
        Ok(reply)
    }
}

const _: () = assert!(size_of::<RingAddresses>() == 40 && size_of::<MemoryTable>() == 40);
