//! Commands of the control queue.

use uuid::Uuid;
use vm_memory::GuestMemory;

use super::backing::Backing;
use super::chain::Request;
use super::display::{Display, DisplayQueryError};
use super::engine::Direction;
use super::error::CommandError;
use super::limits::LimitKind;
use super::rect::Rect;
use super::resource::{Blob, HostBlob, Image, Kind, Resource};
use super::scanout::{Scanout, ScanoutSource};
use super::state::ScanoutRecord;
use super::texture_scanouts::picture_record;
use super::wire::{
    BlobMem, Command, Format, GetEdid, ResourceAttachBacking, ResourceCreate2d, ResourceCreateBlob,
    ResourceFlush, ResourceRequest, RespDisplayInfo, RespEdid, RespResourceUuid, RespType,
    SetScanout, SetScanoutBlob, TransferToHost2d, blob_flag,
};
use super::{CommandResult, Gpu, Outcome};

impl Gpu {
    pub(super) fn control_command<M: GuestMemory>(
        &mut self,
        command: Command,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        match command {
            Command::GetDisplayInfo => get_display_info(request, display),
            Command::ResourceCreate2d => self.resource_create_2d(request, display),
            Command::ResourceUnref => self.resource_unref(request, display),
            Command::SetScanout => self.set_scanout(request, display),
            Command::ResourceFlush => self.resource_flush(request, display),
            Command::TransferToHost2d => self.transfer_to_host_2d(request, display),
            Command::ResourceAttachBacking => self.resource_attach_backing(request, display),
            Command::ResourceDetachBacking => self.resource_detach_backing(request, display),
            Command::GetCapsetInfo => self.get_capset_info(request),
            Command::GetCapset => self.get_capset(request),
            Command::GetEdid => self.get_edid(request, display),
            Command::ResourceAssignUuid => self.resource_assign_uuid(request),
            Command::ResourceCreateBlob => self.resource_create_blob(request, display),
            Command::SetScanoutBlob => self.set_scanout_blob(request, display),
            Command::CtxCreate => self.ctx_create(request),
            Command::CtxDestroy => self.ctx_destroy(request),
            Command::CtxAttachResource => self.ctx_attach_resource(request),
            Command::CtxDetachResource => self.ctx_detach_resource(request),
            Command::ResourceCreate3d => self.resource_create_3d(request, display),
            Command::TransferToHost3d => self.transfer_3d(request, Direction::ToHost),
            Command::TransferFromHost3d => self.transfer_3d(request, Direction::FromHost),
            Command::Submit3d => self.submit_3d(request),
            Command::ResourceMapBlob => self.resource_map_blob(request),
            Command::ResourceUnmapBlob => self.resource_unmap_blob(request),
            Command::UpdateCursor | Command::MoveCursor => Err(CommandError::WrongQueue),
        }
    }

