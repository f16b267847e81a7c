//! One virtio-input device, served here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;

use loopback_driver_glue::{DeviceConfig, Event as DriverEvent, Transport, TransportError};
use virtio_bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::outbox::Outbox;
use super::rings::{Ring, Round};
use super::table::Capabilities;
use super::wire::{DEVICE_ID, EVENT_QUEUE, Event, QUEUE_COUNT, STATUS_QUEUE};

/// Entries of both queues: the driver has so many event buffers.
const QUEUE_SIZE: u16 = 64;
/// Virtio vendor id of Red Hat's devices, which the driver does not look at.
const VENDOR_ID: u32 = 0x1af4;

/// Why an input device cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The transport refused.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A ring cannot be used.
    #[error("an input queue cannot be used")]
    Ring(#[from] virtio_queue::Error),
    /// The driver's memory cannot be mapped.
    #[error("the memory of an input device's driver cannot be mapped: {0}")]
    Memory(String),
    /// A source is for a scanout that there is not.
    #[error("there is no scanout {scanout} for the input device {}", path.display())]
    NoScanout {
        /// The scanout asked for.
        scanout: u32,
        /// The source.
        path: PathBuf,
    },
    /// A source cannot be read.
    #[error("cannot {what} the input device {}", path.display())]
    Source {
        /// What was tried.
        what: &'static str,
        /// The source.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The device that comes back is another one.
    #[error("the input device {} is another one now, {name}", path.display())]
    OtherDevice {
        /// The source.
        path: PathBuf,
        /// What is there.
        name: String,
    },
    /// The system refused.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Makes a system's answer one of an input device.
pub(super) fn failed(what: &'static str) -> impl Fn(io::Error) -> InputError {
    move |source| InputError::Io { what, source }
}

/// The device that the transport is asked for. `name` is unique on the machine.
#[must_use]
pub fn device_config(name: &str, capabilities: &Capabilities) -> DeviceConfig {
    DeviceConfig {
        name: name.to_owned(),
        device_id: DEVICE_ID,
        vendor_id: VENDOR_ID,
        features: 1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_F_ACCESS_PLATFORM
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX,
        queue_sizes: vec![QUEUE_SIZE; QUEUE_COUNT],
        config: capabilities.table(),
        keep_ms: 0,
        bounce_max: 0,
        export_max: 0,
    }
}

/// A queue's eventfds.
#[derive(Debug)]
struct Fds {
    kick: EventFd,
    call: EventFd,
}

impl Fds {
    fn new() -> io::Result<Self> {
        let eventfd = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC);
        Ok(Self { kick: eventfd()?, call: eventfd()? })
    }

    /// Forgets the kicks so far, which have led to this round, and has another one come if there is
    /// more to do than one round takes; tells the driver what it wants to know.
    fn finish(&self, round: Round) -> io::Result<()> {
        if round.more {
            self.kick.write(1)?;
        }
        if round.call {
            self.call.write(1)?;
        }
        Ok(())
    }
}

/// Where a device's descriptors become readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The driver takes a step.
    Driver,
    /// The driver gives buffers for events.
    Events,
    /// The driver says something.
    Status,
}

/// A device on a transport. Dropping it removes the device.
#[derive(Debug)]
pub struct VirtioInput {
    transport: Box<dyn Transport>,
    memory: GuestMemoryMmap,
    events: Fds,
    status: Fds,
    /// While the driver runs.
    rings: Option<(Ring, Ring)>,
    outbox: Outbox,
}

impl VirtioInput {
    /// Serves the device of a transport, made with [`device_config`].
    pub fn new(mut transport: Box<dyn Transport>) -> Result<Self, InputError> {
        let memory = map(transport.as_ref())?;
        let eventfd = failed("making an eventfd");
        let (events, status) = (Fds::new().map_err(&eventfd)?, Fds::new().map_err(&eventfd)?);
        transport.set_queue_fds(EVENT_QUEUE, &events.kick, &events.call)?;
        transport.set_queue_fds(STATUS_QUEUE, &status.kick, &status.call)?;
        let mut outbox = Outbox::default();
        outbox.forget();
        Ok(Self { transport, memory, events, status, rings: None, outbox })
    }

