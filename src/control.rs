//! The control socket: `virtio-loopback-gpu ctl`.
//!
//! One request and one answer per connection, each a line of JSON; the answer to a screenshot is
//! followed by the PNG's bytes, and after the answer to `quit` the connection stays open as long as
//! the device is there. The socket lies in a directory only its owner can enter, and its
//! path is the name's lock: whoever listens on it has the name.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod input_status;
mod server;
mod status;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::adapter::{MonitorChange, MonitorSpecError};

pub use client::{
    Address, ClientError, Frame, change_scanout, detach, frame, quit, screenshot, status,
};
pub use input_status::{InputDeviceStatus, InputSourceStatus, InputStatus};
pub use server::{ControlServer, Controlled, ServerError};
pub use status::{KeepStatus, LimitStatus, MonitorStatus, SandboxStatus, ScanoutStatus, Status};

/// Largest line of a request or an answer, in bytes.
const MAX_LINE: u64 = 256 * 1024;
/// Largest PNG or picture, in bytes.
const MAX_PICTURE: u64 = 1 << 30;

/// What a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the device is doing.
    Status,
    /// What a scanout shows.
    Screenshot {
        /// Its index.
        scanout: u32,
    },
    /// The same, as it is.
    Frame {
        /// Its index.
        scanout: u32,
    },
    /// Another monitor for the driver to find.
    Scanout(ScanoutRequest),
    /// Remove the device and end.
    Quit,
    /// End, but leave the device to the next adapter of this name, as long as it is kept.
    Detach,
}

/// What shall become of the monitors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScanoutRequest {
    /// One more, at the first scanout that has none.
    Add {
        /// As after `--scanout`.
        monitor: String,
    },
    /// The monitor of a scanout, whether or not it has one.
    Set {
        /// Its index.
        scanout: u32,
        /// As after `--scanout`.
        monitor: String,
    },
    /// Another place on the desktop.
    Move {
        /// Its index.
        scanout: u32,
        /// Of its top left pixel.
        x: u32,
        /// Of its top left pixel.
        y: u32,
    },
    /// None any more.
    Remove {
        /// Its index.
        scanout: u32,
    },
}

impl TryFrom<ScanoutRequest> for MonitorChange {
    type Error = MonitorSpecError;

    fn try_from(request: ScanoutRequest) -> Result<Self, MonitorSpecError> {
        Ok(match request {
            ScanoutRequest::Add { monitor } => Self::Add(monitor.parse()?),
            ScanoutRequest::Set { scanout, monitor } => Self::Set(scanout, monitor.parse()?),
            ScanoutRequest::Move { scanout, x, y } => Self::Move { scanout, position: (x, y) },
            ScanoutRequest::Remove { scanout } => Self::Remove(scanout),
        })
    }
}

/// What the device answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Screenshot`]; as many bytes of PNG follow.
    Png {
        /// Bytes.
        length: u64,
    },
    /// To [`Request::Frame`]; 3 bytes for each pixel follow: R, G, B, rows from the top.
    Frame {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// To [`Request::Scanout`].
    Changed {
        /// Index of the scanout.
        scanout: u32,
    },
    /// To [`Request::Quit`] and [`Request::Detach`]. The connection stays until the adapter has
    /// ended and the name is free.
    Done,
    /// The request failed.
    Error {
        /// One line for the user.
        message: String,
    },
}

/// Characters a name may have, and how many.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() < 32 && name.chars().all(allowed) && !name.starts_with('.')
}

/// Last part of the directories of control sockets.
const NAME: &str = "virtio-loopback-gpu";
/// Directory of the control sockets of root's devices, unless XDG_RUNTIME_DIR says otherwise.
const ROOT_DIRECTORY: &str = "/run/virtio-loopback-gpu";

/// Directory of the control sockets: `$XDG_RUNTIME_DIR/virtio-loopback-gpu`, or below `/run` for
/// root without one, or below `/tmp` with the user's number.
fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) if !runtime.is_empty() => PathBuf::from(runtime).join(NAME),
        _ if rustix::process::geteuid().is_root() => PathBuf::from(ROOT_DIRECTORY),
        _ => temporary_directory(),
    }
}

/// Directory of the control sockets of users without XDG_RUNTIME_DIR.
fn temporary_directory() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("{NAME}-{user}"))
}

/// Where else the control socket of a device of this user may be, made with another environment: a
/// login shell has XDG_RUNTIME_DIR, and a service or `sudo` has none. A directory that anybody else
/// could have put there is none.
fn other_directories() -> Vec<PathBuf> {
    let user = rustix::process::geteuid();
    let mut directories = vec![PathBuf::from(format!("/run/user/{}/{NAME}", user.as_raw()))];
    if user.is_root() {
        directories.push(PathBuf::from(ROOT_DIRECTORY));
    } else {
        directories.push(temporary_directory());
    }
    directories.retain(|other| *other != directory() && check_directory(other).is_ok());
    directories
}

/// Path of a device's control socket.
fn socket_path(name: &str) -> PathBuf {
    directory().join(format!("{name}.sock"))
}

/// Path of the socket of the process that keeps a device.
#[must_use]
pub fn keeper_path(name: &str) -> PathBuf {
    directory().join(format!("{name}.keep"))
}

/// Makes the directory, and makes sure that it is ours and nobody else may enter.
fn make_directory() -> io::Result<PathBuf> {
    let path = directory();
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check_directory(&path)?;
    Ok(path)
}

/// Makes sure that a directory is ours and nobody else may enter.
fn check_directory(path: &Path) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    let ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
    if !ours || meta.mode() & 0o077 != 0 {
        let text = format!(
            "{} belongs to somebody else or is open to others; remove it, or set XDG_RUNTIME_DIR",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}
