//! Memory of blobs, as files that other processes can map.

use std::os::fd::AsFd;

use magma_gpu::util::{
    MAGMA_GPU_HANDLE_TYPE_MEM_DMABUF as DMABUF, MAGMA_GPU_HANDLE_TYPE_MEM_SHM as SHM,
};
use rustix::fs::{SeekFrom, seek};
use rutabaga_gfx::RutabagaHandle;

use super::super::super::error::EngineError;
use super::super::super::host_visible::Exported;
use super::{Engine, Result};

impl Engine {
    /// The memory of a blob of `bytes`. Ask once: rutabaga gives its only handle away.
    pub(in super::super::super) fn export_memory(
        &mut self,
        id: u32,
        bytes: u64,
    ) -> Result<Exported> {
        let cache = self.rutabaga.map_info(id)?;
        let RutabagaHandle::MagmaGpuHandle(handle) = self.rutabaga.export_blob(id)? else {
            return Err(EngineError::Unshareable);
        };
        // Of the others only the driver that made them knows how they are mapped.
        if !matches!(handle.handle_type, SHM | DMABUF) {
            return Err(EngineError::Unshareable);
        }
        let file = handle.os_handle.as_fd().try_clone_to_owned().map_err(EngineError::Io)?;
        // Whoever maps more than there is, and looks at it, is killed.
        let size = seek(&file, SeekFrom::End(0)).map_err(|errno| EngineError::Io(errno.into()))?;
        if size < bytes {
            return Err(EngineError::Unshareable);
        }
        Ok(Exported { file, cache })
    }
}
