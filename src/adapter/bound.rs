//! The kernel's word that a driver has taken the device and is done with it.
//!
//! A card's node is there before the card is whole: `drm_dev_register` (the kernel's `drm_drv.c`) makes the
//! nodes, then the connectors one by one, each in sysfs before it can be asked about. Who opens the node
//! in between gets ENODEV or ENOENT. The driver core sends a uevent when all is done (`driver_bound` in
//! `drivers/base/dd.c`).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// Multicast group of the kernel itself; udev's is another.
const KERNEL: u32 = 1;
/// More than a uevent has (`UEVENT_BUFFER_SIZE`, `linux/kobject.h`).
const BUFFER: usize = 4096;
/// Where no uevent comes, as in a network namespace of a user namespace's, or for a device that was kept and
/// has had its driver for long, and for drivers after the first: how long a card with connectors is waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// Waits for the driver's being done.
#[derive(Debug)]
pub struct Bound {
    /// Until the first driver is done: all the machine's uevents would pile up in it afterwards.
    socket: Option<OwnedFd>,
    /// Since when there has been a card with connectors.
    since: Option<Instant>,
}

impl Bound {
    /// Listens from now on.
    pub fn new() -> Self {
        let socket = listen()
            .inspect_err(|error| log::debug!("no uevents, which tell of drivers: {error}"))
            .ok();
        Self { socket, since: None }
    }

    /// Whether the driver is done with the device on the transport at `parent`, a directory in sysfs that has
    /// a card with connectors.
    pub fn is_done(&mut self, parent: &Path, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let is_done = self.has_event(parent) || now.saturating_duration_since(since) >= PATIENCE;
        if is_done {
            (self.socket, self.since) = (None, None);
        }
        is_done
    }

    /// Reads all events there are, up to that of the device.
    fn has_event(&self, parent: &Path) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut buffer = [0; BUFFER];
        loop {
            match rustix::net::recv(socket, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => {
                    if is_bind(buffer.get(..length).unwrap_or_default(), parent) {
                        return true;
                    }
                }
                // The latter: there were too many. The time will tell.
                Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(_) => return false,
            }
        }
    }
}

fn listen() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::DGRAM;
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, kind, flags, Some(KOBJECT_UEVENT))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
    Ok(socket)
}

/// Whether a message, `ACTION@PATH` and `NAME=VALUE` with a NUL after each, is of a driver's having taken
/// the virtio device on the transport at `parent`.
fn is_bind(message: &[u8], parent: &Path) -> bool {
    let Ok(parent) = parent.strip_prefix("/sys") else { return false };
    let head = message.split(|byte| *byte == 0).next().unwrap_or_default();
    let Some(path) = head.strip_prefix(b"bind@/") else { return false };
    std::str::from_utf8(path).is_ok_and(|path| Path::new(path).parent() == Some(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel sends it (6.12, `kobject_uevent_env`).
    const BIND: &[u8] = b"bind@/devices/platform/virtio-loopback.0/virtio3\0ACTION=bind\0\
        DEVPATH=/devices/platform/virtio-loopback.0/virtio3\0SUBSYSTEM=virtio\0DRIVER=virtio_gpu\0";

    #[test]
    fn only_the_device_being_bound_counts() {
        let parent = Path::new("/sys/devices/platform/virtio-loopback.0");
        assert!(is_bind(BIND, parent));
        for other in ["virtio-loopback", "virtio-loopback.1", "virtio-loopback.0/virtio3", ""] {
            assert!(!is_bind(BIND, &Path::new("/sys/devices/platform").join(other)), "{other}");
        }
        let unbind = [b"un".as_slice(), BIND].concat();
        assert!(!is_bind(&unbind, parent));
        // The transport's own driver.
        assert!(!is_bind(b"bind@/devices/platform/virtio-loopback.0\0ACTION=bind\0", parent));
        assert!(!is_bind(b"", parent));
        assert!(!is_bind(BIND, Path::new("/devices/platform/virtio-loopback.0")));
    }

    #[test]
    fn without_an_event_a_while_will_do() {
        let mut bound = Bound::new();
        let device = Path::new("/sys/devices/virtio0");
        let start = Instant::now();
        assert!(!bound.is_done(device, start));
        assert!(!bound.is_done(device, start + PATIENCE / 2));
        assert!(bound.is_done(device, start + PATIENCE));
        assert!(bound.socket.is_none(), "nobody reads it any more");
        // The next driver's is another wait.
        assert!(!bound.is_done(device, start + 2 * PATIENCE));
    }
}
