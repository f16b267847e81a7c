//! The driver's memory: one sealed memfd, mapped here and in the device side. Address A of the
//! driver is byte A of the file.
//!
//! The device side changes this memory whenever it likes, so no reference into it is ever made:
//! bytes are copied in and out, ring indices are read and written as atomics.

mod pages;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use pages::FreePages;

use crate::sync::lock;

/// Bytes of a page, the unit of allocation.
pub const PAGE_SIZE: u64 = 4096;

/// Why memory could not be had or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The size asked for is zero or no number of whole pages that can be mapped.
    #[error("{bytes} bytes is no usable memory size")]
    Size {
        /// Bytes asked for.
        bytes: u64,
    },
    /// No free run of pages is long enough.
    #[error("no {bytes} bytes of driver memory in one piece")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// The access leaves the memory or the region.
    #[error("{length} bytes at {offset:#x} are not within {size:#x} bytes")]
    OutOfBounds {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Bytes there are.
        size: u64,
    },
    /// An atomic access to an odd address.
    #[error("address {address:#x} is not aligned")]
    Misaligned {
        /// The address.
        address: u64,
    },
    /// A system call failed.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// The driver's memory. Clones share it; the last one, [`Region`]s included, unmaps it.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    mapping: Mapping,
    file: OwnedFd,
    free: Mutex<FreePages>,
}

impl Memory {
    /// Makes a memory of `bytes` bytes, whole pages. It is sparse: pages cost nothing until used.
    ///
    /// The first page is never handed out, so address 0 stays a mistake that can be seen.
    pub fn new(bytes: u64) -> Result<Self, MemoryError> {
        let size = usize::try_from(bytes).map_err(|_| MemoryError::Size { bytes })?;
        if bytes < 2 * PAGE_SIZE
            || !bytes.is_multiple_of(PAGE_SIZE)
            || isize::try_from(size).is_err()
        {
            return Err(MemoryError::Size { bytes });
        }
        let io =
            |what| move |error: rustix::io::Errno| MemoryError::Io { what, source: error.into() };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file =
            rustix::fs::memfd_create("virtio-gpu-driver", flags).map_err(io("memfd_create"))?;
        rustix::fs::ftruncate(&file, bytes).map_err(io("ftruncate"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(io("sealing the memfd"))?;
        let mapping = Mapping::new(&file, size).map_err(io("mmap"))?;
        let free = Mutex::new(FreePages::new(PAGE_SIZE, bytes - PAGE_SIZE));
        Ok(Self(Arc::new(Shared { mapping, file, free })))
    }

    /// The memfd, sealed against a change of its size.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.0.mapping.size as u64
    }

    /// Bytes of the pages that no region holds.
    pub fn free_bytes(&self) -> u64 {
        self.0.free().bytes()
    }

    /// Takes zeroed pages, at least `bytes` bytes in one piece.
    pub fn allocate(&self, bytes: u64) -> Result<Region, MemoryError> {
        if bytes == 0 || bytes > self.size() {
            return Err(MemoryError::Size { bytes });
        }
        let size = bytes.next_multiple_of(PAGE_SIZE);
        let address = self.0.free().take(size).ok_or(MemoryError::OutOfMemory { bytes })?;
        Ok(Region { memory: self.clone(), address, size })
    }

    /// Copies `bytes` to `address`, whoever owns the pages.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.0.mapping.write(address, bytes)
    }

    /// Copies from `address`, whoever owns the pages.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.0.mapping.read(address, bytes)
    }
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, FreePages> {
        // The map of free pages is changed by calls that do not panic.
        lock(&self.free)
    }
}

/// Pages of a [`Memory`]. Dropping it gives them back, zeroed.
#[derive(Debug)]
pub struct Region {
    memory: Memory,
    address: u64,
    size: u64,
}

