//! What a resource can be, and what it costs.

use std::sync::Arc;

use super::super::backing::Backing;
use super::super::engine::MemoryKeeper;
use super::super::host_visible::Exported;
use super::super::memfd::Memfd;
use super::super::scanout::DmaBuf;
use super::super::state::Place;
use super::super::wire::Format;

/// A resource.
#[derive(Debug)]
pub(in super::super) struct Resource {
    /// See [`ScanoutSource::buffer`].
    pub(in super::super) serial: u64,
    pub(in super::super) uuid: Option<[u8; 16]>,
    pub(in super::super) backing: Option<Backing>,
    pub(in super::super) kind: Kind,
    /// Where it is in the state file, if there is one.
    pub(in super::super) place: Option<Place>,
    /// Whether the 3D renderer has it, too, by the same number.
    pub(in super::super) rendered: bool,
    /// What the backing is mapped in, as long as the 3D renderer points there.
    pub(in super::super) memory: Option<MemoryKeeper>,
}

#[derive(Debug)]
pub(in super::super) enum Kind {
    Image(Image),
    Blob(Blob),
    Texture(Texture),
    HostBlob(HostBlob),
}

/// A resource of the 3D renderer.
#[derive(Debug)]
pub(in super::super) struct Texture {
    /// Bytes that the renderer has for it, more or less.
    pub(in super::super) bytes: u64,
    /// If it can be shown: a copy for the display, made when it is shown first.
    pub(in super::super) image: Option<Image>,
    /// See [`DmaBuf::y_0_top`].
    pub(in super::super) y_0_top: bool,
    /// What it is for a display that needs no copy, from when it is shown first.
    pub(in super::super) dma_buf: Option<Arc<DmaBuf>>,
}

impl Texture {
    /// One without pixels.
    pub(in super::super) fn buffer(bytes: u64) -> Self {
        Self { bytes, image: None, y_0_top: false, dma_buf: None }
    }
}

impl Kind {
    /// What has pixels for a display.
    pub(in super::super) fn image(&self) -> Option<&Image> {
        match self {
            Self::Image(image) | Self::Texture(Texture { image: Some(image), .. }) => Some(image),
            _ => None,
        }
    }

    pub(super) fn image_mut(&mut self) -> Option<&mut Image> {
        match self {
            Self::Image(image) | Self::Texture(Texture { image: Some(image), .. }) => Some(image),
            _ => None,
        }
    }

    /// Bytes it costs from the beginning. An image pays for its pixels then, whenever it gets them;
    /// the other copies are paid for when they are made.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Image(image) => image.bytes,
            Self::Texture(texture) => texture.bytes,
            Self::HostBlob(blob) => blob.bytes,
            Self::Blob(_) => 0,
        }
    }

    /// The copy for a display, if there is one that was paid for when it was made, and its bytes.
    pub(super) fn copy(&self) -> Option<u64> {
        match self {
            Self::Blob(Blob { shadow: Some(_), size, .. }) => Some(*size),
            Self::Texture(Texture { image: Some(image), .. }) if image.memory.is_some() => {
                Some(image.bytes)
            }
            _ => None,
        }
    }

    /// Files it has.
    pub(super) fn files(&self) -> usize {
        match self {
            Self::Image(image) => usize::from(image.memory.is_some()),
            // The renderer has one open from the beginning.
            Self::HostBlob(blob) => usize::from(blob.mappable),
            other => usize::from(other.copy().is_some()),
        }
    }
}

/// A classic 2D resource: pixels of its own, filled from its backing by transfers.
#[derive(Debug)]
pub(in super::super) struct Image {
    pub(in super::super) format: Format,
    pub(in super::super) width: u32,
    pub(in super::super) height: u32,
    /// Bytes from a row to the next: rows have no gap.
    pub(in super::super) stride: u32,
    pub(in super::super) bytes: u64,
    /// There once something was written to it or it was shown.
    pub(in super::super) memory: Option<Memfd>,
    /// Its pixels were those of a renderer that is gone; without memory, nothing is known of them.
    pub(in super::super) lost: bool,
}

/// A blob whose memory is the 3D renderer's.
#[derive(Debug)]
pub(in super::super) struct HostBlob {
    pub(in super::super) bytes: u64,
    /// The driver may map it.
    pub(in super::super) mappable: bool,
    /// Its memory, there once it was mapped.
    pub(in super::super) exported: Option<Exported>,
}

/// A resource that is its backing.
#[derive(Debug)]
pub(in super::super) struct Blob {
    pub(in super::super) size: u64,
    /// Width and height a cursor of this blob has: those of the last transfer.
    pub(in super::super) cursor_size: Option<(u32, u32)>,
    /// Stands in for a backing of several pieces while it is shown.
    pub(in super::super) shadow: Option<Memfd>,
}

impl Image {
    /// An image without memory, `None` when its size cannot be counted.
    pub(in super::super) fn new(format: Format, width: u32, height: u32) -> Option<Self> {
        let stride = width.checked_mul(Format::BYTES_PER_PIXEL)?;
        let bytes = u64::from(stride) * u64::from(height);
        Some(Self { format, width, height, stride, bytes, memory: None, lost: false })
    }
}
