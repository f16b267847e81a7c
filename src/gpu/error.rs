//! Why a command is refused. To the driver it is a response type, to people a sentence in the log.

use std::io;

use super::backing::BackingError;
use super::display::DisplayQueryError;
use super::host_visible::HostVisibleError;
use super::limits::LimitKind;
use super::wire::RespType;

#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("the request is shorter than its type")]
    Truncated,
    #[error("unknown type {0:#x}")]
    UnknownType(u32),
    #[error("a command for the other queue")]
    WrongQueue,
    #[error("the renderer has no such command")]
    NotOffered,
    #[error("the response has no room for the answer")]
    NoRoom,
    #[error("no resource {0}")]
    NoResource(u32),
    #[error("resource id {0} is 0 or taken")]
    ResourceIdTaken(u32),
    #[error("resource {0} is of the wrong kind")]
    WrongKind(u32),
    #[error("no scanout {0}")]
    NoScanout(u32),
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    #[error("over the limit of {0}")]
    OverLimit(LimitKind),
    #[error("resource {0} has backing already")]
    HasBacking(u32),
    #[error("resource {0} has no backing")]
    NoBacking(u32),
    #[error("backing")]
    Backing(#[from] BackingError),
    #[error("display")]
    Display(#[from] DisplayQueryError),
    #[error("memory for pixels")]
    PixelMemory(#[from] io::Error),
    #[error("no context {0}")]
    NoContext(u32),
    #[error("context id {0} is 0 or taken")]
    ContextIdTaken(u32),
    #[error("resource {0} is mapped already")]
    Mapped(u32),
    #[error("resource {0} is not mapped")]
    NotMapped(u32),
    #[error("the host-visible region")]
    HostVisible(#[from] HostVisibleError),
    #[error("the renderer refuses")]
    Engine(#[from] EngineError),
}

/// What the renderer says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// It says this.
    #[cfg(feature = "virgl")]
    #[error(transparent)]
    Rutabaga(#[from] rutabaga_gfx::RutabagaError),
    /// A piece of the driver's memory is not mapped (any more).
    #[error("the backing is not mapped")]
    Unmapped,
    /// The system refuses.
    #[error("the memory of the blob")]
    Io(#[source] io::Error),
    /// A blob's memory cannot be mapped by another process, or is shorter than the blob.
    #[error("the memory of the blob cannot be shared")]
    Unshareable,
}

impl From<BackingError> for EngineError {
    fn from(_: BackingError) -> Self {
        Self::Unmapped
    }
}

impl CommandError {
    /// The response type of virtio 1.3, 5.7, "Request header". Where that leaves a choice, see the
    /// [module](super).
    pub(super) const fn resp_type(&self) -> RespType {
        match self {
            Self::UnknownType(_)
            | Self::WrongQueue
            | Self::NotOffered
            | Self::NoRoom
            | Self::HasBacking(_)
            | Self::NoBacking(_)
            | Self::Mapped(_)
            | Self::NotMapped(_)
            | Self::HostVisible(_)
            | Self::Display(_)
            | Self::Engine(_) => RespType::ErrUnspec,
            Self::Truncated | Self::OutOfRange(_) | Self::Backing(_) => {
                RespType::ErrInvalidParameter
            }
            Self::NoResource(_) | Self::ResourceIdTaken(_) | Self::WrongKind(_) => {
                RespType::ErrInvalidResourceId
            }
            Self::NoContext(_) | Self::ContextIdTaken(_) => RespType::ErrInvalidContextId,
            Self::NoScanout(_) => RespType::ErrInvalidScanoutId,
            Self::OverLimit(_) | Self::PixelMemory(_) => RespType::ErrOutOfMemory,
        }
    }
}
