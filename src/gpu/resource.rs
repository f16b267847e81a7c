//! The resource table: what there is, what it costs, and how its pixels get to where they are shown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use vm_memory::GuestMemory;

use super::backing::{Backing, BackingError};
use super::error::CommandError;
use super::limits::Limits;
use super::memfd::Memfd;
use super::rect::Rect;
use super::scanout::{PixelMemory, ScanoutSource};
use super::wire::Format;

const BYTES_PER_PIXEL: u64 = Format::BYTES_PER_PIXEL as u64;

/// A resource.
#[derive(Debug)]
pub(super) struct Resource {
    /// See [`ScanoutSource::buffer`].
    pub(super) serial: u64,
    pub(super) uuid: Option<[u8; 16]>,
    pub(super) backing: Option<Backing>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Image(Image),
    Blob(Blob),
}

/// A classic 2D resource: pixels of its own, filled from its backing by transfers.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) format: Format,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from a row to the next: rows have no gap.
    pub(super) stride: u32,
    pub(super) bytes: u64,
    /// There once something was written to it or it was shown.
    pub(super) memory: Option<Memfd>,
}

/// A resource that is its backing.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) size: u64,
    /// Width and height a cursor of this blob has: those of the last transfer.
    pub(super) cursor_size: Option<(u32, u32)>,
    /// Stands in for a backing of several pieces while it is shown.
    pub(super) shadow: Option<Memfd>,
}

impl Image {
    /// An image without memory, `None` when its size cannot be counted.
    pub(super) fn new(format: Format, width: u32, height: u32) -> Option<Self> {
        let stride = width.checked_mul(Format::BYTES_PER_PIXEL)?;
        let bytes = u64::from(stride) * u64::from(height);
        Some(Self { format, width, height, stride, bytes, memory: None })
    }
}

/// What is held of that which [`Limits`] bounds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) files: usize,
    pub(super) backing_entries: usize,
}

impl Usage {
    fn add_bytes(&mut self, bytes: u64, limits: &Limits) -> Result<(), CommandError> {
        let sum = self.bytes.checked_add(bytes).filter(|&sum| sum <= limits.bytes);
        self.bytes = sum.ok_or(CommandError::OverLimit("bytes"))?;
        Ok(())
    }

    fn add_file(&mut self, limits: &Limits) -> Result<(), CommandError> {
        if self.files >= limits.files {
            return Err(CommandError::OverLimit("files"));
        }
        self.files += 1;
        Ok(())
    }
}

/// All resources of a device.
#[derive(Debug)]
pub(super) struct Resources {
    table: HashMap<u32, Resource>,
    limits: Limits,
    usage: Usage,
    next_serial: u64,
}

