//! The GPU backend program: the virtio-gpu device model behind a vhost-user socket.
//!
//! This is the thin vhost-user shell around [`crate::gpu`]. It follows the conventions of
//! vhost-user back-end programs (QEMU `docs/interop/vhost-user.rst`, "Backend program
//! conventions"), so it is made for QEMU as well as for our adapter. One thread does everything: it waits
//! for the vhost-user socket, the kick eventfds and the display socket, and owns the device, so
//! nothing on the data path takes a contended lock.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod busy_poll;
mod connection;
mod device;
mod display;
mod event_loop;
mod fences;
#[cfg(fuzzing)]
pub mod fuzzing;
mod held;
mod memory;
mod poll;
mod render_server;
mod shared_memory;
mod vring;
mod watch;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::gpu::{self, Renderer};
use crate::one_line;

pub use connection::ConnectionError;
pub use display::DmaBufs;
pub use event_loop::EventLoopError;
use fences::Signals;
pub use render_server::{RENDER_SERVER, RenderServer, RenderServerError};
pub use watch::Watch;

/// Where the front-end is.
#[derive(Debug)]
pub enum Socket {
    /// Listen here and serve the first front-end that connects.
    Listen(PathBuf),
    /// An open connection.
    Connected(OwnedFd),
}

/// Why the backend ended.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Something has the path.
    #[error("{} exists already: remove it if it is left over from a backend that ended, or choose another path", path.display())]
    Exists {
        /// Path asked for.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}{}", path.display(), listen_advice(source))]
    Listen {
        /// Path asked for.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Nobody could be accepted.
    #[error("cannot accept a front-end")]
    Accept(#[source] io::Error),
    /// There is no renderer.
    #[error(transparent)]
    Renderer(#[from] gpu::StartError),
    /// The event loop ended.
    #[error(transparent)]
    Loop(#[from] EventLoopError),
}

/// What to do about a socket that cannot be made, in brackets.
fn listen_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => " (make its directory first)",
        io::ErrorKind::PermissionDenied => " (choose a directory that you may write to)",
        _ => "",
    }
}

/// What `--print-capabilities` prints.
pub const CAPABILITIES: &str = if cfg!(feature = "virgl") {
    r#"{"type": "gpu", "features": ["render-node", "virgl"]}"#
} else {
    r#"{"type": "gpu", "features": []}"#
};

/// The front-end, waited for where necessary; `None` if `stop` became readable first.
pub fn connect(socket: Socket, stop: &OwnedFd) -> Result<Option<UnixStream>, BackendError> {
    match socket {
        Socket::Connected(fd) => Ok(Some(UnixStream::from(fd))),
        Socket::Listen(path) => accept(&path, stop),
    }
}

/// What the device is.
#[derive(Debug, Default)]
pub struct Settings {
    /// What its driver may make it hold.
    pub limits: gpu::Limits,
    /// Bytes of the window for host-visible blobs that the front-end is asked for; 0 for none.
    pub host_visible: u64,
    /// Who ends what a command waits for in vain. There once Vulkan is.
    pub watch: Option<Watch>,
}

/// What renders.
#[derive(Debug)]
pub enum Rendering {
    /// Nothing but copying.
    TwoD,
    /// OpenGL.
    Virgl {
        /// On this GPU; else on the one that EGL chooses, or in software.
        render_node: Option<PathBuf>,
        /// Do without where OpenGL cannot be started.
        or_2d: bool,
        /// What its scanouts may be.
        dma_bufs: DmaBufs,
        /// Vulkan besides, by this server.
        vulkan: Option<RenderServer>,
    },
    /// Vulkan and OpenGL ES by gfxstream.
    #[cfg(feature = "gfxstream")]
    Gfxstream,
}

/// Serves the front-end behind `stream` until it hangs up or `stop` becomes readable. With OpenGL only
/// once per process.
pub fn serve(
    stream: UnixStream,
    rendering: Rendering,
    settings: Settings,
    stop: &OwnedFd,
) -> Result<(), BackendError> {
    let dma_bufs = match &rendering {
        Rendering::TwoD => DmaBufs::Off,
        Rendering::Virgl { dma_bufs, .. } => *dma_bufs,
        #[cfg(feature = "gfxstream")]
        Rendering::Gfxstream => DmaBufs::Off,
    };
    let signals = Signals::new().map_err(EventLoopError::Io)?;
    let (renderer, lifeline) = start_renderer(rendering, &signals)?;
    // Its thread is confined as all are.
    let watch = lifeline.map(Watch::start).transpose().map_err(EventLoopError::Io)?;
    let settings = Settings { watch, ..settings };
    Ok(event_loop::serve(stream, renderer, signals, dma_bufs, settings, stop)?)
}

/// The renderer, and what ends the processes that it waits for.
fn start_renderer(
    rendering: Rendering,
    signals: &Arc<Signals>,
) -> Result<(Renderer, Option<OwnedFd>), gpu::StartError> {
    let none = |renderer| (renderer, None);
    let (render_node, or_2d, vulkan) = match rendering {
        Rendering::TwoD => return Ok(none(Renderer::TwoD)),
        Rendering::Virgl { render_node, or_2d, vulkan, .. } => (render_node, or_2d, vulkan),
        #[cfg(feature = "gfxstream")]
        Rendering::Gfxstream => return Renderer::start_gfxstream(&signals.handler()).map(none),
    };
    let vulkan = vulkan.map(|RenderServer { socket, lifeline }| (socket, lifeline));
    let (server, lifeline) = vulkan.unzip();
    match Renderer::start_virgl(render_node.as_deref(), server, &signals.handler()) {
        Err(error) if or_2d => {
            log::warn!("2D only: {}", one_line(&error));
            Ok(none(Renderer::TwoD))
        }
        other => other.map(|renderer| (renderer, lifeline)),
    }
}

fn accept(path: &PathBuf, stop: &OwnedFd) -> Result<Option<UnixStream>, BackendError> {
    let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BackendError::Exists { path: path.clone() },
        _ => BackendError::Listen { path: path.clone(), source },
    })?;
    let result = wait_for_front_end(&listener, stop);
    // The path has done its work; a stale one would stop the next start.
    let _ = std::fs::remove_file(path);
    result
}

fn wait_for_front_end(
    listener: &UnixListener,
    stop: &OwnedFd,
) -> Result<Option<UnixStream>, BackendError> {
    let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => break,
            // By the signal that makes `stop` readable.
            Err(Errno::INTR) => {}
            Err(errno) => return Err(BackendError::Accept(errno.into())),
        }
    }
    let [_, stopped] = &fds;
    if !stopped.revents().is_empty() {
        return Ok(None);
    }
    listener.accept().map(|(stream, _)| Some(stream)).map_err(BackendError::Accept)
}
