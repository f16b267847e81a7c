//! When to end: a signal, a closed window, `ctl quit`.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Says that the program shall end. Clones say the same.
#[derive(Debug)]
pub struct Stopper(UnixStream);

impl Stopper {
    /// Ends the program.
    pub fn stop(&self) {
        // One byte is enough; a full socket has one.
        let _ = (&self.0).write(&[0]);
    }

    /// Another one for the same end.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// A descriptor that becomes readable when the program shall end, by SIGINT, SIGTERM, SIGHUP or
/// the [`Stopper`].
pub fn on_signals() -> io::Result<(OwnedFd, Stopper)> {
    let (reader, writer) = UnixStream::pair()?;
    writer.set_nonblocking(true)?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // As `nohup` leaves it, and a shell for what it starts in the background.
        if is_ignored(signal) {
            continue;
        }
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok((reader.into(), Stopper(writer)))
}

/// Whether this process was started with a signal ignored. What cannot be found out is not so.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
