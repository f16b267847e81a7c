//! The device's end of the control socket.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use virtio_loopback_display::DisplayHandle;

use super::{Answer, MAX_LINE, Request, ScanoutRequest, Status, make_directory, socket_path};
use crate::adapter::MonitorsError;
use crate::one_line;
use crate::sync::lock;

/// How long a client may take with its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client may take with reading the answer, which can be a large picture.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when clients cannot be accepted.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(100);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The name is taken.
    #[error(
        "{name:?} is running already: choose another --name, or end it with `ctl --name {name} quit`"
    )]
    NameInUse {
        /// The name asked for.
        name: String,
    },
    /// The system refused.
    #[error("cannot make the control socket {path}")]
    Io {
        /// Its path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The user may not make one there.
    #[error(
        "cannot make the control socket {path}: XDG_RUNTIME_DIR names a directory of another user; \
         unset it, or set it to one of this user's"
    )]
    NotOurs {
        /// Its path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// What clients ask and tell.
pub trait Controlled {
    /// Where its scanouts are shown.
    fn display(&self) -> &DisplayHandle;
    /// What it is doing.
    fn status(&self) -> Status;
    /// How many scanouts it has.
    fn scanouts(&self) -> u32;
    /// Changes its monitors and returns at which scanout; or why not, in one line for the user.
    fn change_scanout(&self, request: ScanoutRequest) -> Result<u32, String>;
    /// Ends it.
    fn quit(&self);
    /// Has it stay when it ends; false if it is not one that stays.
    fn detach(&self) -> bool;
}

/// A bound control socket. Dropping it gives the name free, and then hangs up on those who wait
/// for that.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
    /// Locked as long as the name is taken; the kernel lets go of it when the process dies.
    lock: File,
    /// Clients that have said [`Request::Quit`].
    quitters: Arc<Mutex<Vec<UnixStream>>>,
}

impl ControlServer {
    /// Takes the name.
    pub fn bind(name: &str) -> Result<Self, ServerError> {
        let path = socket_path(name);
        let failed = |source: io::Error| {
            // Not when the directory itself was found to be another's: that says more.
            let is_denied = source.raw_os_error() == Some(Errno::ACCESS.raw_os_error());
            let path = path.clone();
            if is_denied && std::env::var_os("XDG_RUNTIME_DIR").is_some() {
                ServerError::NotOurs { path, source }
            } else {
                ServerError::Io { path, source }
            }
        };
        let directory = make_directory().map_err(failed)?;
        let held = File::create(directory.join(format!("{name}.lock"))).map_err(failed)?;
        match held.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(ServerError::NameInUse { name: name.to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Under the lock, a socket that is there is left over from a process that was killed.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        Ok(Self { listener, path, lock: held, quitters: Arc::default() })
    }

    /// Serves clients, one after the other, on a thread that lives as long as the process.
    pub fn serve(&self, device: impl Controlled + Send + 'static) -> io::Result<()> {
        let listener = self.listener.try_clone()?;
        let quitters = Arc::clone(&self.quitters);
        let serve = move || {
            for client in listener.incoming() {
                let client = match client {
                    Ok(client) => client,
                    Err(error) => {
                        // It waits in the queue: without a pause this would run in circles.
                        log::debug!("a control client was not accepted: {error}");
                        std::thread::sleep(ACCEPT_INTERVAL);
                        continue;
                    }
                };
                match answer(&client, &device) {
                    Ok(After::HangUp) => {}
                    Ok(After::KeepUntilGone) => lock(&quitters).push(client),
                    Err(error) => log::debug!("a control client was not served: {error}"),
                }
            }
        };
        std::thread::Builder::new().name("control".into()).spawn(serve)?;
        Ok(())
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = self.lock.unlock();
        lock(&self.quitters).clear();
    }
}

/// What becomes of a client that has its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    HangUp,
    /// The end of the connection tells it that the device is gone.
    KeepUntilGone,
}

/// Takes the client's request and answers it.
pub(super) fn answer(client: &UnixStream, device: &impl Controlled) -> io::Result<After> {
    let mut line = String::new();
    let request = Limited { stream: client, deadline: Instant::now() + REQUEST_TIMEOUT };
    BufReader::new(request.take(MAX_LINE)).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Request::Status) => send(client, &Answer::Status(Box::new(device.status())), &[])?,
        Ok(Request::Screenshot { scanout } | Request::Frame { scanout })
            if scanout >= device.scanouts() =>
        {
            let count = device.scanouts();
            send_error(client, one_line(&MonitorsError::NoScanout { scanout, count }))?;
        }
        Ok(Request::Screenshot { scanout }) => send_screenshot(client, device.display(), scanout)?,
        Ok(Request::Frame { scanout }) => match device.display().screenshot(scanout) {
            Ok(picture) => {
                let (width, height) = (picture.width(), picture.height());
                send(client, &Answer::Frame { width, height }, picture.as_rgb())?;
            }
            Err(error) => send_error(client, one_line(&error))?,
        },
        Ok(Request::Scanout(request)) => match device.change_scanout(request) {
            Ok(scanout) => send(client, &Answer::Changed { scanout }, &[])?,
            Err(message) => send_error(client, message)?,
        },
        Ok(Request::Detach) if !device.detach() => {
            send_error(client, "the device is not one that stays: see `run --keep`".to_owned())?;
        }
        Ok(Request::Quit | Request::Detach) => {
            // Before the process ends; and it ends, whether or not the client is still there.
            let sent = send(client, &Answer::Done, &[]);
            device.quit();
            sent?;
            return Ok(After::KeepUntilGone);
        }
        Err(error) => send_error(client, format!("the request is not understood: {error}"))?,
    }
    Ok(After::HangUp)
}

fn send_screenshot(client: &UnixStream, display: &DisplayHandle, scanout: u32) -> io::Result<()> {
    let png = display
        .screenshot(scanout)
        .map_err(|error| one_line(&error))
        .and_then(|picture| picture.to_png().map_err(|error| one_line(&error)));
    match png {
        Ok(png) => send(client, &Answer::Png { length: png.len() as u64 }, &png),
        Err(message) => send_error(client, message),
    }
}

fn send_error(client: &UnixStream, message: String) -> io::Result<()> {
    send(client, &Answer::Error { message }, &[])
}

fn send(client: &UnixStream, answer: &Answer, bytes: &[u8]) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut client = Limited { stream: client, deadline: Instant::now() + ANSWER_TIMEOUT };
    client.write_all(&line)?;
    client.write_all(bytes)
}

/// A stream that must be done with by a time, however slowly the other end goes on.
pub(super) struct Limited<'a> {
    pub(super) stream: &'a UnixStream,
    pub(super) deadline: Instant,
}

impl Limited<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Limited<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        // In pieces, so that a slow reader cannot make one of them last.
        self.stream.write(buffer.get(..MAX_LINE as usize).unwrap_or(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
