//! Putting a device together, and taking it apart in the right order.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loopback_driver_glue::{DeviceConfig, QueueInfo, Transport, TransportError};
use virtio_bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use virtio_loopback_display::DisplayHandle;
use zerocopy::{FromZeros, IntoBytes};

use super::backend::Backend;
use super::backend_process::{BackendChoice, BackendProcessError};
use super::cgroup::Cgroup;
use super::display_server::DisplayServerError;
use super::event_loop::{self, Announcement, EventLoopError};
use super::front_end::FrontEndError;
use super::keep::{self, Inherited, Keep};
use super::kept::Kept;
use super::monitors::Monitors;
use super::quirks::BackendProgram;
use super::restarts::{RestartPolicy, Restarts};
use super::scanouts::ScanoutError;
use super::watch::Work;
use crate::features::Features;
use crate::gpu::{Counters, Limits, wire};
use crate::limits::DeviceLimits;
use crate::sync::lock;

/// Virtio vendor id of Red Hat's devices, which the driver does not look at.
const VENDOR_ID: u32 = 0x1af4;
/// Entries of the cursor queue.
const CURSOR_QUEUE_SIZE: u16 = 64;

/// What a device shall be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// What the driver finds at its scanouts.
    pub monitors: Monitors,
    /// Who renders.
    pub backend: BackendChoice,
    /// Which program that is, if it is not ours and not to be found out.
    pub program: Option<BackendProgram>,
    /// How often a child that fails is replaced.
    pub restarts: RestartPolicy,
    /// For how long the device waits for another adapter when this one dies; 0: it is removed then.
    pub keep: Duration,
    /// What the driver may make others hold. A child must be told its own ones.
    pub limits: DeviceLimits,
    /// Where a child is accounted for.
    pub cgroup: Option<Cgroup>,
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
    #[error("the GPU backend is gone ({0})")]
    BackendGone(String),
    /// The backend broke the display protocol.
    #[error("the GPU backend broke the display protocol")]
    Display(#[from] DisplayServerError),
    /// The backend lives, but does nothing any more.
    #[error("the GPU backend hangs")]
    BackendHangs,
    /// The backend answers, but does not go on with a queue.
    #[error("the GPU backend starts no more commands of queue {queue}")]
    BackendStuck {
        /// The queue.
        queue: u16,
    },
    /// The backend lives, but shows nothing any more.
    #[error("the GPU backend closed its display socket")]
    DisplayClosed,
    /// The backend fails again and again.
    #[error(
        "the GPU backend failed {} times within {} s and is given up; the device is removed",
        policy.most + 1, policy.period.as_secs()
    )]
    GaveUp {
        /// How many are too many.
        policy: RestartPolicy,
        /// Why it failed the last time.
        #[source]
        last: Box<AdapterError>,
    },
    /// The event loop failed.
    #[error(transparent)]
    Loop(#[from] EventLoopError),
    /// The system refused.
    #[error("cannot set up the device")]
    Io(#[from] io::Error),
}

impl AdapterError {
    /// Whether another backend may do better.
    pub(super) fn is_of_backend(&self) -> bool {
        matches!(
            self,
            Self::FrontEnd(_)
                | Self::BackendNotReady(_)
                | Self::BackendGone(_)
                | Self::BackendHangs
                | Self::BackendStuck { .. }
                | Self::Display(_)
                | Self::DisplayClosed
        )
    }
}

/// Makes the device that is offered to the driver.
pub type Replug =
    Box<dyn FnMut(&DeviceConfig) -> Result<Box<dyn Transport>, TransportError> + Send>;

/// Parts of a device that other threads ask, too. Nobody waits for the backend or the driver while
/// the lock is held, so whoever asks has an answer at once.
#[derive(Debug, Default)]
pub struct Shared {
    /// The transport, until the device is removed.
    pub transport: Option<Box<dyn Transport>>,
    /// Process id of a child backend.
    pub backend_id: Option<u32>,
    /// Times a child backend was replaced.
    pub restarts: u64,
    /// The state file of a child, which has its counters.
    pub(super) state_file: Option<Arc<File>>,
    /// A driver has left, and no backend was told to forget what it had made.
    pub(super) stale: bool,
    /// Where the driver is.
    pub state: State,
    /// Feature bits the driver accepted.
    pub driver_features: u64,
    /// Device nodes, once the driver that runs has made them.
    pub nodes: Option<Vec<PathBuf>>,
    /// Another adapter had the driver's buffers before: they are held until they are offered again.
    pub(super) held: bool,
    /// What a child backend leaves for the next one, and who keeps it.
    pub kept: Option<Arc<Mutex<Kept>>>,
    /// For how long it stays without an adapter.
    pub keep: Duration,
    /// The device shall stay when this adapter ends.
    leave: bool,
}

impl Shared {
    /// Nothing of the driver is left.
    pub(super) fn driver_left(&mut self) {
        self.state = State::Waiting;
        self.driver_features = 0;
        self.nodes = None;
        self.stale = true;
    }

    /// Has the device stay when this adapter ends. False: nobody would keep it.
    pub fn leave_device(shared: &Mutex<Self>) -> bool {
        let kept = lock(shared).kept.clone();
        // Not under the other lock: a keeper may just be started.
        let stays = kept.is_some_and(|kept| lock(&kept).keeps_device());
        lock(shared).leave = stays;
        stays
    }

    /// Has the driver look at its monitors. One that comes later does so by itself.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn monitors_changed(shared: &Mutex<Self>) -> Result<(), TransportError> {
        let at = std::mem::offset_of!(wire::Config, events_read) as u32;
        match &mut lock(shared).transport {
            Some(transport) => transport.set_config(at, &wire::EVENT_DISPLAY.to_le_bytes()),
            None => Ok(()),
        }
    }

    /// Buffers of the driver that the backend has, all queues.
    pub(super) fn outstanding(&self) -> u64 {
        let figures = self.transport.as_ref().and_then(|transport| transport.figures().ok());
        let mut figures = figures.into_iter().flatten();
        figures.find(|(name, _)| *name == "outstanding").map_or(0, |(_, count)| count)
    }

    /// Commands of the control queue that the device has.
    pub fn commands(&self) -> Option<u16> {
        let info = self.transport.as_ref()?.queue(wire::CONTROL_QUEUE).ok()?;
        Some(info.outstanding)
    }

    /// What the driver wants of a child that is watched.
    pub(super) fn work(&self) -> Work {
        let buffers = self.outstanding() > 0;
        let Some((counters, transport)) = self.counters().zip(self.transport.as_ref()) else {
            return Work { buffers, ..Work::default() };
        };
        let mut next = [None; wire::QUEUE_COUNT];
        for ((next, counter), index) in next.iter_mut().zip(counters.queues).zip(0..) {
            // What the driver has put there last is a part of the ring, or there is nothing to compare.
            let taken = counter.taken as u16;
            let info = transport.queue(index).ok().filter(|info| info.ready);
            let waiting = info.map(|info| (info.avail_idx.wrapping_sub(taken), info.size));
            *next = waiting.and_then(|(count, size)| (1..=size).contains(&count).then_some(taken));
        }
        Work { buffers, next }
    }

    /// No buffer of these queues is taken by the child that begins to serve them.
    pub(super) fn begin_queues(&self, queues: &[(u16, QueueInfo)]) {
        let Some(state) = &self.state_file else { return };
        for (index, info) in queues {
            if let Err(error) = Counters::set_taken(state, *index, info.next_avail) {
                log::debug!("the state file cannot be written: {error}");
            }
        }
    }

    /// What a child says of its limits and queues. It is not to be trusted.
    pub fn counters(&self) -> Option<Counters> {
        self.state_file.as_ref().and_then(|state| Counters::read(state).ok())
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
    pub(super) options: Options,
    pub(super) shared: Arc<Mutex<Shared>>,
    /// `None` while one that failed is being replaced.
    pub(super) backend: Option<Backend>,
    /// What a child leaves for the next one.
    pub(super) kept: Option<Arc<Mutex<Kept>>>,
    pub(super) restarts: Restarts,
    pub(super) display: DisplayHandle,
    pub(super) stop: OwnedFd,
    /// Makes the device again, for a backend that is not ours.
    pub(super) replug: Option<Replug>,
}

impl Adapter {
    /// Starts the backend, creates the device with `create` and connects the two; with `keep`, goes
    /// on with a device that an earlier adapter has left there. `shared` tells other threads how far
    /// it is. The device ends when `stop` is readable, whatever it does then.
    ///
    /// # Errors
    ///
    /// [`AdapterError::Stopped`] if that was so before the device was ready.
    pub fn start(
        options: &Options,
        display: DisplayHandle,
        shared: Arc<Mutex<Shared>>,
        stop: OwnedFd,
        keep: Option<Keep>,
        create: impl FnMut(&DeviceConfig) -> Result<Box<dyn Transport>, TransportError>,
    ) -> Result<Self, AdapterError> {
        let limits = &options.limits.gpu;
        let (mut kept, inherited) = match (&options.backend, keep) {
            (BackendChoice::Socket(_), _) => (None, None),
            (BackendChoice::Child { .. }, None) => (Some(Kept::new(limits, None)?), None),
            (BackendChoice::Child { .. }, Some(keep)) => {
                let (kept, inherited) = keep.open(limits)?;
                (Some(kept), inherited)
            }
        };
        let mut backend = Backend::connect(options, &stop, |id| lock(&shared).backend_id = id)?;
        let config = match device_config(options, &backend) {
            Err(AdapterError::FrontEnd(error)) if error.is_interrupted() => {
                return Err(AdapterError::Stopped);
            }
            Err(AdapterError::FrontEnd(error)) => {
                return Err(backend.why_not_ready(error));
            }
            config => config?,
        };
        log::info!("device: offers {}", Features(config.features));
        let held = inherited.as_ref().is_some_and(|inherited| inherited.is(&config, limits));
        let keep_time = match &inherited {
            Some(inherited) if held => inherited.keep(),
            _ => options.keep,
        };
        let transport = plug(&config, limits, inherited, kept.as_mut(), create)?;
        let kept = kept.map(|kept| Arc::new(Mutex::new(kept)));
        if let Some(kept) = &kept {
            keep::watch(kept)?;
            backend.hand_over(kept)?;
            backend.front_end.watch()?;
        }
        let window = transport.memory();
        backend.serve_display(options, display.clone(), window, kept.clone(), &shared)?;
        let state = kept.as_ref().map(|kept| lock(kept).state_file());
        {
            let mut shared = lock(&shared);
            shared.transport = Some(transport);
            shared.state = State::Waiting;
            shared.held = held;
            shared.kept = kept.clone();
            shared.keep = keep_time;
            shared.state_file = state;
        }
        let restarts = Restarts::new(options.restarts);
        let options = options.clone();
        let backend = Some(backend);
        Ok(Self { options, shared, backend, kept, restarts, display, stop, replug: None })
    }

    /// When a backend that is not ours fails, unplugs the device until that backend is there again,
    /// and makes it anew with `replug`. Otherwise such a failure ends the device.
    pub fn replug_with(&mut self, replug: Replug) {
        self.replug = Some(replug);
    }

    /// Serves the device until it is told to end or cannot go on. `ready` is called once, when the
    /// driver can be used. A child that fails is replaced.
    pub fn run(&mut self, mut ready: impl FnMut(&[PathBuf])) -> Result<(), AdapterError> {
        let mut announcement = Announcement::new();
        loop {
            let Some(backend) = &mut self.backend else { return Ok(()) };
            let (front_end, ends) = backend.parts(&self.stop);
            let ended =
                event_loop::run(&self.shared, front_end, &ends, &mut announcement, &mut ready);
            let error = match ended {
                Ok(()) => return Ok(()),
                Err(EventLoopError::FrontEnd(error)) if error.is_interrupted() => return Ok(()),
                Err(error @ (EventLoopError::Transport(_) | EventLoopError::Io(_))) => {
                    return Err(error.into());
                }
                Err(error) => backend.why(error),
            };
            if self.go_on_after(error)? {
                return Ok(());
            }
        }
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        drop(self.backend.take());
        // Keeps the last picture, as long as its memory is there.
        self.display.source_lost();
        let (transport, leave) = {
            let mut shared = lock(&self.shared);
            shared.kept = None;
            (shared.transport.take(), shared.leave)
        };
        match self.kept.take() {
            Some(kept) if leave => lock(&kept).leave(),
            Some(kept) => lock(&kept).forget(),
            None => {}
        }
        // The module answers the driver from here on. Removing the device may take a moment.
        drop(transport);
    }
}

/// The device: one that was left, if it is what is wanted, else a new one.
fn plug(
    config: &DeviceConfig,
    limits: &Limits,
    inherited: Option<Inherited>,
    kept: Option<&mut Kept>,
    mut create: impl FnMut(&DeviceConfig) -> Result<Box<dyn Transport>, TransportError>,
) -> Result<Box<dyn Transport>, AdapterError> {
    let Some(kept) = kept else { return Ok(create(config)?) };
    match inherited {
        Some(inherited) if inherited.is(config, limits) => {
            let kept_ms = inherited.config.keep_ms;
            let Inherited { transport, keepsake, record, continues, .. } = inherited;
            if config.keep_ms != kept_ms {
                log::warn!(
                    "the device goes on as it was made, to be kept for {} s",
                    kept_ms / 1000
                );
            }
            kept.keep_same_device(keepsake, record);
            if !continues {
                kept.clear()?;
            }
            return Ok(transport);
        }
        Some(inherited) => {
            log::warn!("the device that was kept is not what is asked for now, and is replaced");
            let Inherited { transport, keepsake, .. } = inherited;
            drop(keepsake);
            kept.forget_device();
            // The last that kept it.
            drop(transport);
            kept.clear()?;
        }
        None => {}
    }
    let transport = kept.while_name_is_given_free(|| create(config))?;
    if config.keep_ms != 0
        && let Some(keepsake) = transport.keepsake()
    {
        kept.keep_device(keepsake.try_clone_to_owned()?, config)?;
    }
    Ok(transport)
}

pub(super) fn device_config(
    options: &Options,
    backend: &Backend,
) -> Result<DeviceConfig, AdapterError> {
    let front_end = &backend.front_end;
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
        num_scanouts: options.monitors.count().into(),
        num_capsets: front_end.config()?.num_capsets,
        ..wire::Config::new_zeroed()
    };
    Ok(DeviceConfig {
        name: options.name.clone(),
        device_id: wire::DEVICE_ID,
        vendor_id: VENDOR_ID,
        features: backend.quirks.offered(front_end.features()) | 1 << VIRTIO_F_ACCESS_PLATFORM,
        queue_sizes: vec![options.limits.outstanding, CURSOR_QUEUE_SIZE],
        config: config.as_bytes().to_vec(),
        keep_ms: u32::try_from(options.keep.as_millis()).unwrap_or(u32::MAX),
        bounce_max: options.limits.bounce,
        export_max: options.limits.export,
    })
}
