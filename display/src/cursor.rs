//! Cursor images, and where a cursor is.

use std::sync::Arc;

use thiserror::Error;

use crate::Picture;

/// Why bytes make no cursor image.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CursorError {
    /// Width or height is 0 or above [`CursorImage::MAX_DIMENSION`].
    #[error("a cursor of {width}x{height} pixels, possible are 1x1 to {max}x{max}", max = CursorImage::MAX_DIMENSION)]
    Dimensions {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },

    /// There are not 4 bytes for each pixel.
    #[error("a cursor of {width}x{height} pixels has {len} bytes")]
    Length {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes given.
        len: usize,
    },
}

/// A mouse pointer's picture: `AR24` pixels (bytes B, G, R, A), colours premultiplied by alpha as
/// in every DRM cursor plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorImage {
    width: u32,
    height: u32,
    hot: (u32, u32),
    pixels: Vec<[u8; 4]>,
}

impl CursorImage {
    /// Widest and highest image, in pixels. virtio-gpu's are always 64x64.
    pub const MAX_DIMENSION: u32 = 256;

    /// `pixels` are rows from the top without gaps. `hot_x` and `hot_y` say which pixel points; it
    /// may lie outside the image.
    ///
    /// # Errors
    ///
    /// The size is not possible or not that of `pixels`.
    pub fn new(
        width: u32,
        height: u32,
        pixels: &[u8],
        hot_x: u32,
        hot_y: u32,
    ) -> Result<CursorImage, CursorError> {
        let possible = 1..=Self::MAX_DIMENSION;
        if !possible.contains(&width) || !possible.contains(&height) {
            return Err(CursorError::Dimensions { width, height });
        }
        if pixels.len() != width as usize * height as usize * 4 {
            return Err(CursorError::Length { width, height, len: pixels.len() });
        }
        let (pixels, _) = pixels.as_chunks();
        Ok(CursorImage { width, height, hot: (hot_x, hot_y), pixels: pixels.to_vec() })
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Column and row of the pixel that points.
    pub fn hot_spot(&self) -> (u32, u32) {
        self.hot
    }

    /// B, G, R, A of each pixel, premultiplied, rows from the top.
    pub(crate) fn pixels(&self) -> &[[u8; 4]] {
        &self.pixels
    }

    /// Draws the image with its top left pixel at (`x`, `y`), clipped to the picture.
    pub(crate) fn draw(&self, picture: &mut Picture, x: i32, y: i32) {
        let positions = (0..self.height).flat_map(|row| (0..self.width).map(move |col| (col, row)));
        for ((col, row), &pixel) in positions.zip(&self.pixels) {
            let (Some(x), Some(y)) = (x.checked_add_unsigned(col), y.checked_add_unsigned(row))
            else {
                continue;
            };
            let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { continue };
            if let Some(below) = picture.pixel_mut(x, y) {
                *below = blend(pixel, *below);
            }
        }
    }
}

/// Premultiplied "over": B, G, R, A on opaque R, G, B.
pub(crate) fn blend([b, g, r, a]: [u8; 4], [under_r, under_g, under_b]: [u8; 3]) -> [u8; 3] {
    let channel = |over: u8, under: u8| {
        let rest = u32::from(under) * u32::from(255 - a);
        // Colours above their alpha are not premultiplied ones; they saturate.
        u8::try_from(u32::from(over) + (rest + 127) / 255).unwrap_or(u8::MAX)
    };
    [channel(r, under_r), channel(g, under_g), channel(b, under_b)]
}

/// A scanout's pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) image: Option<Arc<CursorImage>>,
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) visible: bool,
}

impl Cursor {
    /// The image, if it is to be drawn.
    pub(crate) fn shown(&self) -> Option<&CursorImage> {
        self.image.as_deref().filter(|_| self.visible)
    }
}
