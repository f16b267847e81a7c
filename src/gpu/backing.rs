//! Driver memory behind a resource: a list of pieces that are one row of bytes.

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions, VolatileSlice};
use zerocopy::{FromZeros, IntoBytes};

use super::chain::Request;
use super::error::CommandError;
use super::wire::MemEntry;

/// Entries read from a request at a time.
const ENTRIES_PER_READ: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(super) enum BackingError {
    #[error("an entry is empty or beyond the driver's memory")]
    Entry,
    #[error("the backing is shorter than what is to be read")]
    TooShort,
}

/// A piece of the backing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    addr: u64,
    /// Where the piece ends, in bytes of the backing. It begins where the one before it ends.
    end: u64,
}

/// Pieces in order. Pieces that touch are one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Backing {
    pieces: Vec<Piece>,
}

impl Backing {
    /// Reads `count` entries that follow in `request`. Allocates as they arrive, so a `count` without
    /// entries costs nothing.
    pub(super) fn read<M: GuestMemory>(
        request: &mut Request<'_, M>,
        count: usize,
    ) -> Result<Self, CommandError> {
        let mut backing = Self::default();
        let mut entries = [MemEntry::new_zeroed(); ENTRIES_PER_READ];
        let mut left = count;
        while left > 0 {
            let now = left.min(ENTRIES_PER_READ);
            let entries = entries.get_mut(..now).ok_or(CommandError::Truncated)?;
            request.read_exact(entries.as_mut_bytes())?;
            for entry in &*entries {
                let length = entry.length.get().into();
                backing.push(request.memory(), entry.addr.get(), length)?;
            }
            left -= now;
        }
        backing.pieces.shrink_to_fit();
        Ok(backing)
    }

    /// A backing of these pieces, address and length of each, which may be anything.
    pub(super) fn of<M: GuestMemory>(
        memory: &M,
        pieces: &[(u64, u64)],
    ) -> Result<Self, BackingError> {
        let mut backing = Self::default();
        for &(addr, length) in pieces {
            backing.push(memory, addr, length)?;
        }
        Ok(backing)
    }

    /// Address and length of each piece.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, u64)> {
        let mut start = 0;
        self.pieces.iter().map(move |piece| {
            let length = piece.end - start;
            start = piece.end;
            (piece.addr, length)
        })
    }

    fn push<M: GuestMemory>(
        &mut self,
        memory: &M,
        addr: u64,
        length: u64,
    ) -> Result<(), BackingError> {
        let end = self.len().checked_add(length).filter(|_| length > 0);
        let count = usize::try_from(length).ok();
        let (Some(end), Some(count), true) = (end, count, addr.checked_add(length).is_some())
        else {
            return Err(BackingError::Entry);
        };
        if !memory.check_range(GuestAddress(addr), count, Permissions::Read) {
            return Err(BackingError::Entry);
        }
        let start = self.last_start();
        match self.pieces.last_mut() {
            Some(last) if last.addr + (last.end - start) == addr => last.end = end,
            _ => self.pieces.push(Piece { addr, end }),
        }
        Ok(())
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.end)
    }

    fn last_start(&self) -> u64 {
        self.pieces.iter().rev().nth(1).map_or(0, |piece| piece.end)
    }

    /// Pieces there are.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Address of the first `length` bytes, when they lie in one piece of the driver's memory that
    /// is also in one mapping of it.
    pub(super) fn contiguous<M: GuestMemory>(&self, memory: &M, length: u64) -> Option<u64> {
        let piece = self.pieces.first().filter(|piece| length <= piece.end)?;
        let count = usize::try_from(length).ok()?;
        let mut slices =
            memory.get_slices(GuestAddress(piece.addr), count, Permissions::Read).ok()?;
        let whole = slices.next()?.is_ok_and(|slice| slice.len() == count);
        whole.then_some(piece.addr)
    }

    /// Copies from byte `offset` of the backing to all of `target`.
    pub(super) fn copy_to<M: GuestMemory, B: BitmapSlice>(
        &self,
        memory: &M,
        offset: u64,
        target: &VolatileSlice<'_, B>,
    ) -> Result<(), BackingError> {
        self.for_each(memory, offset, target.len(), |done, source| {
            let part = target.subslice(done, source.len()).map_err(|_| BackingError::TooShort)?;
            source.copy_to_volatile_slice(part);
            Ok(())
        })
    }

    /// Copies from byte `offset` of the backing to all of `target`.
    pub(super) fn read_at<M: GuestMemory>(
        &self,
        memory: &M,
        offset: u64,
        target: &mut [u8],
    ) -> Result<(), BackingError> {
        self.for_each(memory, offset, target.len(), |done, source| {
            let part = target.get_mut(done..).ok_or(BackingError::TooShort)?;
            source.read(part, 0).map(|_| ()).map_err(|_| BackingError::TooShort)
        })
    }

    /// Calls `visit` with each piece of memory that the backing is mapped to.
    #[cfg(feature = "virgl")]
    pub(super) fn for_each_piece<'m, M: GuestMemory>(
        &self,
        memory: &'m M,
        mut visit: impl FnMut(Mapped<'m, M>),
    ) -> Result<(), BackingError> {
        let length = usize::try_from(self.len()).map_err(|_| BackingError::TooShort)?;
        self.for_each(memory, 0, length, |_, piece| {
            visit(piece);
            Ok(())
        })
    }

    /// Calls `visit` with each piece of memory of `length` bytes from `offset`, and how many bytes
    /// came before it.
    fn for_each<'m, M: GuestMemory>(
        &self,
        memory: &'m M,
        offset: u64,
        length: usize,
        mut visit: impl FnMut(usize, Mapped<'m, M>) -> Result<(), BackingError>,
    ) -> Result<(), BackingError> {
        let first = self.pieces.partition_point(|piece| piece.end <= offset);
        let before = first.checked_sub(1).and_then(|last| self.pieces.get(last));
        let mut start = before.map_or(0, |piece| piece.end);
        let mut offset = offset;
        let mut done = 0;
        for piece in self.pieces.get(first..).unwrap_or_default() {
            if done == length {
                break;
            }
            let available = usize::try_from(piece.end - offset).unwrap_or(usize::MAX);
            let count = available.min(length - done);
            let addr = GuestAddress(piece.addr + (offset - start));
            let slices = memory.get_slices(addr, count, Permissions::Read);
            for slice in slices.map_err(|_| BackingError::Entry)? {
                let slice = slice.map_err(|_| BackingError::Entry)?;
                let bytes = slice.len();
                visit(done, slice)?;
                done += bytes;
            }
            start = piece.end;
            offset = piece.end;
        }
        if done == length { Ok(()) } else { Err(BackingError::TooShort) }
    }
}

/// A piece of the driver's memory, mapped.
type Mapped<'m, M> =
    VolatileSlice<'m, <<M as GuestMemory>::Bitmap as vm_memory::bitmap::WithBitmapSlice<'m>>::S>;
