//! Command line of virtio-loopback-gpu.

fn main() {}
