//! The driver's side of a split virtqueue (virtio 1.3, section 2.7), with and without
//! INDIRECT_DESC and EVENT_IDX.
//!
//! The driver keeps its own record of every chain and never reads back what it wrote, so a device
//! that scribbles over the rings gets its owner an error and nothing else.

mod layout;
mod ledger;
mod raw;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use loopback_driver_glue::QueueInfo;

pub use self::layout::{
    AVAIL_NO_INTERRUPT, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Descriptor, MAX_QUEUE_SIZE,
    USED_NO_NOTIFY, UsedElem,
};
use self::layout::{INDIRECT_PARTS, Layout};
pub(super) use self::ledger::Ledger;
pub use self::raw::RawQueue;
use super::memory::{Memory, MemoryError, Region};
use super::signals::{Counters, Signals};

/// One piece of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub length: u32,
}

/// Names a chain from [`Queue::add`] until [`Queue::take_used`] returns it: the index of its first
/// descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u16);

impl Token {
    /// The index, below the size of the queue.
    pub fn index(self) -> u16 {
        self.0
    }
}

/// A chain the device is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The chain.
    pub token: Token,
    /// Bytes the device says it wrote, at most those of the writable parts.
    pub length: u32,
}

/// Why a queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Not enough free descriptors: take used chains first.
    #[error("the queue has {free} free descriptors, {wanted} are needed")]
    Full {
        /// Descriptors the chain needs.
        wanted: usize,
        /// Descriptors there are.
        free: u16,
    },
    /// A chain without parts, or of 4 GiB and more.
    #[error("a chain of {parts} parts and {bytes} bytes is not allowed")]
    Chain {
        /// Parts.
        parts: usize,
        /// Bytes.
        bytes: u64,
    },
    /// The queue sizes virtio knows are powers of two up to [`MAX_QUEUE_SIZE`].
    #[error("a queue cannot have {size} entries")]
    Size {
        /// Entries asked for.
        size: u16,
    },
    /// The device was reset, or the device side is gone.
    #[error("the queue has been stopped")]
    Stopped,
    /// The device moved its index beyond what it was given. The queue is unusable until reset.
    #[error("the device used {used} chains, only {outstanding} were outstanding")]
    UsedIndex {
        /// Chains the device claims.
        used: u16,
        /// Chains it had.
        outstanding: u16,
    },
    /// The device returned a chain it did not have. The queue is unusable until reset.
    #[error("the device returned chain {id}, which it does not have")]
    UsedId {
        /// What the device wrote.
        id: u32,
    },
    /// The device claims to have written more than the chain has room for. The chain is free again.
    #[error("the device wrote {length} bytes to chain {}, which has room for {room}", token.index())]
    UsedLength {
        /// The chain.
        token: Token,
        /// What the device wrote.
        length: u32,
        /// Bytes of the writable parts.
        room: u32,
    },
    /// An earlier [`QueueError::UsedIndex`] or [`QueueError::UsedId`].
    #[error("the device has broken the queue")]
    Broken,
    /// The rings' memory.
    #[error("ring memory")]
    Memory(#[from] MemoryError),
    /// A kick or a wait failed.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Which optional parts of the ring were negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingFeatures {
    /// Chains may be tables elsewhere in memory.
    pub indirect: bool,
    /// Kicks and interrupts are asked for by index.
    pub event_idx: bool,
}

/// What the driver remembers of a descriptor.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Descriptors of the chain that begins here; 0: none does.
    descriptors: u16,
    /// Bytes the device may write to it.
    room: u32,
    /// The next free descriptor, or the next of the chain.
    next: u16,
}

/// The driver's side of one virtqueue.
#[derive(Debug)]
pub struct Queue {
    /// Rings and indirect tables. The link shares them and keeps them until the device is reset.
    rings: Arc<Region>,
    layout: Layout,
    features: RingFeatures,
    signals: Arc<Signals>,
    /// Tells the link which chains are outstanding.
    ledger: Arc<Ledger>,
    slots: Box<[Slot]>,
    first_free: u16,
    free: u16,
    outstanding: u16,
    /// Chains added so far.
    added: u64,
    /// Index of the available ring after the last chain added.
    next_avail: u16,
    /// `next_avail` at the last kick.
    kicked: u16,
    /// Index of the used ring up to which chains were taken.
    next_used: u16,
    /// The device's index when it was last looked at.
    seen_used: u16,
    broken: bool,
}

