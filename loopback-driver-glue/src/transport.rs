//! The interface every loopback transport has.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

/// What a device offers to its driver when it is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// Name of the device, unique on the machine.
    pub name: String,
    /// Virtio device id (16 is a GPU).
    pub device_id: u32,
    /// Virtio vendor id.
    pub vendor_id: u32,
    /// Feature bits offered, transport bits included.
    pub features: u64,
    /// Entries of each queue, powers of two.
    pub queue_sizes: Vec<u16>,
    /// Initial configuration space.
    pub config: Vec<u8>,
    /// Milliseconds for which the device waits for another process when the one that serves it is
    /// gone; 0: it is removed then.
    pub keep_ms: u32,
    /// Bytes that copies of the driver's buffers may take, where a transport makes any; 0: as many as
    /// it allows.
    pub bounce_max: u64,
    /// Bytes of the driver's memory that dma-bufs may hold, where a transport exports any; 0: as many
    /// as it allows.
    pub export_max: u64,
}

/// A step of the driver. The adapter follows these; it never polls the driver's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The driver accepted these feature bits.
    FeaturesOk {
        /// Accepted feature bits.
        features: u64,
    },
    /// The queues are set up; buffers may follow at once.
    DriverOk {
        /// Accepted feature bits.
        features: u64,
    },
    /// The driver wrote to the configuration space.
    ConfigWritten {
        /// First byte.
        offset: u32,
        /// Bytes written, at most 8.
        length: u32,
        /// The bytes, in memory order; zero beyond `length`.
        data: [u8; 8],
    },
    /// The driver resets the device and waits until [`Transport::acknowledge`] names `sequence`.
    Reset {
        /// Number to acknowledge.
        sequence: u32,
    },
    /// The driver let go of the device.
    Unbound,
}

/// One virtqueue as the device side sees it. Addresses are offsets into the memory window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueInfo {
    /// Entries.
    pub size: u16,
    /// Whether the driver has set the queue up.
    pub ready: bool,
    /// Index in the available ring where the device side starts.
    pub next_avail: u16,
    /// Index of the available ring: up to there it has buffers.
    pub avail_idx: u16,
    /// Buffers that the device side has not returned, at most `size`.
    pub outstanding: u16,
    /// Address of the descriptor table.
    pub desc: u64,
    /// Address of the available ring.
    pub avail: u64,
    /// Address of the used ring.
    pub used: u64,
}

/// How often a driver has started to use the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverStarts {
    /// Times it has set DRIVER_OK since the device was made.
    pub count: u64,
    /// Whether one runs now.
    pub runs: bool,
}

/// The one memory region that holds all the driver shows: address A of the driver is byte A of `fd`.
#[derive(Debug, Clone, Copy)]
pub struct MemoryWindow<'a> {
    /// File to map, shared.
    pub fd: BorrowedFd<'a>,
    /// Bytes; sparse, so map it with `MAP_NORESERVE`.
    pub size: u64,
}

/// Why a transport call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The module is not loaded.
    #[error("{path} does not exist: load the module first (modprobe virtio_loopback)")]
    NoModule {
        /// The device node that is missing.
        path: &'static str,
    },
    /// The caller may not create devices.
    #[error("no permission to open {path}: creating a loopback device needs root")]
    Permission {
        /// The device node.
        path: &'static str,
    },
    /// Another device has the name.
    #[error("a loopback device named {name:?} exists already: choose another --name")]
    NameInUse {
        /// The name asked for.
        name: String,
    },
    /// A device cannot be gone on with.
    #[error("the device is no longer kept, or somebody else serves it")]
    NotKept,
    /// Module and program do not understand each other.
    #[error("the loaded module speaks version {found} of its interface, this program {expected}")]
    Version {
        /// Version of the module.
        found: u32,
        /// Version of this program.
        expected: u32,
    },
    /// A system call failed.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// A loopback transport with one device on it. Dropping it removes the device.
///
/// [`AsFd::as_fd`] becomes readable when [`Transport::next_event`] has something.
pub trait Transport: AsFd + fmt::Debug + Send {
    /// The memory window.
    fn memory(&self) -> MemoryWindow<'_>;
    /// State of a queue.
    fn queue(&self, index: u16) -> Result<QueueInfo, TransportError>;
    /// Sets both eventfds of a queue. `kick` is signalled once at once, so nothing is missed.
    fn set_queue_fds(
        &mut self,
        index: u16,
        kick: &EventFd,
        call: &EventFd,
    ) -> Result<(), TransportError>;
    /// Offers the buffers of a queue that were not returned once more, in the order the driver gave
    /// them, to a new device side: [`Transport::queue`] says where it has to begin. No device side
    /// may use the queue meanwhile. Returns how many there are; 0 for a queue that is not set up.
    fn reoffer(&mut self, index: u16) -> Result<u16, TransportError>;
    /// Takes the next event, `None` when there is none now.
    fn next_event(&mut self) -> Result<Option<Event>, TransportError>;
    /// Tells the driver that its reset is done: the device side no longer uses rings or memory.
    fn acknowledge(&mut self, sequence: u32) -> Result<(), TransportError>;
    /// Changes the configuration space and interrupts the driver.
    fn set_config(&mut self, offset: u32, data: &[u8]) -> Result<(), TransportError>;
    /// Directory of the device's parent in sysfs, for transports of a kernel driver.
    fn sysfs_path(&self) -> Option<PathBuf>;
    /// What keeps the device while nobody serves it, if anything does: it is removed when the last
    /// copy of this descriptor is closed.
    fn keepsake(&self) -> Option<BorrowedFd<'_>>;
    /// How often a driver has started. Who serves the device after somebody else learns from it
    /// whether the driver is the one that had to do with that one.
    fn driver_starts(&self) -> Result<DriverStarts, TransportError>;
    /// Figures for the status page, as (name, value).
    fn figures(&self) -> Result<Vec<(&'static str, u64)>, TransportError>;
}
