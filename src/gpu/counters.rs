//! What the [`Limits`](super::Limits) have come to, and how far the queues were served: figures for
//! whoever has started the process, in the state file.
//!
//! The process writes them when they change and nobody is told; they are read when somebody wants to
//! know. Who reads them does not trust the process: they are numbers to be shown or compared, never
//! sizes to allocate.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::limits::LimitKind;
use super::state::{COUNTERS, StateFile};
use super::wire::QUEUE_COUNT;

/// One limit.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Counter {
    /// What is held now; 0 where a limit is about one command.
    pub used: u64,
    /// The most that was held at once, or that one command had.
    pub peak: u64,
    /// Commands that were refused because they would have gone over the limit.
    pub refused: u64,
}

/// One virtqueue.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct QueueCounter {
    /// Index of the available ring up to which commands were started. 16 bits count.
    pub taken: u32,
    /// The most commands that the device was seen to have at once, waiting or started.
    pub peak: u32,
}

/// All of them, as they are in the file.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Counters {
    /// By [`LimitKind`].
    pub limits: [Counter; LimitKind::COUNT],
    /// By queue.
    pub queues: [QueueCounter; QUEUE_COUNT],
}

impl Counters {
    /// What the file says now.
    pub fn read(state: &File) -> io::Result<Self> {
        let mut counters = Self::new_zeroed();
        state.read_exact_at(counters.as_mut_bytes(), COUNTERS)?;
        Ok(counters)
    }

    /// Says for a process that has not begun how far a queue was served. No process may use the file.
    pub fn set_taken(state: &File, queue: u16, taken: u16) -> io::Result<()> {
        if usize::from(queue) >= QUEUE_COUNT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        state.write_all_at(&u32::from(taken).to_ne_bytes(), COUNTERS + taken_offset(queue))
    }

    /// Puts the highest figures and those of refused commands into a file that takes the place of
    /// the one they were read from.
    pub fn carry_over(&self, state: &File) -> io::Result<()> {
        let mut carried = *self;
        carried.limits.iter_mut().for_each(|counter| counter.used = 0);
        carried.queues.iter_mut().for_each(|queue| queue.taken = 0);
        state.write_all_at(carried.as_bytes(), COUNTERS)
    }

    /// The figures of a limit.
    #[must_use]
    pub fn of(&self, kind: LimitKind) -> Counter {
        self.limits.get(kind as usize).copied().unwrap_or_default()
    }
}

/// Where a queue's [`QueueCounter::taken`] is, in bytes from the first counter.
pub(super) fn taken_offset(queue: u16) -> u64 {
    let queues = offset_of!(Counters, queues) + usize::from(queue) * size_of::<QueueCounter>();
    (queues + offset_of!(QueueCounter, taken)) as u64
}

/// The counters of a device, and what of them is in its state file.
#[derive(Debug, Default)]
pub(super) struct Counts {
    now: Counters,
    published: Counters,
}

impl Counts {
    /// So much of it is held.
    pub(super) fn hold(&mut self, kind: LimitKind, used: u64) {
        if let Some(counter) = self.now.limits.get_mut(kind as usize) {
            counter.used = used;
            counter.peak = counter.peak.max(used);
        }
    }

    /// One command had so much of it.
    pub(super) fn seen(&mut self, kind: LimitKind, value: u64) {
        if let Some(counter) = self.now.limits.get_mut(kind as usize) {
            counter.peak = counter.peak.max(value);
        }
    }

    /// A command was refused.
    pub(super) fn refuse(&mut self, kind: LimitKind) {
        if let Some(counter) = self.now.limits.get_mut(kind as usize) {
            counter.refused = counter.refused.saturating_add(1);
        }
    }

    /// A queue was served up to an index, and the device had so many of its commands before.
    pub(super) fn serve(
        &mut self,
        queue: u16,
        taken: u16,
        outstanding: u32,
        state: Option<&StateFile>,
    ) {
        let index = usize::from(queue);
        let counters = (self.now.queues.get_mut(index), self.published.queues.get_mut(index));
        let (Some(now), Some(published)) = counters else { return };
        *now = QueueCounter { taken: taken.into(), peak: now.peak.max(outstanding) };
        if let Some(state) = state
            && now != published
        {
            state.set_queue_counter(queue, *now);
            *published = *now;
        }
    }

    /// What the file has from an earlier process counts on; what is held and served is this one's.
    pub(super) fn go_on_from(&mut self, state: &StateFile) {
        self.published = state.counters();
        for (now, before) in self.now.limits.iter_mut().zip(&self.published.limits) {
            now.peak = now.peak.max(before.peak);
            now.refused = now.refused.saturating_add(before.refused);
        }
        for (now, before) in self.now.queues.iter_mut().zip(&self.published.queues) {
            now.peak = now.peak.max(before.peak);
        }
    }

    /// Brings the file up to date.
    pub(super) fn publish(&mut self, state: Option<&StateFile>) {
        let Some(state) = state else { return };
        let limits = self.now.limits.iter().zip(&mut self.published.limits);
        for ((now, published), index) in limits.zip(0..) {
            if now != published {
                state.set_counter(index, *now);
                *published = *now;
            }
        }
    }
}
