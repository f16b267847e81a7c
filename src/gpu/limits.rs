//! What a driver may make the device hold.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::wire::MAX_SCANOUTS;

/// Bounds of one device. A command that would go over one is answered with
/// [`RespType::ErrOutOfMemory`](super::wire::RespType::ErrOutOfMemory) and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Bytes of a command: of all that the device reads of one chain.
    pub command: u64,
    /// 3D contexts that exist at once.
    pub contexts: usize,
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
            // As many entries as one resource may have are 4 MiB.
            command: 8 << 20,
            // One per client that draws, and each costs megabytes.
            contexts: 256,
        }
    }
}

/// Which of the [`Limits`] it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// [`Limits::resources`].
    Resources,
    /// [`Limits::bytes`].
    Bytes,
    /// [`Limits::files`].
    Files,
    /// [`Limits::dimension`].
    Dimension,
    /// [`Limits::backing_entries`].
    BackingEntries,
    /// [`Limits::total_backing_entries`].
    TotalBackingEntries,
    /// [`Limits::command`].
    Command,
    /// [`Limits::contexts`].
    Contexts,
}

impl LimitKind {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// Whether it bounds what is held from one command to the next, not what one command has.
    #[must_use]
    pub const fn is_held(self) -> bool {
        match self {
            Self::Resources
            | Self::Bytes
            | Self::Files
            | Self::TotalBackingEntries
            | Self::Contexts => true,
            Self::Dimension | Self::BackingEntries | Self::Command => false,
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resources => "resources",
            Self::Bytes => "bytes of pixels",
            Self::Files => "resources with pixels",
            Self::Dimension => "width or height",
            Self::BackingEntries => "backing entries of a resource",
            Self::TotalBackingEntries => "backing entries of all resources",
            Self::Command => "bytes of a command",
            Self::Contexts => "3D contexts",
        })
    }
}
