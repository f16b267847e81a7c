//! A device that goes on where another one, in a process that died, has ended.
//!
//! What that process left is input like any other: records that make no sense or go over a limit are
//! dropped, and so the driver's next command for them fails.

use std::collections::{HashMap, HashSet};
use std::fs::File;

use vm_memory::GuestMemory;
use zerocopy::FromZeros;

use super::Gpu;
use super::backing::Backing;
use super::memfd::Memfd;
use super::rect::Rect;
use super::resource::{Blob, Image, Kind, Resource, Resources};
use super::scanout::{Scanout, ScanoutSet};
use super::state::{
    HAS_CURSOR_SIZE, HAS_UUID, IS_TEXTURE, ResourceRecord, ScanoutRecord, StateFile, Taken, unpair,
};
use super::wire::{Format, MAX_SCANOUTS, SetScanoutBlob, WireRect};

/// What became of the records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Resources that are there again.
    pub resources: usize,
    /// Scanouts that are on again.
    pub scanouts: usize,
    /// Records that made no sense.
    pub dropped: usize,
}

impl Gpu {
    /// Takes over what `state` says, into a device that has done nothing yet, and keeps `state` up to
    /// date from then on. `pixels` are the files of classic resources, by the number they were given
    /// to [`keep_memory`](super::Display::keep_memory) with.
    ///
    /// Nothing is shown yet: see [`Self::show_again`].
    pub fn restore<M: GuestMemory>(
        &mut self,
        state: StateFile,
        pixels: HashMap<u64, File>,
        memory: &M,
    ) -> Restored {
        let mut restored = self.resources.restore(state, pixels, memory);
        for scanout in 0..self.resources.limits().scanouts.min(MAX_SCANOUTS as u32) {
            let record = self.resources.state().map(|state| state.scanout(scanout));
            let Some(record) = record.filter(|record| record.on == 1) else { continue };
            let shown = self.restored_scanout(&record, memory);
            match shown {
                Some(_) => restored.scanouts += 1,
                None => {
                    restored.dropped += 1;
                    if let Some(state) = self.resources.state() {
                        state.set_scanout(scanout, None);
                    }
                }
            }
            self.scanouts.set(scanout, shown);
        }
        let scanouts = self.resources.limits().scanouts;
        if let Some(state) = self.resources.state() {
            let known = 1_u32.checked_shl(scanouts).map_or(u32::MAX, |end| end - 1);
            self.cursors.visible = ScanoutSet::of_mask(state.header().cursors & known);
        }
        restored
    }

    fn restored_scanout<M: GuestMemory>(
        &mut self,
        record: &ScanoutRecord,
        memory: &M,
    ) -> Option<Scanout> {
        let ScanoutRecord { resource_id, x, y, width, height, .. } = *record;
        let rect = Rect { x, y, width, height };
        if record.blob == 0 {
            let source = self.resources.image_source(resource_id, rect).ok()?;
            return Some(Scanout { resource_id, rect, source, awaits_flush: false });
        }
        let mut body = SetScanoutBlob::new_zeroed();
        body.resource_id.set(resource_id);
        body.r = WireRect { x: x.into(), y: y.into(), width: width.into(), height: height.into() };
        body.width.set(record.frame_width);
        body.height.set(record.frame_height);
        body.format.set(record.format);
        let ([stride, ..], [offset, ..]) = (&mut body.strides, &mut body.offsets);
        stride.set(record.stride);
        offset.set(record.offset);
        self.blob_scanout(&body, memory).ok()
    }
}

impl Resources {
    fn restore<M: GuestMemory>(
        &mut self,
        mut state: StateFile,
        mut pixels: HashMap<u64, File>,
        memory: &M,
    ) -> Restored {
        let mut taken = Taken::default();
        let mut serials = HashSet::new();
        let mut restored = Restored::default();
        // No device gets beyond the upper bound: then no record is valid either.
        let next_serial = state.header().next_serial;
        let next_serial = if next_serial > u64::MAX / 2 { 1 } else { next_serial.max(1) };
        for slot in state.slots() {
            let record = state.resource(slot);
            if record.live != 1 {
                continue;
            }
            let known = (1..next_serial).contains(&record.serial) && serials.insert(record.serial);
            let found = known.then(|| self.restored_resource(&state, &record, &taken, memory));
            let Some((mut resource, pieces)) = found.flatten() else {
                restored.dropped += 1;
                continue;
            };
            if let Some(file) = pixels.remove(&record.serial) {
                self.give_pixels(&mut resource, file);
            }
            resource.place = Some(state.adopt(slot, pieces, &mut taken));
            self.put_restored(record.id, resource);
            restored.resources += 1;
        }
        state.free_others(&taken);
        self.go_on_with(state, next_serial);
        restored
    }

    /// The resource of a record, if it is one that commands could have made.
    fn restored_resource<M: GuestMemory>(
        &self,
        state: &StateFile,
        record: &ResourceRecord,
        taken: &Taken,
        memory: &M,
    ) -> Option<(Resource, Box<[u32]>)> {
        self.check_free(record.id).ok()?;
        let (width, height) = unpair(record.dimensions);
        let (kind, least) = if record.size == 0 {
            let most = self.limits().dimension;
            let possible = (1..=most).contains(&width) && (1..=most).contains(&height);
            let format = Format::from_raw(record.format).filter(|_| possible)?;
            let mut image = Image::new(format, width, height)?;
            image.lost = record.flags & IS_TEXTURE != 0;
            (Kind::Image(image), 1)
        } else {
            let sized = record.flags & HAS_CURSOR_SIZE != 0;
            let cursor_size = sized.then_some((width, height));
            (Kind::Blob(Blob { size: record.size, cursor_size, shadow: None }), record.size)
        };
        self.has_room_for(&kind).then_some(())?;
        let (pieces, entries) = state.pieces(record, taken, self.entries_left())?;
        let backing = match entries.as_slice() {
            [] => None,
            entries => Some(Backing::of(memory, entries).ok()?),
        };
        if backing.as_ref().is_some_and(|backing| backing.len() < least) {
            return None;
        }
        let uuid = (record.flags & HAS_UUID != 0).then_some(record.uuid);
        let resource = Resource {
            serial: record.serial,
            uuid,
            backing,
            kind,
            place: None,
            rendered: false,
            memory: None,
        };
        Some((resource, pieces))
    }

    /// Pixels that are not what they should be are as good as none: the image is black.
    fn give_pixels(&mut self, resource: &mut Resource, file: File) {
        let Kind::Image(image) = &mut resource.kind else { return };
        if !self.has_room_for_file() {
            return;
        }
        match Memfd::adopt(file, image.bytes) {
            Ok(memory) => image.memory = Some(memory),
            Err(error) => log::warn!("the pixels of a resource are lost: {error}"),
        }
    }
}
