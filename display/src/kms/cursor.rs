//! The mouse pointer on a cursor plane.

use std::io;
use std::sync::Arc;

use drm::buffer::DrmFourcc;

use super::canvas::Dumb;
use super::card::Card;
use super::commit::PlaneState;
use crate::cursor::Cursor;
use crate::{CursorImage, Origin};

/// Buffers for the images, two that take turns.
#[derive(Default)]
pub(super) struct CursorBuffers {
    buffers: Vec<Dumb>,
    /// Which of them is shown.
    front: usize,
    /// What is in it.
    image: Option<Arc<CursorImage>>,
}

impl CursorBuffers {
    /// The state of the plane that shows `cursor` with its top left at `position`; `None` if nothing
    /// is to be shown.
    pub(super) fn state(
        &mut self,
        card: &Arc<Card>,
        cursor: &Cursor,
        position: (i32, i32),
    ) -> io::Result<Option<PlaneState>> {
        let Some(image) = cursor.image.as_ref().filter(|_| cursor.visible) else { return Ok(None) };
        let is_drawn = self.image.as_ref().is_some_and(|known| Arc::ptr_eq(known, image));
        if !is_drawn {
            self.draw(card, image)?;
            self.image = Some(Arc::clone(image));
        }
        let Some(buffer) = self.buffers.get(self.front) else { return Ok(None) };
        let size = buffer.size();
        let place = (position.0, position.1, size.0, size.1);
        let framebuffer = buffer.framebuffer;
        Ok(Some(PlaneState { framebuffer, size, place, origin: Origin::TopLeft }))
    }

    fn draw(&mut self, card: &Arc<Card>, image: &CursorImage) -> io::Result<()> {
        while self.buffers.len() < 2 {
            self.buffers.push(Dumb::new(card, card.cursor_size, DrmFourcc::Argb8888)?);
        }
        self.front = 1 - self.front;
        let Some(buffer) = self.buffers.get_mut(self.front) else { return Ok(()) };
        let (width, height) = buffer.size();
        let (columns, rows) = scaled((image.width(), image.height()), (width, height));
        if (columns, rows) != (image.width(), image.height()) {
            let (from, to) = ((image.width(), image.height()), (columns, rows));
            log::info!(
                "a cursor of {from:?} pixels is shown as {to:?}: the plane has {width}x{height}"
            );
        }
        for y in 0..height {
            let Some(row) = buffer.pixels(0, y, width) else { continue };
            row.fill(0);
            if y >= rows {
                continue;
            }
            let from_row = (y * image.height() / rows) as usize * image.width() as usize;
            for (x, to) in (0..columns).zip(row.as_chunks_mut::<4>().0) {
                let column = (x * image.width() / columns) as usize;
                *to = image.pixels().get(from_row + column).copied().unwrap_or_default();
            }
        }
        Ok(())
    }
}

/// The size at which an image is shown in a plane's buffer: its own, or the largest of its shape.
fn scaled(image: (u32, u32), plane: (u32, u32)) -> (u32, u32) {
    if image.0 <= plane.0 && image.1 <= plane.1 {
        return image;
    }
    let place = super::geometry::fit(image, plane);
    (place.width, place.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_larger_than_the_plane_are_scaled() {
        assert_eq!(scaled((64, 64), (64, 64)), (64, 64));
        assert_eq!(scaled((32, 10), (64, 64)), (32, 10));
        assert_eq!(scaled((256, 128), (64, 64)), (64, 32));
        assert_eq!(scaled((64, 128), (512, 64)), (32, 64));
    }
}
