//! Cards that pictures can be shown on. Those of our own transport are none: what is drawn on them is to
//! be shown elsewhere.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::render_nodes;

/// Primary nodes there can be: minor numbers, `drivers/gpu/drm/drm_drv.c`.
const MINORS: std::ops::Range<u32> = 0..64;

/// The primary nodes of all other cards, by number.
#[must_use]
pub fn find() -> Vec<PathBuf> {
    let nodes = MINORS.map(|minor| PathBuf::from(format!("/dev/dri/card{minor}")));
    nodes.filter(|node| node.exists() && !is_loopback(node)).collect()
}

/// Whether a node is that of a card of our own transport, whoever runs that.
#[must_use]
pub fn is_loopback(node: &Path) -> bool {
    // By its number: it may be at another place, in a container, or a link, such as by-path has.
    let status = rustix::fs::stat(node);
    status.is_ok_and(|status| is_loopback_device(status.st_rdev))
}

/// The same of a node that is open.
#[must_use]
pub fn is_loopback_fd(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|status| is_loopback_device(status.st_rdev))
}

fn is_loopback_device(device: rustix::fs::Dev) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = Path::new("/sys/dev/char").join(format!("{major}:{minor}")).join("device");
    device.canonicalize().is_ok_and(|device| render_nodes::is_on_transport(&device))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn other_files_are_no_cards_of_ours() {
        assert!(!is_loopback(Path::new("/dev/null")));
        assert!(!is_loopback(Path::new("/dev/dri/card999")));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_loopback_fd(null.as_fd()));
    }
}