impl Region {
    /// Address of the first byte, a multiple of [`PAGE_SIZE`].
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes, a multiple of [`PAGE_SIZE`].
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Address of byte `offset` if `length` bytes from there are within the region.
    pub fn locate(&self, offset: u64, length: u64) -> Result<u64, MemoryError> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(self.address + offset),
            _ => Err(MemoryError::OutOfBounds { offset, length, size: self.size }),
        }
    }

    /// Copies `bytes` to byte `offset` of the region.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let address = self.locate(offset, bytes.len() as u64)?;
        self.memory.0.mapping.write(address, bytes)
    }

    /// Copies from byte `offset` of the region.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let address = self.locate(offset, bytes.len() as u64)?;
        self.memory.0.mapping.read(address, bytes)
    }

    /// Copies a value to byte `offset` of the region.
    pub fn put<T: IntoBytes + Immutable>(&self, offset: u64, value: &T) -> Result<(), MemoryError> {
        self.write(offset, value.as_bytes())
    }

    /// Copies a value from byte `offset` of the region.
    pub fn get<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T, MemoryError> {
        let mut value = T::new_zeroed();
        self.read(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Loads a little-endian u16, as virtio 1.x keeps ring indices.
    pub fn load_u16(&self, offset: u64, order: Ordering) -> Result<u16, MemoryError> {
        let address = self.locate(offset, 2)?;
        Ok(u16::from_le(self.memory.0.mapping.atomic_u16(address)?.load(order)))
    }

    /// Stores a little-endian u16, as virtio 1.x keeps ring indices.
    pub fn store_u16(&self, offset: u64, value: u16, order: Ordering) -> Result<(), MemoryError> {
        let address = self.locate(offset, 2)?;
        self.memory.0.mapping.atomic_u16(address)?.store(value.to_le(), order);
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let shared = &self.memory.0;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&shared.file, flags, self.address, self.size) {
            Ok(()) => shared.free().give(self.address, self.size),
            // Pages with old bytes in them would break the promise of `allocate`.
            Err(error) => log::warn!("driver memory: pages lost, they cannot be zeroed: {error}"),
        }
    }
}

/// The file, mapped read-write and shared.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping belongs to no thread, and `base` is only used by methods whose accesses are
// allowed to race (see `write`, `read` and `atomic_u16`).
unsafe impl Send for Mapping {}
// SAFETY: as for Send: `&Mapping` gives out copies of bytes and atomics, never plain references.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &OwnedFd, size: usize) -> rustix::io::Result<Self> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses the place, so no existing mapping is replaced.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), size, prot, flags, file, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { base, size })
    }

    /// Pointer to `length` bytes at `address`, all of them mapped as long as `self` lives.
    fn pointer(&self, address: u64, length: usize) -> Result<NonNull<u8>, MemoryError> {
        let start = usize::try_from(address).ok();
        match start.and_then(|start| Some((start, start.checked_add(length)?))) {
            // SAFETY: `start <= size`, so the result is in the mapping or one past its end, and
            // `size` fits an isize (`Memory::new`).
            Some((start, end)) if end <= self.size => Ok(unsafe { self.base.add(start) }),
            _ => Err(MemoryError::OutOfBounds {
                offset: address,
                length: length as u64,
                size: self.size as u64,
            }),
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let to = self.pointer(address, bytes.len())?;
        // SAFETY: `to` is valid for `bytes.len()` bytes and, the mapping being only reachable
        // through this type, does not overlap `bytes`. A device that accesses the same bytes is
        // another mapping's access: it can spoil the bytes, which every reader has to expect.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let from = self.pointer(address, bytes.len())?;
        // SAFETY: `from` is valid for `bytes.len()` bytes, which do not overlap `bytes` (see
        // `write`); any value is a valid u8.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn atomic_u16(&self, address: u64) -> Result<&AtomicU16, MemoryError> {
        let pointer = self.pointer(address, size_of::<u16>())?.cast::<u16>();
        if !pointer.is_aligned() {
            return Err(MemoryError::Misaligned { address });
        }
        // SAFETY: aligned, mapped for both bytes as long as `self` lives, and shared memory of
        // other processes is what atomics are for.
        Ok(unsafe { AtomicU16::from_ptr(pointer.as_ptr()) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `size` are what mmap gave, and nothing borrowed from `self` is left.
        if let Err(error) = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) } {
            log::warn!("driver memory: munmap failed: {error}");
        }
    }
}
