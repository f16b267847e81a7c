//! A software virtio-gpu **driver**: the guest's side of the device, in user space.
//!
//! It plays the kernel wherever there is none (tests, benches, fuzzing, `demo`): the rings and
//! buffers live in a memfd, which is all the memory the device side can see. [`connect`] gives both
//! ends: a [`SoftwareTransport`] for the adapter, and a [`Driver`] to be used from another thread.
//!
//! The layers, each usable without those above it:
//! - [`memory`]: the memfd and who owns which page of it;
//! - [`queue`]: a split virtqueue, and raw access to its rings for tests of bad input;
//! - [`Driver`]: feature negotiation, reset, configuration space;
//! - [`Channel`]: commands and their responses over a queue, as many at once as fit;
//! - [`GpuDriver`]: the commands of a GPU, and [`Buffer`]s with pixels;
//! - [`card`]: an animated test card whose every pixel is known;
//! - [`InputDriver`]: what the kernel's `virtio_input` does, for input devices.
//!
//! The device side is not trusted: whatever it writes to the rings gives a typed error.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod buffer;
pub mod card;
mod channel;
mod error;
mod gpu;
mod input;
mod link;
pub mod memory;
pub mod queue;
mod signals;
#[cfg(test)]
mod test_device;
#[cfg(test)]
mod tests;
pub mod three_d;
mod transport;
mod virtio;

pub use buffer::{Buffer, BufferKind, BufferSpec};
pub use channel::{Channel, Completion, Payload, Submission, Ticket};
pub use error::DriverError;
pub use gpu::{
    BlobFrame, GpuDriver, blob_frame, header, resource_flush, set_scanout, set_scanout_blob,
    transfer_to_host_2d,
};
pub use input::{InputDescription, InputDriver};
pub use transport::SoftwareTransport;
pub use virtio::{DEFAULT_MEMORY, Driver, connect, connect_with_memory};
