//! Dumb buffers that frames are copied to, where a card does not take them as they are.

use std::io;
use std::sync::Arc;

use drm::buffer::{Buffer, DrmFourcc};
use drm::control::dumbbuffer::{DumbBuffer, DumbMapping};
use drm::control::{Device as _, framebuffer};

use super::card::Card;
use super::ffi;
use super::geometry::Placement;
use crate::geometry::Damage;
use crate::{CursorImage, Frame, MemoryError, PixelFormat, Rect};

/// A dumb buffer with its framebuffer, mapped.
pub(super) struct Dumb {
    card: Arc<Card>,
    buffer: DumbBuffer,
    pub(super) framebuffer: framebuffer::Handle,
    mapping: DumbMapping<'static>,
}

impl Dumb {
    /// A black or, with alpha, transparent one.
    pub(super) fn new(card: &Arc<Card>, size: (u32, u32), format: DrmFourcc) -> io::Result<Dumb> {
        let mut buffer = card.create_dumb_buffer(size, format, 32)?;
        let made = ffi::map(card, &mut buffer).and_then(|mut mapping| {
            mapping.as_mut().fill(0);
            Ok((mapping, add_framebuffer(card, &buffer)?))
        });
        match made {
            Ok((mapping, framebuffer)) => {
                Ok(Dumb { card: Arc::clone(card), buffer, framebuffer, mapping })
            }
            Err(error) => {
                let _ = card.destroy_dumb_buffer(buffer);
                Err(error)
            }
        }
    }

    pub(super) fn size(&self) -> (u32, u32) {
        self.buffer.size()
    }

    /// The bytes of pixels in a row, from (`x`, `y`) on.
    pub(super) fn pixels(&mut self, x: u32, y: u32, count: u32) -> Option<&mut [u8]> {
        let start = y as usize * self.buffer.pitch() as usize + x as usize * 4;
        self.mapping.as_mut().get_mut(start..start + count as usize * 4)
    }
}

/// With a pixel format, where the driver's ADDFB2 takes that; all take it but the oldest.
fn add_framebuffer(card: &Card, buffer: &DumbBuffer) -> io::Result<framebuffer::Handle> {
    let depth = if buffer.format() == DrmFourcc::Argb8888 { 32 } else { 24 };
    card.add_framebuffer(buffer, depth, 32)
}

impl Drop for Dumb {
    fn drop(&mut self) {
        let removed = self.card.destroy_framebuffer(self.framebuffer);
        if let Err(error) = removed.and_then(|()| self.card.destroy_dumb_buffer(self.buffer)) {
            log::debug!("a buffer is not removed: {error}");
        }
    }
}

/// A buffer, and what has changed since it was drawn.
struct Page {
    dumb: Dumb,
    stale: Damage,
}

/// Two buffers that take turns, so that what is scanned out is never drawn into.
pub(super) struct Canvas {
    pages: [Page; 2],
    /// Which of them is drawn next.
    back: bool,
    placement: Placement,
}

impl Canvas {
    pub(super) fn new(
        card: &Arc<Card>,
        size: (u32, u32),
        placement: Placement,
    ) -> io::Result<Canvas> {
        let page = || {
            let dumb = Dumb::new(card, size, DrmFourcc::Xrgb8888)?;
            let mut stale = Damage::default();
            stale.add(Rect::new(0, 0, placement.picture.0, placement.picture.1));
            Ok::<Page, io::Error>(Page { dumb, stale })
        };
        Ok(Canvas { pages: [page()?, page()?], back: false, placement })
    }

    pub(super) fn is_for(&self, size: (u32, u32), placement: Placement) -> bool {
        let [Page { dumb, .. }, _] = &self.pages;
        dumb.size() == size && self.placement == placement
    }

    /// What was drawn may be gone.
    pub(super) fn forget(&mut self) {
        let (width, height) = self.placement.picture;
        for page in &mut self.pages {
            page.stale.add(Rect::new(0, 0, width, height));
        }
    }

    /// Brings the buffer that is not shown up to date, with `cursor` over it. Returns its framebuffer,
    /// what of it differs from the other one, and how many bytes were copied.
    pub(super) fn draw(
        &mut self,
        frame: &Frame,
        damage: &[Rect],
        cursor: Option<(&CursorImage, i32, i32)>,
    ) -> Result<Drawn, MemoryError> {
        let placement = self.placement;
        let bounds = frame.layout().bounds();
        let cursor_rect = cursor.map(|(image, x, y)| {
            // It is not scaled with the picture, and so covers another part of it.
            let covered = covered(image, x, y).intersection(&bounds);
            if placement.is_one_to_one() { covered } else { bounds }
        });
        let [first, second] = &mut self.pages;
        let (page, other) = if self.back { (second, first) } else { (first, second) };
        for rect in damage.iter().map(|rect| rect.intersection(&bounds)) {
            page.stale.add(rect);
            other.stale.add(rect);
        }
        let rects = page.stale.take();
        let mut copied = 0;
        for rect in &rects {
            copied += copy(frame, *rect, placement, &mut page.dumb)?;
        }
        if let Some((image, x, y)) = cursor {
            blend(image, placement.position(x, y), &mut page.dumb, placement.place);
        }
        // Where the cursor is now something else is to be shown next time, in both.
        for rect in cursor_rect.into_iter().filter(|rect| !rect.is_empty()) {
            page.stale.add(rect);
            other.stale.add(rect);
        }
        self.back = !self.back;
        let mut changed: Vec<Rect> = rects.iter().map(|rect| placement.shown(*rect)).collect();
        changed
            .extend(cursor_rect.filter(|rect| !rect.is_empty()).map(|rect| placement.shown(rect)));
        Ok(Drawn { framebuffer: page.dumb.framebuffer, changed, copied })
    }
}

