//! The kernel's messages about connectors: uevents of the drm subsystem.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// Multicast group of the kernel itself; udev's is another.
const KERNEL: u32 = 1;
/// More than a uevent has (`UEVENT_BUFFER_SIZE`, `linux/kobject.h`).
const BUFFER: usize = 4096;

/// Listens to uevents.
#[derive(Debug)]
pub(super) struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    pub(super) fn listen() -> io::Result<Uevents> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::DGRAM;
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(KOBJECT_UEVENT))?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Uevents { socket })
    }

    /// Reads all messages there are. True if one was about a card's connectors, or if some were lost.
    pub(super) fn take(&self) -> bool {
        let mut found = false;
        let mut buffer = [0; BUFFER];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => {
                    found |= is_hotplug(buffer.get(..length).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                // There were too many.
                Err(Errno::NOBUFS) => found = true,
                Err(_) => return found,
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a message, `ACTION@PATH` and `NAME=VALUE` with a NUL after each, is a change of a card.
fn is_hotplug(message: &[u8]) -> bool {
    let has = |word: &[u8]| message.split(|byte| *byte == 0).any(|part| part == word);
    has(b"SUBSYSTEM=drm") && has(b"ACTION=change")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_of_cards_count() {
        let message =
            b"change@/devices/platform/vkms/drm/card0\0ACTION=change\0SUBSYSTEM=drm\0HOTPLUG=1\0";
        assert!(is_hotplug(message));
        assert!(!is_hotplug(b"add@/devices/platform/vkms/drm/card0\0ACTION=add\0SUBSYSTEM=drm\0"));
        assert!(!is_hotplug(b"change@/x\0ACTION=change\0SUBSYSTEM=block\0DRM=SUBSYSTEM=drm\0"));
        assert!(!is_hotplug(b""));
    }
}
