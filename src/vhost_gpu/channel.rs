//! Frames with file descriptors over a Unix stream socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zerocopy::{FromZeros, IntoBytes};

use super::message::Header;

/// File descriptors a frame may carry before it is called broken.
const MAX_FDS: usize = 4;

/// How long the other side may take to take a frame.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// One frame as received.
#[derive(Debug)]
pub struct Frame {
    /// Its header; `size` equals the payload's length.
    pub header: Header,
    /// Bytes after the header.
    pub payload: Vec<u8>,
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// Why a frame could not be carried.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side closed the socket.
    #[error("the other side closed the socket")]
    Closed,
    /// The other side did not answer in time, or does not take what is sent to it.
    #[error("the other side is silent")]
    Timeout,
    /// The other side took part of a frame and no more.
    #[error("the other side stopped taking a message in the middle")]
    Half,
    /// The wait was called off.
    #[error("nobody waits for the other side any more")]
    Interrupted,
    /// A frame announces more bytes than its request may have.
    #[error("request {request} announces {size} bytes")]
    Oversized {
        /// Request number.
        request: u32,
        /// Announced bytes.
        size: u32,
    },
    /// Descriptors were lost because too many came.
    #[error("too many file descriptors in one frame")]
    TooManyDescriptors,
    /// The system refused.
    #[error("the socket failed")]
    Io(#[source] io::Error),
}

/// What ends a wait for the other side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits<'a> {
    /// [`ChannelError::Timeout`] from then on.
    pub deadline: Option<Instant>,
    /// [`ChannelError::Interrupted`] when it is readable.
    pub stop: Option<BorrowedFd<'a>>,
}

/// One end of a vhost-user or of a GPU socket: both have the same frames.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
}

impl Channel {
    /// Frames over `stream`.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// The socket.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends one frame: header, then `parts` one after the other, with `fds`. All of it is sent
    /// within a second; else nothing is ([`ChannelError::Timeout`]), or the other side gets
    /// half a message ([`ChannelError::Half`]), after which the connection is of no use.
    pub fn send(
        &self,
        number: u32,
        flags: u32,
        parts: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        self.send_until(Instant::now() + SEND_TIMEOUT, number, flags, parts, fds)
    }

    /// As [`Channel::send`], but never waits.
    pub fn send_now(
        &self,
        number: u32,
        flags: u32,
        parts: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        self.send_until(Instant::now(), number, flags, parts, fds)
    }