    fn resource_create_2d<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: ResourceCreate2d = request.body()?;
        let id = body.resource_id.get();
        if !self.repeating {
            self.resources.check_free(id)?;
        }
        let format = format(body.format.get())?;
        let (width, height) = self.dimensions(body.width.get(), body.height.get())?;
        let same = |resource: &Resource| match &resource.kind {
            Kind::Image(image) => {
                (image.format, image.width, image.height) == (format, width, height)
            }
            _ => false,
        };
        if self.is_repeated_creation(id, same, display) {
            return Ok(Outcome::Done);
        }
        let image =
            Image::new(format, width, height).ok_or(CommandError::OverLimit(LimitKind::Bytes))?;
        self.resources.insert(id, Kind::Image(image), None)?;
        Ok(Outcome::Done)
    }

    fn resource_unref<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let id = request.body::<ResourceRequest>()?.resource_id.get();
        self.resources.get(id)?;
        self.remove_resource(id, display);
        Ok(Outcome::Done)
    }

    pub(super) fn remove_resource(&mut self, id: u32, display: &mut dyn Display) {
        // The display lets go of the memory before the memory goes, and so do driver and renderer.
        self.turn_off(display, |shown| shown.resource_id == id);
        self.leave_host_visible(id);
        if let (Ok(true), Some(three_d)) =
            (self.resources.get(id).map(|resource| resource.rendered), self.renderer.three_d())
        {
            three_d.engine.unref(id);
        }
        // It was looked for before.
        let _ = self.resources.remove(id);
    }

    /// Whether a command that makes a resource has done so before the device was restored. Another
    /// resource with the number, which the commands that follow have made, gives way: they make it
    /// again.
    fn is_repeated_creation(
        &mut self,
        id: u32,
        same: impl Fn(&Resource) -> bool,
        display: &mut dyn Display,
    ) -> bool {
        match self.resources.get(id) {
            Ok(resource) if self.repeating => {
                let same = same(resource);
                if !same {
                    self.remove_resource(id, display);
                }
                same
            }
            _ => false,
        }
    }

    fn resource_attach_backing<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: ResourceAttachBacking = request.body()?;
        let id = body.resource_id.get();
        let resource = self.resources.get(id)?;
        let has_backing = resource.backing.is_some();
        if has_backing && !self.repeating {
            return Err(CommandError::HasBacking(id));
        }
        let least = match &resource.kind {
            // An image may have less; then the transfers that need more fail.
            Kind::Image(_) | Kind::Texture(_) => 1,
            Kind::Blob(Blob { size, .. }) => *size,
            Kind::HostBlob(HostBlob { bytes, .. }) => *bytes,
        };
        let backing = self.read_backing(request, body.nr_entries.get(), least)?;
        if has_backing {
            if self.resources.get(id)?.backing.as_ref() == Some(&backing) {
                return Ok(Outcome::Done);
            }
            self.detach(id, display)?;
        }
        self.resources.attach(id, backing)?;
        self.share_backing(id, request.memory())?;
        Ok(Outcome::Done)
    }

    fn resource_detach_backing<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let id = request.body::<ResourceRequest>()?.resource_id.get();
        self.detach(id, display)?;
        Ok(Outcome::Done)
    }

    fn detach(&mut self, id: u32, display: &mut dyn Display) -> Result<(), CommandError> {
        if matches!(self.resources.get(id)?.kind, Kind::Blob(_)) {
            // What is shown are these very pages.
            self.turn_off(display, |shown| shown.resource_id == id);
        }
        if let (Ok(true), Some(three_d)) =
            (self.resources.get(id).map(|resource| resource.rendered), self.renderer.three_d())
        {
            three_d.engine.detach_backing(id);
        }
        self.resources.detach(id)
    }

    fn transfer_to_host_2d<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: TransferToHost2d = request.body()?;
        let (id, rect) = (body.resource_id.get(), body.r.into());
        if matches!(self.resources.get(id)?.kind, Kind::Texture(_)) {
            self.transfer_2d(id, rect, body.offset.get())?;
            return Ok(Outcome::Done);
        }
        self.resources.transfer(request.memory(), id, rect, body.offset.get())?;
        self.keep_made_memory(display);
        Ok(Outcome::Done)
    }

    fn set_scanout<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: SetScanout = request.body()?;
        let (scanout, id) = (body.scanout_id.get(), body.resource_id.get());
        self.check_scanout(scanout)?;
        if id == 0 {
            return Ok(self.disable_scanout(scanout, display));
        }
        self.show_picture(scanout, id, body.r.into(), display)?;
        Ok(Outcome::Done)
    }

    fn set_scanout_blob<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: SetScanoutBlob = request.body()?;
        let (scanout, id) = (body.scanout_id.get(), body.resource_id.get());
        self.check_scanout(scanout)?;
        if id == 0 {
            return Ok(self.disable_scanout(scanout, display));
        }
        let shown = self.blob_scanout(&body, request.memory())?;
        self.show(scanout, shown, blob_record(&body), display);
        Ok(Outcome::Done)
    }

    /// A frame in a blob, ready to be shown.
    pub(super) fn blob_scanout<M: GuestMemory>(
        &mut self,
        body: &SetScanoutBlob,
        memory: &M,
    ) -> Result<Scanout, CommandError> {
        let (resource_id, rect) = (body.resource_id.get(), Rect::from(body.r));
        let source = self.blob_source(body, memory)?;
        let whole = Rect::of_size(rect.width, rect.height);
        self.resources.refresh_shadow(memory, resource_id, &source, whole)?;
        Ok(Scanout { resource_id, rect, source, awaits_flush: false })
    }

    fn record_scanout(&mut self, scanout: u32, record: Option<ScanoutRecord>) {
        if let Some(state) = self.resources.state() {
            state.set_scanout(scanout, record);
        }
    }

    /// Gives pixel memory that the command has made to the display for safekeeping.
    pub(super) fn keep_made_memory(&mut self, display: &mut dyn Display) {
        if let Some(made) = self.resources.take_made() {
            display.keep_memory(made.buffer, &made.file, made.bytes);
        }
    }

    /// Where the pixels of a frame in a blob are, when all of the frame is within the blob.
    fn blob_source<M: GuestMemory>(
        &mut self,
        body: &SetScanoutBlob,
        memory: &M,
    ) -> Result<ScanoutSource, CommandError> {
        let id = body.resource_id.get();
        let resource = self.resources.get(id)?;
        let Kind::Blob(Blob { size, .. }) = resource.kind else {
            return Err(CommandError::WrongKind(id));
        };
        let buffer = resource.serial;
        let format = format(body.format.get())?;
        let (width, height) = self.dimensions(body.width.get(), body.height.get())?;
        let rect = Rect::from(body.r);
        if rect.is_empty() || !rect.fits(width, height) {
            return Err(CommandError::OutOfRange("rectangle"));
        }
        // The only plane: all formats are packed.
        let ([stride, ..], [offset, ..]) = (body.strides, body.offsets);
        let (row_step, offset) = (u64::from(stride.get()), u64::from(offset.get()));
        let pixel = u64::from(Format::BYTES_PER_PIXEL);
        let row = u64::from(width) * pixel;
        // Pixels are 32-bit words to whoever maps them.
        if row_step < row || row_step % pixel != 0 || offset % pixel != 0 {
            return Err(CommandError::OutOfRange("stride or offset"));
        }
        // Each factor is 32 bits.
        if offset + (u64::from(height) - 1) * row_step + row > size {
            return Err(CommandError::OutOfRange("frame"));
        }
        Ok(ScanoutSource {
            memory: self.resources.blob_memory(memory, id)?,
            offset: offset + u64::from(rect.y) * row_step + u64::from(rect.x) * pixel,
            stride: stride.get(),
            width: rect.width,
            height: rect.height,
            format,
            buffer,
        })
    }

    pub(super) fn show(
        &mut self,
        scanout: u32,
        shown: Scanout,
        record: ScanoutRecord,
        display: &mut dyn Display,
    ) {
        self.record_scanout(scanout, Some(record));
        display.set_scanout(scanout, Some(&shown.source));
        self.scanouts.set(scanout, Some(shown));
    }

    fn disable_scanout(&mut self, scanout: u32, display: &mut dyn Display) -> Outcome {
        if self.scanouts.is_on(scanout) {
            display.set_scanout(scanout, None);
            self.scanouts.set(scanout, None);
            self.record_scanout(scanout, None);
        }
        Outcome::Done
    }

    fn resource_flush<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: ResourceFlush = request.body()?;
        let (id, rect) = (body.resource_id.get(), Rect::from(body.r));
        if let Some(image) = self.resources.get(id)?.kind.image() {
            if !rect.fits(image.width, image.height) {
                return Err(CommandError::OutOfRange("rectangle"));
            }
            self.flush_picture(id, rect, display)?;
            return Ok(Outcome::Done);
        }
        // A blob has no width and height of its own: what of the rectangle is shown is flushed.
        for (scanout, shown) in self.scanouts.of(id) {
            if let Some(damage) = rect.within(&shown.rect) {
                self.resources.refresh_shadow(request.memory(), id, &shown.source, damage)?;
                display.flush(scanout, damage, &shown.source);
            }
        }
        Ok(Outcome::Done)
    }

    fn resource_create_blob<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: ResourceCreateBlob = request.body()?;
        let (id, size) = (body.resource_id.get(), body.size.get());
        if !self.repeating {
            self.resources.check_free(id)?;
        }
        let memory = BlobMem::from_raw(body.blob_mem.get());
        if memory.is_none() || memory != Some(BlobMem::Guest) && self.renderer.three_d().is_none() {
            return Err(CommandError::OutOfRange("blob memory"));
        }
        if body.blob_flags.get() & !blob_flag::ALL != 0 {
            return Err(CommandError::OutOfRange("blob flags"));
        }
        if size == 0 {
            return Err(CommandError::OutOfRange("blob size"));
        }
        if memory == Some(BlobMem::Host3d) {
            return self.create_host_blob(&body, None, request.memory());
        }
        let backing = self.read_backing(request, body.nr_entries.get(), size)?;
        if memory == Some(BlobMem::Host3dGuest) {
            return self.create_host_blob(&body, Some(backing), request.memory());
        }
        let same = |resource: &Resource| {
            matches!(resource.kind, Kind::Blob(Blob { size: found, .. }) if found == size)
                && resource.backing.as_ref() == Some(&backing)
        };
        if self.is_repeated_creation(id, same, display) {
            return Ok(Outcome::Done);
        }
        let blob = Blob { size, cursor_size: None, shadow: None };
        let rendered = self.share_guest_blob(&body, &backing, request.memory())?;
        let inserted = self.resources.insert(id, Kind::Blob(blob), Some(backing));
        self.unless_inserted(id, inserted)?;
        if rendered {
            self.resources.set_rendered(id);
            self.resources.hold_memory(id, self.memory.clone());
        }
        Ok(Outcome::Done)
    }

    /// Reads entries that make at least `least` bytes.
    fn read_backing<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        entries: u32,
        least: u64,
    ) -> Result<Backing, CommandError> {
        let count = self.resources.check_entries(entries)?;
        let backing = Backing::read(request, count)?;
        self.resources.counts.seen(LimitKind::BackingEntries, entries.into());
        if backing.len() < least {
            return Err(CommandError::OutOfRange("length of the backing"));
        }
        Ok(backing)
    }

    fn resource_assign_uuid<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let id = request.body::<ResourceRequest>()?.resource_id.get();
        let uuid = self.resources.uuid(id, || Uuid::new_v4().into_bytes())?;
        let hdr = request.reply(RespType::OkResourceUuid);
        Ok(Outcome::Answered(request.respond(&RespResourceUuid { hdr, uuid })?))
    }

    fn get_edid<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let scanout = request.body::<GetEdid>()?.scanout.get();
        self.check_scanout(scanout)?;
        let edid = display.edid(scanout)?;
        let mut response = RespEdid { hdr: request.reply(RespType::OkEdid), ..RespEdid::default() };
        let room = response.edid.get_mut(..edid.len()).ok_or(DisplayQueryError::Unknown)?;
        room.copy_from_slice(&edid);
        // At most 1024.
        response.size.set(edid.len() as u32);
        Ok(Outcome::Answered(request.respond(&response)?))
    }

    /// Width and height of something with pixels.
    pub(super) fn dimensions(
        &mut self,
        width: u32,
        height: u32,
    ) -> Result<(u32, u32), CommandError> {
        if width == 0 || height == 0 {
            return Err(CommandError::OutOfRange("width or height"));
        }
        if width.max(height) > self.resources.limits().dimension {
            return Err(CommandError::OverLimit(LimitKind::Dimension));
        }
        self.resources.counts.seen(LimitKind::Dimension, width.max(height).into());
        Ok((width, height))
    }
}

/// The record of a scanout that shows a part of a frame in a blob.
fn blob_record(body: &SetScanoutBlob) -> ScanoutRecord {
    let ([stride, ..], [offset, ..]) = (body.strides, body.offsets);
    ScanoutRecord {
        blob: 1,
        frame_width: body.width.get(),
        frame_height: body.height.get(),
        format: body.format.get(),
        stride: stride.get(),
        offset: offset.get(),
        ..picture_record(body.resource_id.get(), body.r.into())
    }
}

fn get_display_info<M: GuestMemory>(
    request: &Request<'_, M>,
    display: &mut dyn Display,
) -> CommandResult {
    let pmodes = display.display_info()?;
    let hdr = request.reply(RespType::OkDisplayInfo);
    Ok(Outcome::Answered(request.respond(&RespDisplayInfo { hdr, pmodes })?))
}

fn format(raw: u32) -> Result<Format, CommandError> {
    Format::from_raw(raw).ok_or(CommandError::OutOfRange("format"))
}
