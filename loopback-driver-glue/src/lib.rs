//! Transports that loop a kernel virtio driver back to a process.
//!
//! A [`Transport`] is what is left of a virtio device when the device type is taken away: a memory
//! window in which every address of the driver is an offset, queues with a kick and a call eventfd,
//! a configuration space, and the driver's steps as [`Event`]s. Nothing here knows a device type.

mod transport;
mod virtio_loopback;
pub use transport::{
    DeviceConfig, DriverStarts, Event, MemoryWindow, QueueInfo, Transport, TransportError,
};
pub use virtio_loopback::{VirtioLoopback, export_dmabuf};
