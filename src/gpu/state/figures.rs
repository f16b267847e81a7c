//! What of the file is for whoever watches the process, and for the commands it still owes.

use std::mem::offset_of;

use super::{ANSWERED, COUNTERS, MAX_HEADS, StateFile};
use crate::gpu::counters::{Counter, Counters, QueueCounter, taken_offset};

impl StateFile {
    pub(in crate::gpu) fn counters(&self) -> Counters {
        self.get(COUNTERS)
    }

    pub(in crate::gpu) fn set_counter(&self, limit: u64, counter: Counter) {
        let offset = COUNTERS + limit * size_of::<Counter>() as u64;
        self.note(offset + offset_of!(Counter, used) as u64, counter.used);
        self.note(offset + offset_of!(Counter, peak) as u64, counter.peak);
        self.note(offset + offset_of!(Counter, refused) as u64, counter.refused);
    }

    pub(in crate::gpu) fn set_queue_counter(&self, queue: u16, counter: QueueCounter) {
        let offset = COUNTERS + taken_offset(queue);
        self.note(offset, counter.taken);
        let peak = offset_of!(QueueCounter, peak) - offset_of!(QueueCounter, taken);
        self.note(offset + peak as u64, counter.peak);
    }

    /// How the command at `head` of the control queue was answered, if it was executed and not given
    /// back: a response type.
    pub(in crate::gpu) fn answered(&self, head: u16) -> u16 {
        if u64::from(head) < MAX_HEADS { self.get(answered_offset(head)) } else { 0 }
    }

    /// Keeps that. All that the command has changed is in the file before it.
    pub(in crate::gpu) fn set_answered(&self, head: u16, type_: u16) {
        if u64::from(head) < MAX_HEADS {
            self.store(answered_offset(head), type_);
        }
    }

    /// Nothing is owed.
    pub(in crate::gpu) fn forget_answered(&self) {
        (0..MAX_HEADS as u16).for_each(|head| self.note(answered_offset(head), 0_u16));
    }
}

fn answered_offset(head: u16) -> u64 {
    ANSWERED + u64::from(head) * size_of::<u16>() as u64
}
