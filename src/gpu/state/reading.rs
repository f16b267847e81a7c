//! Reading a file that another process has left: nothing in it is believed.

use std::collections::HashSet;

use super::{Place, ResourceRecord, StateFile, unpair};

/// What is taken from the file so far.
#[derive(Debug, Default)]
pub(in crate::gpu) struct Taken {
    slots: HashSet<u32>,
    pieces: HashSet<u32>,
}

/// A backing as the file describes it: where its pieces are, and address and length of each.
type Pieces = (Box<[u32]>, Vec<(u64, u64)>);

impl StateFile {
    /// Numbers of the records that may be valid.
    pub(in crate::gpu) fn slots(&self) -> std::ops::Range<u32> {
        0..self.header().resources.min(self.slots.capacity)
    }

    /// The pieces of a resource's backing, at most `most` of them. `None`: the list makes no sense.
    pub(in crate::gpu) fn pieces(
        &self,
        record: &ResourceRecord,
        taken: &Taken,
        most: usize,
    ) -> Option<Pieces> {
        let (first, count) = unpair(record.backing);
        let count = usize::try_from(count).ok().filter(|&count| count <= most)?;
        let mut numbers = HashSet::new();
        let mut order = Vec::new();
        let mut pieces = Vec::new();
        let mut next = u64::from(first);
        for _ in 0..count {
            let number = u32::try_from(next).ok().filter(|&piece| piece < self.pieces.capacity)?;
            if taken.pieces.contains(&number) || !numbers.insert(number) {
                return None;
            }
            let record: super::PieceRecord = self.get(self.piece_offset(number));
            order.push(number);
            pieces.push((record.address, record.length));
            next = record.next;
        }
        Some((order.into(), pieces))
    }

    /// A record and its pieces belong to a resource.
    pub(in crate::gpu) fn adopt(&self, slot: u32, pieces: Box<[u32]>, taken: &mut Taken) -> Place {
        taken.slots.insert(slot);
        taken.pieces.extend(&pieces);
        Place { slot, pieces }
    }

    /// What was not adopted is free.
    pub(in crate::gpu) fn free_others(&mut self, taken: &Taken) {
        let slots = self.slots();
        for slot in slots.clone().filter(|slot| !taken.slots.contains(slot)) {
            self.store(super::resource_offset(slot), 0_u32);
        }
        self.slots.rebuild(slots.end, |slot| taken.slots.contains(&slot));
        let used = taken.pieces.iter().max().map_or(0, |last| last + 1);
        self.pieces.rebuild(used, |piece| taken.pieces.contains(&piece));
    }
}
