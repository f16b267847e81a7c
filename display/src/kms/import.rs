//! Frames that the card scans out where they are: dma-bufs, each imported once.

use std::io;
use std::sync::{Arc, Weak};

use drm::buffer::{DrmFourcc, DrmModifier, Handle, PlanarBuffer};
use drm::control::{Device as _, FbCmd2Flags, framebuffer};

use super::card::Card;
use crate::{Frame, FrameLayout, PixelFormat, PixelMemory};

/// `DRM_FORMAT_MOD_INVALID`: the driver that made it knows.
const MODIFIER_INVALID: u64 = 0x00ff_ffff_ffff_ffff;

/// Why a frame cannot go to the card as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    #[error("the picture is not in a dma-buf")]
    NotDmaBuf,
    #[error("the driver imports no dma-bufs")]
    NoImport,
    #[error("the picture is too far into its dma-buf")]
    Offset,
    #[error("the driver does not import the dma-buf")]
    Prime(#[source] io::Error),
    #[error("the driver makes no framebuffer of the dma-buf")]
    Framebuffer(#[source] io::Error),
}

/// A dma-buf's framebuffer.
#[derive(Debug)]
struct Import {
    memory: Weak<PixelMemory>,
    layout: FrameLayout,
    framebuffer: framebuffer::Handle,
}

/// Framebuffers of the dma-bufs that are still there.
#[derive(Debug, Default)]
pub(super) struct Imports {
    imports: Vec<Import>,
}

impl Imports {
    /// The framebuffer of a frame.
    pub(super) fn framebuffer(
        &mut self,
        card: &Card,
        frame: &Frame,
    ) -> Result<framebuffer::Handle, ImportError> {
        let layout = frame.layout();
        let memory = Arc::as_ptr(frame.memory());
        let known = |import: &&Import| import.memory.as_ptr() == memory && import.layout == *layout;
        if let Some(import) = self.imports.iter().find(known) {
            return Ok(import.framebuffer);
        }
        let framebuffer = import(card, frame)?;
        let memory = Arc::downgrade(frame.memory());
        self.imports.push(Import { memory, layout: *layout, framebuffer });
        Ok(framebuffer)
    }

    /// Lets go of dma-bufs that nobody but the card has, which does not show them any more.
    pub(super) fn forget_unused(&mut self, card: &Card, shown: Option<framebuffer::Handle>) {
        let unused = |import: &mut Import| {
            import.memory.strong_count() == 0 && Some(import.framebuffer) != shown
        };
        for import in self.imports.extract_if(.., unused) {
            remove(card, import.framebuffer);
        }
    }

    /// Lets go of all of them. None is shown.
    pub(super) fn clear(&mut self, card: &Card) {
        for import in self.imports.drain(..) {
            remove(card, import.framebuffer);
        }
    }
}

fn remove(card: &Card, framebuffer: framebuffer::Handle) {
    if let Err(error) = card.destroy_framebuffer(framebuffer) {
        log::debug!("a framebuffer is not removed: {error}");
    }
}

fn import(card: &Card, frame: &Frame) -> Result<framebuffer::Handle, ImportError> {
    let (fd, offset, modifier) = frame.memory().dma_buf().ok_or(ImportError::NotDmaBuf)?;
    if !card.imports {
        return Err(ImportError::NoImport);
    }
    let layout = frame.layout();
    let offset = offset.checked_add(layout.offset).and_then(|offset| u32::try_from(offset).ok());
    let offset = offset.ok_or(ImportError::Offset)?;
    let handle = card.prime_fd_to_buffer(fd).map_err(ImportError::Prime)?;
    let modifier =
        modifier.filter(|modifier| card.takes_modifiers && *modifier != MODIFIER_INVALID);
    let buffer = Imported {
        handle,
        offset,
        size: (layout.width, layout.height),
        pitch: layout.stride,
        format: opaque(layout.format),
        modifier: modifier.map(DrmModifier::from),
    };
    let flags = if modifier.is_some() { FbCmd2Flags::MODIFIERS } else { FbCmd2Flags::empty() };
    let framebuffer = card.add_planar_framebuffer(&buffer, flags).map_err(ImportError::Framebuffer);
    // A framebuffer keeps its buffer.
    if let Err(error) = card.close_buffer(handle) {
        log::debug!("a buffer's handle is not closed: {error}");
    }
    framebuffer
}

/// The format for a picture that has nothing to blend with.
pub(super) fn opaque(format: PixelFormat) -> DrmFourcc {
    match format {
        PixelFormat::Xrgb8888 | PixelFormat::Argb8888 => DrmFourcc::Xrgb8888,
        PixelFormat::Xbgr8888 | PixelFormat::Abgr8888 => DrmFourcc::Xbgr8888,
        PixelFormat::Bgrx8888 | PixelFormat::Bgra8888 => DrmFourcc::Bgrx8888,
        PixelFormat::Rgbx8888 | PixelFormat::Rgba8888 => DrmFourcc::Rgbx8888,
    }
}

/// One plane of pixels, for ADDFB2.
struct Imported {
    handle: Handle,
    offset: u32,
    size: (u32, u32),
    pitch: u32,
    format: DrmFourcc,
    modifier: Option<DrmModifier>,
}

impl PlanarBuffer for Imported {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn format(&self) -> DrmFourcc {
        self.format
    }

    fn modifier(&self) -> Option<DrmModifier> {
        self.modifier
    }

    fn pitches(&self) -> [u32; 4] {
        [self.pitch, 0, 0, 0]
    }

    fn handles(&self) -> [Option<Handle>; 4] {
        [Some(self.handle), None, None, None]
    }

    fn offsets(&self) -> [u32; 4] {
        [self.offset, 0, 0, 0]
    }
}