impl Resources {
    pub(super) fn new(limits: Limits) -> Self {
        Self { table: HashMap::new(), limits, usage: Usage::default(), next_serial: 1 }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn get(&self, id: u32) -> Result<&Resource, CommandError> {
        self.table.get(&id).ok_or(CommandError::NoResource(id))
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Result<&mut Resource, CommandError> {
        self.table.get_mut(&id).ok_or(CommandError::NoResource(id))
    }

    /// Whether a resource with this id could be made.
    pub(super) fn check_free(&self, id: u32) -> Result<(), CommandError> {
        if id == 0 || self.table.contains_key(&id) {
            return Err(CommandError::ResourceIdTaken(id));
        }
        if self.table.len() >= self.limits.resources {
            return Err(CommandError::OverLimit("resources"));
        }
        Ok(())
    }

    /// Puts a new resource into the table. An image pays for its pixels now, whenever it gets them.
    pub(super) fn insert(
        &mut self,
        id: u32,
        kind: Kind,
        backing: Option<Backing>,
    ) -> Result<(), CommandError> {
        self.check_free(id)?;
        if let Kind::Image(image) = &kind {
            self.usage.add_bytes(image.bytes, &self.limits)?;
        }
        self.usage.backing_entries += backing.as_ref().map_or(0, Backing::pieces);
        let serial = self.next_serial;
        self.next_serial += 1;
        self.table.insert(id, Resource { serial, uuid: None, backing, kind });
        Ok(())
    }

    /// Takes a resource and all it holds from the table.
    pub(super) fn remove(&mut self, id: u32) -> Result<(), CommandError> {
        let Entry::Occupied(entry) = self.table.entry(id) else {
            return Err(CommandError::NoResource(id));
        };
        let resource = entry.remove();
        self.usage.backing_entries -= resource.backing.as_ref().map_or(0, Backing::pieces);
        let (bytes, file) = match &resource.kind {
            Kind::Image(image) => (image.bytes, image.memory.is_some()),
            Kind::Blob(blob) if blob.shadow.is_some() => (blob.size, true),
            Kind::Blob(_) => (0, false),
        };
        self.usage.bytes -= bytes;
        self.usage.files -= usize::from(file);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.table = HashMap::new();
        self.usage = Usage::default();
    }

    /// Whether `count` more entries may be read from a request.
    pub(super) fn check_entries(&self, count: u32) -> Result<usize, CommandError> {
        let left = self.limits.total_backing_entries.saturating_sub(self.usage.backing_entries);
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= left.min(self.limits.backing_entries))
            .ok_or(CommandError::OverLimit("backing entries"))
    }

    /// Gives a resource that has none its backing.
    pub(super) fn attach(&mut self, id: u32, backing: Backing) -> Result<(), CommandError> {
        let pieces = backing.pieces();
        let serial = self.next_serial;
        let resource = self.get_mut(id)?;
        if resource.backing.is_some() {
            return Err(CommandError::HasBacking(id));
        }
        resource.backing = Some(backing);
        if matches!(resource.kind, Kind::Blob(_)) {
            // Other memory, for whoever has mapped the old one.
            resource.serial = serial;
            self.next_serial += 1;
        }
        self.usage.backing_entries += pieces;
        Ok(())
    }

    /// Takes the backing of a resource, and what stood in for it.
    pub(super) fn detach(&mut self, id: u32) -> Result<(), CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        let backing = resource.backing.take().ok_or(CommandError::NoBacking(id))?;
        self.usage.backing_entries -= backing.pieces();
        if let Kind::Blob(blob) = &mut resource.kind
            && blob.shadow.take().is_some()
        {
            self.usage.bytes -= blob.size;
            self.usage.files -= 1;
        }
        Ok(())
    }

