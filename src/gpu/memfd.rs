//! Pixel memory of the device: a sealed memfd, mapped, that other processes can map too.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create,
};
use rustix::io::Errno;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

use crate::file_size::file_size;

/// Memory of a fixed size. Its pages cost nothing until they are written.
#[derive(Debug)]
pub(super) struct Memfd {
    file: Arc<File>,
    mapping: MmapRegion<()>,
}

impl Memfd {
    /// `bytes` of zeros, not 0. Sealed before anyone else sees it, so that whoever maps it cannot be
    /// hit by a shrinking file.
    pub(super) fn new(bytes: u64) -> io::Result<Self> {
        let size = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
        Self::map(create_sealed(bytes)?, size)
    }

    /// Memory that another process has made, which is not believed to be what it is said to be.
    pub(super) fn adopt(file: File, bytes: u64) -> io::Result<Self> {
        let size = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW;
        if !fcntl_get_seals(&file)?.contains(seals) || file_size(&file)? != bytes {
            return Err(Errno::INVAL.into());
        }
        Self::map(file, size)
    }

    fn map(file: File, size: usize) -> io::Result<Self> {
        let file = Arc::new(file);
        let mapping = MmapRegion::from_file(FileOffset::from_arc(Arc::clone(&file), 0), size)
            .map_err(io::Error::other)?;
        Ok(Self { file, mapping })
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    #[cfg(feature = "virgl")]
    pub(super) fn mapping(&self) -> &MmapRegion<()> {
        &self.mapping
    }

    /// The part of the memory at `offset`, `None` when it is not all within it.
    pub(super) fn slice(&self, offset: u64, length: u64) -> Option<VolatileSlice<'_>> {
        let offset = usize::try_from(offset).ok()?;
        self.mapping.get_slice(offset, usize::try_from(length).ok()?).ok()
    }
}

/// A memfd of zeros that keeps its size.
pub(super) fn create_sealed(bytes: u64) -> io::Result<File> {
    let file = create()?;
    ftruncate(&file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

fn create() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(c"virtio-gpu", flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3.
        Err(Errno::INVAL) => memfd_create(c"virtio-gpu", flags),
        other => other,
    };
    Ok(File::from(file?))
}
