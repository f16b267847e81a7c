//! The virtio-gpu device model: commands, resources, renderers.
//!
//! Nothing in here knows vhost-user, a socket or an eventfd.

pub mod wire;
