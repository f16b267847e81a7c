//! Rectangles, and the parts of a frame that changed.

use crate::PixelFormat;

/// A rectangle in pixels, the origin at the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// The rectangle with these edges and sizes.
    pub const fn new(x: u32, y: u32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    /// True if it covers no pixel.
    pub const fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// Bytes of its pixels, each of [`PixelFormat::BYTES_PER_PIXEL`].
    pub(crate) fn bytes(&self) -> u64 {
        let pixels = u64::from(self.width).saturating_mul(u64::from(self.height));
        pixels.saturating_mul(u64::from(PixelFormat::BYTES_PER_PIXEL))
    }

    /// The pixels in both; empty if there are none. Total for every input.
    pub fn intersection(&self, other: &Rect) -> Rect {
        let (x, width) = overlap((self.x, self.width), (other.x, other.width));
        let (y, height) = overlap((self.y, self.height), (other.y, other.height));
        Rect { x, y, width, height }
    }

    /// The smallest rectangle around both.
    pub fn bounding(&self, other: &Rect) -> Rect {
        if self.is_empty() {
            return *other;
        }
        if other.is_empty() {
            return *self;
        }
        let (x, width) = hull((self.x, self.width), (other.x, other.width));
        let (y, height) = hull((self.y, self.height), (other.y, other.height));
        Rect { x, y, width, height }
    }

    /// True if every pixel of `other` is also in this one.
    pub fn contains(&self, other: &Rect) -> bool {
        other.is_empty() || self.intersection(other) == *other
    }
}

/// Spans are (start, length); their ends may lie beyond `u32`.
fn overlap(a: (u32, u32), b: (u32, u32)) -> (u32, u32) {
    let start = a.0.max(b.0);
    let end = (u64::from(a.0) + u64::from(a.1)).min(u64::from(b.0) + u64::from(b.1));
    (start, u32::try_from(end.saturating_sub(u64::from(start))).unwrap_or(u32::MAX))
}

fn hull(a: (u32, u32), b: (u32, u32)) -> (u32, u32) {
    let start = a.0.min(b.0);
    let end = (u64::from(a.0) + u64::from(a.1)).max(u64::from(b.0) + u64::from(b.1));
    (start, u32::try_from(end - u64::from(start)).unwrap_or(u32::MAX))
}

/// The parts of a frame that changed since they were last read.
///
/// Holds a few rectangles as they came; past that they melt into one around all of them, so that
/// its size is bounded whatever the source sends.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    rects: Vec<Rect>,
}

impl Damage {
    const MAX_RECTS: usize = 8;

    pub(crate) fn add(&mut self, rect: Rect) {
        if rect.is_empty() || self.rects.iter().any(|known| known.contains(&rect)) {
            return;
        }
        self.rects.retain(|known| !rect.contains(known));
        self.rects.push(rect);
        if self.rects.len() > Self::MAX_RECTS {
            let around = self.rects.iter().fold(Rect::default(), |sum, rect| sum.bounding(rect));
            self.rects = vec![around];
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rects.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.rects.clear();
    }

    pub(crate) fn take(&mut self) -> Vec<Rect> {
        std::mem::take(&mut self.rects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_clips_and_never_overflows() {
        let frame = Rect::new(0, 0, 100, 50);
        assert_eq!(Rect::new(90, 40, 20, 20).intersection(&frame), Rect::new(90, 40, 10, 10));
        assert!(Rect::new(100, 0, 5, 5).intersection(&frame).is_empty());
        let huge = Rect::new(u32::MAX, u32::MAX, u32::MAX, u32::MAX);
        assert!(huge.intersection(&frame).is_empty());
        assert_eq!(huge.intersection(&huge), huge);
        assert_eq!(Rect::new(3, 4, u32::MAX, u32::MAX).intersection(&frame).width, 97);
    }

    #[test]
    fn bounding_ignores_empty() {
        let a = Rect::new(10, 10, 5, 5);
        assert_eq!(Rect::default().bounding(&a), a);
        assert_eq!(a.bounding(&Rect::new(0, 0, 2, 2)), Rect::new(0, 0, 15, 15));
    }

    #[test]
    fn damage_keeps_few_rects_and_loses_no_pixel() {
        let mut damage = Damage::default();
        damage.add(Rect::new(0, 0, 10, 10));
        damage.add(Rect::new(2, 2, 3, 3));
        assert_eq!(damage.take(), [Rect::new(0, 0, 10, 10)]);

        damage.add(Rect::new(2, 2, 3, 3));
        damage.add(Rect::new(0, 0, 10, 10));
        assert_eq!(damage.take(), [Rect::new(0, 0, 10, 10)]);

        for i in 0..100 {
            damage.add(Rect::new(i * 10, i, 5, 1));
        }
        let rects = damage.take();
        assert!(rects.len() <= Damage::MAX_RECTS);
        for i in 0..100 {
            assert!(rects.iter().any(|rect| rect.contains(&Rect::new(i * 10, i, 5, 1))));
        }
    }
}
