//! Memory that another process keeps writing while it is read.
//!
//! No reference to such bytes ever exists here, only raw pointers that are copied from: the bytes
//! may change at any moment. This module holds the crate's mapping and dma-buf calls, and so most
//! of its `unsafe`.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use thiserror::Error;

/// `TMPFS_MAGIC` (`linux/magic.h`), the file system of memfds with ordinary pages.
const TMPFS_MAGIC: i64 = 0x0102_1994;
/// `DMA_BUF_MAGIC` (`linux/magic.h`).
const DMA_BUF_MAGIC: i64 = 0x444d_4142;

/// Why memory is not used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// Pages of the file could vanish while they are read, which would kill this process (SIGBUS).
    #[error("the file is neither a dma-buf nor a memfd sealed against shrinking (F_SEAL_SHRINK)")]
    NotSealed,

    /// The range is not inside the memory.
    #[error("{len} bytes at offset {offset} are not inside a memory of {size} bytes")]
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Bytes there are.
        size: u64,
    },

    /// Nothing to map.
    #[error("a mapping of 0 bytes")]
    Empty,

    /// Mappings start at a multiple of the page size.
    #[error("offset {0} is not a multiple of the page size")]
    Unaligned(u64),

    /// The kernel refused.
    #[error("cannot {what} the memory")]
    System {
        /// The call, as the end of "cannot ... the memory".
        what: &'static str,
        /// Its error.
        #[source]
        source: Errno,
    },
}

/// A mapping that somebody else owns and that frames may lie in.
///
/// # Safety
///
/// For as long as the value exists, the [`len`](SharedMapping::len) bytes at
/// [`as_ptr`](SharedMapping::as_ptr) must stay mapped readable at that address, both functions must
/// keep answering the same, and reading them must not raise a signal. Their contents may change.
pub unsafe trait SharedMapping: Send + Sync {
    /// First byte.
    fn as_ptr(&self) -> *const u8;

    /// Bytes.
    fn len(&self) -> usize;

