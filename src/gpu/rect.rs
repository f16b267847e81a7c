//! Rectangles of pixels.

use super::wire::{WireBox, WireRect};

/// A rectangle as a driver may give it: nothing says that `x + width` fits 32 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rect {
    /// Left.
    pub x: u32,
    /// Top.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl From<WireRect> for Rect {
    fn from(wire: WireRect) -> Self {
        Self {
            x: wire.x.get(),
            y: wire.y.get(),
            width: wire.width.get(),
            height: wire.height.get(),
        }
    }
}

/// The part of a texture's first layer.
impl From<Rect> for WireBox {
    fn from(rect: Rect) -> Self {
        let Rect { x, y, width, height } = rect;
        Self {
            x: x.into(),
            y: y.into(),
            z: 0.into(),
            w: width.into(),
            h: height.into(),
            d: 1.into(),
        }
    }
}

impl Rect {
    /// A rectangle of this size at the origin.
    pub const fn of_size(width: u32, height: u32) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// Whether it holds no pixel.
    pub const fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// Whether all of it lies within `width` × `height` pixels.
    pub const fn fits(&self, width: u32, height: u32) -> bool {
        self.right() <= width as u64 && self.bottom() <= height as u64
    }

    /// The part of `self` that is also in `window`, in coordinates of `window`; `None` when there
    /// is no such pixel.
    pub fn within(&self, window: &Self) -> Option<Self> {
        let (x, width) = overlap(self.x, self.right(), window.x, window.right())?;
        let (y, height) = overlap(self.y, self.bottom(), window.y, window.bottom())?;
        Some(Self { x, y, width, height })
    }

    /// The part of `self` that is also in `other`; `None` when there is no such pixel.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let Self { x, y, width, height } = self.within(other)?;
        Some(Self { x: x + other.x, y: y + other.y, width, height })
    }

    const fn right(&self) -> u64 {
        self.x as u64 + self.width as u64
    }

    const fn bottom(&self) -> u64 {
        self.y as u64 + self.height as u64
    }
}

/// Where two spans overlap: its start counted from the second span's, and its length.
fn overlap(start: u32, end: u64, window_start: u32, window_end: u64) -> Option<(u32, u32)> {
    let first = start.max(window_start);
    let length = end.min(window_end).checked_sub(u64::from(first))?;
    // No longer than the shorter of two spans whose lengths are 32 bits.
    let length = u32::try_from(length).ok().filter(|&length| length > 0)?;
    Some((first - window_start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn fits_counts_beyond_32_bits() {
        assert!(rect(0, 0, 4, 4).fits(4, 4));
        assert!(rect(3, 3, 1, 1).fits(4, 4));
        assert!(!rect(3, 3, 2, 1).fits(4, 4));
        assert!(!rect(1, 0, u32::MAX, 1).fits(4, 4));
        assert!(!rect(u32::MAX, 0, u32::MAX, 1).fits(u32::MAX, 1));
        assert!(rect(0, 0, u32::MAX, u32::MAX).fits(u32::MAX, u32::MAX));
    }

    #[test]
    fn within_gives_the_overlap_in_the_window_s_coordinates() {
        let window = rect(10, 20, 30, 40);
        assert_eq!(rect(0, 0, 100, 100).within(&window), Some(rect(0, 0, 30, 40)));
        assert_eq!(rect(15, 25, 5, 5).within(&window), Some(rect(5, 5, 5, 5)));
        assert_eq!(rect(35, 55, 50, 50).within(&window), Some(rect(25, 35, 5, 5)));
        assert_eq!(rect(40, 20, 5, 5).within(&window), None);
        assert_eq!(rect(0, 0, 10, 100).within(&window), None);
        assert_eq!(rect(12, 22, 0, 5).within(&window), None);
        assert_eq!(rect(12, 22, u32::MAX, u32::MAX).within(&window), Some(rect(2, 2, 28, 38)));
    }
}
