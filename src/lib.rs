//! virtio-gpu without a VM: see README.md and docs/architecture.md.

pub mod driver;
pub mod gpu;
