//! From the backend's description of a scanout to a [`Frame`] the display can read.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use loopback_driver_glue::{MemoryWindow, export_dmabuf};
use rustix::io::Errno;
use virtio_loopback_display::{
    DisplayError, Frame, FrameLayout, MemoryError, Origin, PixelBuffer, PixelFormat, PixelMemory,
};

use crate::gpu::wire::RESOURCE_FLAG_Y_0_TOP;
use crate::vhost_gpu::message::{DmabufScanout, MemoryScanout, Scanout, Update};

/// Files of the backend that stay mapped. More than a driver flips between.
const MAX_BUFFERS: usize = 256;
/// Dma-bufs that stay mapped: a few of each of some scanouts.
const MAX_DMA_BUFS: usize = 8;
/// Buffers of the driver that stay exported, of each scanout: as many as programs flip between.
const MAX_EXPORTS: usize = 4;
/// DRM format modifiers: rows of pixels, and whatever the driver that made it knows.
const MODIFIER_LINEAR: u64 = 0;
const MODIFIER_INVALID: u64 = 0x00ff_ffff_ffff_ffff;
/// Pixels of all scanouts together, which bounds the copies made of them: as many as 16 displays of
/// 3840 × 2160 have. Fuzzing has no time to copy them.
pub const MAX_PIXELS: u64 = if cfg!(fuzzing) { 1 << 18 } else { 1 << 27 };

/// Why the backend's scanout cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ScanoutError {
    /// The pixels have a format no presenter reads.
    #[error("the backend shows pixels of the unknown format {0:#010x}")]
    Format(u32),
    /// The scanouts are too large.
    #[error("the backend's scanouts have more than {MAX_PIXELS} pixels together")]
    TooManyPixels,
    /// The pixels are not in rows.
    #[error(
        "the backend shows a dma-buf with pixels arranged in a way that only GPUs can read, modifier {0:#x}"
    )]
    Modifier(u64),
    /// The pixels are said to be at an impossible place.
    #[error("the backend's scanout ends beyond every memory")]
    Overflow,
    /// Pixels came for a scanout that has no size yet.
    #[error("pixels outside of scanout {0}")]
    NoScanout(u32),
    /// It does not tell what it is.
    #[error("cannot inspect the backend's dma-buf")]
    File(#[source] Errno),
    /// The display refused.
    #[error(transparent)]
    Display(#[from] DisplayError),
}

impl From<MemoryError> for ScanoutError {
    fn from(error: MemoryError) -> Self {
        Self::Display(error.into())
    }
}

/// What a buffer of the driver is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Export {
    /// The backend's number for what is there now.
    generation: u32,
    /// The driver's address of the first page.
    start: u64,
    /// Bytes, whole pages.
    length: u64,
}

/// The memory the scanouts lie in.
#[derive(Debug)]
pub struct ScanoutMemory {
    /// All of the driver's memory, mapped once for good.
    window: Arc<PixelMemory>,
    /// Files of the backend, by its number for them.
    buffers: HashMap<u64, Arc<PixelMemory>>,
    /// Dma-bufs that were shown last, by device and inode: drivers flip between a few.
    dma_bufs: VecDeque<((u64, u64), Arc<PixelMemory>)>,
    /// The window's file, if buffers of the driver are to be dma-bufs.
    exporter: Option<OwnedFd>,
    /// Buffers of the driver that each scanout has shown last, the newest at the end.
    exports: HashMap<u32, VecDeque<(Export, Arc<PixelMemory>)>>,
    /// Pixels of backends that send them as bytes, by scanout.
    copies: HashMap<u32, (FrameLayout, PixelBuffer)>,
    /// Pixels of the last frame of each scanout, which stays visible when the scanout goes off.
    pixels: HashMap<u32, u64>,
}

impl ScanoutMemory {
    /// Maps the transport's window.
    pub fn new(window: MemoryWindow<'_>) -> Result<Self, ScanoutError> {
        // The window's file never shrinks, and a page of it that the driver no longer maps reads
        // as another one's zeros, not as an error.
        let window = Arc::new(PixelMemory::map_trusted(window.fd, 0, window.size)?);
        let (buffers, dma_bufs, copies, pixels) = Default::default();
        let (exporter, exports) = Default::default();
        Ok(Self { window, buffers, dma_bufs, exporter, exports, copies, pixels })
    }

