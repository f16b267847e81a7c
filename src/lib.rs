//! virtio-gpu without a VM: see README.md and docs/architecture.md.

pub mod adapter;
pub mod backend;
pub mod cards;
pub mod control;
pub mod driver;
pub mod drm_lease;
pub mod fd_store;
pub mod features;
mod file_size;
pub mod gpu;
pub mod input;
pub mod limits;
mod one_line;
pub mod recording;
mod render_nodes;
pub mod sandbox;
pub mod sync;
pub mod vhost_gpu;
mod vhost_user;

pub use one_line::one_line;
