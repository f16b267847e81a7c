//! Copies between the driver's memory and pixels, row by row.

use vm_memory::GuestMemory;

use super::super::backing::{Backing, BackingError};
use super::super::memfd::Memfd;
use super::super::rect::Rect;
use super::BYTES_PER_PIXEL;

/// Rows of bytes to copy, equally far apart on both sides.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) source: u64,
    pub(super) target: u64,
    pub(super) stride: u64,
    pub(super) row: u64,
    pub(super) count: u64,
}

impl Rows {
    /// The rows of a non-empty rectangle in memory of this stride.
    pub(super) fn of(rect: Rect, stride: u64, source: u64) -> Self {
        let (x, y) = (u64::from(rect.x), u64::from(rect.y));
        Self {
            source,
            target: y * stride + x * BYTES_PER_PIXEL,
            stride,
            row: u64::from(rect.width) * BYTES_PER_PIXEL,
            count: u64::from(rect.height),
        }
        .joined()
    }

    /// Rows without a gap are one row: one copy.
    fn joined(mut self) -> Self {
        if self.row == self.stride {
            self.row *= self.count;
            self.count = 1;
        }
        self
    }

    /// Whether `length` bytes hold all rows of the source.
    pub(super) fn check(&self, length: u64) -> Result<(), BackingError> {
        let end = self.source.checked_add((self.count - 1) * self.stride + self.row);
        match end {
            Some(end) if end <= length => Ok(()),
            _ => Err(BackingError::TooShort),
        }
    }

    pub(super) fn copy<M: GuestMemory>(
        &self,
        memory: &M,
        backing: &Backing,
        target: &Memfd,
    ) -> Result<(), BackingError> {
        for index in 0..self.count {
            let skip = index * self.stride;
            let row = target.slice(self.target + skip, self.row).ok_or(BackingError::TooShort)?;
            backing.copy_to(memory, self.source + skip, &row)?;
        }
        Ok(())
    }
}
