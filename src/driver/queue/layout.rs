//! Where the three parts of a split virtqueue are: virtio 1.3, section 2.7.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::driver::memory::PAGE_SIZE;

/// Another descriptor follows.
pub const DESC_NEXT: u16 = 1;
/// The device may write the buffer, and not read it.
pub const DESC_WRITE: u16 = 2;
/// The buffer is a table of descriptors.
pub const DESC_INDIRECT: u16 = 4;
/// Flag of the available ring: the driver wants no interrupts.
pub const AVAIL_NO_INTERRUPT: u16 = 1;
/// Flag of the used ring: the device wants no kicks.
pub const USED_NO_NOTIFY: u16 = 1;

/// Largest queue: section 2.7.
pub const MAX_QUEUE_SIZE: u16 = 1 << 15;

/// One entry of a descriptor table.
#[doc(alias = "virtq_desc")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Descriptor {
    /// First byte of the buffer.
    pub addr: U64,
    /// Bytes.
    pub len: U32,
    /// Masks `DESC_*`.
    pub flags: U16,
    /// The descriptor that follows, with [`DESC_NEXT`].
    pub next: U16,
}

/// One entry of the used ring.
#[doc(alias = "virtq_used_elem")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UsedElem {
    /// First descriptor of the chain.
    pub id: U32,
    /// Bytes the device wrote into it.
    pub len: U32,
}

const _: () = assert!(size_of::<Descriptor>() == 16 && size_of::<UsedElem>() == 8);

/// Descriptors of an indirect table. Each head has one table, so that adding allocates nothing;
/// longer chains go into the descriptor table itself.
pub(super) const INDIRECT_PARTS: u16 = 8;

/// Byte offsets within the one region that holds a queue. Each part has pages of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) size: u16,
    pub(super) avail: u64,
    pub(super) used: u64,
    tables: u64,
    pub(super) bytes: u64,
}

impl Layout {
    pub(super) fn new(size: u16, indirect: bool) -> Self {
        let entries = u64::from(size);
        let avail = (16 * entries).next_multiple_of(PAGE_SIZE);
        let used = (avail + 6 + 2 * entries).next_multiple_of(PAGE_SIZE);
        let tables = (used + 6 + 8 * entries).next_multiple_of(PAGE_SIZE);
        let table_bytes = if indirect { 16 * u64::from(INDIRECT_PARTS) * entries } else { 0 };
        let bytes = (tables + table_bytes).next_multiple_of(PAGE_SIZE);
        Self { size, avail, used, tables, bytes }
    }

    /// `index` modulo the size, a power of two.
    fn slot(&self, index: u16) -> u64 {
        u64::from(index & (self.size - 1))
    }

    pub(super) fn descriptor(&self, index: u16) -> u64 {
        16 * self.slot(index)
    }

    /// The indirect table of a head.
    pub(super) fn table(&self, head: u16) -> u64 {
        self.tables + 16 * u64::from(INDIRECT_PARTS) * self.slot(head)
    }

    pub(super) fn avail_flags(&self) -> u64 {
        self.avail
    }

    pub(super) fn avail_idx(&self) -> u64 {
        self.avail + 2
    }

    pub(super) fn avail_entry(&self, index: u16) -> u64 {
        self.avail + 4 + 2 * self.slot(index)
    }

    /// Where the driver says, with EVENT_IDX, which used entry it wants to be told of.
    pub(super) fn used_event(&self) -> u64 {
        self.avail + 4 + 2 * u64::from(self.size)
    }

    pub(super) fn used_flags(&self) -> u64 {
        self.used
    }

    pub(super) fn used_idx(&self) -> u64 {
        self.used + 2
    }

    pub(super) fn used_entry(&self, index: u16) -> u64 {
        self.used + 4 + 8 * self.slot(index)
    }

    /// Where the device says, with EVENT_IDX, which available entry it wants to be told of.
    pub(super) fn avail_event(&self) -> u64 {
        self.used + 4 + 8 * u64::from(self.size)
    }
}
