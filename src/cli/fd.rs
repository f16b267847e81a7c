//! File descriptors that whoever started the program left open for it.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rustix::io::FdFlags;

/// The last of standard input, output and error, which stay what they are.
const LAST_STANDARD: RawFd = 2;

/// Takes over a descriptor named on the command line, once. Programs this one starts do not get it.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    if number < 0 || std::fs::symlink_metadata(entry(number)).is_err() {
        bail!("file descriptor {number} is not open: pass one that is");
    }
    if number <= LAST_STANDARD {
        // SAFETY: the descriptor is open, as was just seen, and nothing here closes standard ones.
        let standard = unsafe { BorrowedFd::borrow_raw(number) };
        return standard
            .try_clone_to_owned()
            .with_context(|| format!("file descriptor {number} cannot be used"));
    }
    // SAFETY: the descriptor is open, as was just seen, and was opened by whoever started the
    // program, to be used under this number; this is done before anything else is opened.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)
        .with_context(|| format!("file descriptor {number} cannot be used"))?;
    Ok(fd)
}

fn entry(number: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{number}"))
}
