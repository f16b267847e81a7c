//! Which chains the device has, so that they can be offered to another one in its place.
//!
//! The kernel module knows that from its shadow rings. Here the rings are the driver's own, and the
//! driver goes on adding and taking chains on its thread while the device side is replaced. So the
//! driver leaves a record of atomics, and nobody takes a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::layout::{Layout, UsedElem};
use super::{QueueError, Region};

/// What the driver tells of its chains.
#[derive(Debug)]
pub(in crate::driver) struct Ledger {
    rings: Arc<Region>,
    layout: Layout,
    /// By first descriptor: how many chains had been added when this one was, itself included. 0:
    /// the device does not have it.
    added: Box<[AtomicU64]>,
    /// Index of the used ring up to which the driver has taken chains.
    taken: AtomicU16,
}

impl Ledger {
    pub(super) fn new(rings: Arc<Region>, layout: Layout) -> Self {
        let added = (0..layout.size).map(|_| AtomicU64::new(0)).collect();
        Self { rings, layout, added, taken: AtomicU16::new(0) }
    }

    /// The `count`th chain is about to be published.
    pub(super) fn add(&self, head: u16, count: u64) {
        if let Some(added) = self.added.get(usize::from(head)) {
            // The available index, stored after it, publishes this, too.
            added.store(count, Ordering::Relaxed);
        }
    }

    /// The driver has taken a chain back; `next_used` is the index after it.
    pub(super) fn take(&self, head: u16, next_used: u16) {
        if let Some(added) = self.added.get(usize::from(head)) {
            added.store(0, Ordering::Relaxed);
        }
        // Release: who sees the index sees that the chain is gone.
        self.taken.store(next_used, Ordering::Release);
    }

    /// Lays the available ring out for a new device: from the used index on, the chains that were
    /// not used, in the order they were added. Returns that index and how many there are.
    ///
    /// No device may use the rings meanwhile; the driver may.
    ///
    /// # Errors
    ///
    /// The old device has left indices that make no sense.
    pub(in crate::driver) fn reoffer(&self) -> Result<(u16, u16), QueueError> {
        let available = self.rings.load_u16(self.layout.avail_idx(), Ordering::Acquire)?;
        let used = self.rings.load_u16(self.layout.used_idx(), Ordering::Acquire)?;
        let taken = self.taken.load(Ordering::Acquire);
        let outstanding = available.wrapping_sub(used);
        let returned = used.wrapping_sub(taken);
        if outstanding > self.layout.size || returned > self.layout.size {
            return Err(QueueError::UsedIndex { used: returned, outstanding });
        }
        let mut chains = self.chains();
        for index in 0..returned {
            let entry = self.layout.used_entry(taken.wrapping_add(index));
            let id = self.rings.get::<UsedElem>(entry)?.id.get();
            chains.retain(|(_, head)| u32::from(*head) != id);
        }
        // Those added since the available index was read are in their places already.
        chains.truncate(usize::from(outstanding));
        if chains.len() < usize::from(outstanding) {
            return Err(QueueError::UsedIndex { used: returned, outstanding });
        }
        for ((_, head), index) in chains.into_iter().zip(0u16..) {
            let entry = self.layout.avail_entry(used.wrapping_add(index));
            self.rings.store_u16(entry, head, Ordering::Relaxed)?;
        }
        // A device that has just begun wants every kick.
        self.rings.store_u16(self.layout.used_flags(), 0, Ordering::Release)?;
        Ok((used, outstanding))
    }

    /// Index of the available ring.
    pub(in crate::driver) fn avail_idx(&self) -> u16 {
        self.rings.load_u16(self.layout.avail_idx(), Ordering::Acquire).unwrap_or(0)
    }

    /// How many chains the device has.
    pub(in crate::driver) fn outstanding(&self) -> u16 {
        let used = self.rings.load_u16(self.layout.used_idx(), Ordering::Acquire);
        let available = self.rings.load_u16(self.layout.avail_idx(), Ordering::Acquire);
        used.ok().zip(available.ok()).map_or(0, |(used, available)| available.wrapping_sub(used))
    }

    /// Chains that were not taken back, the oldest first.
    fn chains(&self) -> Vec<(u64, u16)> {
        let added = self.added.iter().map(|added| added.load(Ordering::Relaxed));
        let mut chains: Vec<_> = added.zip(0u16..).filter(|(count, _)| *count > 0).collect();
        chains.sort_unstable();
        chains
    }
}
