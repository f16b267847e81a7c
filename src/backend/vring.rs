//! One virtqueue: where it is, its eventfds, and taking chains from it.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
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

    /// The next chain the driver has made available. With a ring that makes no sense the queue
    /// stops: the driver must reset the device (virtio 1.3, 2.1.2).
    pub fn next_chain<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
    ) -> Option<DescriptorChain<&'m GuestMemoryMmap>> {
        if !self.is_running() {
            return None;
        }
        // Looked at first: an iterator that has nothing does not say whether it should have had.
        match self.has_chains(memory) {
            Some(true) => {}
            Some(false) => return None,
            None => {
                self.stop(&"the available ring cannot be read");
                return None;
            }
        }
        let chain = match self.queue.iter(memory) {
            Ok(mut chains) => chains.next(),
            Err(error) => {
                self.stop(&error);
                return None;
            }
        };
        match chain {
            Some(chain) if chain.head_index() < self.queue.size() => Some(chain),
            Some(_) => {
                self.stop(&"a chain begins beyond the descriptor table");
                None
            }
            None => {
                self.stop(&"an entry of the available ring cannot be read");
                None
            }
        }
    }

    /// Whether chains wait in the available ring. `None`: it cannot be read.
    fn has_chains(&self, memory: &GuestMemoryMmap) -> Option<bool> {
        let available = self.queue.avail_idx(memory, Ordering::Acquire).ok()?;
        Some(available.0 != self.queue.next_avail())
    }

    fn stop(&mut self, why: &dyn std::fmt::Display) {
        log::warn!("a queue is broken and stops until the driver resets the device: {why}");
        self.queue.set_ready(false);
    }

    /// Looks for further chains for a while, then asks the driver to kick for the next one.
    /// `true`: there is one already.
    pub fn wait_for_more(&mut self, memory: &GuestMemoryMmap, time: Duration) -> bool {
        if !self.is_running() {
            return false;
        }
        let start = Instant::now();
        while start.elapsed() < time {
            for _ in 0..16 {
                std::hint::spin_loop();
            }
            if self.has_chains(memory) == Some(true) {
                return true;
            }
        }
        self.queue.enable_notification(memory).unwrap_or(false)
    }

    /// Returns a chain to the driver. A ring that cannot be written is stopped: its memory is gone.
    pub fn add_used(&mut self, memory: &GuestMemoryMmap, head: u16, written: u32) {
        if let Err(error) = self.queue.add_used(memory, head, written) {
            self.stop(&error);
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
