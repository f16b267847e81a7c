//! Putting a device together, and taking it apart in the right order.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use loopback_driver_glue::{DeviceConfig, Transport, TransportError};
use rustix::pipe::PipeFlags;
use virtio_bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use virtio_loopback_display::DisplayHandle;
use zerocopy::{FromZeros, IntoBytes};

use super::backend_process::{BackendChoice, BackendProcess, BackendProcessError};
use super::display_server::{DisplayServer, DisplayServerError};
use super::event_loop::{self, Ends, EventLoopError};
use super::front_end::{FrontEnd, FrontEndError};
use super::modes::Modes;
use super::scanouts::{ScanoutError, ScanoutMemory};
use crate::features::Features;
use crate::gpu::wire;
use crate::one_line;
use crate::sync::lock;

/// Virtio vendor id of Red Hat's devices, which the driver does not look at.
const VENDOR_ID: u32 = 0x1af4;
/// Entries of the control and of the cursor queue.
const QUEUE_SIZES: [u16; wire::QUEUE_COUNT] = [1024, 64];

/// What a device shall be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// Its scanouts.
    pub modes: Modes,
    /// Who renders.
    pub backend: BackendChoice,
}

/// Why a device cannot be, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The transport refused.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There is no backend.
    #[error(transparent)]
    Process(#[from] BackendProcessError),
    /// The backend cannot be used.
    #[error(transparent)]
    FrontEnd(#[from] FrontEndError),
    /// The driver's memory cannot be shown.
    #[error("cannot map the driver's memory")]
    Memory(#[source] ScanoutError),
    /// The child ended instead of answering.
    #[error("the GPU backend ended before it could be used ({0}): its own message says why")]
    BackendNotReady(ExitStatus),
    /// It was told to end before the driver could be offered anything.
    #[error("the device was told to end before it was ready")]
    Stopped,
    /// The backend is gone.
    #[error("the GPU backend is gone ({0}); the device is removed")]
    BackendGone(String),
    /// The backend broke the display protocol.
    #[error("the GPU backend broke the display protocol; the device is removed")]
    Display(#[from] DisplayServerError),
    /// The backend lives, but shows nothing any more.
    #[error("the GPU backend closed its display socket; the device is removed")]
    DisplayClosed,
    /// The event loop failed.
    #[error(transparent)]
    Loop(#[from] EventLoopError),
    /// The system refused.
    #[error("cannot set up the device")]
    Io(#[from] io::Error),
}

/// Parts of a device that other threads ask, too. Nobody waits for the backend or the driver while
/// the lock is held, so whoever asks has an answer at once.
#[derive(Debug, Default)]
pub struct Shared {
    /// The transport, until the device is removed.
    pub transport: Option<Box<dyn Transport>>,
    /// Process id of a child backend.
    pub backend_id: Option<u32>,
    /// Where the driver is.
    pub state: State,
    /// Feature bits the driver accepted.
    pub driver_features: u64,
    /// Device nodes, once the driver that runs has made them.
    pub nodes: Option<Vec<PathBuf>>,
}

impl Shared {
    /// Nothing of the driver is left.
    pub(super) fn driver_left(&mut self) {
        self.state = State::Waiting;
        self.driver_features = 0;
        self.nodes = None;
    }

    /// The transport of a device that is there.
    pub(super) fn transport(&mut self) -> Result<&mut dyn Transport, TransportError> {
        match &mut self.transport {
            Some(transport) => Ok(transport.as_mut()),
            None => Err(TransportError::Io {
                what: "using the transport",
                source: io::ErrorKind::NotConnected.into(),
            }),
        }
    }
}

/// Where the driver is with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// There is no device yet.
    #[default]
    Starting,
    /// No driver uses it.
    Waiting,
    /// The driver runs its queues.
    Running,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "waiting for the GPU backend",
            Self::Waiting => "waiting for the driver",
            Self::Running => "running",
        })
    }
}

/// A running device.
///
/// Dropping it removes the device. What the driver still waits for, the module answers then, at most
/// a moment later: a backend that does not end is killed.
pub struct Adapter {
    shared: Arc<Mutex<Shared>>,
    front_end: FrontEnd,
    backend: BackendProcess,
    backend_socket: UnixStream,
    display: DisplayHandle,
    server: Option<Server>,
    display_ended: OwnedFd,
    stop: OwnedFd,
}

/// The thread that serves the display socket, and its end of the socket.
struct Server {
    thread: JoinHandle<Result<(), DisplayServerError>>,
    socket: UnixStream,
}

impl Server {
    /// Ends the thread, whatever the backend does, and says how it ended.
    fn stop(self) -> Result<(), DisplayServerError> {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        // A thread that panicked has told so itself.
        self.thread.join().unwrap_or(Ok(()))
    }
}

impl Adapter {
    /// Starts the backend, creates the device with `create` and connects the two. `shared` tells
    /// other threads how far it is. The device ends when `stop` is readable, whatever it does then.
    ///
    /// # Errors
    ///
    /// [`AdapterError::Stopped`] if that was so before the device was ready.
    pub fn start(
        options: &Options,
        display: DisplayHandle,
        shared: Arc<Mutex<Shared>>,
        stop: OwnedFd,
        create: impl FnOnce(&DeviceConfig) -> Result<Box<dyn Transport>, TransportError>,
    ) -> Result<Self, AdapterError> {
        let (mut backend, stream) = BackendProcess::start(&options.backend)?;
        let backend_socket = stream.try_clone()?;
        lock(&shared).backend_id = backend.id();
        let (front_end, config) = match agree(stream, stop.try_clone()?, options) {
            Ok(agreed) => agreed,
            Err(AdapterError::FrontEnd(error)) if error.is_interrupted() => {
                return Err(AdapterError::Stopped);
            }
            // A child that lives has done something else wrong.
            Err(error) => {
                return Err(backend.status().map_or(error, AdapterError::BackendNotReady));
            }
        };
        match backend.id() {
            Some(pid) => log::info!("GPU backend: pid {pid}"),
            None => log::info!("GPU backend: connected"),
        }
        log::info!("device: offers {}", Features(config.features));
        let transport = create(&config)?;
        let memory = ScanoutMemory::new(transport.memory()).map_err(AdapterError::Memory)?;
        let (ours, theirs) = UnixStream::pair()?;
        let socket = ours.try_clone()?;
        let server = DisplayServer::new(ours, display.clone(), memory, options.modes.clone())?;
        let (display_ended, ending) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let serve = move || {
            // Closed when the thread ends, which the event loop sees.
            let _ending = ending;
            server.run()
        };
        let thread = std::thread::Builder::new().name("display-socket".into()).spawn(serve)?;
        front_end.set_display_socket(&theirs)?;
        {
            let mut shared = lock(&shared);
            shared.transport = Some(transport);
            shared.state = State::Waiting;
        }
        Ok(Self {
            shared,
            front_end,
            backend,
            backend_socket,
            display,
            server: Some(Server { thread, socket }),
            display_ended,
            stop,
        })
    }

    /// Serves the device until it is told to end or cannot go on. `ready` is called once, when the
    /// driver can be used.
    pub fn run(&mut self, ready: impl FnMut(&[PathBuf])) -> Result<(), AdapterError> {
        let ends =
            Ends { backend: &self.backend_socket, display: &self.display_ended, stop: &self.stop };
        match event_loop::run(&self.shared, &mut self.front_end, &ends, ready) {
            Err(EventLoopError::FrontEnd(error)) if error.is_interrupted() => Ok(()),
            Err(EventLoopError::BackendGone) => Err(self.why_backend_is_gone()),
            Err(EventLoopError::DisplayEnded) => Err(self.why_display_ended()),
            Err(EventLoopError::FrontEnd(error)) => Err(self.why_backend_failed(error)),
            other => Ok(other?),
        }
    }

    fn why_backend_is_gone(&mut self) -> AdapterError {
        let _ = self.backend_socket.shutdown(std::net::Shutdown::Both);
        let status = self.backend.status();
        if let Some(Err(error)) = self.server.take().map(Server::stop) {
            return error.into();
        }
        AdapterError::BackendGone(
            status
                .map_or_else(|| "it closed the connection".to_owned(), |status| status.to_string()),
        )
    }

    fn why_display_ended(&mut self) -> AdapterError {
        match self.server.take().map(Server::stop) {
            Some(Err(error)) => error.into(),
            _ => AdapterError::DisplayClosed,
        }
    }

    /// A request that failed because the backend died is not what a user wants to read of.
    fn why_backend_failed(&mut self, error: FrontEndError) -> AdapterError {
        match self.backend.status() {
            Some(status) => AdapterError::BackendGone(status.to_string()),
            None => error.into(),
        }
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // The backend first: it must not look at rings that are taken away.
        let _ = self.backend_socket.shutdown(std::net::Shutdown::Both);
        self.backend.end();
        if let Some(server) = self.server.take()
            && let Err(error) = server.stop()
        {
            log::warn!("{}", one_line(&error));
        }
        // Keeps the last picture, as long as its memory is there.
        self.display.source_lost();
        // The module answers the driver from here on. Removing the device may take a moment.
        let transport = lock(&self.shared).transport.take();
        drop(transport);
    }
}

/// Agrees with the backend behind `stream` on what the device is.
fn agree(
    stream: UnixStream,
    stop: OwnedFd,
    options: &Options,
) -> Result<(FrontEnd, DeviceConfig), AdapterError> {
    let front_end = FrontEnd::connect(stream, stop)?;
    let config = device_config(options, &front_end)?;
    Ok((front_end, config))
}

/// What the driver is offered of a backend's features. vhost-device-gpu offers blobs and contexts
/// with VIRGL and dies of the first command that uses them, so of a backend that is not ours they
/// are not believed.
fn offered(options: &Options, features: u64) -> u64 {
    let virgl = 1 << wire::feature::VIRGL;
    let doubtful = 1 << wire::feature::RESOURCE_BLOB | 1 << wire::feature::CONTEXT_INIT;
    match options.backend {
        BackendChoice::Socket(_) if features & virgl != 0 => features & !doubtful,
        _ => features,
    }
}

fn device_config(options: &Options, front_end: &FrontEnd) -> Result<DeviceConfig, AdapterError> {
    let required = 1 << VIRTIO_F_VERSION_1;
    if front_end.features() & required == 0 {
        return Err(FrontEndError::Missing("virtio 1").into());
    }
    // Without them a command with more parts than the queue has descriptors waits in the driver for
    // good. The kernel module would say EINVAL.
    if front_end.features() & 1 << VIRTIO_RING_F_INDIRECT_DESC == 0 {
        return Err(FrontEndError::Missing("indirect descriptors (INDIRECT_DESC)").into());
    }
    let config = wire::Config {
        num_scanouts: options.modes.count().into(),
        num_capsets: front_end.config()?.num_capsets,
        ..wire::Config::new_zeroed()
    };
    Ok(DeviceConfig {
        name: options.name.clone(),
        device_id: wire::DEVICE_ID,
        vendor_id: VENDOR_ID,
        features: offered(options, front_end.features()) | 1 << VIRTIO_F_ACCESS_PLATFORM,
        queue_sizes: QUEUE_SIZES.to_vec(),
        config: config.as_bytes().to_vec(),
    })
}
