//! virtio-gpu without a VM: see README.md and docs/architecture.md.

pub mod gpu;
pub mod vhost_gpu;
