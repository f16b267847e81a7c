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
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok((reader.into(), Stopper(writer)))
}
