//! Memory with pixels in it.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::error::DriverError;
use super::memory::{Memory, PAGE_SIZE, Region};
use crate::gpu::Rect;
use crate::gpu::wire::{Format, MemEntry};

/// What the device makes of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferKind {
    /// RESOURCE_CREATE_2D: the device has pixels of its own, the buffer is where it copies from.
    Classic,
    /// A guest blob: the device shows the buffer itself.
    Blob,
    /// RESOURCE_CREATE_3D: as [`BufferKind::Classic`], and contexts can use it.
    Texture,
}

/// What a buffer shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSpec {
    /// What the device makes of it.
    pub kind: BufferKind,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Format of a pixel.
    pub format: Format,
    /// Bytes from a row to the next. A classic buffer has no choice: the width's.
    pub stride: u32,
    /// Byte of the first pixel. 0 for a classic buffer.
    pub offset: u32,
    /// Pages of a piece when the memory is in several: no two pieces that follow each other in the
    /// buffer do so in memory.
    pub piece_pages: Option<u32>,
}

impl BufferSpec {
    /// A buffer in one piece without gaps between its rows.
    pub fn new(kind: BufferKind, width: u32, height: u32, format: Format) -> Self {
        let stride = width.saturating_mul(Format::BYTES_PER_PIXEL);
        Self { kind, width, height, format, stride, offset: 0, piece_pages: None }
    }

    /// Bytes, if such a buffer can be.
    fn bytes(&self) -> Result<u64, DriverError> {
        let row = u64::from(self.width) * u64::from(Format::BYTES_PER_PIXEL);
        let stride = u64::from(self.stride);
        let bytes = u64::from(self.offset) + stride * u64::from(self.height);
        let classic = self.kind != BufferKind::Blob && (row != stride || self.offset != 0);
        if row == 0 || self.height == 0 || row > stride || classic {
            let Self { width, height, stride, .. } = *self;
            return Err(DriverError::Buffer { width, height, stride });
        }
        Ok(bytes)
    }
}

/// Pixels in the driver's memory, with the resource that the device knows them by.
///
/// Dropping it gives the memory back, whatever the device still does with it; see
/// [`GpuDriver::destroy_buffer`](super::GpuDriver::destroy_buffer).
#[derive(Debug)]
pub struct Buffer {
    pub(super) resource_id: u32,
    spec: BufferSpec,
    memory: Region,
    /// Bytes of a piece; the pieces are in memory in reverse order.
    piece: u64,
}

impl Buffer {
    pub(super) fn new(
        memory: &Memory,
        resource_id: u32,
        spec: BufferSpec,
    ) -> Result<Self, DriverError> {
        let bytes = spec.bytes()?;
        let whole = bytes.next_multiple_of(PAGE_SIZE);
        let pages = spec.piece_pages.filter(|pages| *pages > 0);
        let piece = pages.map_or(whole, |pages| u64::from(pages) * PAGE_SIZE);
        let memory = memory.allocate(bytes.next_multiple_of(piece))?;
        Ok(Self { resource_id, spec, memory, piece })
    }

    /// The resource.
    pub fn resource_id(&self) -> u32 {
        self.resource_id
    }

    /// What it was asked to be.
    pub fn spec(&self) -> &BufferSpec {
        &self.spec
    }

    /// Bytes, whole pages.
    pub fn size(&self) -> u64 {
        self.memory.size()
    }

    /// All of it.
    pub fn rect(&self) -> Rect {
        Rect::of_size(self.spec.width, self.spec.height)
    }

    /// Byte of a pixel within the buffer.
    pub fn offset_of(&self, x: u32, y: u32) -> u64 {
        u64::from(self.spec.offset)
            + u64::from(y) * u64::from(self.spec.stride)
            + u64::from(x) * u64::from(Format::BYTES_PER_PIXEL)
    }

    /// The pieces of memory, as the device is told of them.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = MemEntry> {
        // A region is at most 4 GiB long in one piece only in theory: lengths have 32 bits.
        let piece = self.piece.min(1 << 31);
        let count = usize::try_from(self.memory.size().div_ceil(piece)).unwrap_or(0);
        (0..count).map(move |index| {
            let offset = index as u64 * piece;
            let length = piece.min(self.memory.size() - offset);
            MemEntry {
                addr: self.address_of(offset).into(),
                length: (length as u32).into(),
                padding: 0.into(),
            }
        })
    }

    /// Address of a byte of the buffer.
    fn address_of(&self, offset: u64) -> u64 {
        self.memory.address() + self.place_of(offset)
    }

    /// Where a byte of the buffer is in the region.
    fn place_of(&self, offset: u64) -> u64 {
        let (piece, within) = (offset / self.piece, offset % self.piece);
        let pieces = self.memory.size() / self.piece;
        (pieces - 1 - piece) * self.piece + within
    }

    /// Runs of the `length` bytes from `offset` that are in one piece: (place, length).
    fn runs(&self, offset: u64, length: u64) -> impl Iterator<Item = (u64, usize)> {
        let end = offset + length;
        std::iter::successors(Some(offset), move |at| Some((at / self.piece + 1) * self.piece))
            .take_while(move |at| *at < end)
            .map(move |at| {
                let next = ((at / self.piece + 1) * self.piece).min(end);
                (self.place_of(at), (next - at) as usize)
            })
    }

    /// Whether the buffer has `count` pixels from there in one row.
    fn check(&self, x: u32, y: u32, count: usize) -> Result<(), DriverError> {
        let right = u64::from(x) + count as u64;
        if y < self.spec.height && right <= u64::from(self.spec.width) {
            Ok(())
        } else {
            Err(DriverError::Pixels { x, y, count })
        }
    }

    /// Writes pixels of row `y` from `x` on, each the little-endian word of its bytes in memory:
    /// 0xAARRGGBB for [`Format::B8g8r8a8`].
    pub fn write_pixels(&self, x: u32, y: u32, pixels: &[U32]) -> Result<(), DriverError> {
        self.check(x, y, pixels.len())?;
        let mut bytes = pixels.as_bytes();
        for (place, length) in self.runs(self.offset_of(x, y), bytes.len() as u64) {
            let (now, later) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
            self.memory.write(place, now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Reads `pixels.len()` pixels of row `y` from `x` on.
    pub fn read_pixels(&self, x: u32, y: u32, pixels: &mut [U32]) -> Result<(), DriverError> {
        self.check(x, y, pixels.len())?;
        let mut bytes = pixels.as_mut_bytes();
        for (place, length) in self.runs(self.offset_of(x, y), bytes.len() as u64) {
            let Some((now, later)) = bytes.split_at_mut_checked(length) else { break };
            self.memory.read(place, now)?;
            bytes = later;
        }
        Ok(())
    }

    /// One pixel.
    pub fn pixel(&self, x: u32, y: u32) -> Result<u32, DriverError> {
        let mut pixel = [U32::ZERO];
        self.read_pixels(x, y, &mut pixel)?;
        let [pixel] = pixel;
        Ok(pixel.get())
    }

    /// Fills a rectangle with one colour.
    pub fn fill(&self, rect: Rect, pixel: u32) -> Result<(), DriverError> {
        let row = vec![U32::new(pixel); rect.width as usize];
        (rect.y..rect.y.saturating_add(rect.height))
            .try_for_each(|y| self.write_pixels(rect.x, y, &row))
    }
}
