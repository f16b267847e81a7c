//! Access to the rings without any rule, for tests of what a device does with bad input.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Descriptor, Queue, QueueError, UsedElem};

/// The rings of a [`Queue`], to be filled with anything.
///
/// Chains given to the device this way are not outstanding for the [`Queue`]: their return is seen
/// with [`RawQueue::take_used`] only, and [`Queue::take_used`] calls them an error.
#[derive(Debug)]
pub struct RawQueue<'a>(&'a mut Queue);

impl<'a> RawQueue<'a> {
    pub(super) fn new(queue: &'a mut Queue) -> Self {
        Self(queue)
    }

    /// Writes an entry of the descriptor table; `index` wraps at the size of the queue.
    pub fn set_descriptor(&mut self, index: u16, entry: Descriptor) -> Result<(), QueueError> {
        Ok(self.0.rings.put(self.0.layout.descriptor(index), &entry)?)
    }

    /// Writes an entry of the available ring; `index` wraps at the size of the queue.
    pub fn set_avail_entry(&mut self, index: u16, head: u16) -> Result<(), QueueError> {
        let entry = self.0.layout.avail_entry(index);
        Ok(self.0.rings.store_u16(entry, head, Ordering::Relaxed)?)
    }

    /// Sets the index of the available ring.
    pub fn set_avail_idx(&mut self, index: u16) -> Result<(), QueueError> {
        self.0.next_avail = index;
        self.0.kicked = index;
        Ok(self.0.rings.store_u16(self.0.layout.avail_idx(), index, Ordering::Release)?)
    }

    /// The index of the available ring, as the driver last set it.
    pub fn avail_idx(&self) -> u16 {
        self.0.next_avail
    }

    /// Sets the flags of the available ring.
    pub fn set_avail_flags(&mut self, flags: u16) -> Result<(), QueueError> {
        let offset = self.0.layout.avail_flags();
        Ok(self.0.rings.store_u16(offset, flags, Ordering::Relaxed)?)
    }

    /// Sets the index of the used ring from which the driver wants an interrupt.
    pub fn set_used_event(&mut self, index: u16) -> Result<(), QueueError> {
        let offset = self.0.layout.used_event();
        Ok(self.0.rings.store_u16(offset, index, Ordering::Relaxed)?)
    }

    /// Adds a head, valid or not, to the available ring.
    pub fn push_avail(&mut self, head: u16) -> Result<(), QueueError> {
        self.0.publish(head)
    }

    /// Kicks, wanted or not.
    pub fn kick(&mut self) -> Result<(), QueueError> {
        self.0.kicked = self.0.next_avail;
        self.0.signals.kick().map_err(|source| QueueError::Io { what: "kick", source })
    }

    /// The device's index.
    pub fn used_idx(&self) -> Result<u16, QueueError> {
        Ok(self.0.rings.load_u16(self.0.layout.used_idx(), Ordering::Acquire)?)
    }

    /// Takes the next entry of the used ring as it is, `None` when there is none now.
    pub fn take_used(&mut self) -> Result<Option<UsedElem>, QueueError> {
        if self.used_idx()? == self.0.next_used {
            return Ok(None);
        }
        let element = self.0.rings.get(self.0.layout.used_entry(self.0.next_used))?;
        self.0.next_used = self.0.next_used.wrapping_add(1);
        self.0.seen_used = self.0.next_used;
        Ok(Some(element))
    }

    /// As [`RawQueue::take_used`], but sleeps up to `timeout` for it.
    pub fn wait_used(&mut self, timeout: Duration) -> Result<Option<UsedElem>, QueueError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            self.0.arm(1)?;
            if let Some(element) = self.take_used()? {
                return Ok(Some(element));
            }
            if self.0.signals.stopped() {
                return Err(QueueError::Stopped);
            }
            if !self.0.sleep(deadline)? {
                return Ok(None);
            }
        }
    }
}