/// What [`Canvas::draw`] has done.
pub(super) struct Drawn {
    pub(super) framebuffer: framebuffer::Handle,
    /// In the canvas.
    pub(super) changed: Vec<Rect>,
    /// Bytes.
    pub(super) copied: u64,
}

/// The pixels of the picture that a cursor lies over, as far as they have coordinates.
fn covered(image: &CursorImage, x: i32, y: i32) -> Rect {
    let along = |at: i32, length: u32| {
        let start = u32::try_from(at).unwrap_or(0);
        let hidden = if at < 0 { at.unsigned_abs() } else { 0 };
        (start, length.saturating_sub(hidden))
    };
    let ((x, width), (y, height)) = (along(x, image.width()), along(y, image.height()));
    Rect { x, y, width, height }
}

/// Copies a part of the picture to its place. Returns the bytes.
fn copy(
    frame: &Frame,
    rect: Rect,
    placement: Placement,
    to: &mut Dumb,
) -> Result<u64, MemoryError> {
    let format = frame.layout().format;
    if placement.is_one_to_one() {
        let shown = placement.shown(rect);
        frame.for_each_row(rect, |row, pixels| {
            if let Some(to) = to.pixels(shown.x, shown.y + row, shown.width) {
                convert(format, pixels, to);
            }
        })?;
        return Ok(u64::from(rect.width) * u64::from(rect.height) * 4);
    }
    let shown = placement.shown(rect).intersection(&placement.place);
    let columns: Vec<usize> = (shown.x..shown.x + shown.width)
        .filter_map(|x| placement.source(x, shown.y).map(|(column, _)| column as usize))
        .collect();
    let mut scaled = vec![0; columns.len() * 4];
    for y in shown.y..shown.y + shown.height {
        let Some((_, row)) = placement.source(shown.x, y) else { continue };
        let whole = Rect::new(0, row, placement.picture.0, 1);
        frame.for_each_row(whole, |_, pixels| {
            let (pixels, _) = pixels.as_chunks::<4>();
            for (to, column) in scaled.as_chunks_mut::<4>().0.iter_mut().zip(&columns) {
                *to = pixels.get(*column).copied().unwrap_or_default();
            }
        })?;
        if let Some(to) = to.pixels(shown.x, y, shown.width) {
            convert(format, &scaled, to);
        }
    }
    Ok(u64::from(shown.width) * u64::from(shown.height) * 4)
}

/// Writes pixels as `XR24`.
fn convert(format: PixelFormat, from: &[u8], to: &mut [u8]) {
    if matches!(format, PixelFormat::Xrgb8888 | PixelFormat::Argb8888) && from.len() == to.len() {
        to.copy_from_slice(from);
        return;
    }
    for (from, to) in from.as_chunks::<4>().0.iter().zip(to.as_chunks_mut::<4>().0) {
        let [red, green, blue] = format.rgb(*from);
        *to = [blue, green, red, 0];
    }
}

/// Draws a cursor pixel by pixel, inside of `clip`.
fn blend(image: &CursorImage, (x, y): (i32, i32), to: &mut Dumb, clip: Rect) {
    let positions =
        (0..image.height()).flat_map(|row| (0..image.width()).map(move |column| (column, row)));
    for ((column, row), pixel) in positions.zip(image.pixels()) {
        let at = |start: i32, offset: u32| start.checked_add_unsigned(offset);
        let (Some(x), Some(y)) = (at(x, column), at(y, row)) else { continue };
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { continue };
        if !clip.contains(&Rect::new(x, y, 1, 1)) {
            continue;
        }
        if let Some([blue, green, red, _]) = to.pixels(x, y, 1) {
            [*red, *green, *blue] = crate::cursor::blend(*pixel, [*red, *green, *blue]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_xr24() {
        let mut to = [0xff; 8];
        convert(PixelFormat::Xbgr8888, &[1, 2, 3, 9, 4, 5, 6, 9], &mut to);
        assert_eq!(to, [3, 2, 1, 0, 6, 5, 4, 0]);
        convert(PixelFormat::Argb8888, &[1, 2, 3, 4, 5, 6, 7, 8], &mut to);
        assert_eq!(to, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn cursors_cover_what_is_inside() {
        let image = CursorImage::new(2, 3, &[0; 24], 0, 0).unwrap();
        assert_eq!(covered(&image, 5, 6), Rect::new(5, 6, 2, 3));
        assert_eq!(covered(&image, -1, -2), Rect::new(0, 0, 1, 1));
        assert!(covered(&image, -2, 0).is_empty());
        assert!(covered(&image, i32::MIN, i32::MIN).is_empty());
    }
}
