//! Scanouts, and where their pixels are.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError};

use super::rect::Rect;
use super::wire::{Format, MAX_SCANOUTS};

/// Memory that holds pixels.
#[derive(Debug, Clone)]
pub enum PixelMemory {
    /// A memfd sealed against shrinking and growing.
    Memfd(Arc<File>),
    /// Driver memory, in one piece.
    Guest {
        /// Where it begins, as the driver's addresses on the rings.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// The renderer's, as a dma-buf.
    DmaBuf(Arc<DmaBuf>),
}

/// A texture's memory, for another process to import or, if it is linear, to map.
#[derive(Debug)]
pub struct DmaBuf {
    /// The dma-buf. The first pixel is its first byte.
    pub fd: OwnedFd,
    /// Pixels of a row of the texture.
    pub width: u32,
    /// Rows of the texture.
    pub height: u32,
    /// Bytes from a row to the next.
    pub stride: u32,
    /// DRM format of a pixel: one of [`Format`]'s, not always the one that the driver has named.
    pub fourcc: u32,
    /// DRM format modifier: how pixels are arranged.
    pub modifier: u64,
    /// The resource's `Y_0_TOP`: the first row in memory is the lower one. virglrenderer turns such a
    /// resource over in transfers.
    pub y_0_top: bool,
}

/// Where the pixels of a scanout are, for a display that maps them itself.
///
/// All of `height` rows of `width` pixels, `stride` bytes apart, from byte `offset`, is within the
/// memory.
#[derive(Debug, Clone)]
pub struct ScanoutSource {
    /// The memory.
    pub memory: PixelMemory,
    /// Byte of the scanout's first pixel.
    pub offset: u64,
    /// Bytes from a row to the next.
    pub stride: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Format of a pixel. A scanout has no alpha: see [`Format::opaque`].
    pub format: Format,
    /// Names the memory: the same as long as a resource has it, never used again after.
    pub buffer: u64,
}

/// Why pixels could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The rectangle is not within the scanout.
    #[error("the rectangle is not within the scanout")]
    OutOfBounds,
    /// The memory file could not be read.
    #[error("reading pixel memory failed")]
    File(#[source] io::Error),
    /// The driver's memory does not reach that far (any more).
    #[error("reading the driver's memory failed")]
    Guest(#[source] GuestMemoryError),
    /// It is a dma-buf, which is for those who import it.
    #[error("the pixels are in a dma-buf, which is not read here")]
    DmaBuf,
}

impl ScanoutSource {
    /// Reads the pixels of `rect` into `pixels`, which afterwards holds its rows without gaps.
    pub fn read_rect<M: GuestMemory>(
        &self,
        memory: &M,
        rect: Rect,
        pixels: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        if !rect.fits(self.width, self.height) {
            return Err(ReadError::OutOfBounds);
        }
        pixels.clear();
        if rect.is_empty() {
            return Ok(());
        }
        let row = u64::from(rect.width) * u64::from(Format::BYTES_PER_PIXEL);
        let stride = u64::from(self.stride);
        let (bytes, rows) = if row == stride {
            (row * u64::from(rect.height), 1)
        } else {
            (row, u64::from(rect.height))
        };
        let bytes = usize::try_from(bytes).map_err(|_| ReadError::OutOfBounds)?;
        pixels.resize(bytes * rows as usize, 0);
        let mut offset = self.offset_of(rect.x, rect.y);
        for target in pixels.chunks_exact_mut(bytes) {
            self.read_at(memory, offset, target)?;
            offset += stride;
        }
        Ok(())
    }

    /// Byte of a pixel within the memory. 64 bits hold the sum of two products of 32 bits.
    fn offset_of(&self, x: u32, y: u32) -> u64 {
        let in_row = u64::from(x) * u64::from(Format::BYTES_PER_PIXEL);
        self.offset.saturating_add(u64::from(y) * u64::from(self.stride)).saturating_add(in_row)
    }

    fn read_at<M: GuestMemory>(
        &self,
        memory: &M,
        offset: u64,
        target: &mut [u8],
    ) -> Result<(), ReadError> {
        match &self.memory {
            PixelMemory::Memfd(file) => file.read_exact_at(target, offset).map_err(ReadError::File),
            PixelMemory::Guest { address, length } => {
                let end = offset.checked_add(target.len() as u64).filter(|end| end <= length);
                let address = end.and_then(|_| address.checked_add(offset));
                let address = GuestAddress(address.ok_or(ReadError::OutOfBounds)?);
                memory.read_slice(target, address).map_err(ReadError::Guest)
            }
            PixelMemory::DmaBuf(_) => Err(ReadError::DmaBuf),
        }
    }
}

/// Some of the scanouts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ScanoutSet(u16);

impl ScanoutSet {
    /// Adds a scanout, below [`MAX_SCANOUTS`].
    pub(super) fn insert(&mut self, scanout: u32) {
        self.0 |= 1u16.checked_shl(scanout).unwrap_or(0);
    }

    pub(super) fn remove(&mut self, scanout: u32) {
        self.0 &= !1u16.checked_shl(scanout).unwrap_or(0);
    }

    /// A bit per scanout.
    pub(super) fn mask(self) -> u32 {
        self.0.into()
    }

    /// The scanouts of a mask.
    pub(super) fn of_mask(mask: u32) -> Self {
        Self(mask as u16)
    }

    /// Whether this one is there.
    pub(super) fn contains(self, scanout: u32) -> bool {
        self.0 & 1u16.checked_shl(scanout).unwrap_or(0) != 0
    }

    /// The scanouts, in rising order.
    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0..MAX_SCANOUTS as u32).filter(move |&scanout| self.contains(scanout))
    }
}

