//! `--limit`: what a driver may make others hold.

use clap::Args;
use virtio_loopback_gpu::limits::{DeviceLimits, Limit, LimitKey};

/// The same for everything that starts or is a GPU backend.
#[derive(Debug, Clone, Args)]
pub struct LimitOptions {
    /// Bound what the device may be made to hold, such as bytes=64M; repeat it, or separate by commas.
    ///
    /// Keys: resources; bytes (pixels of resources and shadows); files (resources with pixels);
    /// dimension (width and height); entries and total_entries (pieces of memory behind a resource,
    /// and behind all); command (bytes of one); outstanding (commands at once, a power of two); bounce
    /// and export (bytes of the kernel's copies, and of dma-bufs). Beyond a limit a command is answered
    /// with ERR_OUT_OF_MEMORY, or waits. `ctl status` shows limits and use.
    #[arg(long = "limit", value_name = "KEY=VALUE", value_delimiter = ',')]
    limits: Vec<Limit>,
}

impl LimitOptions {
    /// What they say; the last one counts.
    pub fn limits(&self) -> DeviceLimits {
        let mut limits = DeviceLimits::default();
        self.limits.iter().for_each(|limit| limits.set(*limit));
        limits
    }

    /// A limit that was set although nobody would mind it.
    pub fn not_minded(&self, minded: impl Fn(LimitKey) -> bool) -> Option<LimitKey> {
        self.limits.iter().map(|limit| limit.key).find(|key| !minded(*key))
    }
}