    /// Shows buffers of the driver as dma-bufs, where that can be: for a display that can do without
    /// copies of those.
    pub fn export_from(&mut self, window: MemoryWindow<'_>) {
        match window.fd.try_clone_to_owned() {
            Ok(fd) => self.exporter = Some(fd),
            Err(error) => log::warn!("the driver's buffers cannot be dma-bufs: {error}"),
        }
    }

    /// The frame of `MEMORY_SCANOUT`.
    pub fn memory_frame(
        &mut self,
        scanout: &MemoryScanout,
        fd: Option<OwnedFd>,
    ) -> Result<Frame, ScanoutError> {
        let (memory, offset) = match fd {
            None => match self.exported(scanout) {
                Some((memory, start)) => (memory, scanout.offset - start),
                None => (Arc::clone(&self.window), scanout.offset),
            },
            Some(fd) => (self.buffer(scanout, &fd)?, scanout.offset),
        };
        let layout = FrameLayout {
            offset,
            stride: scanout.stride,
            width: scanout.width,
            height: scanout.height,
            format: format(scanout.fourcc)?,
            origin: Origin::TopLeft,
        };
        self.frame(scanout.scanout_id, memory, layout)
    }

    /// Lets go of a file.
    pub fn release(&mut self, buffer: u64) {
        self.buffers.remove(&buffer);
    }

    /// A buffer of the driver as a dma-buf, and the address of its first byte.
    fn exported(&mut self, scanout: &MemoryScanout) -> Option<(Arc<PixelMemory>, u64)> {
        let exporter = self.exporter.as_ref().filter(|_| scanout.generation != 0)?;
        let page = rustix::param::page_size() as u64;
        let rows = u64::from(scanout.stride).checked_mul(scanout.height.into())?;
        let start = scanout.offset - scanout.offset % page;
        let end = scanout.offset.checked_add(rows.min(scanout.size))?;
        let length = end.checked_next_multiple_of(page)?.checked_sub(start)?;
        let export = Export { generation: scanout.generation, start, length };
        let exports = self.exports.entry(scanout.scanout_id).or_default();
        if let Some(known) = exports.iter().position(|(known, _)| *known == export) {
            let known = exports.remove(known)?;
            let memory = Arc::clone(&known.1);
            exports.push_back(known);
            return Some((memory, start));
        }
        let fd = export_dmabuf(exporter, &[(start, length)])
            .inspect_err(|error| log::debug!("a buffer is no dma-buf: {error}"))
            .ok()?;
        let memory = PixelMemory::map(fd.as_fd(), 0, length)
            .inspect_err(|error| log::debug!("a buffer's dma-buf is not mapped: {error}"))
            .ok()?;
        let memory = Arc::new(memory.with_modifier(MODIFIER_LINEAR));
        if exports.len() >= MAX_EXPORTS {
            exports.pop_front();
        }
        exports.push_back((export, Arc::clone(&memory)));
        Some((memory, start))
    }

    /// The frame of `DMABUF_SCANOUT`; a dma-buf or a memfd sealed against shrinking.
    pub fn dmabuf_frame(
        &mut self,
        scanout: &DmabufScanout,
        modifier: u64,
        fd: &OwnedFd,
    ) -> Result<Frame, ScanoutError> {
        // With none, as old backends have it, it is hoped for.
        if ![MODIFIER_LINEAR, MODIFIER_INVALID].contains(&modifier) {
            return Err(ScanoutError::Modifier(modifier));
        }
        let stride = u64::from(scanout.fd_stride);
        let length = stride.checked_mul(scanout.fd_height.into()).ok_or(ScanoutError::Overflow)?;
        let memory = self.dma_buf(fd, length, modifier)?;
        let column = u64::from(scanout.x) * 4;
        let (row, origin) = if scanout.fd_flags & RESOURCE_FLAG_Y_0_TOP == 0 {
            (Some(scanout.y), Origin::TopLeft)
        } else {
            let below = scanout.fd_height.checked_sub(scanout.y);
            (below.and_then(|rows| rows.checked_sub(scanout.height)), Origin::BottomLeft)
        };
        let row = row.and_then(|row| stride.checked_mul(row.into()));
        let offset = row.and_then(|row| row.checked_add(column));
        let layout = FrameLayout {
            offset: offset.ok_or(ScanoutError::Overflow)?,
            stride: scanout.fd_stride,
            width: scanout.width,
            height: scanout.height,
            format: format(scanout.fd_drm_fourcc.cast_unsigned())?,
            origin,
        };
        self.frame(scanout.scanout_id, memory, layout)
    }

