//! What a driver may make the device hold.

use super::wire::MAX_SCANOUTS;

/// Bounds of one device. A command that would go over one is answered with
/// [`RespType::ErrOutOfMemory`](super::wire::RespType::ErrOutOfMemory) and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Scanouts, at most [`MAX_SCANOUTS`]; what the configuration space shows.
    pub scanouts: u32,
    /// Resources that exist at once.
    pub resources: usize,
    /// Bytes of pixels that the device itself holds, of all resources.
    pub bytes: u64,
    /// Resources that hold pixels at once. Each is a file descriptor and a mapping.
    pub files: usize,
    /// Width and height of a resource or a frame in a blob. Bounds the rows one command copies.
    pub dimension: u32,
    /// Pieces of driver memory behind one resource.
    pub backing_entries: usize,
    /// Pieces of driver memory behind all resources. Pieces that touch count once.
    pub total_backing_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            scanouts: MAX_SCANOUTS as u32,
            resources: 65_536,
            bytes: 1 << 30,
            // With room for the rest of the process under the usual limit of 1024 descriptors.
            files: 512,
            // As large as the largest frame a presenter takes.
            dimension: 16_384,
            // 1 GiB in single pages.
            backing_entries: 1 << 18,
            total_backing_entries: 1 << 20,
        }
    }
}
