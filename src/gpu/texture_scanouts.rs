//! Scanouts of textures: dma-bufs where the display takes those, else copies that are read back.
//!
//! A texture is shown with its first flush, not with SET_SCANOUT: Linux' driver sends both for each
//! frame, and so a frame is read once. A dma-buf is flushed when the GPU has drawn what was asked for
//! before, for not every display can wait for that.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Gpu;
use super::display::Display;
use super::engine::Timeline;
use super::error::CommandError;
use super::rect::Rect;
use super::resource::{Kind, Texture};
use super::scanout::{DmaBuf, PixelMemory, Scanout, ScanoutSource};
use super::state::ScanoutRecord;
use super::wire::Format;

/// A renderer's description of a texture's memory.
#[cfg_attr(not(feature = "virgl"), allow(dead_code, reason = "no renderer makes one"))]
pub(super) struct Export {
    /// A dma-buf.
    pub(super) fd: OwnedFd,
    /// Byte of the first pixel.
    pub(super) offset: u32,
    /// Bytes from a row to the next.
    pub(super) stride: u32,
    /// DRM format.
    pub(super) fourcc: u32,
    /// DRM format modifier.
    pub(super) modifier: u64,
}

/// Flushes that the display is told of when the GPU has come so far.
#[derive(Debug)]
pub(super) struct DelayedFlush {
    /// On the timeline of all that has none of its own.
    work: u64,
    /// Scanouts with the damage, in their coordinates.
    damages: Vec<(u32, Rect)>,
}

impl Gpu {
    /// Where the pixels of an image or a texture are, for a scanout that shows `rect` of it.
    pub(super) fn picture_source(
        &mut self,
        id: u32,
        rect: Rect,
        display: &mut dyn Display,
    ) -> Result<ScanoutSource, CommandError> {
        let Some(dma_buf) = self.dma_buf(id, display)? else {
            return self.resources.image_source(id, rect);
        };
        if rect.is_empty() || !rect.fits(dma_buf.width, dma_buf.height) {
            return Err(CommandError::OutOfRange("rectangle"));
        }
        let resource = self.resources.get(id)?;
        let image = resource.kind.image().ok_or(CommandError::WrongKind(id))?;
        let pixel = u64::from(Format::BYTES_PER_PIXEL);
        Ok(ScanoutSource {
            offset: u64::from(rect.y) * u64::from(dma_buf.stride) + u64::from(rect.x) * pixel,
            stride: dma_buf.stride,
            width: rect.width,
            height: rect.height,
            format: image.format,
            buffer: resource.serial,
            memory: PixelMemory::DmaBuf(dma_buf),
        })
    }

    /// A texture as a dma-buf, if it can be one that the display takes.
    fn dma_buf(
        &mut self,
        id: u32,
        display: &mut dyn Display,
    ) -> Result<Option<Arc<DmaBuf>>, CommandError> {
        let Kind::Texture(Texture { image: Some(image), dma_buf, y_0_top, .. }) =
            &self.resources.get(id)?.kind
        else {
            return Ok(None);
        };
        let taken = |dma_buf: &Arc<DmaBuf>| display.takes_dma_bufs(dma_buf.modifier);
        if let Some(dma_buf) = dma_buf {
            return Ok(Some(Arc::clone(dma_buf)).filter(taken));
        }
        let Some(export) = self.renderer.three_d().and_then(|three_d| three_d.engine.export(id))
        else {
            return Ok(None);
        };
        let Export { fd, offset, stride, fourcc, modifier } = export;
        // The message for one has no offset, and those who map it look at 32-bit words.
        let fits = offset == 0 && stride >= image.stride && stride % Format::BYTES_PER_PIXEL == 0;
        if !fits || Format::from_drm_fourcc(fourcc).is_none() {
            log::debug!("texture {id} is copied: format {fourcc:#x}, stride {stride}, at {offset}");
            return Ok(None);
        }
        let (width, height, y_0_top) = (image.width, image.height, *y_0_top);
        let dma_buf = Arc::new(DmaBuf { fd, width, height, stride, fourcc, modifier, y_0_top });
        self.resources.set_dma_buf(id, Arc::clone(&dma_buf));
        Ok(Some(dma_buf).filter(taken))
    }

    /// Sets what a scanout shows: a texture from its first flush on, anything else now.
    pub(super) fn show_picture(
        &mut self,
        scanout: u32,
        resource_id: u32,
        rect: Rect,
        display: &mut dyn Display,
    ) -> Result<(), CommandError> {
        if let Kind::Image(image) = &self.resources.get(resource_id)?.kind
            && image.lost
            && image.memory.is_none()
            && !rect.is_empty()
            && rect.fits(image.width, image.height)
        {
            // The display goes on with what it has.
            return Ok(());
        }
        let source = self.picture_source(resource_id, rect, display)?;
        self.keep_made_memory(display);
        let texture = matches!(self.resources.get(resource_id)?.kind, Kind::Texture(_));
        // The driver's pages may become something else as soon as it is told that they are not shown.
        let awaits_flush = texture && !self.scanouts.shows_guest_memory(scanout);
        let shown = Scanout { resource_id, rect, source, awaits_flush };
        if awaits_flush {
            self.scanouts.set(scanout, Some(shown));
            return Ok(());
        }
        self.refresh_texture(resource_id, rect)?;
        self.show(scanout, shown, picture_record(resource_id, rect), display);
        Ok(())
    }

