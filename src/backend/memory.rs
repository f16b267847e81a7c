//! The driver's memory as the front-end describes it.

use std::fs::File;
use std::io;

use vhost::vhost_user::Error as VhostUserError;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// Mapped memory regions with the files behind them.
#[derive(Debug, Default)]
pub struct Memory {
    mapped: GuestMemoryMmap,
    regions: Vec<Region>,
}

/// One region of the memory table.
#[derive(Debug)]
struct Region {
    user_addr: u64,
    guest_addr: u64,
    size: u64,
}

impl Memory {
    /// Maps a memory table (`SET_MEM_TABLE`).
    pub fn map(table: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<Self, VhostUserError> {
        let mut regions = Vec::with_capacity(table.len());
        let mut mapped = Vec::with_capacity(table.len());
        for (entry, file) in table.iter().zip(files) {
            // Fields of a packed structure are copied out before use.
            let (guest_addr, size) = (entry.guest_phys_addr, entry.memory_size);
            let (user_addr, offset) = (entry.user_addr, entry.mmap_offset);
            let length = usize::try_from(size).map_err(|_| VhostUserError::InvalidParam)?;
            let region = MmapRegion::from_file(FileOffset::new(file, offset), length)
                .map_err(|error| VhostUserError::ReqHandlerError(io::Error::other(error)))?;
            let region = GuestRegionMmap::new(region, GuestAddress(guest_addr))
                .ok_or(VhostUserError::InvalidParam)?;
            mapped.push(region);
            regions.push(Region { user_addr, guest_addr, size });
        }
        let mapped = GuestMemoryMmap::from_regions(mapped)
            .map_err(|error| VhostUserError::ReqHandlerError(io::Error::other(error)))?;
        Ok(Self { mapped, regions })
    }

    /// The mapped memory, addressed as the driver does.
    #[must_use]
    pub fn guest(&self) -> &GuestMemoryMmap {
        &self.mapped
    }

    /// The driver's address for one of the front-end's own address space, as vring addresses are.
    #[must_use]
    pub fn guest_address(&self, user_addr: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let offset = user_addr.checked_sub(region.user_addr)?;
            (offset < region.size).then(|| region.guest_addr.checked_add(offset)).flatten()
        })
    }
}
