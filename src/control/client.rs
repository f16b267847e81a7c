//! The user's end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::{
    Answer, MAX_LINE, MAX_PICTURE, ROOT_DIRECTORY, Request, ScanoutRequest, Status, directory,
    other_directories,
};

/// How long a device may take to answer, and to end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody has the name.
    #[error(
        "no device named {name:?} is running in {} ({}): start one with `run --name {name}`",
        list(directories),
        elsewhere(directories)
    )]
    NotRunning {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        directories: Vec<PathBuf>,
    },
    /// Nobody serves the device, which is kept for the next adapter.
    #[error(
        "the device {name:?} is kept, and nobody serves it: go on with it by `run --name {name}`, before the \
         seconds of its `--keep` are over"
    )]
    Kept {
        /// The name asked for.
        name: String,
    },
    /// Nobody listens on the socket.
    #[error("no device listens on {}", path.display())]
    NotListening {
        /// The socket asked for.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
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
    /// The device has not ended in time, though it said that it would, and still may.
    #[error(
        "the device was told to end and will, but has not within {} s: something that it waits for does \
         not answer, such as the display",
        ANSWER_TIMEOUT.as_secs()
    )]
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

/// Which device is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// One of this user's.
    Name(String),
    /// The one that listens on this socket, whoever made it.
    Socket(PathBuf),
}

fn list(directories: &[PathBuf]) -> String {
    let texts: Vec<_> = directories.iter().map(|path| path.display().to_string()).collect();
    texts.join(" or ")
}

/// Where the devices are that are not in `directories`.
fn elsewhere(directories: &[PathBuf]) -> String {
    if directories.iter().any(|directory| directory == Path::new(ROOT_DIRECTORY)) {
        "other users' are in their $XDG_RUNTIME_DIR, see --socket".to_owned()
    } else {
        format!("root's are in {ROOT_DIRECTORY}")
    }
}

/// What the device at `address` is doing.
pub fn status(address: &Address) -> Result<Status, ClientError> {
    status_of(connect(address)?)
}

pub(super) fn status_of(device: UnixStream) -> Result<Status, ClientError> {
    match ask(device, &Request::Status)? {
        (Answer::Status(status), _) => Ok(*status),
        _ => Err(ClientError::Answer),
    }
}

/// Writes what a scanout shows to `path`, as PNG.
pub fn screenshot(address: &Address, scanout: u32, path: &Path) -> Result<(), ClientError> {
    let png = screenshot_of(connect(address)?, scanout)?;
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
pub fn frame(address: &Address, scanout: u32) -> Result<Frame, ClientError> {
    frame_of(connect(address)?, scanout)
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
pub fn change_scanout(address: &Address, request: ScanoutRequest) -> Result<u32, ClientError> {
    change_of(connect(address)?, request)
}

pub(super) fn change_of(device: UnixStream, request: ScanoutRequest) -> Result<u32, ClientError> {
    match ask(device, &Request::Scanout(request))? {
        (Answer::Changed { scanout }, _) => Ok(scanout),
        _ => Err(ClientError::Answer),
    }
}

/// Tells the device to end, and waits until it is gone and its name is free.
pub fn quit(address: &Address) -> Result<(), ClientError> {
    end_of(connect(address)?, &Request::Quit)
}

/// Tells the adapter to end without removing the device, and waits until its name is free.
pub fn detach(address: &Address) -> Result<(), ClientError> {
    end_of(connect(address)?, &Request::Detach)
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

fn connect(address: &Address) -> Result<UnixStream, ClientError> {
    match address {
        Address::Name(name) => connect_to_name(name),
        Address::Socket(path) => UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotListening { path: path.clone(), source: error }
            }
            io::ErrorKind::PermissionDenied => ClientError::NotOurs { path: path.clone() },
            _ => error.into(),
        }),
    }
}

/// Looks for a device of this user, first where one made from here would be.
fn connect_to_name(name: &str) -> Result<UnixStream, ClientError> {
    let mut directories = vec![directory()];
    directories.extend(other_directories());
    let mut refusal = None;
    for directory in &directories {
        let path = directory.join(format!("{name}.sock"));
        match UnixStream::connect(&path) {
            Ok(device) => return Ok(device),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {}
                io::ErrorKind::PermissionDenied => {
                    refusal.get_or_insert(ClientError::NotOurs { path });
                }
                _ => return Err(error.into()),
            },
        }
    }
    if directories.iter().any(|directory| is_kept(&directory.join(format!("{name}.keep")))) {
        return Err(ClientError::Kept { name: name.to_owned() });
    }
    Err(refusal.unwrap_or(ClientError::NotRunning { name: name.to_owned(), directories }))
}

/// Whether a keeper listens, which this does not disturb: its socket is of another type, which the
/// kernel says only of sockets that somebody has (`unix_find_bsd` of the kernel's `af_unix.c`).
fn is_kept(keeper: &Path) -> bool {
    let error = UnixStream::connect(keeper).err();
    error.and_then(|error| error.raw_os_error()) == Some(Errno::PROTOTYPE.raw_os_error())
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
