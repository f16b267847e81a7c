//! One virtqueue: where it is, its eventfds, and taking chains from it.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::Ordering;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};

use super::busy_poll::BusyPoll;
use super::memory::Memory;

/// Entries a queue of the device may have.
pub const MAX_QUEUE_SIZE: u16 = 1024;

/// Chains taken from the available ring at a time. Its index is on a cache line that the driver's
/// processor writes, so it is not read for each.
pub const BATCH: usize = 16;

/// Chains taken, the first in front.
pub type Chains<'m> = [Option<DescriptorChain<&'m Memory>>; BATCH];

/// A virtqueue as the front-end set it up.
#[derive(Debug)]
pub struct Vring {
    /// Ring state.
    pub queue: Queue,
    /// Signalled by the driver's side.
    pub kick: Option<File>,
    /// Signalled by us.
    pub call: Option<File>,
    /// So many of the next chains may have been executed by an earlier backend.
    pub repeated: u32,
    /// Chains that waited when chains were last taken, those taken included.
    pub seen: u16,
    /// Whether `SET_VRING_ENABLE` (or its absence) lets the ring run.
    pub enabled: bool,
    /// Whether chains were returned that the driver was not told about.
    untold: bool,
    busy_poll: BusyPoll,
}

impl Vring {
    /// A ring that is not set up.
    pub fn new() -> Result<Self, virtio_queue::Error> {
        let queue = Queue::new(MAX_QUEUE_SIZE)?;
        Ok(Self {
            queue,
            kick: None,
            call: None,
            repeated: 0,
            seen: 0,
            enabled: false,
            untold: false,
            busy_poll: BusyPoll::default(),
        })
    }

    /// Whether chains may be taken.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.enabled && self.queue.ready()
    }

    /// Takes the next chains that the driver has made available, at most `most`. With a ring that
    /// makes no sense the queue stops: the driver must reset the device (virtio 1.3, 2.1.2).
    pub fn take_chains<'m>(&mut self, memory: &'m Memory, most: usize) -> Chains<'m> {
        let mut chains = [const { None }; BATCH];
        if !self.is_running() {
            return chains;
        }
        // Looked at first: an iterator that has nothing does not say whether it should have had.
        let Some(waiting) = self.waiting(memory) else {
            self.stop(&"the available ring cannot be read");
            return chains;
        };
        self.seen = waiting;
        let size = self.queue.size();
        let mut available = match self.queue.iter(memory) {
            Ok(available) => available,
            Err(error) => {
                self.stop(&error);
                return chains;
            }
        };
        let wanted = chains.iter_mut().take(most.min(usize::from(waiting)));
        for slot in wanted {
            *slot = available.next().filter(|chain| chain.head_index() < size);
            if slot.is_none() {
                self.stop(&"an entry of the available ring cannot be read, or names no descriptor");
                break;
            }
        }
        chains
    }

    /// Gives back the last `count` chains taken: they will be taken again.
    pub fn untake_chains(&mut self, count: usize) {
        // At most `BATCH`.
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(count as u16));
    }

    /// How many chains wait in the available ring. `None`: it cannot be read.
    fn waiting(&self, memory: &Memory) -> Option<u16> {
        let available = self.queue.avail_idx(memory, Ordering::Acquire).ok()?;
        Some(available.0.wrapping_sub(self.queue.next_avail()))
    }

    fn stop(&mut self, why: &dyn std::fmt::Display) {
        log::warn!("a queue is broken and stops until the driver resets the device: {why}");
        self.queue.set_ready(false);
    }

    /// Looks for a moment for further chains, or until there is something `other` to do, then asks the
    /// driver to kick for the next one. `true`: there is something already.
    pub fn wait_for_more(&mut self, memory: &Memory, other: impl Fn() -> bool) -> bool {
        if !self.is_running() {
            return false;
        }
        let mut busy_poll = std::mem::take(&mut self.busy_poll);
        let found = busy_poll.run(|| self.waiting(memory).is_none_or(|count| count > 0) || other());
        self.busy_poll = busy_poll;
        found || self.queue.enable_notification(memory).unwrap_or(false)
    }

    /// Returns a chain to the driver. A ring that cannot be written is stopped: its memory is gone.
    pub fn add_used(&mut self, memory: &Memory, head: u16, written: u32) {
        if let Err(error) = self.queue.add_used(memory, head, written) {
            self.stop(&error);
        }
        self.untold = true;
    }

    /// Tells the driver about returned chains, if there are any and it wants to know.
    pub fn notify(&mut self, memory: &Memory) {
        if !std::mem::take(&mut self.untold) {
            return;
        }
        let wanted = self.queue.needs_notification(memory).unwrap_or(true);
        if let (true, Some(call)) = (wanted, &mut self.call)
            && let Err(error) = call.write_all(&1_u64.to_ne_bytes())
        {
            log::warn!("the call eventfd cannot be signalled: {error}");
        }
    }
}
