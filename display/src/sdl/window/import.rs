//! Frames in dma-bufs that GL reads by itself: the processor copies nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use sdl2::render::{Texture, WindowCanvas};

use super::{ffi, sdl_error, sdl_rect};
use crate::{DisplayError, Frame, FrameLayout, PixelFormat, PixelMemory, Rect};

/// Imported buffers that are kept: as many as programs flip between.
const MAX_IMPORTS: usize = 8;

/// A dma-buf as a texture.
struct Import {
    memory: Weak<PixelMemory>,
    layout: FrameLayout,
    texture: Texture,
}

/// The dma-bufs that a window has imported.
pub(super) struct Imports {
    /// None where GL cannot, or has refused one.
    importer: Option<ffi::Importer>,
    /// The last ones used, at the end.
    imports: VecDeque<Import>,
}

impl Imports {
    /// Of a canvas that was just made.
    pub(super) fn new(canvas: &WindowCanvas) -> Imports {
        let importer = ffi::Importer::new(canvas).filter(|_| canvas.render_target_supported());
        if importer.is_some() {
            log::info!("GL takes dma-bufs");
        }
        Imports { importer, imports: VecDeque::new() }
    }

    /// True if the frame's pixels can be had from a texture, which there is then.
    pub(super) fn has(&mut self, canvas: &WindowCanvas, frame: &Frame) -> bool {
        let is_known_order = matches!(
            frame.layout().format,
            PixelFormat::Xrgb8888
                | PixelFormat::Argb8888
                | PixelFormat::Xbgr8888
                | PixelFormat::Abgr8888
        );
        if !is_known_order || !frame.memory().is_dma_buf() {
            return false;
        }
        let Some(importer) = &self.importer else { return false };
        let is_of_frame = |import: &Import| {
            std::ptr::eq(import.memory.as_ptr(), Arc::as_ptr(frame.memory()))
                && import.layout == *frame.layout()
        };
        if let Some(known) = self.imports.iter().position(is_of_frame) {
            if let Some(known) = self.imports.remove(known) {
                self.imports.push_back(known);
            }
            return true;
        }
        let Some(texture) = importer.import(canvas, frame) else {
            log::warn!("GL does not take a dma-buf: windows copy frames");
            self.importer = None;
            self.clear(canvas);
            return false;
        };
        self.forget_old(canvas);
        let memory = Arc::downgrade(frame.memory());
        self.imports.push_back(Import { memory, layout: *frame.layout(), texture });
        true
    }

    /// Draws `damage`, in memory order, of the frame that `has` was asked of last into `picture`.
    /// When this returns, GL has read it.
    pub(super) fn copy(
        &self,
        canvas: &mut WindowCanvas,
        picture: &mut Texture,
        damage: &[Rect],
    ) -> Result<(), DisplayError> {
        let (Some(importer), Some(import)) = (&self.importer, self.imports.back()) else {
            return Ok(());
        };
        let mut drawn = Ok(());
        canvas
            .with_texture_canvas(picture, |canvas| {
                canvas.set_clip_rect(None);
                drawn = damage.iter().try_for_each(|&rect| {
                    let rect = sdl_rect(rect);
                    canvas.copy(&import.texture, rect, rect)
                });
            })
            .map_err(sdl_error("draw a frame"))?;
        importer.finish(canvas);
        drawn.map_err(sdl_error("draw a frame"))
    }

    /// Makes room for one more, and lets go of those whose memory nobody else has.
    fn forget_old(&mut self, canvas: &WindowCanvas) {
        let (mut kept, mut old) = (VecDeque::new(), Vec::new());
        for import in self.imports.drain(..) {
            if import.memory.strong_count() > 0 {
                kept.push_back(import);
            } else {
                old.push(import);
            }
        }
        while kept.len() >= MAX_IMPORTS {
            old.extend(kept.pop_front());
        }
        self.imports = kept;
        for import in old {
            ffi::destroy(import.texture, canvas);
        }
    }

    /// Lets go of all of them.
    pub(super) fn clear(&mut self, canvas: &WindowCanvas) {
        for import in self.imports.drain(..) {
            ffi::destroy(import.texture, canvas);
        }
    }
}
