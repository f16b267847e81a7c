//! Descriptors: sent along, and counted.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Most descriptors that [`send_with`] sends.
pub const MAX_SENT: usize = 12;

/// Sends bytes with descriptors, and never waits. Whether all went.
pub fn send_with(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
    let fds = &fds[..fds.len().min(MAX_SENT)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SENT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags) == Ok(bytes.len())
}

/// Descriptors that this process has open.
pub fn count_open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