impl Queue {
    /// Whether a queue can have `size` entries.
    pub(super) fn size_allowed(size: u16) -> bool {
        size.is_power_of_two() && size <= MAX_QUEUE_SIZE
    }

    /// Lays out a queue of `size` entries, zeroed.
    pub(super) fn new(
        memory: &Memory,
        size: u16,
        features: RingFeatures,
        signals: Arc<Signals>,
    ) -> Result<Self, QueueError> {
        if !Self::size_allowed(size) {
            return Err(QueueError::Size { size });
        }
        let layout = Layout::new(size, features.indirect);
        let slots = (1..=size).map(|next| Slot { next, ..Slot::default() }).collect();
        let rings = Arc::new(memory.allocate(layout.bytes)?);
        let mut queue = Self {
            ledger: Arc::new(Ledger::new(Arc::clone(&rings), layout)),
            rings,
            layout,
            features,
            signals,
            slots,
            first_free: 0,
            free: size,
            outstanding: 0,
            added: 0,
            next_avail: 0,
            kicked: 0,
            next_used: 0,
            seen_used: 0,
            broken: false,
        };
        queue.disarm()?;
        Ok(queue)
    }

    /// What the device side has to know.
    pub fn info(&self) -> QueueInfo {
        let desc = self.rings.address();
        QueueInfo {
            size: self.layout.size,
            ready: true,
            next_avail: 0,
            avail_idx: 0,
            outstanding: 0,
            desc,
            avail: desc + self.layout.avail,
            used: desc + self.layout.used,
        }
    }

    /// The memory that the device side may use until it is reset, whoever drops the queue.
    pub(super) fn rings(&self) -> Arc<Region> {
        Arc::clone(&self.rings)
    }

    /// The record of outstanding chains.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Chains the device has.
    pub fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// Descriptors for further chains.
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Gives the device a chain: parts it may read, then parts it may write. The device may start
    /// at once; [`Queue::kick`] makes sure that it does.
    pub fn add(&mut self, readable: &[Part], writable: &[Part]) -> Result<Token, QueueError> {
        self.usable()?;
        let bytes = |parts: &[Part]| parts.iter().map(|part| u64::from(part.length)).sum::<u64>();
        let (parts, room) = (readable.len() + writable.len(), bytes(writable));
        let total = bytes(readable) + room;
        if parts == 0 || total > u64::from(u32::MAX) {
            return Err(QueueError::Chain { parts, bytes: total });
        }
        let indirect = self.features.indirect && parts > 1 && parts <= usize::from(INDIRECT_PARTS);
        let wanted = if indirect { 1 } else { parts };
        if wanted > usize::from(self.free) {
            return Err(QueueError::Full { wanted, free: self.free });
        }
        let head = self.first_free;
        let chain = readable
            .iter()
            .map(|part| (part, 0))
            .chain(writable.iter().map(|part| (part, DESC_WRITE)));
        let after = if indirect {
            self.write_indirect(head, parts, chain)?
        } else {
            self.write_direct(head, parts, chain)?
        };
        let slot = self.slots.get_mut(usize::from(head)).ok_or(QueueError::Broken)?;
        slot.descriptors = wanted as u16;
        slot.room = room as u32;
        self.first_free = after;
        self.free -= wanted as u16;
        self.outstanding += 1;
        self.added += 1;
        self.ledger.add(head, self.added);
        self.publish(head)?;
        Ok(Token(head))
    }

    /// Writes the chain as a table; returns the free descriptor after it.
    fn write_indirect<'a>(
        &self,
        head: u16,
        parts: usize,
        chain: impl Iterator<Item = (&'a Part, u16)>,
    ) -> Result<u16, QueueError> {
        let table = self.layout.table(head);
        for ((part, flags), next) in chain.zip(1u16..) {
            let flags = if usize::from(next) < parts { flags | DESC_NEXT } else { flags };
            let offset = table + u64::from(next - 1) * 16;
            self.rings.put(offset, &descriptor(*part, flags, next))?;
        }
        let length = parts as u32 * 16;
        let whole = Part { address: self.rings.address() + table, length };
        let entry = descriptor(whole, DESC_INDIRECT, 0);
        self.rings.put(self.layout.descriptor(head), &entry)?;
        Ok(self.slot(head)?.next)
    }

