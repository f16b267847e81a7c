//! File descriptors that whoever started the program left open for it.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketType, sockopt};

use virtio_loopback_gpu::fd_store::Left;

use super::usage::BadOption;

/// The last of standard input, output and error, which stay what they are.
const LAST_STANDARD: RawFd = 2;

/// Takes over a descriptor named on the command line, once. Programs this one starts do not get it.
pub fn inherited(number: RawFd) -> Result<OwnedFd, BadOption> {
    if number < 0 || std::fs::symlink_metadata(entry(number)).is_err() {
        let what = format!("file descriptor {number} is not open: pass one that is");
        return Err(BadOption::new(what, None));
    }
    let unusable =
        |source| BadOption::new(format!("file descriptor {number} cannot be used"), Some(source));
    if number <= LAST_STANDARD {
        // SAFETY: the descriptor is open, as was just seen, and nothing here closes standard ones.
        let standard = unsafe { BorrowedFd::borrow_raw(number) };
        return standard.try_clone_to_owned().map_err(unusable);
    }
    // SAFETY: the descriptor is open, as was just seen, and was opened by whoever started the
    // program, to be used under this number; this is done before anything else is opened.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(|errno| unusable(errno.into()))?;
    Ok(fd)
}

/// Takes over what a service manager has kept for this process, once (`LISTEN_FDS`).
pub fn given_by_service_manager() -> io::Result<Left> {
    let given = sd_notify::listen_fds_with_names()?.map(|(number, name)| {
        // SAFETY: the service manager left the descriptor open for this process, whose id it gave
        // with it; nothing else here takes it, and this is called once.
        (name, unsafe { OwnedFd::from_raw_fd(number) })
    });
    Ok(Left::new(given))
}

/// Takes over a connection: a stream socket of the machine that has somebody at its other end.
pub fn inherited_connection(number: RawFd) -> Result<OwnedFd, BadOption> {
    let fd = inherited(number)?;
    let bad = |why: &str, source: Option<rustix::io::Errno>| {
        let what = format!("file descriptor {number} is {why}, not a connection to a front-end");
        BadOption::new(what, source.map(Into::into))
    };
    let kind = sockopt::socket_type(&fd).map_err(|errno| bad("no socket", Some(errno)))?;
    let family = sockopt::socket_domain(&fd).map_err(|errno| bad("no socket", Some(errno)))?;
    if (kind, family) != (SocketType::STREAM, AddressFamily::UNIX) {
        return Err(bad("no Unix stream socket", None));
    }
    match rustix::net::getpeername(&fd) {
        Ok(_) => Ok(fd),
        Err(errno) => Err(bad("a socket that is not connected", Some(errno))),
    }
}

fn entry(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}
