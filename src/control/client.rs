//! The user's end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Answer, MAX_LINE, MAX_PICTURE, ROOT_DIRECTORY, Request, ScanoutRequest, Status, directory,
    socket_path,
};

/// How long a device may take to answer, and to end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody has the name.
    #[error(
        "no device named {name:?} is running in {} ({}): start one with `run --name {name}`",
        directory.display(), elsewhere(directory)
    )]
    NotRunning {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The device is somebody else's.
    #[error("no permission to ask the device at {}: it is another user's", path.display())]
    NotOurs {
        /// Its control socket.
        path: PathBuf,
    },
    /// The device refused.
    #[error("{0}")]
    Refused(String),
    /// The device's answer makes no sense.
    #[error("the device gave an answer that is not understood; are the two of one version?")]
    Answer,
    /// The device is silent.
    #[error("the device did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// The device has not ended in time, though it said that it would.
    #[error("the device was told to end, but is still there after {} s", ANSWER_TIMEOUT.as_secs())]
    NotGone,
    /// The file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// File asked for.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to the device failed")]
    Io(#[from] io::Error),
}

/// Where the devices are that are not in `directory`.
fn elsewhere(directory: &Path) -> String {
    if directory == Path::new(ROOT_DIRECTORY) {
        "other users' are in their $XDG_RUNTIME_DIR".to_owned()
    } else {
        format!("root's are in {ROOT_DIRECTORY}")
    }
}

/// What the device named `name` is doing.
pub fn status(name: &str) -> Result<Status, ClientError> {
    status_of(connect(name)?)
}

pub(super) fn status_of(device: UnixStream) -> Result<Status, ClientError> {
    match ask(device, &Request::Status)? {
        (Answer::Status(status), _) => Ok(*status),
        _ => Err(ClientError::Answer),
    }
}

/// Writes what a scanout shows to `path`, as PNG.
pub fn screenshot(name: &str, scanout: u32, path: &Path) -> Result<(), ClientError> {
    let png = screenshot_of(connect(name)?, scanout)?;
    write_atomically(path, &png)
        .map_err(|source| ClientError::Write { path: path.to_owned(), source })
}

pub(super) fn screenshot_of(device: UnixStream, scanout: u32) -> Result<Vec<u8>, ClientError> {
    let (Answer::Png { length }, reader) = ask(device, &Request::Screenshot { scanout })? else {
        return Err(ClientError::Answer);
    };
    read_picture(reader, length)
}

/// What a scanout shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// R, G and B of each pixel, rows from the top.
    pub rgb: Vec<u8>,
}

/// What a scanout shows now.
pub fn frame(name: &str, scanout: u32) -> Result<Frame, ClientError> {
    frame_of(connect(name)?, scanout)
}

pub(super) fn frame_of(device: UnixStream, scanout: u32) -> Result<Frame, ClientError> {
    let (Answer::Frame { width, height }, reader) = ask(device, &Request::Frame { scanout })?
    else {
        return Err(ClientError::Answer);
    };
    let length = u64::from(width) * u64::from(height) * 3;
    Ok(Frame { width, height, rgb: read_picture(reader, length)? })
}

/// Exactly so many bytes.
fn read_picture(reader: impl Read, length: u64) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    reader.take(length.min(MAX_PICTURE)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(ClientError::Answer) }
}

/// Changes the monitors of the device, and returns at which scanout.
pub fn change_scanout(name: &str, request: ScanoutRequest) -> Result<u32, ClientError> {
    change_of(connect(name)?, request)
}

pub(super) fn change_of(device: UnixStream, request: ScanoutRequest) -> Result<u32, ClientError> {
    match ask(device, &Request::Scanout(request))? {
        (Answer::Changed { scanout }, _) => Ok(scanout),
        _ => Err(ClientError::Answer),
    }
}

/// Tells the device to end, and waits until it is gone and its name is free.
pub fn quit(name: &str) -> Result<(), ClientError> {
    end_of(connect(name)?, &Request::Quit)
}

/// Tells the adapter to end without removing the device, and waits until its name is free.
pub fn detach(name: &str) -> Result<(), ClientError> {
    end_of(connect(name)?, &Request::Detach)
}

pub(super) fn end_of(device: UnixStream, request: &Request) -> Result<(), ClientError> {
    let (Answer::Done, mut reader) = ask(device, request)? else {
        return Err(ClientError::Answer);
    };
    match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(ClientError::Answer),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ClientError::NotGone),
        // It is gone without a farewell.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn connect(name: &str) -> Result<UnixStream, ClientError> {
    let path = socket_path(name);
    UnixStream::connect(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { name: name.to_owned(), directory: directory() }
        }
        io::ErrorKind::PermissionDenied => ClientError::NotOurs { path },
        _ => error.into(),
    })
}

fn ask(
    mut stream: UnixStream,
    request: &Request,
) -> Result<(Answer, BufReader<UnixStream>), ClientError> {
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.by_ref().take(MAX_LINE).read_line(&mut line).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => ClientError::Timeout,
        _ => error.into(),
    })?;
    match serde_json::from_str(&line) {
        Ok(Answer::Error { message }) => Err(ClientError::Refused(message)),
        Ok(answer) => Ok((answer, reader)),
        Err(_) => Err(ClientError::Answer),
    }
}

/// Readers of `path` see the old file or the new one, never a part.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&part);
    })
}
