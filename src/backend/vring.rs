//! One virtqueue: where it is, its eventfds, and taking chains from it.

use std::fs::File;
use std::io::Write;

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;

/// Entries a queue of the device may have.
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// A virtqueue as the front-end set it up.
#[derive(Debug)]
pub struct Vring {
    /// Ring state.
    pub queue: Queue,
    /// Signalled by the driver's side.
    pub kick: Option<File>,
    /// Signalled by us.
    pub call: Option<File>,
    /// Whether `SET_VRING_ENABLE` (or its absence) lets the ring run.
    pub enabled: bool,
}

impl Vring {
    /// A ring that is not set up.
    pub fn new() -> Result<Self, virtio_queue::Error> {
        let queue = Queue::new(MAX_QUEUE_SIZE)?;
        Ok(Self { queue, kick: None, call: None, enabled: false })
    }

    /// Whether chains may be taken.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.enabled && self.queue.ready()
    }

    /// Returns a chain to the driver. A ring that cannot be written is stopped: its memory is gone.
    pub fn add_used(&mut self, memory: &GuestMemoryMmap, head: u16, written: u32) {
        if let Err(error) = self.queue.add_used(memory, head, written) {
            log::warn!("a queue cannot be written and stops: {error}");
            self.queue.set_ready(false);
        }
    }

    /// Tells the driver about returned chains, if it wants to know.
    pub fn notify(&mut self, memory: &GuestMemoryMmap) {
        let wanted = self.queue.needs_notification(memory).unwrap_or(true);
        if let (true, Some(call)) = (wanted, &mut self.call)
            && let Err(error) = call.write_all(&1_u64.to_ne_bytes())
        {
            log::warn!("the call eventfd cannot be signalled: {error}");
        }
    }
}
