//! A frame: memory with a layout, checked once against each other.

use std::sync::Arc;

use thiserror::Error;

use crate::{MAX_DIMENSION, MemoryError, Picture, PixelFormat, PixelMemory, Rect};

/// Why memory and layout make no frame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Width or height is 0 or above [`MAX_DIMENSION`].
    #[error(
        "a frame of {width}x{height} pixels, possible are 1x1 to {MAX_DIMENSION}x{MAX_DIMENSION}"
    )]
    Dimensions {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },

    /// Rows overlap, or are 2 GiB or more apart.
    #[error("a stride of {stride} bytes is not possible for rows of {width} pixels")]
    Stride {
        /// Bytes from one row to the next.
        stride: u32,
        /// Columns.
        width: u32,
    },

    /// Pixels do not start at a multiple of their size.
    #[error("offset {offset} and stride {stride} are not multiples of 4")]
    Unaligned {
        /// First byte of the first row.
        offset: u64,
        /// Bytes from one row to the next.
        stride: u32,
    },

    /// The last row ends beyond the memory.
    #[error("the frame ends beyond its memory of {size} bytes")]
    OutOfRange {
        /// Bytes there are.
        size: u64,
    },
}

/// Which row of the picture comes first in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The top row.
    #[default]
    TopLeft,
    /// The bottom row, as GL draws.
    BottomLeft,
}

/// Where the pixels of a frame lie in its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLayout {
    /// First byte of the row that comes first in memory.
    pub offset: u64,
    /// Bytes from one row to the next.
    pub stride: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes of a pixel.
    pub format: PixelFormat,
    /// Which row comes first.
    pub origin: Origin,
}

impl FrameLayout {
    /// Rows without gaps at offset 0, the top row first.
    pub const fn packed(width: u32, height: u32, format: PixelFormat) -> FrameLayout {
        let stride = width.saturating_mul(PixelFormat::BYTES_PER_PIXEL);
        FrameLayout { offset: 0, stride, width, height, format, origin: Origin::TopLeft }
    }

    /// The whole picture.
    pub const fn bounds(&self) -> Rect {
        Rect::new(0, 0, self.width, self.height)
    }

    /// Bytes from the start of the memory to the end of the last row; `None` beyond `u64`.
    ///
    /// # Errors
    ///
    /// The layout is not possible in any memory.
    pub fn end(&self) -> Result<Option<u64>, FrameError> {
        let FrameLayout { offset, stride, width, height, .. } = *self;
        let possible = 1..=MAX_DIMENSION;
        if !possible.contains(&width) || !possible.contains(&height) {
            return Err(FrameError::Dimensions { width, height });
        }
        let row = width * PixelFormat::BYTES_PER_PIXEL;
        if stride < row || stride > i32::MAX as u32 {
            return Err(FrameError::Stride { stride, width });
        }
        if !offset.is_multiple_of(4) || !stride.is_multiple_of(4) {
            return Err(FrameError::Unaligned { offset, stride });
        }
        let rows = u64::from(stride) * u64::from(height - 1) + u64::from(row);
        Ok(offset.checked_add(rows))
    }
}

/// A picture in memory that its source keeps drawing into.
#[derive(Debug, Clone)]
pub struct Frame {
    memory: Arc<PixelMemory>,
    layout: FrameLayout,
}

impl Frame {
    /// The existence of a frame means that all its pixels are inside its memory.
    ///
    /// # Errors
    ///
    /// They are not, or the layout breaks a limit.
    pub fn new(memory: Arc<PixelMemory>, layout: FrameLayout) -> Result<Frame, FrameError> {
        let size = memory.len();
        match layout.end()? {
            Some(end) if end <= size => Ok(Frame { memory, layout }),
            _ => Err(FrameError::OutOfRange { size }),
        }
    }

    /// Where the pixels lie.
    pub fn layout(&self) -> &FrameLayout {
        &self.layout
    }

    /// Where the pixels are.
    pub(crate) fn memory(&self) -> &Arc<PixelMemory> {
        &self.memory
    }

    /// True if both show the same bytes.
    pub(crate) fn is_same_source(&self, other: &Frame) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory) && self.layout == other.layout
    }

    /// `rect` as rows of memory: where a texture that is in memory order changes.
    pub(crate) fn in_memory_order(&self, rect: Rect) -> Rect {
        match self.layout.origin {
            Origin::TopLeft => rect,
            Origin::BottomLeft => {
                let y = self.layout.height.saturating_sub(rect.y).saturating_sub(rect.height);
                Rect { y, ..rect }
            }
        }
    }

    /// Gives `read` the address of `rect`'s pixels, `rect` being in memory order: from there, all
    /// bytes to the end of its last row are readable. They are written by others at any time.
    pub(crate) fn with_pixels<T>(
        &self,
        rect: Rect,
        read: impl FnOnce(*const u8) -> T,
    ) -> Result<T, MemoryError> {
        let rows = u64::from(rect.height.saturating_sub(1)) * u64::from(self.layout.stride);
        let len = rows + u64::from(rect.width) * u64::from(PixelFormat::BYTES_PER_PIXEL);
        let access = self.memory.read();
        Ok(read(access.pointer(self.pixel_offset(rect.x, rect.y), len)?))
    }

    /// Gives `take` each row of `rect`, from the top: its number from 0, and its bytes as they are now.
    pub(crate) fn for_each_row(
        &self,
        rect: Rect,
        mut take: impl FnMut(u32, &[u8]),
    ) -> Result<(), MemoryError> {
        let mut row = vec![0; rect.width as usize * PixelFormat::BYTES_PER_PIXEL as usize];
        let access = self.memory.read();
        for y in 0..rect.height {
            let line = Rect { y: rect.y + y, height: 1, ..rect };
            let line = self.in_memory_order(line);
            access.copy(self.pixel_offset(line.x, line.y), &mut row)?;
            take(y, &row);
        }
        Ok(())
    }

    /// Copies the whole picture.
    pub(crate) fn picture(&self) -> Result<Picture, MemoryError> {
        let FrameLayout { width, height, format, .. } = self.layout;
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        let mut row = vec![0; width as usize * PixelFormat::BYTES_PER_PIXEL as usize];
        let access = self.memory.read();
        for y in 0..height {
            let line = self.in_memory_order(Rect::new(0, y, width, 1));
            access.copy(self.pixel_offset(line.x, line.y), &mut row)?;
            let (pixels, _) = row.as_chunks::<4>();
            rgb.extend(pixels.iter().flat_map(|&pixel| format.rgb(pixel)));
        }
        Ok(Picture::from_rgb(width, height, rgb))
    }

    /// `y` counts rows in memory order.
    fn pixel_offset(&self, x: u32, y: u32) -> u64 {
        let FrameLayout { offset, stride, .. } = self.layout;
        offset
            + u64::from(y) * u64::from(stride)
            + u64::from(x) * u64::from(PixelFormat::BYTES_PER_PIXEL)
    }
}

#[cfg(test)]
mod tests;
