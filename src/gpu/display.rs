//! What the device needs from the outside.

use std::error::Error;
use std::fs::File;
use std::sync::Arc;

use super::rect::Rect;
use super::scanout::ScanoutSource;
use super::wire::{CURSOR_SIZE, DisplayOne, MAX_SCANOUTS};

/// Pixels of a cursor image.
pub const CURSOR_PIXELS: usize = (CURSOR_SIZE * CURSOR_SIZE) as usize;

/// Where a cursor's image has its top left pixel on its scanout. Negative beyond the left and top edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CursorPosition {
    /// Pixels from the left.
    pub x: i32,
    /// Pixels from the top.
    pub y: i32,
}

/// A cursor image of [`CURSOR_SIZE`] × [`CURSOR_SIZE`] pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorBitmap {
    /// Hot spot from the left, below [`CURSOR_SIZE`].
    pub hot_x: u32,
    /// Hot spot from the top, below [`CURSOR_SIZE`].
    pub hot_y: u32,
    /// Rows from the top, each pixel 0xAARRGGBB. Linux' driver premultiplies alpha.
    pub pixels: [u32; CURSOR_PIXELS],
}

/// Why a display gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisplayQueryError {
    /// It has none.
    #[error("the display does not know this")]
    Unknown,
    /// It could not be asked.
    #[error("asking the display failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// The display side. Scanout numbers given here are below
/// [`Limits::scanouts`](super::Limits::scanouts).
pub trait Display {
    /// The displays, by scanout.
    fn display_info(&mut self) -> Result<[DisplayOne; MAX_SCANOUTS], DisplayQueryError>;

    /// The EDID of a scanout, at most [`MAX_EDID`](super::wire::MAX_EDID) bytes.
    fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DisplayQueryError>;

    /// A scanout shows something else now, or with `None` nothing. The source stays valid until the
    /// next call for this scanout; what it showed before is not.
    fn set_scanout(&mut self, scanout: u32, source: Option<&ScanoutSource>);

    /// Pixels changed. `damage` is in coordinates of the scanout, not empty and within it.
    fn flush(&mut self, scanout: u32, damage: Rect, source: &ScanoutSource);

    /// Whether scanouts may be dma-bufs with pixels arranged like this, a DRM format modifier. Else
    /// they are copied.
    fn takes_dma_bufs(&mut self, modifier: u64) -> bool {
        let _ = modifier;
        false
    }

    /// The pixels of a classic resource are in this file from now on, of so many bytes, which is
    /// named as in [`ScanoutSource::buffer`]. A display that keeps it can give it to a device that
    /// takes this one's place.
    fn keep_memory(&mut self, buffer: u64, file: &Arc<File>, bytes: u64) {
        let _ = (buffer, file, bytes);
    }

    /// The cursor of a scanout has this image and place, and is visible.
    fn cursor_update(&mut self, scanout: u32, position: CursorPosition, image: &CursorBitmap);

    /// The visible cursor of a scanout moved.
    fn cursor_move(&mut self, scanout: u32, position: CursorPosition);

    /// The cursor of a scanout is not visible; `position` is where it would be.
    fn cursor_hide(&mut self, scanout: u32, position: CursorPosition);
}
