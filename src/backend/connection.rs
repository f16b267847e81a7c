//! The vhost-user socket.
//!
//! The `vhost` crate decodes and answers all requests but one: it wraps the socket of
//! `GPU_SET_SOCKET` in a type of its own that gives the stream back to nobody, blocks on every
//! acknowledgement, and knows no time limit. So that request is looked for before the crate sees it,
//! as is the one with the socket for our own requests, and those with which our adapter has a backend
//! go on for one that died; and no request is given to it before all of it is there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use vhost::vhost_user::{BackendReqHandler, Error as VhostUserError};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::device::Device;
use crate::one_line;
use crate::sync::lock;
use crate::vhost_gpu::message::Header;
use crate::vhost_gpu::{Channel, ChannelError};
use crate::vhost_user::{
    FLAG_NEED_REPLY, FLAG_REPLY, FLAG_VERSION, GPU_SET_SOCKET, RESTORE_MEMORY, RestoreMemory,
    RingState, SET_BACKEND_REQ_FD, SET_REPEATED, SET_STATE,
};

/// Most bytes that may follow a header; what the `vhost` crate takes.
const MAX_PAYLOAD: u32 = 4096;
/// Requests whose answer is not an acknowledgement: GET_FEATURES, GET_VRING_BASE,
/// GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_INFLIGHT_FD, GET_MAX_MEM_SLOTS, GET_SHMEM_CONFIG. (The
/// crate answers GET_CONFIG.)
const HAS_REPLY: [u32; 7] = [1, 11, 15, 17, 31, 36, 44];
/// How long the rest of a message may take. Fuzzing has no time for those that never come.
const MESSAGE_TIMEOUT: Duration = Duration::from_millis(if cfg!(fuzzing) { 4 } else { 2000 });
/// How often to look whether the rest has come.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(1);