/// What a scanout shows.
#[derive(Debug)]
pub(super) struct Scanout {
    pub(super) resource_id: u32,
    /// The part of the resource's image or of the blob's frame that is shown.
    pub(super) rect: Rect,
    pub(super) source: ScanoutSource,
    /// The display does not know of it yet: it shows what was there before until the first flush, with
    /// which the picture is complete.
    pub(super) awaits_flush: bool,
}

/// All scanouts of the device.
#[derive(Debug, Default)]
pub(super) struct Scanouts {
    shown: [Option<Scanout>; MAX_SCANOUTS],
}

impl Scanouts {
    /// Replaces what a scanout shows; `scanout` is below [`MAX_SCANOUTS`].
    pub(super) fn set(&mut self, scanout: u32, shown: Option<Scanout>) {
        if let Some(slot) = self.shown.get_mut(scanout as usize) {
            *slot = shown;
        }
    }

    pub(super) fn get_mut(&mut self, scanout: u32) -> Option<&mut Scanout> {
        self.shown.get_mut(scanout as usize)?.as_mut()
    }

    /// Whether the display looks at the driver's own pages.
    pub(super) fn shows_guest_memory(&self, scanout: u32) -> bool {
        let shown = self.shown.get(scanout as usize).and_then(Option::as_ref);
        shown.is_some_and(|shown| matches!(shown.source.memory, PixelMemory::Guest { .. }))
    }

    pub(super) fn is_on(&self, scanout: u32) -> bool {
        self.shown.get(scanout as usize).is_some_and(Option::is_some)
    }

    /// The scanouts that are on, with their number.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Scanout)> {
        (0u32..).zip(&self.shown).filter_map(|(number, shown)| Some((number, shown.as_ref()?)))
    }

    /// The scanouts that show a resource, with their number.
    pub(super) fn of(&self, resource_id: u32) -> impl Iterator<Item = (u32, &Scanout)> {
        self.all().filter(move |(_, shown)| shown.resource_id == resource_id)
    }

    /// Turns off all scanouts for which `which` holds and returns their numbers.
    pub(super) fn take(&mut self, which: impl Fn(&Scanout) -> bool) -> ScanoutSet {
        let mut taken = ScanoutSet::default();
        for (number, shown) in (0u32..).zip(&mut self.shown) {
            if shown.take_if(|shown| which(shown)).is_some() {
                taken.insert(number);
            }
        }
        taken
    }
}
