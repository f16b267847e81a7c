//! Follows the driver: what happens on the transport decides what the backend does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use loopback_driver_glue::{Event, MemoryWindow, QueueInfo, TransportError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::bound::Bound;
use super::device::{Shared, State};
use super::front_end::{FrontEnd, FrontEndError};
use super::nodes::{self, Missing, Wait};
use super::watch::Step;
use crate::features::Features;
use crate::gpu::wire;
use crate::sync::lock;

/// How long to wait for the end of a backend that has closed its display socket.
const END_INTERVAL: Duration = Duration::from_millis(200);

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum EventLoopError {
    /// The backend closed its socket.
    #[error("the GPU backend is gone")]
    BackendGone,
    /// The backend does not answer.
    #[error("the GPU backend hangs")]
    BackendHangs,
    /// The backend answers, but does not go on with a queue.
    #[error("the GPU backend starts no more commands of queue {queue}")]
    BackendStuck {
        /// The queue.
        queue: u16,
    },
    /// The display socket is no longer served, though the backend is there.
    #[error("the GPU backend has no display any more")]
    DisplayEnded,
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

/// What ends a device.
pub struct Ends<'a> {
    /// The vhost-user socket, on which a backend never speaks first: whatever comes is its end.
    pub backend: &'a UnixStream,
    /// Hangs up when the display socket is no longer served, if it is.
    pub display: Option<&'a OwnedFd>,
    /// Readable when the device shall end.
    pub stop: &'a OwnedFd,
}

/// Runs until the device shall end. `ready` is called once with the driver's device nodes.
pub fn run(
    shared: &Mutex<Shared>,
    front_end: &mut FrontEnd,
    ends: &Ends<'_>,
    announcement: &mut Announcement,
    mut ready: impl FnMut(&[PathBuf]),
) -> Result<(), EventLoopError> {
    let events = lock(shared).transport()?.as_fd().try_clone_to_owned()?;
    let Announcement { announced, wait_for_nodes, bound } = announcement;
    loop {
        let now = Instant::now();
        let for_nodes = wait_for_nodes.timeout(missing(&lock(shared)), now);
        let for_check = front_end.check_timeout(now);
        let timeout = for_nodes.into_iter().chain(for_check).min();
        let woken = wait(&events, ends, front_end.kicks(), timeout)?;
        if woken.stop {
            return Ok(());
        }
        if woken.transport {
            follow(shared, Some(front_end))?;
        }
        // After the transport: the driver's reset must be answered even when both come at once. What the
        // backend had said may have been taken with the answers to that; if not, poll says so again.
        if woken.backend && !woken.transport && !front_end.take_answer()? {
            return Err(EventLoopError::BackendGone);
        }
        check(shared, front_end, woken.kicked)?;
        if woken.display {
            return Err(which_end(ends)?);
        }
        if let Some(nodes) = find_nodes(shared, bound)
            && !std::mem::replace(announced, true)
        {
            ready(&nodes);
        }
        if let Some(missing) = wait_for_nodes.complaint(Instant::now()) {
            let parent = lock(shared).transport()?.sysfs_path();
            log::warn!("{}", nodes::advice(missing, parent.as_deref()));
        }
    }
}

/// Whether it was said that the driver can be used. Outlives a backend.
#[derive(Debug)]
pub struct Announcement {
    announced: bool,
    wait_for_nodes: Wait,
    bound: Bound,
}

impl Announcement {
    /// It was not, so far.
    pub fn new() -> Self {
        let wait_for_nodes = Wait::new(Instant::now());
        Self { announced: false, wait_for_nodes, bound: Bound::new() }
    }
}

/// Follows the driver while there is no backend, for so long. True: the device shall end.
pub fn run_without(
    shared: &Mutex<Shared>,
    stop: &OwnedFd,
    time: Duration,
) -> Result<bool, EventLoopError> {
    let events = lock(shared).transport()?.as_fd().try_clone_to_owned()?;
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&events, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let [events, stop] = fds.map(|fd| !fd.revents().is_empty());
        if events {
            follow(shared, None)?;
        }
        if stop || left.is_zero() {
            return Ok(stop);
        }
    }
}

