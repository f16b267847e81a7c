//! Follows the driver: what happens on the transport decides what the backend does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use loopback_driver_glue::{Event, Transport, TransportError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::device::{Shared, State, lock};
use super::front_end::{FrontEnd, FrontEndError};

/// How often to look whether the driver has made its device nodes, until it has.
const NODE_INTERVAL: Duration = Duration::from_millis(10);

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum EventLoopError {
    /// The backend closed its socket.
    #[error("the GPU backend is gone")]
    BackendGone,
    /// The backend failed at something.
    #[error(transparent)]
    FrontEnd(#[from] FrontEndError),
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system refused.
    #[error("waiting for events failed")]
    Io(#[from] io::Error),
}

/// Runs until `stop` is readable. `ready` is called once with the driver's device nodes.
pub fn run(
    shared: &Mutex<Shared>,
    front_end: &mut FrontEnd,
    backend: &UnixStream,
    stop: &OwnedFd,
    mut ready: impl FnMut(&[PathBuf]),
) -> Result<(), EventLoopError> {
    let events = match &lock(shared).transport {
        Some(transport) => transport.as_fd().try_clone_to_owned()?,
        None => return Ok(()),
    };
    let mut announced = false;
    loop {
        let running = lock(shared).state == State::Running;
        let timeout = (running && !announced).then_some(NODE_INTERVAL);
        let woken = wait(&events, backend, stop, timeout)?;
        if woken.stop {
            return Ok(());
        }
        if woken.transport {
            follow(&mut lock(shared), front_end)?;
        }
        // After the transport: the driver's reset must be answered even when both come at once.
        if woken.backend {
            return Err(EventLoopError::BackendGone);
        }
        if !announced && let Some(nodes) = find_nodes(&mut lock(shared)) {
            announced = true;
            ready(&nodes);
        }
    }
}

struct Woken {
    transport: bool,
    backend: bool,
    stop: bool,
}

fn wait(
    events: &OwnedFd,
    backend: &UnixStream,
    stop: &OwnedFd,
    timeout: Option<Duration>,
) -> io::Result<Woken> {
    let mut fds = [
        PollFd::new(events, PollFlags::IN),
        // A backend never speaks first on this socket: whatever comes is its end.
        PollFd::new(backend, PollFlags::IN | PollFlags::RDHUP),
        PollFd::new(stop, PollFlags::IN),
    ];
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let [transport, backend, stop] = fds.map(|fd| !fd.revents().is_empty());
    Ok(Woken { transport, backend, stop })
}

/// Takes all events of the transport.
fn follow(shared: &mut Shared, front_end: &mut FrontEnd) -> Result<(), EventLoopError> {
    let Shared { transport: Some(transport), state, driver_features, .. } = shared else {
        return Ok(());
    };
    while let Some(event) = transport.next_event()? {
        log::debug!("driver: {event:x?}");
        match event {
            Event::FeaturesOk { features } => *driver_features = features,
            Event::DriverOk { features } => {
                *driver_features = features;
                front_end.start(transport.as_mut(), features)?;
                *state = State::Running;
            }
            Event::Reset { sequence } => {
                *state = State::Waiting;
                stop_backend(transport.as_mut(), front_end, sequence)?;
            }
            Event::Unbound => *state = State::Waiting,
            // The module keeps events_read and events_clear; nothing else is writable.
            Event::ConfigWritten { .. } => {}
        }
    }
    Ok(())
}

/// The driver waits for the acknowledgement, so it comes whether or not the backend stopped well.
fn stop_backend(
    transport: &mut dyn Transport,
    front_end: &mut FrontEnd,
    sequence: u32,
) -> Result<(), EventLoopError> {
    let stopped = front_end.stop();
    transport.acknowledge(sequence)?;
    Ok(stopped?)
}

/// The device nodes of a driver that runs, once there are some. A transport without nodes is ready
/// when its driver runs.
fn find_nodes(shared: &mut Shared) -> Option<Vec<PathBuf>> {
    if shared.state != State::Running {
        return None;
    }
    let Some(parent) = shared.transport.as_ref()?.sysfs_path() else {
        return Some(Vec::new());
    };
    shared.nodes = nodes_in(&parent.join("drm"));
    (!shared.nodes.is_empty()).then(|| shared.nodes.clone())
}

/// `/dev/dri/cardN` and `/dev/dri/renderDN` of the entries in a `drm` directory, once both exist.
/// Other entries are names for the same nodes from older times.
fn nodes_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let node = |prefix| {
        let name = names.iter().find(|name| name.starts_with(prefix))?;
        Some(Path::new("/dev/dri").join(name)).filter(|node| node.exists())
    };
    match (node("card"), node("renderD")) {
        (Some(card), Some(render)) => vec![card, render],
        _ => Vec::new(),
    }
}