    /// Copies a rectangle of an image from byte `offset` of the backing on, where its rows are as far
    /// apart as in the image. For a blob, which needs no copy, keeps the size for a cursor.
    pub(super) fn transfer<M: GuestMemory>(
        &mut self,
        memory: &M,
        id: u32,
        rect: Rect,
        offset: u64,
    ) -> Result<(), CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        let backing = resource.backing.as_ref().ok_or(CommandError::NoBacking(id))?;
        let image = match &mut resource.kind {
            Kind::Image(image) => image,
            Kind::Blob(blob) => {
                blob.cursor_size = Some((rect.width, rect.height));
                return Ok(());
            }
        };
        if !rect.fits(image.width, image.height) {
            return Err(CommandError::OutOfRange("rectangle"));
        }
        if rect.is_empty() {
            return Ok(());
        }
        let rows = Rows::of(rect, u64::from(image.stride), offset);
        rows.check(backing.len())?;
        let target = image_memory(image, &mut self.usage, &self.limits)?;
        Ok(rows.copy(memory, backing, target)?)
    }

    /// Where an image's pixels are, for a scanout that shows `rect` of it.
    pub(super) fn image_source(
        &mut self,
        id: u32,
        rect: Rect,
    ) -> Result<ScanoutSource, CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        let Kind::Image(image) = &mut resource.kind else {
            return Err(CommandError::WrongKind(id));
        };
        if rect.is_empty() || !rect.fits(image.width, image.height) {
            return Err(CommandError::OutOfRange("rectangle"));
        }
        let (stride, format) = (image.stride, image.format);
        let file = image_memory(image, &mut self.usage, &self.limits)?.file();
        Ok(ScanoutSource {
            memory: PixelMemory::Memfd(file.clone()),
            offset: u64::from(rect.y) * u64::from(stride) + u64::from(rect.x) * BYTES_PER_PIXEL,
            stride,
            width: rect.width,
            height: rect.height,
            format,
            buffer: resource.serial,
        })
    }

    /// Memory of a blob in one piece, for a scanout: the driver's own, or a shadow of it.
    pub(super) fn blob_memory<M: GuestMemory>(
        &mut self,
        memory: &M,
        id: u32,
    ) -> Result<PixelMemory, CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        let Kind::Blob(blob) = &mut resource.kind else {
            return Err(CommandError::WrongKind(id));
        };
        let backing = resource.backing.as_ref().ok_or(CommandError::NoBacking(id))?;
        if let Some(shadow) = &blob.shadow {
            return Ok(PixelMemory::Memfd(shadow.file().clone()));
        }
        if let Some(address) = backing.contiguous(memory, blob.size) {
            return Ok(PixelMemory::Guest { address, length: blob.size });
        }
        self.usage.add_bytes(blob.size, &self.limits)?;
        let shadow = new_file(blob.size, &mut self.usage, &self.limits)
            .inspect_err(|_| self.usage.bytes -= blob.size)?;
        Ok(PixelMemory::Memfd(blob.shadow.insert(shadow).file().clone()))
    }

    /// Brings the shadow of a blob, if it has one, up to date with `rect` of a scanout.
    pub(super) fn refresh_shadow<M: GuestMemory>(
        &self,
        memory: &M,
        id: u32,
        source: &ScanoutSource,
        rect: Rect,
    ) -> Result<(), CommandError> {
        let resource = self.get(id)?;
        let (Kind::Blob(Blob { shadow: Some(shadow), .. }), Some(backing)) =
            (&resource.kind, &resource.backing)
        else {
            return Ok(());
        };
        let mut rows = Rows::of(rect, u64::from(source.stride), 0);
        rows.target += source.offset;
        rows.source = rows.target;
        Ok(rows.copy(memory, backing, shadow)?)
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Resource)> {
        self.table.iter().map(|(&id, resource)| (id, resource))
    }
}

/// The memory of an image, made when it is needed first.
fn image_memory<'a>(
    image: &'a mut Image,
    usage: &mut Usage,
    limits: &Limits,
) -> Result<&'a Memfd, CommandError> {
    let bytes = image.bytes;
    match &mut image.memory {
        Some(memory) => Ok(memory),
        memory => Ok(memory.insert(new_file(bytes, usage, limits)?)),
    }
}

fn new_file(bytes: u64, usage: &mut Usage, limits: &Limits) -> Result<Memfd, CommandError> {
    usage.add_file(limits)?;
    Memfd::new(bytes).map_err(|error| {
        usage.files -= 1;
        error.into()
    })
}

/// Rows of bytes to copy, equally far apart on both sides.
#[derive(Debug)]
struct Rows {
    source: u64,
    target: u64,
    stride: u64,
    row: u64,
    count: u64,
}

impl Rows {
    /// The rows of a non-empty rectangle in memory of this stride.
    fn of(rect: Rect, stride: u64, source: u64) -> Self {
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
    fn check(&self, length: u64) -> Result<(), BackingError> {
        let end = self.source.checked_add((self.count - 1) * self.stride + self.row);
        match end {
            Some(end) if end <= length => Ok(()),
            _ => Err(BackingError::TooShort),
        }
    }

    fn copy<M: GuestMemory>(
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