    /// Writes the chain into the descriptor table; returns the free descriptor after it.
    fn write_direct<'a>(
        &self,
        head: u16,
        parts: usize,
        chain: impl Iterator<Item = (&'a Part, u16)>,
    ) -> Result<u16, QueueError> {
        let mut index = head;
        for ((part, flags), count) in chain.zip(1usize..) {
            let next = self.slot(index)?.next;
            let flags = if count < parts { flags | DESC_NEXT } else { flags };
            self.rings.put(self.layout.descriptor(index), &descriptor(*part, flags, next))?;
            index = next;
        }
        Ok(index)
    }

    fn publish(&mut self, head: u16) -> Result<(), QueueError> {
        let entry = self.layout.avail_entry(self.next_avail);
        self.rings.store_u16(entry, head, Ordering::Relaxed)?;
        self.next_avail = self.next_avail.wrapping_add(1);
        // Release: who sees the index sees the entry and the descriptors.
        self.rings.store_u16(self.layout.avail_idx(), self.next_avail, Ordering::Release)?;
        Ok(())
    }

    /// Tells the device of the chains added since the last call, if it wants to be told. Returns
    /// whether it did.
    pub fn kick(&mut self) -> Result<bool, QueueError> {
        let old = std::mem::replace(&mut self.kicked, self.next_avail);
        if old == self.next_avail {
            return Ok(false);
        }
        // The index must be visible before the device's wish is read: section 2.7.13.4.1.
        fence(Ordering::SeqCst);
        let wanted = if self.features.event_idx {
            let event = self.rings.load_u16(self.layout.avail_event(), Ordering::Relaxed)?;
            let added = self.next_avail.wrapping_sub(old);
            self.next_avail.wrapping_sub(event).wrapping_sub(1) < added
        } else {
            let flags = self.rings.load_u16(self.layout.used_flags(), Ordering::Relaxed)?;
            flags & USED_NO_NOTIFY == 0
        };
        if wanted {
            Counters::count(&self.signals.counters.kicks);
            self.signals.kick().map_err(|source| QueueError::Io { what: "kick", source })?;
        } else {
            Counters::count(&self.signals.counters.suppressed_kicks);
        }
        Ok(wanted)
    }

    /// Takes one chain the device is done with, `None` when there is none now. No system call.
    pub fn take_used(&mut self) -> Result<Option<Used>, QueueError> {
        if self.pending()? == 0 {
            return if self.signals.stopped() { Err(QueueError::Stopped) } else { Ok(None) };
        }
        let entry = self.layout.used_entry(self.next_used);
        let element: UsedElem = self.rings.get(entry)?;
        let (id, length) = (element.id.get(), element.len.get());
        let Some((token, room)) = self.chain(id) else {
            self.broken = true;
            return Err(QueueError::UsedId { id });
        };
        self.next_used = self.next_used.wrapping_add(1);
        self.release(token.0)?;
        self.ledger.take(token.0, self.next_used);
        if length > room {
            return Err(QueueError::UsedLength { token, length, room });
        }
        Ok(Some(Used { token, length }))
    }

    /// As [`Queue::take_used`], but sleeps up to `timeout` for the first.
    pub fn wait_used(&mut self, timeout: Duration) -> Result<Option<Used>, QueueError> {
        self.wait_pending(1, timeout)?;
        self.take_used()
    }

