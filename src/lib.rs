//! virtio-gpu without a VM: see README.md and docs/architecture.md.

pub mod adapter;
pub mod backend;
pub mod control;
pub mod driver;
pub mod features;
pub mod gpu;
pub mod sync;
pub mod vhost_gpu;
