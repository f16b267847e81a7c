//! Messages with a descriptor over a Unix socket that keeps them apart (`SOCK_SEQPACKET`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::message::MAX_MESSAGE;

/// Descriptors that a message may bring before they are lost. One is expected.
const MAX_FDS: usize = 4;

/// How long the other end may take to make room for a message, or to send one that it owes.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// A message and the descriptor that came with it.
pub type Received = (String, Option<OwnedFd>);

/// Sends a message. `ETIMEDOUT`: the other end does not read.
pub fn send(socket: impl AsFd, text: &str, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let deadline = Instant::now() + PATIENCE;
    let fds = fd.as_slice();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut ancillary, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_until(&socket, PollFlags::OUT, deadline)?,
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes the next message, if there is one now (else `EAGAIN`). `None`: the other end has hung up.
pub fn receive(socket: impl AsFd) -> Result<Option<Received>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; MAX_MESSAGE];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    // All of them are taken, so that none is left open; the first one counts.
    let fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<_> = fds.flatten().collect();
    if received.bytes == 0 {
        return Ok(None);
    }
    let text = bytes.get(..received.bytes).unwrap_or_default();
    Ok(Some((String::from_utf8_lossy(text).into_owned(), fds.into_iter().next())))
}

/// Waits for the next message. `ETIMEDOUT`: there is none.
pub fn receive_within(socket: impl AsFd, time: Duration) -> Result<Option<Received>, Errno> {
    let deadline = Instant::now() + time;
    loop {
        match receive(&socket) {
            Err(Errno::AGAIN) => wait_until(&socket, PollFlags::IN, deadline)?,
            other => return other,
        }
    }
}

fn wait_until(socket: impl AsFd, what: PollFlags, deadline: Instant) -> Result<(), Errno> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut fds = [PollFd::new(&socket, what)];
    match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