    /// Sleeps until the device is done with `count` chains that were not taken yet, or with all it
    /// has, at most for `timeout`. Returns how many there are, fewer when time ran out. The device
    /// is asked to interrupt for the last of them only, where it can be (EVENT_IDX).
    pub fn wait_pending(&mut self, count: u16, timeout: Duration) -> Result<u16, QueueError> {
        let count = count.min(self.outstanding);
        let mut pending = self.pending()?;
        if pending >= count {
            return Ok(pending);
        }
        let deadline = Instant::now().checked_add(timeout);
        loop {
            self.arm(count)?;
            pending = self.pending()?;
            if pending >= count {
                break;
            }
            if self.signals.stopped() && pending == 0 {
                return Err(QueueError::Stopped);
            }
            if self.signals.stopped() || !self.sleep(deadline)? {
                break;
            }
        }
        self.disarm()?;
        Ok(pending)
    }

    /// False: the deadline has passed.
    fn sleep(&self, deadline: Option<Instant>) -> Result<bool, QueueError> {
        let io = |source| QueueError::Io { what: "waiting for the device", source };
        self.signals.wait(deadline).map_err(io)
    }

    /// Access to the rings without any rule.
    pub fn raw(&mut self) -> RawQueue<'_> {
        RawQueue::new(self)
    }

    /// Chains in the used ring that were not taken yet.
    fn pending(&mut self) -> Result<u16, QueueError> {
        if self.broken {
            return Err(QueueError::Broken);
        }
        if self.seen_used == self.next_used {
            // Acquire: the entries before the index are visible.
            self.seen_used = self.rings.load_u16(self.layout.used_idx(), Ordering::Acquire)?;
        }
        let used = self.seen_used.wrapping_sub(self.next_used);
        if used > self.outstanding {
            self.broken = true;
            return Err(QueueError::UsedIndex { used, outstanding: self.outstanding });
        }
        Ok(used)
    }

    /// Asks for an interrupt when `count` more chains than were taken are used.
    fn arm(&mut self, count: u16) -> Result<(), QueueError> {
        if self.features.event_idx {
            let event = self.next_used.wrapping_add(count.saturating_sub(1));
            self.rings.store_u16(self.layout.used_event(), event, Ordering::Relaxed)?;
        } else {
            self.rings.store_u16(self.layout.avail_flags(), 0, Ordering::Relaxed)?;
        }
        // The wish must be visible before the ring is looked at once more.
        fence(Ordering::SeqCst);
        self.seen_used = self.next_used;
        Ok(())
    }

    /// Asks for no interrupts. With EVENT_IDX the passed index does: the device's index meets it
    /// again after 65536 chains, for one interrupt that nobody minds.
    fn disarm(&mut self) -> Result<(), QueueError> {
        if !self.features.event_idx {
            let flags = self.layout.avail_flags();
            self.rings.store_u16(flags, AVAIL_NO_INTERRUPT, Ordering::Relaxed)?;
        }
        Ok(())
    }

    fn usable(&self) -> Result<(), QueueError> {
        match (self.broken, self.signals.stopped()) {
            (true, _) => Err(QueueError::Broken),
            (false, true) => Err(QueueError::Stopped),
            (false, false) => Ok(()),
        }
    }

    fn slot(&self, index: u16) -> Result<Slot, QueueError> {
        self.slots.get(usize::from(index)).copied().ok_or(QueueError::Broken)
    }

    /// The outstanding chain with this id, and its room.
    fn chain(&self, id: u32) -> Option<(Token, u32)> {
        let head = u16::try_from(id).ok()?;
        let slot = self.slots.get(usize::from(head))?;
        (slot.descriptors > 0).then_some((Token(head), slot.room))
    }

    /// Returns the descriptors of a chain to the free list, whose end needs no mark: `free` counts.
    fn release(&mut self, head: u16) -> Result<(), QueueError> {
        let descriptors = self.slot(head)?.descriptors;
        let mut last = head;
        for _ in 1..descriptors {
            last = self.slot(last)?.next;
        }
        let first_free = self.first_free;
        self.slots.get_mut(usize::from(last)).ok_or(QueueError::Broken)?.next = first_free;
        self.slots.get_mut(usize::from(head)).ok_or(QueueError::Broken)?.descriptors = 0;
        self.first_free = head;
        self.free += descriptors;
        self.outstanding -= 1;
        Ok(())
    }
}

fn descriptor(part: Part, flags: u16, next: u16) -> Descriptor {
    Descriptor {
        addr: part.address.into(),
        len: part.length.into(),
        flags: flags.into(),
        next: next.into(),
    }
}