    /// The frame that `UPDATE` fills.
    pub fn copied_frame(&mut self, scanout: &Scanout) -> Result<Frame, ScanoutError> {
        let layout = FrameLayout::packed(scanout.width, scanout.height, PixelFormat::Xrgb8888);
        let length = layout.end().map_err(DisplayError::from)?.ok_or(ScanoutError::Overflow)?;
        let buffer = PixelBuffer::new(length)?;
        let frame = self.frame(scanout.scanout_id, Arc::clone(buffer.memory()), layout)?;
        self.copies.insert(scanout.scanout_id, (layout, buffer));
        Ok(frame)
    }

    /// Writes the pixels of `UPDATE`.
    pub fn write(&self, update: &Update, pixels: &[u8]) -> Result<(), ScanoutError> {
        let outside = ScanoutError::NoScanout(update.scanout_id);
        let Some((layout, buffer)) = self.copies.get(&update.scanout_id) else {
            return Err(outside);
        };
        let fits = |start: u32, length: u32, bound: u32| {
            start.checked_add(length).is_some_and(|end| end <= bound)
        };
        if !fits(update.x, update.width, layout.width)
            || !fits(update.y, update.height, layout.height)
        {
            return Err(outside);
        }
        let row = update.width as usize * 4;
        if row == 0 {
            return Ok(());
        }
        let stride = u64::from(layout.stride);
        let mut offset = u64::from(update.y) * stride + u64::from(update.x) * 4;
        for pixels in pixels.chunks_exact(row) {
            buffer.write(offset, pixels)?;
            offset += stride;
        }
        Ok(())
    }

    /// Forgets what was copied for a scanout that is off.
    pub fn drop_copy(&mut self, scanout: u32) {
        self.copies.remove(&scanout);
    }

    /// The frame of a scanout, if there is room for its pixels.
    fn frame(
        &mut self,
        scanout: u32,
        memory: Arc<PixelMemory>,
        layout: FrameLayout,
    ) -> Result<Frame, ScanoutError> {
        let frame = Frame::new(memory, layout).map_err(DisplayError::from)?;
        let pixels = u64::from(layout.width) * u64::from(layout.height);
        let others = self.pixels.iter().filter(|(id, _)| **id != scanout).map(|(_, pixels)| pixels);
        if others.sum::<u64>() + pixels > MAX_PIXELS {
            return Err(ScanoutError::TooManyPixels);
        }
        self.pixels.insert(scanout, pixels);
        Ok(frame)
    }

    /// Dma-bufs that are not shown now are not kept.
    pub fn forget_dma_bufs(&mut self) {
        self.dma_bufs.clear();
        self.exports.clear();
    }

    /// Maps a dma-buf, unless it still is.
    fn dma_buf(
        &mut self,
        fd: &OwnedFd,
        length: u64,
        modifier: u64,
    ) -> Result<Arc<PixelMemory>, ScanoutError> {
        // A mapping keeps its dma-buf, and so no other one has the number.
        let status = rustix::fs::fstat(fd).map_err(ScanoutError::File)?;
        let number = (status.st_dev, status.st_ino);
        let known = self.dma_bufs.iter().find(|(other, _)| *other == number);
        if let Some((_, memory)) = known.filter(|(_, memory)| memory.len() == length) {
            return Ok(Arc::clone(memory));
        }
        let memory = Arc::new(PixelMemory::map(fd.as_fd(), 0, length)?.with_modifier(modifier));
        if !memory.is_dma_buf() {
            return Ok(memory);
        }
        if self.dma_bufs.len() >= MAX_DMA_BUFS {
            self.dma_bufs.pop_front();
        }
        self.dma_bufs.push_back((number, Arc::clone(&memory)));
        Ok(memory)
    }

    fn buffer(
        &mut self,
        scanout: &MemoryScanout,
        fd: &OwnedFd,
    ) -> Result<Arc<PixelMemory>, ScanoutError> {
        if let Some(memory) = self.buffers.get(&scanout.buffer) {
            return Ok(Arc::clone(memory));
        }
        if self.buffers.len() >= MAX_BUFFERS {
            // Each message brings its file, so one that is shown again is mapped again.
            self.buffers.clear();
        }
        let length = scanout.size;
        let memory = Arc::new(PixelMemory::map(fd.as_fd(), 0, length)?);
        self.buffers.insert(scanout.buffer, Arc::clone(&memory));
        Ok(memory)
    }
}

fn format(fourcc: u32) -> Result<PixelFormat, ScanoutError> {
    PixelFormat::from_fourcc(fourcc).ok_or(ScanoutError::Format(fourcc))
}