    /// What to wait for, as long as the device lives.
    pub fn fds(&self) -> [(Wake, RawFd); 3] {
        [
            (Wake::Driver, self.transport.as_fd().as_raw_fd()),
            (Wake::Events, self.events.kick.as_raw_fd()),
            (Wake::Status, self.status.kick.as_raw_fd()),
        ]
    }

    /// Does what a descriptor calls for. `say` is told what the driver says.
    pub fn serve(&mut self, wake: Wake, say: impl FnMut(Event)) -> Result<(), InputError> {
        let read = |fds: &Fds| match fds.kick.read() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        };
        match wake {
            Wake::Driver => self.follow(),
            Wake::Events => {
                read(&self.events).map_err(failed("reading a kick"))?;
                self.deliver()
            }
            Wake::Status => {
                read(&self.status).map_err(failed("reading a kick"))?;
                self.receive(say)
            }
        }
    }

    /// Tells the driver of a frame, now or when it has room; see `Outbox::push`.
    pub fn send(&mut self, frame: &[Event]) -> Result<(), InputError> {
        self.outbox.push(frame);
        self.deliver()
    }

    /// Where the device is in sysfs, if the driver is the kernel's.
    pub fn sysfs_path(&self) -> Option<PathBuf> {
        self.transport.sysfs_path()
    }

    /// Whether a driver uses the device.
    pub fn has_driver(&self) -> bool {
        self.rings.is_some()
    }

    /// Frames that the driver has lost.
    pub fn dropped(&self) -> u64 {
        self.outbox.dropped()
    }

    fn deliver(&mut self) -> Result<(), InputError> {
        let Some((events, _)) = &mut self.rings else {
            // Nobody to tell: the next driver begins with how things are then.
            self.outbox.forget();
            return Ok(());
        };
        let round = events.deliver(&self.memory, &mut self.outbox);
        self.events.finish(round).map_err(failed("signalling an input queue"))
    }

    fn receive(&mut self, say: impl FnMut(Event)) -> Result<(), InputError> {
        let Some((_, status)) = &mut self.rings else { return Ok(()) };
        let round = status.receive(&self.memory, say);
        self.status.finish(round).map_err(failed("signalling an input queue"))
    }

    fn follow(&mut self) -> Result<(), InputError> {
        while let Some(event) = self.transport.next_event()? {
            match event {
                DriverEvent::DriverOk { features } => {
                    let event_idx = features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
                    let ring = |index| -> Result<Ring, InputError> {
                        Ok(Ring::new(self.transport.queue(index)?, event_idx)?)
                    };
                    self.rings = Some((ring(EVENT_QUEUE)?, ring(STATUS_QUEUE)?));
                    self.outbox.forget();
                    // Kicks that came before are for these rings.
                    self.deliver()?;
                    self.status.kick.write(1).map_err(failed("signalling an input queue"))?;
                }
                DriverEvent::Reset { sequence } => {
                    self.rings = None;
                    self.transport.acknowledge(sequence)?;
                }
                DriverEvent::Unbound => self.rings = None,
                DriverEvent::FeaturesOk { .. } | DriverEvent::ConfigWritten { .. } => {}
            }
        }
        Ok(())
    }
}

/// Maps the memory of a transport, where it is.
fn map(transport: &dyn Transport) -> Result<GuestMemoryMmap, InputError> {
    let memory = |error: &dyn std::fmt::Display| InputError::Memory(error.to_string());
    let window = transport.memory();
    let file = window.fd.try_clone_to_owned().map_err(failed("sharing a descriptor"))?.into();
    let size = usize::try_from(window.size).map_err(|error| memory(&error))?;
    let offset = Some(FileOffset::new(file, 0));
    let region = GuestRegionMmap::from_range(GuestAddress(0), size, offset)
        .map_err(|error| memory(&error))?;
    GuestMemoryMmap::from_regions(vec![region]).map_err(|error| memory(&error))
}

#[cfg(test)]
mod tests;
