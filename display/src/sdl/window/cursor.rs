//! The scanout's pointer, as its window draws it.

use sdl2::pixels::PixelFormatEnum;
use sdl2::render::{BlendMode, Texture, WindowCanvas};

use super::sdl_error;
use crate::{CursorImage, DisplayError, Rect};

/// SDL's software renderer blends straight alpha only, so premultiplied colours are divided.
pub(super) fn cursor_texture(
    canvas: &WindowCanvas,
    image: &CursorImage,
) -> Result<Texture, DisplayError> {
    let pixels: Vec<[u8; 4]> = image.pixels().iter().map(|&pixel| straight(pixel)).collect();
    let mut texture = canvas
        .create_texture_static(PixelFormatEnum::ARGB8888, image.width(), image.height())
        .map_err(sdl_error("create a cursor"))?;
    texture.set_blend_mode(BlendMode::Blend);
    texture
        .update(None, pixels.as_flattened(), image.width() as usize * 4)
        .map_err(sdl_error("update a cursor"))?;
    Ok(texture)
}

/// B, G, R, A with the colours no longer premultiplied.
fn straight([b, g, r, a]: [u8; 4]) -> [u8; 4] {
    let channel = |value: u8| {
        let value = (u32::from(value) * 255 + u32::from(a) / 2).checked_div(u32::from(a));
        u8::try_from(value.unwrap_or(0)).unwrap_or(u8::MAX)
    };
    [channel(b), channel(g), channel(r), a]
}

/// Where a cursor of (width, height, x, y) goes, given where the picture does. None if that is
/// nowhere near.
pub(super) fn place_cursor(
    (width, height, x, y): (u32, u32, i32, i32),
    place: Rect,
    picture: (u32, u32),
) -> Option<sdl2::rect::Rect> {
    let edge = |at: i64, start: u32, length: u32, of: u32| {
        let scaled = (at * i64::from(length)).checked_div(i64::from(of))?;
        i32::try_from(i64::from(start) + scaled).ok()
    };
    let span = |at: i32, size: u32, start: u32, length: u32, of: u32| {
        let (first, end) = (i64::from(at), i64::from(at) + i64::from(size));
        if end <= 0 || first >= i64::from(of) {
            return None;
        }
        let first = edge(first, start, length, of)?;
        let end = edge(end, start, length, of)?;
        Some((first, u32::try_from(end - first).ok()?.max(1)))
    };
    let (x, width) = span(x, width, place.x, place.width, picture.0)?;
    let (y, height) = span(y, height, place.y, place.height, picture.1)?;
    Some(sdl2::rect::Rect::new(x, y, width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_scales_with_the_picture() {
        let doubled = Rect::new(10, 20, 200, 100);
        let at = |x, y| {
            let rect = place_cursor((64, 64, x, y), doubled, (100, 50))?;
            Some((rect.x(), rect.y(), rect.width(), rect.height()))
        };
        assert_eq!(at(0, 0), Some((10, 20, 128, 128)));
        assert_eq!(at(-63, 49), Some((-116, 118, 128, 128)));
        assert_eq!(at(-64, 0), None);
        assert_eq!(at(0, 50), None);
        assert_eq!(at(i32::MIN, i32::MAX), None);
    }

    #[test]
    fn straight_undoes_premultiplication() {
        assert_eq!(straight([10, 20, 30, 255]), [10, 20, 30, 255]);
        assert_eq!(straight([64, 0, 128, 128]), [128, 0, 255, 128]);
        assert_eq!(straight([9, 9, 9, 0]), [0, 0, 0, 0]);
        // Not a premultiplied colour: saturates.
        assert_eq!(straight([255, 200, 0, 10]), [255, 255, 0, 10]);
    }
}