    /// True if there is nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Memory of pixels, mapped once and read in place.
pub struct PixelMemory {
    mapping: Arc<dyn SharedMapping>,
    start: usize,
    len: usize,
    dma_buf: Option<DmaBuf>,
}

/// The dma-buf that a memory is in.
#[derive(Debug)]
struct DmaBuf {
    fd: OwnedFd,
    /// Byte of it that is the memory's first.
    offset: u64,
    /// DRM format modifier, if it is known.
    modifier: Option<u64>,
}

impl PixelMemory {
    /// Maps `len` bytes of a dma-buf, or of a memfd that is sealed against shrinking.
    ///
    /// # Errors
    ///
    /// `offset` is no multiple of the page size, the range is not inside the file, the file is of
    /// another kind, or the kernel refuses.
    pub fn map(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<PixelMemory, MemoryError> {
        let kind = rustix::fs::fstatfs(fd).map_err(system("inspect"))?.f_type as i64;
        let is_dma_buf = kind == DMA_BUF_MAGIC;
        let size = if is_dma_buf {
            // Its size is not in fstat.
            rustix::fs::seek(fd, SeekFrom::End(0)).map_err(system("measure"))?
        } else if kind == TMPFS_MAGIC && is_sealed(fd) {
            let size = rustix::fs::fstat(fd).map_err(system("measure"))?.st_size;
            u64::try_from(size).unwrap_or(0)
        } else {
            // Also sealed memfds of huge pages: those can be punched out and then fail to return.
            return Err(MemoryError::NotSealed);
        };
        check_range(offset, len, size)?;
        let mut memory = Self::map_trusted(fd, offset, len)?;
        if is_dma_buf {
            let fd = rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(system("keep"))?;
            memory.dma_buf = Some(DmaBuf { fd, offset, modifier: None });
        }
        Ok(memory)
    }

    /// Says how the pixels of a dma-buf are arranged: its DRM format modifier (`drm_fourcc.h`).
    #[must_use]
    pub fn with_modifier(mut self, modifier: u64) -> PixelMemory {
        if let Some(dma_buf) = &mut self.dma_buf {
            dma_buf.modifier = Some(modifier);
        }
        self
    }

    /// Maps `len` bytes of a file that the caller knows to keep them: if it shrinks, or its pages
    /// cannot be read, this process dies by SIGBUS.
    ///
    /// # Errors
    ///
    /// `offset` is no multiple of the page size, `len` is 0, or the kernel refuses.
    pub fn map_trusted(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: u64,
    ) -> Result<PixelMemory, MemoryError> {
        if len == 0 {
            return Err(MemoryError::Empty);
        }
        if !offset.is_multiple_of(rustix::param::page_size() as u64) {
            return Err(MemoryError::Unaligned(offset));
        }
        let size = isize::MAX as u64;
        check_range(offset, len, size)?;
        let len =
            usize::try_from(len).map_err(|_| MemoryError::OutOfRange { offset, len, size })?;
        let mapping = Mapping::new(fd, offset, len).map_err(system("map"))?;
        Ok(PixelMemory { mapping: Arc::new(mapping), start: 0, len, dma_buf: None })
    }

    /// A part of a mapping that exists already.
    ///
    /// # Errors
    ///
    /// The range is empty or not inside the mapping.
    pub fn within(
        mapping: Arc<dyn SharedMapping>,
        offset: u64,
        len: u64,
    ) -> Result<PixelMemory, MemoryError> {
        let size = mapping.len() as u64;
        check_range(offset, len, size)?;
        let out_of_range = |_| MemoryError::OutOfRange { offset, len, size };
        let start = usize::try_from(offset).map_err(out_of_range)?;
        let len = usize::try_from(len).map_err(out_of_range)?;
        Ok(PixelMemory { mapping, start, len, dma_buf: None })
    }

    /// Whether it is a dma-buf, whose owner has to be told of reading.
    pub fn is_dma_buf(&self) -> bool {
        self.dma_buf.is_some()
    }

    /// The dma-buf, the byte of it that is the memory's first, and its modifier if that is known.
    pub(crate) fn dma_buf(&self) -> Option<(BorrowedFd<'_>, u64, Option<u64>)> {
        self.dma_buf
            .as_ref()
            .map(|DmaBuf { fd, offset, modifier }| (fd.as_fd(), *offset, *modifier))
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Never true: there is no memory of 0 bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts reading. For a dma-buf this waits for its writers and makes their writes visible to
    /// the CPU (`DMA_BUF_IOCTL_SYNC`), until the result is dropped.
    pub(crate) fn read(&self) -> ReadAccess<'_> {
        if let Some(DmaBuf { fd, .. }) = &self.dma_buf {
            dma_buf::sync(fd.as_fd(), dma_buf::SYNC_READ);
        }
        ReadAccess { memory: self }
    }
}

impl fmt::Debug for PixelMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PixelMemory")
            .field("len", &self.len)
            .field("dma_buf", &self.dma_buf)
            .finish_non_exhaustive()
    }
}

/// The right to read a [`PixelMemory`].
pub(crate) struct ReadAccess<'a> {
    memory: &'a PixelMemory,
}

impl ReadAccess<'_> {
    /// The address of `len` bytes at `offset`: readable for as long as the memory exists, and
    /// written by others at any time.
    pub(crate) fn pointer(&self, offset: u64, len: u64) -> Result<*const u8, MemoryError> {
        let memory = self.memory;
        let size = memory.len();
        check_range(offset, len, size)?;
        let offset =
            usize::try_from(offset).map_err(|_| MemoryError::OutOfRange { offset, len, size })?;
        // SAFETY: every constructor of PixelMemory has checked start + memory.len against the
        // mapping, and check_range has offset + len <= memory.len, so the result stays inside the
        // mapping, which is a single allocation.
        Ok(unsafe { memory.mapping.as_ptr().add(memory.start + offset) })
    }

    /// Copies the bytes at `offset` as they are at this moment.
    pub(crate) fn copy(&self, offset: u64, to: &mut [u8]) -> Result<(), MemoryError> {
        let from = self.pointer(offset, to.len() as u64)?;
        // SAFETY: `pointer` has answered for to.len() readable bytes, which SharedMapping keeps
        // mapped and readable without a signal; `to` is exclusively ours and so does not overlap
        // them. That others write them meanwhile can only tear pixels: every byte value is valid.
        unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Ok(())
    }
}

impl Drop for ReadAccess<'_> {
    fn drop(&mut self) {
        if let Some(DmaBuf { fd, .. }) = &self.memory.dma_buf {
            dma_buf::sync(fd.as_fd(), dma_buf::SYNC_READ | dma_buf::SYNC_END);
        }
    }
}

