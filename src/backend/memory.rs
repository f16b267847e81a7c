//! The driver's memory as the front-end describes it.

use std::fs::File;
use std::io;
use std::iter::FusedIterator;

use rustix::fs::FileType;
use vhost::vhost_user::Error as VhostUserError;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, MmapRegion,
    Permissions, VolatileMemory, VolatileSlice,
};

/// Mapped memory regions with the files behind them, addressed as the driver does.
///
/// Every ring entry, descriptor and request is found through it, a dozen times per command. There
/// are few regions, mostly one, so that a walk through them is quicker than
/// [`GuestMemoryMmap`]'s search. `scripts/bench control`, both processes on one processor and the
/// machine otherwise idle: 1.76 times vhost-device-gpu's round trips at depth 64 and 1.11 times at
/// depth 1; with `GuestMemoryMmap` in this place 1.57 and 1.07 times, which leaves the targets (1.5
/// and 1.0) no margin.
#[derive(Debug, Default)]
pub struct Memory {
    regions: Vec<Region>,
}

/// One region of the memory table.
#[derive(Debug)]
struct Region {
    guest_addr: u64,
    user_addr: u64,
    mapping: MmapRegion,
}

impl Memory {
    /// Maps a memory table (`SET_MEM_TABLE`).
    pub fn map(table: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<Self, VhostUserError> {
        let mut memory = Self { regions: Vec::with_capacity(table.len()) };
        for (entry, file) in table.iter().zip(files) {
            // Fields of a packed structure are copied out before use.
            let (guest_addr, size) = (entry.guest_phys_addr, entry.memory_size);
            let (user_addr, offset) = (entry.user_addr, entry.mmap_offset);
            if memory.overlaps(guest_addr, size) || !holds(&file, offset, size) {
                return Err(VhostUserError::InvalidParam);
            }
            let length = usize::try_from(size).map_err(|_| VhostUserError::InvalidParam)?;
            let mapping = MmapRegion::from_file(FileOffset::new(file, offset), length)
                .map_err(|error| VhostUserError::ReqHandlerError(io::Error::other(error)))?;
            memory.regions.push(Region { guest_addr, user_addr, mapping });
        }
        Ok(memory)
    }

    /// Whether a further region shares addresses with the others, or leaves the address space.
    fn overlaps(&self, guest_addr: u64, size: u64) -> bool {
        let Some(end) = guest_addr.checked_add(size) else { return true };
        // The sum was checked when the other region was.
        self.regions
            .iter()
            .any(|other| guest_addr < other.guest_addr + other.size() && other.guest_addr < end)
    }

    /// The driver's address for one of the front-end's own address space, as vring addresses are.
    #[must_use]
    pub fn guest_address(&self, user_addr: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let offset = user_addr.checked_sub(region.user_addr)?;
            (offset < region.size()).then(|| region.guest_addr.checked_add(offset)).flatten()
        })
    }

    /// Where in its file a range of the driver's memory starts and ends, if it lies in one region.
    #[must_use]
    pub fn locate(&self, guest_addr: u64, length: u64) -> Option<(u64, u64)> {
        let (region, inside) = self.find(guest_addr)?;
        let start = region.mapping.file_offset()?.start().checked_add(inside)?;
        let end = start.checked_add(length)?;
        (inside.checked_add(length)? <= region.size()).then_some((start, end))
    }

    /// The region with this address, and how far into it that is.
    fn find(&self, guest_addr: u64) -> Option<(&Region, u64)> {
        self.regions.iter().find_map(|region| {
            let inside = guest_addr.checked_sub(region.guest_addr)?;
            (inside < region.size()).then_some((region, inside))
        })
    }
}

/// Whether a file has the bytes of a region: those it has not could be mapped, but not read. Only
/// ordinary files say how many they have.
fn holds(file: &File, offset: u64, size: u64) -> bool {
    let Some(end) = offset.checked_add(size) else { return false };
    // As in `file_size`.
    rustix::fs::fstat(file).is_ok_and(|stat| {
        let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
        !is_file || u64::try_from(stat.st_size).is_ok_and(|size| size >= end)
    })
}

impl Region {
    fn size(&self) -> u64 {
        self.mapping.size() as u64
    }
}

impl GuestMemory for Memory {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, _: Permissions) -> bool {
        Slices { memory: self, addr: addr.0, left: count }.all(|slice| slice.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        _: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, ()>, GuestMemoryError> {
        Ok(Slices { memory: self, addr: addr.0, left: count })
    }
}

/// The mapped pieces of a range: one per region it is in.
struct Slices<'a> {
    memory: &'a Memory,
    addr: u64,
    left: usize,
}

impl<'a> Iterator for Slices<'a> {
    type Item = Result<VolatileSlice<'a>, GuestMemoryError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let Some((region, inside)) = self.memory.find(self.addr) else {
            self.left = 0;
            return Some(Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(self.addr))));
        };
        // Both fit a usize, as the size of the mapping does.
        let length = self.left.min((region.size() - inside) as usize);
        let slice = region.mapping.get_slice(inside as usize, length);
        self.left -= length;
        // At the end of the address space there is no region at 0 that would go on.
        self.addr = self.addr.saturating_add(length as u64);
        Some(slice.map_err(GuestMemoryError::from))
    }
}

impl FusedIterator for Slices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, ()> for Slices<'a> {}

#[cfg(test)]
mod tests;
