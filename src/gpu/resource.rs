//! The resource table: what there is, what it costs, and how its pixels get to where they are shown.

mod kind;
mod rows;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::sync::Arc;

use vm_memory::GuestMemory;

use super::backing::Backing;
use super::counters::Counts;
use super::engine::MemoryKeeper;
use super::error::CommandError;
use super::limits::{LimitKind, Limits};
use super::memfd::Memfd;
use super::rect::Rect;
use super::scanout::{DmaBuf, PixelMemory, ScanoutSource};
use super::state::{IS_TEXTURE, Place, ResourceRecord, StateFile, pair};
use super::wire::{Format, RespType};

pub(super) use kind::{Blob, HostBlob, Image, Kind, Resource, Texture};
use rows::Rows;

const BYTES_PER_PIXEL: u64 = Format::BYTES_PER_PIXEL as u64;

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
        self.bytes = sum.ok_or(CommandError::OverLimit(LimitKind::Bytes))?;
        Ok(())
    }

    fn add_file(&mut self, limits: &Limits) -> Result<(), CommandError> {
        if self.files >= limits.files {
            return Err(CommandError::OverLimit(LimitKind::Files));
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
    /// Where another process can read all of this.
    state: Option<StateFile>,
    /// Memory of an image that was made since it was last asked for.
    made: Option<KeptMemory>,
    /// What the limits have come to.
    pub(super) counts: Counts,
}

/// Pixels of a classic resource, for whoever keeps them for another process.
#[derive(Debug)]
pub(super) struct KeptMemory {
    /// See [`ScanoutSource::buffer`].
    pub(super) buffer: u64,
    pub(super) file: Arc<File>,
    pub(super) bytes: u64,
}

impl Resources {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            table: HashMap::new(),
            limits,
            usage: Usage::default(),
            next_serial: 1,
            state: None,
            made: None,
            counts: Counts::default(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn get(&self, id: u32) -> Result<&Resource, CommandError> {
        self.table.get(&id).ok_or(CommandError::NoResource(id))
    }

    pub(super) fn state(&mut self) -> Option<&mut StateFile> {
        self.state.as_mut()
    }

    /// A number that no memory had before.
    fn new_serial(&mut self) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        if let Some(state) = &self.state {
            state.set_next_serial(self.next_serial);
        }
        serial
    }

    /// The UUID of a resource, which it keeps.
    pub(super) fn uuid(
        &mut self,
        id: u32,
        new: impl FnOnce() -> [u8; 16],
    ) -> Result<[u8; 16], CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        if let Some(uuid) = resource.uuid {
            return Ok(uuid);
        }
        let uuid = *resource.uuid.insert(new());
        if let (Some(state), Some(place)) = (&self.state, &resource.place) {
            state.set_uuid(place, uuid);
        }
        Ok(uuid)
    }

    /// Memory of an image that is there since the last call.
    pub(super) fn take_made(&mut self) -> Option<KeptMemory> {
        self.made.take()
    }

    /// Memory of all images that have some.
    pub(super) fn image_memories(&self) -> impl Iterator<Item = KeptMemory> {
        self.table.values().filter_map(|resource| {
            let image = resource.kind.image()?;
            let file = Arc::clone(image.memory.as_ref()?.file());
            Some(KeptMemory { buffer: resource.serial, file, bytes: image.bytes })
        })
    }

    /// A blob of the renderer's that the driver may map.
    pub(super) fn host_blob(&mut self, id: u32) -> Result<&mut HostBlob, CommandError> {
        match self.table.get_mut(&id).map(|resource| &mut resource.kind) {
            Some(Kind::HostBlob(blob)) if blob.mappable => Ok(blob),
            Some(_) => Err(CommandError::WrongKind(id)),
            None => Err(CommandError::NoResource(id)),
        }
    }

    /// Numbers of the resources that the 3D renderer has, too.
    pub(super) fn rendered(&self) -> impl Iterator<Item = u32> {
        self.table.iter().filter(|(_, resource)| resource.rendered).map(|(&id, _)| id)
    }

    /// An image is the 3D renderer's from now on; its memory is the copy for the display.
    pub(super) fn become_texture(&mut self, id: u32) -> Result<(), CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        let Kind::Image(image) = &mut resource.kind else {
            return Err(CommandError::WrongKind(id));
        };
        let Image { format, width, height, stride, bytes, .. } = *image;
        if image.memory.is_some() {
            self.usage.add_bytes(bytes, &self.limits)?;
        }
        let memory = image.memory.take();
        let image = Some(Image { format, width, height, stride, bytes, memory, lost: false });
        if let (Some(state), Some(place)) = (&self.state, &resource.place) {
            state.set_texture(place);
        }
        resource.kind = Kind::Texture(Texture { bytes, image, y_0_top: true, dma_buf: None });
        resource.rendered = true;
        Ok(())
    }

    /// A texture is this dma-buf, too.
    pub(super) fn set_dma_buf(&mut self, id: u32, dma_buf: Arc<DmaBuf>) {
        if let Some(Resource { kind: Kind::Texture(texture), .. }) = self.table.get_mut(&id) {
            texture.dma_buf = Some(dma_buf);
        }
    }

    /// Keeps what the backing of a resource is mapped in.
    pub(super) fn hold_memory(&mut self, id: u32, memory: Option<MemoryKeeper>) {
        if let Some(resource) = self.table.get_mut(&id) {
            resource.memory = memory;
        }
    }

    /// The 3D renderer has a resource, too.
    pub(super) fn set_rendered(&mut self, id: u32) {
        if let Some(resource) = self.table.get_mut(&id) {
            resource.rendered = true;
        }
    }

    /// Whether a resource with this id could be made.
    pub(super) fn check_free(&self, id: u32) -> Result<(), CommandError> {
        if id == 0 || self.table.contains_key(&id) {
            return Err(CommandError::ResourceIdTaken(id));
        }
        if self.table.len() >= self.limits.resources {
            return Err(CommandError::OverLimit(LimitKind::Resources));
        }
        Ok(())
    }

    /// Puts a new resource into the table.
    pub(super) fn insert(
        &mut self,
        id: u32,
        kind: Kind,
        backing: Option<Backing>,
    ) -> Result<(), CommandError> {
        self.check_free(id)?;
        if kind.files() > 0 && !self.has_room_for_file() {
            return Err(CommandError::OverLimit(LimitKind::Files));
        }
        self.usage.add_bytes(kind.bytes(), &self.limits)?;
        self.usage.files += kind.files();
        self.usage.backing_entries += backing.as_ref().map_or(0, Backing::pieces);
        let serial = self.new_serial();
        let rendered = matches!(kind, Kind::Texture(_) | Kind::HostBlob(_));
        let mut resource =
            Resource { serial, uuid: None, backing, kind, place: None, rendered, memory: None };
        if let Some(state) = &mut self.state {
            resource.place = record(state, id, &resource);
        }
        self.table.insert(id, resource);
        Ok(())
    }

    /// Takes a resource and all it holds from the table.
    pub(super) fn remove(&mut self, id: u32) -> Result<(), CommandError> {
        let Entry::Occupied(entry) = self.table.entry(id) else {
            return Err(CommandError::NoResource(id));
        };
        let resource = entry.remove();
        if let (Some(state), Some(place)) = (&mut self.state, &resource.place) {
            state.remove(place);
        }
        self.usage.backing_entries -= resource.backing.as_ref().map_or(0, Backing::pieces);
        self.usage.bytes -= resource.kind.bytes() + resource.kind.copy().unwrap_or(0);
        self.usage.files -= resource.kind.files();
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.table = HashMap::new();
        self.usage = Usage::default();
        if let Some(state) = &mut self.state {
            state.clear();
        }
        self.publish();
    }

    /// Keeps how a command was answered that is not given back yet, or lets go of that.
    pub(super) fn set_answered(&self, head: u16, type_: Option<RespType>) {
        if let Some(state) = &self.state {
            // All types are below 0x2000.
            state.set_answered(head, type_.map_or(0, |type_| type_ as u16));
        }
    }

    /// How an earlier device answered a command that it has not given back, if it is known.
    pub(super) fn answered(&self, head: u16) -> Option<RespType> {
        RespType::from_raw(self.state.as_ref()?.answered(head).into())
    }

    /// A queue was served up to an index, and the device had so many of its commands before.
    pub(super) fn serve_queue(&mut self, queue: u16, taken: u16, outstanding: u32) {
        self.counts.serve(queue, taken, outstanding, self.state.as_ref());
    }

    /// Shows whoever reads the state file what is held now.
    pub(super) fn publish(&mut self) {
        let Usage { bytes, files, backing_entries } = self.usage;
        self.counts.hold(LimitKind::Resources, self.table.len() as u64);
        self.counts.hold(LimitKind::Bytes, bytes);
        self.counts.hold(LimitKind::Files, files as u64);
        self.counts.hold(LimitKind::TotalBackingEntries, backing_entries as u64);
        self.counts.publish(self.state.as_ref());
    }

    /// Whether `count` more entries may be read from a request.
    pub(super) fn check_entries(&self, count: u32) -> Result<usize, CommandError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.limits.backing_entries {
            Err(CommandError::OverLimit(LimitKind::BackingEntries))
        } else if count > self.entries_left() {
            Err(CommandError::OverLimit(LimitKind::TotalBackingEntries))
        } else {
            Ok(count)
        }
    }

    /// Backing entries that a resource may still get.
    pub(super) fn entries_left(&self) -> usize {
        let left = self.limits.total_backing_entries.saturating_sub(self.usage.backing_entries);
        left.min(self.limits.backing_entries)
    }

    /// Whether the pixels of a resource would not go over the limit.
    pub(super) fn has_room_for(&self, kind: &Kind) -> bool {
        self.usage.bytes.checked_add(kind.bytes()).is_some_and(|sum| sum <= self.limits.bytes)
    }

    /// Whether one more resource may have memory of its own.
    pub(super) fn has_room_for_file(&self) -> bool {
        self.usage.files < self.limits.files
    }

    /// Puts a resource into the table for which there is room, and which has its place already.
    pub(super) fn put_restored(&mut self, id: u32, resource: Resource) {
        self.usage.bytes += resource.kind.bytes();
        self.usage.files += resource.kind.files();
        self.usage.backing_entries += resource.backing.as_ref().map_or(0, Backing::pieces);
        self.table.insert(id, resource);
    }

    /// Keeps `state` up to date from now on.
    pub(super) fn go_on_with(&mut self, state: StateFile, next_serial: u64) {
        self.next_serial = next_serial;
        state.set_next_serial(next_serial);
        self.counts.go_on_from(&state);
        self.state = Some(state);
        self.publish();
    }

    /// Gives a resource that has none its backing.
    pub(super) fn attach(&mut self, id: u32, backing: Backing) -> Result<(), CommandError> {
        let resource = self.get(id)?;
        if resource.backing.is_some() {
            return Err(CommandError::HasBacking(id));
        }
        // Other memory, for whoever has mapped the old one.
        let serial = matches!(resource.kind, Kind::Blob(_)).then(|| self.new_serial());
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        self.usage.backing_entries += backing.pieces();
        resource.serial = serial.unwrap_or(resource.serial);
        if let (Some(state), Some(place)) = (&mut self.state, &mut resource.place) {
            state.set_serial(place, resource.serial);
            state.set_backing(place, backing.iter());
        }
        resource.backing = Some(backing);
        Ok(())
    }

    /// Takes the backing of a resource, and what stood in for it.
    pub(super) fn detach(&mut self, id: u32) -> Result<(), CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        let backing = resource.backing.take().ok_or(CommandError::NoBacking(id))?;
        self.usage.backing_entries -= backing.pieces();
        if let (Some(state), Some(place)) = (&mut self.state, &mut resource.place) {
            state.set_backing(place, std::iter::empty());
        }
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
            Kind::Texture(_) | Kind::HostBlob(_) => return Err(CommandError::WrongKind(id)),
            Kind::Blob(blob) => {
                let size = (rect.width, rect.height);
                if blob.cursor_size.replace(size) != Some(size)
                    && let (Some(state), Some(place)) = (&self.state, &resource.place)
                {
                    state.set_cursor_size(place, size);
                }
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
        if image.memory.is_none() {
            self.made = Some(make_memory(image, resource.serial, &mut self.usage, &self.limits)?);
        }
        let target = image.memory.as_ref().ok_or(CommandError::OverLimit(LimitKind::Files))?;
        Ok(rows.copy(memory, backing, target)?)
    }

    /// Where an image's pixels are, for a scanout that shows `rect` of it.
    pub(super) fn image_source(
        &mut self,
        id: u32,
        rect: Rect,
    ) -> Result<ScanoutSource, CommandError> {
        let resource = self.table.get_mut(&id).ok_or(CommandError::NoResource(id))?;
        let is_copy = matches!(resource.kind, Kind::Texture(_));
        let image = resource.kind.image_mut().ok_or(CommandError::WrongKind(id))?;
        if rect.is_empty() || !rect.fits(image.width, image.height) {
            return Err(CommandError::OutOfRange("rectangle"));
        }
        let (stride, format) = (image.stride, image.format);
        if image.memory.is_none() {
            let copy = if is_copy { image.bytes } else { 0 };
            self.usage.add_bytes(copy, &self.limits)?;
            let made = make_memory(image, resource.serial, &mut self.usage, &self.limits);
            self.made = Some(made.inspect_err(|_| self.usage.bytes -= copy)?);
        }
        let memory = image.memory.as_ref().ok_or(CommandError::OverLimit(LimitKind::Files))?;
        Ok(ScanoutSource {
            memory: PixelMemory::Memfd(memory.file().clone()),
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

/// Makes the memory of an image, which is needed now for the first time.
fn make_memory(
    image: &mut Image,
    buffer: u64,
    usage: &mut Usage,
    limits: &Limits,
) -> Result<KeptMemory, CommandError> {
    let memory = image.memory.insert(new_file(image.bytes, usage, limits)?);
    Ok(KeptMemory { buffer, file: Arc::clone(memory.file()), bytes: image.bytes })
}

/// Writes a resource to the state file. `None`: it has no room, which the limits rule out.
fn record(state: &mut StateFile, id: u32, resource: &Resource) -> Option<Place> {
    let mut record = ResourceRecord { id, serial: resource.serial, ..ResourceRecord::default() };
    match (&resource.kind, resource.kind.image()) {
        // Of a texture the next process has what was last shown of it.
        (_, Some(image)) => {
            if matches!(resource.kind, Kind::Texture(_)) {
                record.flags = IS_TEXTURE;
            }
            record.format = image.format as u32;
            record.dimensions = pair((image.width, image.height));
        }
        (Kind::Blob(blob), _) => record.size = blob.size,
        // It has nothing of other resources of 3D.
        _ => return None,
    }
    match &resource.backing {
        Some(backing) => state.insert(record, backing.iter()),
        None => state.insert(record, std::iter::empty()),
    }
}

fn new_file(bytes: u64, usage: &mut Usage, limits: &Limits) -> Result<Memfd, CommandError> {
    usage.add_file(limits)?;
    Memfd::new(bytes).map_err(|error| {
        usage.files -= 1;
        error.into()
    })
}
