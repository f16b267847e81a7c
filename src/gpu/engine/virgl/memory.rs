//! Pixel memory as the bytes that rutabaga wants.

use std::io::IoSliceMut;
use std::slice;

use vm_memory::VolatileMemory;

use super::super::super::error::EngineError;
use super::super::super::memfd::Memfd;

/// Calls `write` with all of `pixels`, for a library in C to write to.
pub(super) fn with_bytes(
    pixels: &Memfd,
    write: impl FnOnce(IoSliceMut<'_>) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mapping = pixels.mapping();
    let guard = mapping.as_volatile_slice().ptr_guard_mut();
    // SAFETY: the mapping is readable and writable, as long as the file, which is sealed against
    // shrinking, and lives until this function returns. Rust code does not look at it meanwhile: the
    // device has one thread, and `write` hands the bytes to C. Other processes map it, too, and may
    // see half a picture, or write to it if they are broken; neither matters to whoever only stores
    // pixels.
    let bytes = unsafe { slice::from_raw_parts_mut(guard.as_ptr(), mapping.size()) };
    write(IoSliceMut::new(bytes))
}