/// Why the connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The front-end hung up: the normal end.
    #[error("the front-end closed the connection")]
    Closed,
    /// The front-end broke the protocol, or asked for what is not there.
    #[error("a request of the front-end failed")]
    Request(#[source] VhostUserError),
    /// The front-end sent the beginning of a message and then nothing.
    #[error("the front-end sent half a message and is silent")]
    Silent,
    /// A message is longer than any request.
    #[error("the front-end announces a message of {size} bytes")]
    Oversized {
        /// Bytes announced.
        size: u32,
    },
    /// The display socket, or what an earlier backend has left, did not come as it should.
    #[error("the front-end's display socket could not be received")]
    Socket(#[source] ChannelError),
    /// The system refused.
    #[error("the vhost-user socket failed")]
    Io(#[source] io::Error),
}

/// The connection to the front-end.
pub struct Connection {
    stream: UnixStream,
    handler: BackendReqHandler<Mutex<Device>>,
    device: Arc<Mutex<Device>>,
}

/// What a message was.
pub enum Message {
    /// Handled by the device.
    Handled,
    /// The display socket.
    DisplaySocket(UnixStream),
    /// The socket for requests of the back-end.
    RequestSocket(UnixStream),
    /// The file with what an earlier backend has left.
    State(File),
    /// Pixels that an earlier backend has left, and their name.
    Pixels(u64, File),
    /// Of a ring, so many buffers that come next may have been used already.
    Repeated(u32, u32),
}

impl Connection {
    /// Requests that come over `stream` go to `device`.
    pub fn new(stream: UnixStream, device: Arc<Mutex<Device>>) -> io::Result<Self> {
        let handler = BackendReqHandler::from_stream(stream.try_clone()?, Arc::clone(&device));
        Ok(Self { stream, handler, device })
    }

    /// Takes one message; call it when the socket is readable.
    pub fn handle(&mut self) -> Result<Message, ConnectionError> {
        let request = self.peek()?.request;
        match request {
            GPU_SET_SOCKET => {
                // Some front-ends send the usual u64 with it all the same.
                let (_, fd) = self.receive_ours(8)?;
                let fd = fd.ok_or(ConnectionError::Request(VhostUserError::IncorrectFds))?;
                return Ok(Message::DisplaySocket(fd.into()));
            }
            // Else the crate refuses it.
            SET_BACKEND_REQ_FD if lock(&self.device).has_shared_memory() => {
                let (_, fd) = self.receive_ours(8)?;
                let fd = fd.ok_or(ConnectionError::Request(VhostUserError::IncorrectFds))?;
                return Ok(Message::RequestSocket(fd.into()));
            }
            SET_STATE | RESTORE_MEMORY | SET_REPEATED => {
                return self.receive_restoration(request);
            }
            _ => {}
        }
        match self.handler.handle_request() {
            Ok(()) => Ok(Message::Handled),
            Err(VhostUserError::Disconnected | VhostUserError::SocketBroken(_)) => {
                Err(ConnectionError::Closed)
            }
            // What the device refuses. The crate has answered with a failure where the front-end
            // wanted an acknowledgement; it does not answer what has a reply of its own.
            Err(error) if HAS_REPLY.contains(&request) => Err(ConnectionError::Request(error)),
            Err(
                error @ (VhostUserError::ReqHandlerError(_)
                | VhostUserError::InvalidParam
                | VhostUserError::InvalidOperation(_)),
            ) => {
                log::warn!("request {request} of the front-end is refused: {}", one_line(&error));
                Ok(Message::Handled)
            }
            Err(error) => Err(ConnectionError::Request(error)),
        }
    }

    /// The header of the next message, once all of the message can be read without waiting.
    fn peek(&self) -> Result<Header, ConnectionError> {
        let deadline = Instant::now() + MESSAGE_TIMEOUT;
        self.await_bytes(size_of::<Header>() as u64, deadline)?;
        let mut header = Header::new_zeroed();
        let received = loop {
            match recv(&self.stream, header.as_mut_bytes(), RecvFlags::PEEK) {
                Ok((_, length)) => break length,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(ConnectionError::Io(errno.into())),
            }
        };
        // One that was sent in pieces is no header anybody sends.
        if received < size_of::<Header>() {
            return Err(ConnectionError::Silent);
        }
        if header.size > MAX_PAYLOAD {
            return Err(ConnectionError::Oversized { size: header.size });
        }
        self.await_bytes(size_of::<Header>() as u64 + u64::from(header.size), deadline)?;
        Ok(header)
    }

    /// Waits until `count` bytes can be read. The socket is readable before that, so there is
    /// nothing to sleep on.
    fn await_bytes(&self, count: u64, deadline: Instant) -> Result<(), ConnectionError> {
        let interval = Timespec::try_from(MESSAGE_INTERVAL).ok();
        loop {
            let available = rustix::io::ioctl_fionread(&self.stream)
                .map_err(|errno| ConnectionError::Io(errno.into()))?;
            if available >= count {
                return Ok(());
            }
            let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
            match poll(&mut fds, interval.as_ref()) {
                Ok(0) if Instant::now() < deadline => {}
                Ok(0) => return Err(ConnectionError::Silent),
                Ok(_) if rustix::io::ioctl_fionread(&self.stream) == Ok(available) => {
                    return Err(ConnectionError::Closed);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(ConnectionError::Io(errno.into())),
            }
        }
    }

    /// Receives what the crate does not know: at most `most` bytes and one descriptor.
    fn receive_ours(&self, most: u32) -> Result<(Vec<u8>, Option<OwnedFd>), ConnectionError> {
        let stream = self.stream.try_clone().map_err(ConnectionError::Io)?;
        let channel = Channel::new(stream);
        let frame = channel.receive(|_| most).map_err(ConnectionError::Socket)?;
        let fd = frame.fds.into_iter().next();
        if frame.header.flags & FLAG_NEED_REPLY != 0 {
            let number = frame.header.request;
            let status = u64::from(fd.is_none() && number != SET_REPEATED);
            channel
                .send(number, FLAG_VERSION | FLAG_REPLY, &[status.as_bytes()], &[])
                .map_err(ConnectionError::Socket)?;
        }
        Ok((frame.payload, fd))
    }

    /// Receives what an earlier backend has left.
    fn receive_restoration(&self, number: u32) -> Result<Message, ConnectionError> {
        let (payload, fd) = self.receive_ours(8)?;
        let invalid = || ConnectionError::Request(VhostUserError::InvalidMessage);
        let file = fd.map(File::from);
        match number {
            SET_STATE => file.map(Message::State),
            RESTORE_MEMORY => RestoreMemory::read_from_bytes(&payload)
                .ok()
                .zip(file)
                .map(|(memory, file)| Message::Pixels(memory.buffer, file)),
            _ => RingState::read_from_bytes(&payload)
                .ok()
                .map(|ring| Message::Repeated(ring.index, ring.value)),
        }
        .ok_or_else(invalid)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