struct Woken {
    kicked: bool,
    transport: bool,
    backend: bool,
    stop: bool,
    display: bool,
}

/// Watches whether the backend still answers.
fn check(
    shared: &Mutex<Shared>,
    front_end: &mut FrontEnd,
    kicked: bool,
) -> Result<(), EventLoopError> {
    let now = Instant::now();
    if kicked {
        front_end.kicked(now);
    }
    match front_end.check(now, || lock(shared).work())? {
        Step::Wait | Step::Ask => Ok(()),
        Step::GiveUp => Err(EventLoopError::BackendHangs),
        Step::Stuck(queue) => Err(EventLoopError::BackendStuck { queue }),
    }
}

fn wait(
    events: &OwnedFd,
    ends: &Ends<'_>,
    kicks: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> io::Result<Woken> {
    let mut fds = vec![
        PollFd::new(events, PollFlags::IN),
        PollFd::new(ends.backend, PollFlags::IN | PollFlags::RDHUP),
        PollFd::new(ends.stop, PollFlags::IN),
    ];
    let others = [ends.display.map(AsFd::as_fd), kicks];
    fds.extend(others.iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut woken = fds.iter().map(|fd| !fd.revents().is_empty());
    let mut next = || woken.next().unwrap_or(false);
    let (transport, backend, stop) = (next(), next(), next());
    let display = ends.display.is_some() && next();
    Ok(Woken { transport, backend, stop, display, kicked: next() })
}

/// A backend that ends closes its sockets one after the other.
fn which_end(ends: &Ends<'_>) -> io::Result<EventLoopError> {
    let mut fds = [PollFd::new(ends.backend, PollFlags::IN | PollFlags::RDHUP)];
    match poll(&mut fds, Timespec::try_from(END_INTERVAL).ok().as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(EventLoopError::DisplayEnded),
        Ok(_) => Ok(EventLoopError::BackendGone),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes all events of the transport. The lock is never held while the backend is asked. Without a
/// backend, the next one learns from `shared` how far the driver is.
fn follow(
    shared: &Mutex<Shared>,
    mut front_end: Option<&mut FrontEnd>,
) -> Result<(), EventLoopError> {
    while let Some(event) = next_event(shared)? {
        log_step(&event);
        match event {
            Event::FeaturesOk { features } => lock(shared).driver_features = features,
            Event::DriverOk { features } => {
                let held = driver_started(shared, features)?;
                let started = match front_end.as_deref_mut() {
                    Some(front_end) => start_backend(shared, front_end, held),
                    None => Ok(()),
                };
                // So that the next backend starts them if this one failed.
                lock(shared).state = State::Running;
                started?;
                if front_end.is_some() && std::mem::take(&mut lock(shared).stale) {
                    // What the driver before had made is forgotten, or this one would not have begun.
                    record_driver(shared)?;
                }
            }
            Event::Reset { sequence } => {
                lock(shared).driver_left();
                stop_backend(shared, front_end.as_deref_mut(), sequence)?;
            }
            Event::Unbound => {
                let mut shared = lock(shared);
                // What it had made was forgotten at its reset, or not.
                let stale = shared.stale;
                shared.driver_left();
                shared.stale = stale;
            }
            // The module keeps events_read and events_clear; nothing else is writable.
            Event::ConfigWritten { .. } => {}
        }
    }
    Ok(())
}

/// Notes that a driver runs. True: buffers of it are held that another adapter had.
fn driver_started(shared: &Mutex<Shared>, features: u64) -> Result<bool, EventLoopError> {
    let held = {
        let mut shared = lock(shared);
        shared.driver_features = features;
        std::mem::take(&mut shared.held)
    };
    record_driver(shared)?;
    Ok(held)
}

/// Writes down which driver the state is about, for an adapter that comes after this one: the one that
/// has started last, or none if what is there is still another one's.
pub fn record_driver(shared: &Mutex<Shared>) -> Result<(), EventLoopError> {
    let (kept, count) = {
        let mut shared = lock(shared);
        let count = shared.transport()?.driver_starts()?.count;
        (shared.kept.clone(), if shared.stale { 0 } else { count })
    };
    // Whoever has this lock may be starting a process.
    if let Some(kept) = kept {
        lock(&kept).driver_started(count)?;
    }
    Ok(())
}

fn log_step(event: &Event) {
    match event {
        Event::FeaturesOk { features } => {
            log::info!("driver: features ok: {}", Features(*features));
        }
        Event::DriverOk { .. } => log::info!("driver: ok, its queues run"),
        Event::Reset { .. } => log::info!("driver: reset"),
        Event::Unbound => log::info!("driver: let go of the device"),
        Event::ConfigWritten { .. } => log::debug!("driver: {event:x?}"),
    }
}

fn next_event(shared: &Mutex<Shared>) -> Result<Option<Event>, TransportError> {
    lock(shared).transport()?.next_event()
}

/// Starts the rings of a driver that runs. `again`: another backend had them before.
pub fn start_backend(
    shared: &Mutex<Shared>,
    front_end: &mut FrontEnd,
    again: bool,
) -> Result<(), EventLoopError> {
    let mut repeated = Vec::new();
    let (features, memory, size, queues) = {
        let mut shared = lock(shared);
        let features = shared.driver_features;
        let transport = shared.transport()?;
        let mut queue = |index| {
            if again {
                repeated.push((index, transport.reoffer(index)?));
            }
            Ok((index, transport.queue(index)?))
        };
        let queues: Result<Vec<(u16, QueueInfo)>, TransportError> =
            [wire::CONTROL_QUEUE, wire::CURSOR_QUEUE].into_iter().map(&mut queue).collect();
        let queues = queues?;
        let MemoryWindow { fd, size } = transport.memory();
        let memory = fd.try_clone_to_owned()?;
        shared.begin_queues(&queues);
        (features, memory, size, queues)
    };
    for (index, count) in repeated {
        front_end.set_repeated(index, count)?;
    }
    let rings = front_end.start(features, MemoryWindow { fd: memory.as_fd(), size }, &queues)?;
    let mut shared = lock(shared);
    for ring in rings {
        shared.transport()?.set_queue_fds(ring.index, &ring.kick, &ring.call)?;
    }
    Ok(())
}

/// The driver waits for the acknowledgement, so it comes whether or not the backend stopped well.
fn stop_backend(
    shared: &Mutex<Shared>,
    front_end: Option<&mut FrontEnd>,
    sequence: u32,
) -> Result<(), EventLoopError> {
    let stopped = front_end.map(FrontEnd::stop);
    let mut shared = lock(shared);
    shared.stale = !matches!(stopped, Some(Ok(())));
    shared.transport()?.acknowledge(sequence)?;
    Ok(stopped.unwrap_or(Ok(()))?)
}

/// What the device lacks to be used.
fn missing(shared: &Shared) -> Option<Missing> {
    match (shared.state, &shared.nodes) {
        (State::Running, Some(_)) => None,
        (State::Running, None) => Some(Missing::Nodes),
        (State::Starting | State::Waiting, _) => Some(Missing::Driver),
    }
}

/// Device nodes that were not known and are there now. A transport without nodes is ready when its
/// driver runs.
fn find_nodes(shared: &Mutex<Shared>, bound: &mut Bound) -> Option<Vec<PathBuf>> {
    let parent = {
        let mut shared = lock(shared);
        if missing(&shared) != Some(Missing::Nodes) {
            return None;
        }
        shared.transport().ok()?.sysfs_path()
    };
    let nodes = match parent {
        Some(parent) => {
            let nodes = nodes::nodes_in(&parent.join("drm"))?;
            bound.is_done(&parent, Instant::now()).then_some(nodes)?
        }
        None => Vec::new(),
    };
    for node in &nodes {
        log::info!("driver: made {}", node.display());
    }
    lock(shared).nodes = Some(nodes.clone());
    Some(nodes)
}
