//! Standard output and error, which may be closed, full, or read by nobody.

use std::fmt;
use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints to standard output. A reader that has seen enough is no error.
pub fn print(text: &dyn fmt::Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Prints one line of this program to standard error; whoever closed it does not want to know.
pub fn tell(what: &dyn fmt::Display) {
    tell_plainly(&format_args!("virtio-loopback-gpu: {what}"));
}

/// The same without the program's name.
pub fn tell_plainly(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "{what}");
}