/// Pixels of our own, for sources that send them as bytes instead of sharing their memory.
#[derive(Debug)]
pub struct PixelBuffer {
    file: OwnedFd,
    memory: Arc<PixelMemory>,
}

impl PixelBuffer {
    /// `len` zero bytes.
    ///
    /// # Errors
    ///
    /// `len` is 0 or the kernel refuses.
    pub fn new(len: u64) -> Result<PixelBuffer, MemoryError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("pixels", flags).map_err(system("create"))?;
        rustix::fs::ftruncate(&file, len).map_err(system("size"))?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)
            .map_err(system("seal"))?;
        let memory = Arc::new(PixelMemory::map(file.as_fd(), 0, len)?);
        Ok(PixelBuffer { file, memory })
    }

    /// The memory, for a [`Frame`](crate::Frame).
    pub fn memory(&self) -> &Arc<PixelMemory> {
        &self.memory
    }

    /// Overwrites the bytes at `offset`.
    ///
    /// # Errors
    ///
    /// They do not fit (nothing is written then), or the kernel refuses.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        check_range(offset, bytes.len() as u64, self.memory.len())?;
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            // A system call and not a store, so that readers of the mapping race with the kernel
            // only, as they do for memory of other processes.
            match rustix::io::pwrite(&self.file, bytes, offset) {
                Ok(0) => return Err(system("write")(Errno::IO)),
                Ok(written) => {
                    offset += written as u64;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(system("write")(error)),
            }
        }
        Ok(())
    }
}

/// Our own mapping of a file, read-only.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Mapping, Errno> {
        // SAFETY: the address hint is null without MAP_FIXED, so no existing mapping changes.
        let base = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, fd, offset)
        }?;
        NonNull::new(base.cast()).map(|base| Mapping { base, len }).ok_or(Errno::NOMEM)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this range, nobody else unmaps it, and every pointer into it
        // is derived through an Arc that keeps this value alive.
        let result = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        if let Err(error) = result {
            log::error!("cannot unmap pixels: {error}");
        }
    }
}

// SAFETY: the value is an address range of the whole process; it has no tie to a thread, and
// nothing in it changes after `new`.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; shared access only reads `base` and `len`.
unsafe impl Sync for Mapping {}

// SAFETY: `new` mapped the range readable and only `drop` unmaps it. That reading raises no signal
// is checked by `PixelMemory::map` (the file cannot shrink below the range) or promised by the
// caller of `map_trusted`.
unsafe impl SharedMapping for Mapping {
    fn as_ptr(&self) -> *const u8 {
        self.base.as_ptr()
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// `linux/dma-buf.h`.
mod dma_buf {
    use std::os::fd::BorrowedFd;

    use rustix::io::Errno;
    use rustix::ioctl::{self, Setter, opcode};

    /// `DMA_BUF_SYNC_READ`; without `SYNC_END` it means the start.
    pub(super) const SYNC_READ: u64 = 1 << 0;
    /// `DMA_BUF_SYNC_END`.
    pub(super) const SYNC_END: u64 = 1 << 2;
    /// `DMA_BUF_IOCTL_SYNC`, `struct dma_buf_sync` being one u64 of flags.
    const IOCTL_SYNC: ioctl::Opcode = opcode::write::<u64>(b'b', 0);

    /// A failure is logged and otherwise ignored: stale pixels are better than none.
    pub(super) fn sync(fd: BorrowedFd<'_>, flags: u64) {
        loop {
            // SAFETY: DMA_BUF_IOCTL_SYNC reads one `struct dma_buf_sync`, that is one u64, which is
            // what Setter passes a pointer to; it writes nothing.
            let result = unsafe { ioctl::ioctl(fd, Setter::<IOCTL_SYNC, u64>::new(flags)) };
            match result {
                Ok(()) => return,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => {
                    log::debug!("cannot synchronise a dma-buf: {error}");
                    return;
                }
            }
        }
    }
}

fn is_sealed(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

fn check_range(offset: u64, len: u64, size: u64) -> Result<(), MemoryError> {
    if len == 0 {
        return Err(MemoryError::Empty);
    }
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(MemoryError::OutOfRange { offset, len, size }),
    }
}

fn system(what: &'static str) -> impl Fn(Errno) -> MemoryError {
    move |source| MemoryError::System { what, source }
}

#[cfg(test)]
mod tests;