    /// Flushes `rect` of a resource that is an image or a texture.
    pub(super) fn flush_picture(
        &mut self,
        id: u32,
        rect: Rect,
        display: &mut dyn Display,
    ) -> Result<(), CommandError> {
        let mut damages = Vec::new();
        let mut copied: Vec<Rect> = Vec::new();
        let mut delayed = false;
        for (number, shown) in self.scanouts.of(id) {
            let Some(mut damage) = rect.within(&shown.rect) else { continue };
            let mut copy = rect.intersection(&shown.rect).unwrap_or(shown.rect);
            if shown.awaits_flush {
                damage = Rect::of_size(shown.rect.width, shown.rect.height);
                copy = shown.rect;
            }
            match shown.source.memory {
                PixelMemory::DmaBuf(_) => delayed = true,
                _ => copied.push(copy),
            }
            damages.push((number, damage));
        }
        for rect in copied {
            self.refresh_texture(id, rect)?;
        }
        let fence = self.renderer.three_d().filter(|_| delayed);
        let fence = fence.map(|three_d| three_d.engine.create_fence(Timeline::Global));
        if let Some(Ok(work)) = fence {
            self.delayed.push(DelayedFlush { work, damages });
            self.drawing = Some(work);
        } else {
            self.tell(damages, display);
        }
        Ok(())
    }

    /// The GPU has done what it was asked for up to `work`: the display is told of the flushes that
    /// waited for it.
    pub fn drawn(&mut self, work: u64, display: &mut dyn Display) {
        while self.delayed.first().is_some_and(|delayed| delayed.work <= work) {
            let DelayedFlush { damages, .. } = self.delayed.remove(0);
            self.tell(damages, display);
        }
    }

    /// Tells the display of damage, and before of what it does not know yet.
    fn tell(&mut self, damages: Vec<(u32, Rect)>, display: &mut dyn Display) {
        for (number, damage) in damages {
            let Some(shown) = self.scanouts.get_mut(number) else { continue };
            if std::mem::replace(&mut shown.awaits_flush, false) {
                display.set_scanout(number, Some(&shown.source));
                let record = record_of(shown);
                if let Some(state) = self.resources.state() {
                    state.set_scanout(number, record);
                }
            }
            if damage.fits(shown.source.width, shown.source.height) {
                display.flush(number, damage, &shown.source);
            }
        }
    }

    /// Makes copies of the dma-bufs that are shown, for a display that does not take them.
    pub(super) fn replace_dma_bufs(&mut self, display: &mut dyn Display) {
        let pictures: Vec<_> = self
            .scanouts
            .all()
            .filter(|(_, shown)| matches!(shown.source.memory, PixelMemory::DmaBuf(_)))
            .map(|(number, shown)| (number, shown.resource_id, shown.rect))
            .collect();
        for (number, id, rect) in pictures {
            let source = self.picture_source(id, rect, display);
            match source.and_then(|source| self.refresh_texture(id, rect).map(|()| source)) {
                Ok(source) => {
                    if let Some(shown) = self.scanouts.get_mut(number) {
                        shown.source = source;
                    }
                }
                Err(error) => log::warn!("scanout {number} shows nothing: {error}"),
            }
        }
        self.keep_made_memory(display);
    }

    /// Brings the copy of a texture, which the display has, up to date.
    pub(super) fn refresh_texture(&mut self, id: u32, rect: Rect) -> Result<(), CommandError> {
        let Kind::Texture(Texture { image: Some(image), .. }) = &self.resources.get(id)?.kind
        else {
            return Ok(());
        };
        let (Some(pixels), Some(three_d)) = (&image.memory, self.renderer.three_d()) else {
            return Ok(());
        };
        Ok(three_d.engine.read_pixels(id, rect, image.stride, pixels)?)
    }
}

/// What is kept of a scanout for a device that takes this one's place. The renderer's memory goes with
/// it: that device leaves the display what it shows.
fn record_of(shown: &Scanout) -> Option<ScanoutRecord> {
    match shown.source.memory {
        PixelMemory::DmaBuf(_) => None,
        _ => Some(picture_record(shown.resource_id, shown.rect)),
    }
}

/// The record of a scanout that shows a part of an image.
pub(super) fn picture_record(resource_id: u32, rect: Rect) -> ScanoutRecord {
    let Rect { x, y, width, height } = rect;
    ScanoutRecord { resource_id, x, y, width, height, ..ScanoutRecord::default() }
}
