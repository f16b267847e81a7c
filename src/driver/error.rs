//! What can go wrong for the driver.

use std::io;
use std::time::Duration;

use super::memory::MemoryError;
use super::queue::QueueError;

/// Why the driver did not get what it wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The driver's memory.
    #[error("driver memory")]
    Memory(#[from] MemoryError),
    /// A queue.
    #[error("virtqueue")]
    Queue(#[from] QueueError),
    /// The device does not offer what every modern driver needs.
    #[error("the device offers features {offered:#x}, {required:#x} are required")]
    Features {
        /// Feature bits offered.
        offered: u64,
        /// Feature bits the driver cannot do without.
        required: u64,
    },
    /// The driver runs already, and must reset the device first.
    #[error("the driver has been started already")]
    Started,
    /// The device has no such queue, or somebody has taken it, or the driver was not started.
    #[error("queue {index} is not there to be taken")]
    NoQueue {
        /// The queue.
        index: u16,
    },
    /// The access leaves the configuration space.
    #[error("{length} bytes at {offset} are not within the configuration space")]
    Config {
        /// First byte.
        offset: u32,
        /// Bytes.
        length: usize,
    },
    /// The device side did not acknowledge the reset in time. The driver's side of it is done.
    #[error("the device side did not acknowledge the reset within {timeout:?}")]
    ResetTimeout {
        /// How long the driver waited.
        timeout: Duration,
    },
    /// The device side is gone.
    #[error("the device is gone")]
    Gone,
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
