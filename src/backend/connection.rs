//! The vhost-user socket.
//!
//! The `vhost` crate decodes and answers all requests but one: it wraps the socket of
//! `GPU_SET_SOCKET` in a type of its own that gives the stream back to nobody, blocks on every
//! acknowledgement, and knows no time limit. So that request is looked for before the crate sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use vhost::vhost_user::{BackendReqHandler, Error as VhostUserError};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::device::Device;
use crate::vhost_gpu::{Channel, ChannelError};

/// Front-end request `GPU_SET_SOCKET`.
const GPU_SET_SOCKET: u32 = 33;
/// Header flags: protocol version 1, this is a reply, a reply is wanted.
const FLAG_VERSION: u32 = 1;
const FLAG_REPLY: u32 = 1 << 2;
const FLAG_NEED_REPLY: u32 = 1 << 3;

/// First bytes of a vhost-user message; the same layout as on the GPU socket.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    request: u32,
    flags: u32,
    size: u32,
}

/// Why the connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The front-end hung up: the normal end.
    #[error("the front-end closed the connection")]
    Closed,
    /// The front-end broke the protocol, or asked for what is not there.
    #[error("a request of the front-end failed")]
    Request(#[source] VhostUserError),
    /// The display socket did not come as it should.
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
}

/// What a message was.
pub enum Message {
    /// Handled by the device.
    Handled,
    /// The display socket.
    DisplaySocket(UnixStream),
}

impl Connection {
    /// Requests that come over `stream` go to `device`.
    pub fn new(stream: UnixStream, device: Arc<Mutex<Device>>) -> io::Result<Self> {
        let handler = BackendReqHandler::from_stream(stream.try_clone()?, device);
        Ok(Self { stream, handler })
    }

    /// Takes one message; call it when the socket is readable.
    pub fn handle(&mut self) -> Result<Message, ConnectionError> {
        if self.peek()?.request == GPU_SET_SOCKET {
            return self.receive_display_socket().map(Message::DisplaySocket);
        }
        match self.handler.handle_request() {
            Ok(()) => Ok(Message::Handled),
            Err(VhostUserError::Disconnected | VhostUserError::SocketBroken(_)) => {
                Err(ConnectionError::Closed)
            }
            // The crate has answered with a failure where an answer was wanted.
            Err(VhostUserError::ReqHandlerError(error)) => {
                log::warn!("a request of the front-end failed: {error}");
                Ok(Message::Handled)
            }
            Err(error) => Err(ConnectionError::Request(error)),
        }
    }

    fn peek(&self) -> Result<Header, ConnectionError> {
        let mut header = Header::new_zeroed();
        let flags = RecvFlags::PEEK | RecvFlags::WAITALL;
        loop {
            return match recv(&self.stream, header.as_mut_bytes(), flags) {
                Ok((_, length)) if length == size_of::<Header>() => Ok(header),
                Ok(_) => Err(ConnectionError::Closed),
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => Err(ConnectionError::Closed),
                Err(errno) => Err(ConnectionError::Io(errno.into())),
            };
        }
    }

    fn receive_display_socket(&self) -> Result<UnixStream, ConnectionError> {
        let stream = self.stream.try_clone().map_err(ConnectionError::Io)?;
        let channel = Channel::new(stream);
        // The message has no payload; some front-ends send the usual u64 all the same.
        let frame = channel.receive(|_| Some(8)).map_err(ConnectionError::Socket)?;
        let wants_reply = frame.header.flags & FLAG_NEED_REPLY != 0;
        let fd = frame.fds.into_iter().next();
        if wants_reply {
            let status = u64::from(fd.is_none());
            channel
                .send(GPU_SET_SOCKET, FLAG_VERSION | FLAG_REPLY, &[status.as_bytes()], &[])
                .map_err(ConnectionError::Socket)?;
        }
        fd.map(UnixStream::from).ok_or(ConnectionError::Request(VhostUserError::IncorrectFds))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
