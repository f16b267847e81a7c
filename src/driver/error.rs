//! What can go wrong for the driver.

use std::io;
use std::time::Duration;

use super::memory::MemoryError;
use super::queue::QueueError;
use crate::gpu::wire::{Command, RespType};

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
    /// The device refused the command, or answered with another kind of success.
    #[error("{} was answered with {response:?}", name(*command))]
    Response {
        /// Type of the request.
        command: u32,
        /// Type of the response.
        response: RespType,
    },
    /// The device's answer has a type that the specification does not know.
    #[error("{} was answered with the unknown type {response:#x}", name(*command))]
    UnknownResponse {
        /// Type of the request.
        command: u32,
        /// What the device wrote.
        response: u32,
    },
    /// The device's answer ends too early, or says that it holds more than it can.
    #[error("the answer to {} has {length} bytes, {needed} are needed", name(*command))]
    ResponseLength {
        /// Type of the request.
        command: u32,
        /// Bytes of the answer.
        length: u32,
        /// Bytes it must have.
        needed: u32,
    },
    /// The device's answer does not repeat the fence of the command.
    #[error("the answer to {} does not carry its fence {fence}", name(*command))]
    Fence {
        /// Type of the request.
        command: u32,
        /// The fence asked for.
        fence: u64,
    },
    /// The device did not answer in time. The command is still outstanding.
    #[error("{} was not answered within {timeout:?}", name(*command))]
    Timeout {
        /// Type of the request.
        command: u32,
        /// How long the driver waited.
        timeout: Duration,
    },
    /// The request has no room in the driver's command memory.
    #[error("a request of {request} and a response of {response} bytes are too long")]
    CommandLength {
        /// Bytes of the request.
        request: usize,
        /// Bytes of the response.
        response: u32,
    },
    /// The buffer cannot be: no pixels, rows that overlap, or more bytes than there are numbers.
    #[error("no buffer of {width}x{height} pixels can have rows of {stride} bytes")]
    Buffer {
        /// Pixels of a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes from a row to the next.
        stride: u32,
    },
    /// The pixels are not all in the buffer.
    #[error("{count} pixels from ({x}, {y}) are not within a row of the buffer")]
    Pixels {
        /// First pixel.
        x: u32,
        /// Row.
        y: u32,
        /// Pixels.
        count: usize,
    },
    /// The device does not know what displays it has: they do not answer it.
    #[error("the display does not answer: it was asked for its size for {} s", patience.as_secs())]
    DisplayHangs {
        /// For how long it was asked.
        patience: Duration,
    },
    /// The device has no display to show something on.
    #[error("no scanout is enabled")]
    NoScanout,
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

fn name(command: u32) -> String {
    Command::from_raw(command)
        .map_or_else(|| format!("request {command:#x}"), |command| format!("{command:?}"))
}