    fn send_until(
        &self,
        deadline: Instant,
        number: u32,
        flags: u32,
        parts: &[&[u8]],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        if fds.len() > MAX_FDS {
            return Err(ChannelError::TooManyDescriptors);
        }
        let size = parts.iter().map(|part| part.len()).sum::<usize>();
        let size = u32::try_from(size)
            .map_err(|_| ChannelError::Oversized { request: number, size: u32::MAX })?;
        let header = Header { request: number, flags, size };
        let mut slices = vec![IoSlice::new(header.as_bytes())];
        slices.extend(parts.iter().map(|part| IoSlice::new(part)));
        let mut rest = slices.as_mut_slice();
        let mut fds = fds;
        let mut begun = false;
        while !rest.is_empty() {
            match send_some(&self.stream, rest, fds) {
                Ok(sent) => {
                    begun = true;
                    fds = &[];
                    IoSlice::advance_slices(&mut rest, sent);
                }
                Err(ChannelError::Timeout) if wait_writable(&self.stream, deadline)? => {}
                Err(ChannelError::Timeout) if begun => return Err(ChannelError::Half),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for one frame, however long it takes. `bound` says how many bytes a request may
    /// announce, which is checked before anything is allocated.
    pub fn receive(&self, bound: impl Fn(&Header) -> u32) -> Result<Frame, ChannelError> {
        self.receive_limited(Limits::default(), bound)
    }

    /// As [`Channel::receive`], but all of the frame must be there within `timeout`.
    pub fn receive_within(
        &self,
        timeout: Duration,
        bound: impl Fn(&Header) -> u32,
    ) -> Result<Frame, ChannelError> {
        self.receive_limited(Limits { deadline: Some(Instant::now() + timeout), stop: None }, bound)
    }

    /// Whether a short frame can be sent without waiting.
    pub fn is_writable(&self) -> Result<bool, ChannelError> {
        wait_writable(&self.stream, Instant::now())
    }

    /// Waits until there is something to receive, or the other side has hung up. False when
    /// `deadline` has passed.
    pub fn is_readable(&self, deadline: Instant) -> Result<bool, ChannelError> {
        wait_readable(&self.stream, Limits { deadline: Some(deadline), stop: None })
    }

    /// As [`Channel::receive`], but all of the frame must be there before `limits` end the wait.
    pub fn receive_limited(
        &self,
        limits: Limits<'_>,
        bound: impl Fn(&Header) -> u32,
    ) -> Result<Frame, ChannelError> {
        let mut fds = Vec::new();
        let mut header = Header::new_zeroed();
        self.fill(header.as_mut_bytes(), &mut fds, limits)?;
        if header.size > bound(&header) {
            return Err(ChannelError::Oversized { request: header.request, size: header.size });
        }
        let mut payload = vec![0; header.size as usize];
        self.fill(&mut payload, &mut fds, limits)?;
        Ok(Frame { header, payload, fds })
    }

    fn fill(
        &self,
        buffer: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        limits: Limits<'_>,
    ) -> Result<(), ChannelError> {
        let unlimited = limits.deadline.is_none() && limits.stop.is_none();
        let mut rest = buffer;
        while !rest.is_empty() {
            let received = match receive_some(&self.stream, rest, fds, unlimited) {
                Err(ChannelError::Timeout) if wait_readable(&self.stream, limits)? => continue,
                received => received?,
            };
            rest = rest.get_mut(received..).unwrap_or_default();
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn send_some(
    stream: &UnixStream,
    slices: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> Result<usize, ChannelError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(ChannelError::TooManyDescriptors);
    }
    loop {
        match sendmsg(stream, slices, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(error) => return Err(system_error(error)),
        }
    }
}

/// Waits until something can be sent. False: the deadline has passed.
fn wait_writable(stream: &UnixStream, deadline: Instant) -> Result<bool, ChannelError> {
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(stream, PollFlags::OUT)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(system_error(error)),
        }
    }
}

/// Waits until there is something to receive. False: the deadline has passed.
fn wait_readable(stream: &UnixStream, limits: Limits<'_>) -> Result<bool, ChannelError> {
    let mut fds = vec![PollFd::new(stream, PollFlags::IN)];
    fds.extend(limits.stop.map(|stop| PollFd::from_borrowed_fd(stop, PollFlags::IN)));
    loop {
        let left = limits.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(system_error(error)),
        }
    }
    match fds.get(1) {
        Some(stop) if !stop.revents().is_empty() => Err(ChannelError::Interrupted),
        _ => Ok(true),
    }
}

/// Receives what there is, [`ChannelError::Timeout`] for nothing unless it may `block`.
fn receive_some(
    stream: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    block: bool,
) -> Result<usize, ChannelError> {
    let flags = if block { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match recvmsg(stream, &mut slices, &mut control, flags) {
            Ok(message) => break message,
            Err(Errno::INTR) => {}
            Err(error) => return Err(system_error(error)),
        }
    };
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
        return Err(ChannelError::TooManyDescriptors);
    }
    if message.bytes == 0 {
        return Err(ChannelError::Closed);
    }
    Ok(message.bytes)
}

fn system_error(error: Errno) -> ChannelError {
    match error {
        Errno::AGAIN => ChannelError::Timeout,
        Errno::PIPE | Errno::CONNRESET => ChannelError::Closed,
        other => ChannelError::Io(other.into()),
    }
}
