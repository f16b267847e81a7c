//! Commands of a virtio GPU: virtio 1.3, section 5.7.6, as Linux' driver sends them.

#[cfg(test)]
mod tests;

use std::time::Duration;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::buffer::{Buffer, BufferKind, BufferSpec};
use super::channel::{Channel, Payload, Submission, Ticket};
use super::error::DriverError;
use super::three_d;
use super::virtio::Driver;
use crate::gpu::Rect;
use crate::gpu::wire::{
    self, BlobMem, Command, Config, CtrlHdr, CursorPos, EVENT_DISPLAY, Format, GetCapset,
    GetCapsetInfo, GetEdid, MemEntry, ResourceAttachBacking, ResourceCreate2d, ResourceCreateBlob,
    ResourceFlush, ResourceRequest, RespCapsetInfo, RespDisplayInfo, RespEdid, RespResourceUuid,
    RespType, SetScanout, SetScanoutBlob, TransferToHost2d, UpdateCursor, WireRect, blob_flag,
};

/// How long a command may take unless [`GpuDriver::set_timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A driver of a GPU that runs.
///
/// Most methods send one command and wait for its response; anything but the OK it has to be is an
/// error. `submit_*` do not wait, nor kick: [`GpuDriver::control`] does.
#[derive(Debug)]
pub struct GpuDriver {
    driver: Driver,
    control: Channel,
    cursor: Channel,
    features: u64,
    next_resource: u32,
    next_fence: u64,
    timeout: Duration,
}

/// A frame in a blob, for SET_SCANOUT_BLOB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobFrame {
    /// The blob.
    pub resource_id: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Format of a pixel.
    pub format: Format,
    /// Bytes from a row to the next.
    pub stride: u32,
    /// First byte.
    pub offset: u32,
}

/// The header of a request.
pub fn header(command: Command) -> CtrlHdr {
    CtrlHdr { type_: command.into(), ..CtrlHdr::default() }
}

fn wire_rect(rect: Rect) -> WireRect {
    WireRect {
        x: rect.x.into(),
        y: rect.y.into(),
        width: rect.width.into(),
        height: rect.height.into(),
    }
}

impl GpuDriver {
    /// Starts the driver with these of the offered features, and takes its queues.
    pub fn start(mut driver: Driver, wanted: u64) -> Result<Self, DriverError> {
        let features = driver.start(wanted)?;
        let control = driver.take_queue(wire::CONTROL_QUEUE)?;
        let cursor = driver.take_queue(wire::CURSOR_QUEUE)?;
        let memory = driver.memory().clone();
        Ok(Self {
            driver,
            control: Channel::new(&memory, control)?,
            cursor: Channel::new(&memory, cursor)?,
            features,
            next_resource: 1,
            next_fence: 1,
            timeout: TIMEOUT,
        })
    }

    /// Whether a feature, a bit number of [`wire::feature`], is in use.
    pub fn has(&self, feature: u32) -> bool {
        self.features & (1 << feature) != 0
    }

    /// How buffers for scanouts are made on this device: as Linux' driver does, blobs where it can
    /// without 3D.
    pub fn preferred_kind(&self) -> BufferKind {
        if self.has(wire::feature::RESOURCE_BLOB) && !self.has(wire::feature::VIRGL) {
            BufferKind::Blob
        } else {
            BufferKind::Classic
        }
    }

    /// The virtio side of it.
    pub fn driver(&mut self) -> &mut Driver {
        &mut self.driver
    }

    /// The control queue.
    pub fn control(&mut self) -> &mut Channel {
        &mut self.control
    }

    /// The cursor queue.
    pub fn cursor(&mut self) -> &mut Channel {
        &mut self.cursor
    }

    /// How long a command may take.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Resets the device; the driver can be started again, even after a timeout.
    pub fn reset(mut self, timeout: Duration) -> (Driver, Result<(), DriverError>) {
        // The command memory lives until the device side has let go of it.
        let result = self.driver.reset(timeout);
        (self.driver, result)
    }

    /// Resets the device and lets go of it.
    pub fn unbind(self, timeout: Duration) -> Result<(), DriverError> {
        self.reset(timeout).1
    }

    /// A resource id not given out before.
    pub fn new_resource_id(&mut self) -> u32 {
        let id = self.next_resource;
        self.next_resource += 1;
        id
    }

    /// A fence number not given out before.
    pub fn new_fence(&mut self) -> u64 {
        let fence = self.next_fence;
        self.next_fence += 1;
        fence
    }

    /// The configuration space.
    pub fn config(&self) -> Result<Config, DriverError> {
        let mut config = Config::new_zeroed();
        self.driver.read_config(0, config.as_mut_bytes())?;
        Ok(config)
    }

    /// Waits until the device says that its displays changed, at most for `timeout`, and clears the
    /// event. False: time ran out.
    pub fn wait_display_change(&mut self, timeout: Duration) -> Result<bool, DriverError> {
        if !self.driver.wait_config_change(timeout)? {
            return Ok(false);
        }
        let changed = self.config()?.events_read.get() & EVENT_DISPLAY != 0;
        if changed {
            let events_clear = std::mem::offset_of!(Config, events_clear) as u32;
            self.driver.write_config(events_clear, &EVENT_DISPLAY.to_le_bytes())?;
        }
        Ok(changed)
    }

    /// Sends a request of the control queue and waits for its response.
    pub fn command<R, A>(&mut self, request: &R, expected: RespType) -> Result<A, DriverError>
    where
        R: IntoBytes + Immutable,
        A: FromBytes + IntoBytes,
    {
        let submission = Submission { response: size_of::<A>() as u32, ..Submission::default() };
        Ok(self.control.call(request, submission, expected, self.timeout)?.0)
    }

    pub(super) fn simple<R: IntoBytes + Immutable>(
        &mut self,
        request: &R,
    ) -> Result<(), DriverError> {
        self.command::<R, CtrlHdr>(request, RespType::OkNodata).map(drop)
    }

    /// GET_DISPLAY_INFO.
    pub fn display_info(&mut self) -> Result<RespDisplayInfo, DriverError> {
        self.command(&header(Command::GetDisplayInfo), RespType::OkDisplayInfo)
    }

    /// GET_EDID, without the bytes that are not used.
    pub fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DriverError> {
        let request = GetEdid {
            hdr: header(Command::GetEdid),
            scanout: scanout.into(),
            ..GetEdid::default()
        };
        let response: RespEdid = self.command(&request, RespType::OkEdid)?;
        let (command, length) = (Command::GetEdid.raw(), wire::MAX_EDID as u32);
        let needed = response.size.get();
        let edid = response.edid.get(..needed as usize);
        edid.map(<[u8]>::to_vec).ok_or(DriverError::ResponseLength { command, length, needed })
    }

    /// GET_CAPSET_INFO.
    pub fn capset_info(&mut self, index: u32) -> Result<RespCapsetInfo, DriverError> {
        let request = GetCapsetInfo {
            hdr: header(Command::GetCapsetInfo),
            capset_index: index.into(),
            ..GetCapsetInfo::default()
        };
        self.command(&request, RespType::OkCapsetInfo)
    }

    /// GET_CAPSET: its first `size` bytes.
    pub fn capset(&mut self, id: u32, version: u32, size: u32) -> Result<Vec<u8>, DriverError> {
        let request = GetCapset {
            hdr: header(Command::GetCapset),
            capset_id: id.into(),
            capset_version: version.into(),
        };
        let memory = self.driver.memory().allocate(u64::from(size))?;
        let payload = Some(Payload::Response(memory, size));
        let submission = Submission { payload, ..Submission::plain() };
        let (_, payload): (CtrlHdr, _) =
            self.control.call(&request, submission, RespType::OkCapset, self.timeout)?;
        let mut bytes = vec![0; size as usize];
        if let Some(memory) = payload {
            memory.read(0, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// RESOURCE_CREATE_2D.
    pub fn create_2d(
        &mut self,
        resource_id: u32,
        format: Format,
        width: u32,
        height: u32,
    ) -> Result<(), DriverError> {
        self.simple(&ResourceCreate2d {
            hdr: header(Command::ResourceCreate2d),
            resource_id: resource_id.into(),
            format: format.into(),
            width: width.into(),
            height: height.into(),
        })
    }

    /// RESOURCE_ATTACH_BACKING.
    pub fn attach_backing(
        &mut self,
        resource_id: u32,
        entries: &[MemEntry],
    ) -> Result<(), DriverError> {
        let request = ResourceAttachBacking {
            hdr: header(Command::ResourceAttachBacking),
            resource_id: resource_id.into(),
            nr_entries: (entries.len() as u32).into(),
        };
        self.with_entries(&request, entries)
    }

    /// RESOURCE_CREATE_BLOB of the driver's own memory.
    pub fn create_blob(
        &mut self,
        resource_id: u32,
        size: u64,
        entries: &[MemEntry],
    ) -> Result<(), DriverError> {
        let request = ResourceCreateBlob {
            hdr: header(Command::ResourceCreateBlob),
            resource_id: resource_id.into(),
            blob_mem: BlobMem::Guest.into(),
            blob_flags: blob_flag::USE_SHAREABLE.into(),
            nr_entries: (entries.len() as u32).into(),
            blob_id: 0.into(),
            size: size.into(),
        };
        self.with_entries(&request, entries)
    }

    /// A request that memory entries follow, in memory of their own.
    fn with_entries<R>(&mut self, request: &R, entries: &[MemEntry]) -> Result<(), DriverError>
    where
        R: IntoBytes + Immutable,
    {
        let bytes = entries.as_bytes();
        let payload = if bytes.is_empty() {
            None
        } else {
            let memory = self.driver.memory().allocate(bytes.len() as u64)?;
            memory.write(0, bytes)?;
            Some(Payload::Request(memory, bytes.len() as u32))
        };
        let submission = Submission { payload, ..Submission::plain() };
        let answer: (CtrlHdr, _) =
            self.control.call(request, submission, RespType::OkNodata, self.timeout)?;
        drop(answer);
        Ok(())
    }

    fn of_resource<A>(
        &mut self,
        command: Command,
        resource_id: u32,
        expected: RespType,
    ) -> Result<A, DriverError>
    where
        A: FromBytes + IntoBytes,
    {
        let hdr = header(command);
        let request = ResourceRequest { hdr, resource_id: resource_id.into(), padding: 0.into() };
        self.command(&request, expected)
    }

    /// RESOURCE_DETACH_BACKING.
    pub fn detach_backing(&mut self, resource_id: u32) -> Result<(), DriverError> {
        let command = Command::ResourceDetachBacking;
        self.of_resource::<CtrlHdr>(command, resource_id, RespType::OkNodata).map(drop)
    }

    /// RESOURCE_UNREF.
    pub fn unref(&mut self, resource_id: u32) -> Result<(), DriverError> {
        let command = Command::ResourceUnref;
        self.of_resource::<CtrlHdr>(command, resource_id, RespType::OkNodata).map(drop)
    }

    /// RESOURCE_ASSIGN_UUID.
    pub fn assign_uuid(&mut self, resource_id: u32) -> Result<[u8; 16], DriverError> {
        let command = Command::ResourceAssignUuid;
        let response: RespResourceUuid =
            self.of_resource(command, resource_id, RespType::OkResourceUuid)?;
        Ok(response.uuid)
    }

    /// TRANSFER_TO_HOST_2D; `offset` is the byte of the backing where the rectangle begins.
    pub fn transfer_to_host_2d(
        &mut self,
        resource_id: u32,
        rect: Rect,
        offset: u64,
    ) -> Result<(), DriverError> {
        self.simple(&transfer_to_host_2d(resource_id, rect, offset))
    }

    /// Sends TRANSFER_TO_HOST_2D.
    pub fn submit_transfer(
        &mut self,
        resource_id: u32,
        rect: Rect,
        offset: u64,
    ) -> Result<Ticket, DriverError> {
        let request = transfer_to_host_2d(resource_id, rect, offset);
        self.control.submit(&request, Submission::plain())
    }

    /// SET_SCANOUT; resource 0 turns it off.
    pub fn set_scanout(
        &mut self,
        scanout: u32,
        resource_id: u32,
        rect: Rect,
    ) -> Result<(), DriverError> {
        self.simple(&set_scanout(scanout, resource_id, rect))
    }

    /// SET_SCANOUT_BLOB.
    pub fn set_scanout_blob(
        &mut self,
        scanout: u32,
        frame: &BlobFrame,
        rect: Rect,
    ) -> Result<(), DriverError> {
        self.simple(&set_scanout_blob(scanout, frame, rect))
    }

    /// RESOURCE_FLUSH.
    pub fn flush(&mut self, resource_id: u32, rect: Rect) -> Result<(), DriverError> {
        self.simple(&resource_flush(resource_id, rect))
    }

    /// Sends RESOURCE_FLUSH, with a fence if asked.
    pub fn submit_flush(
        &mut self,
        resource_id: u32,
        rect: Rect,
        fenced: bool,
    ) -> Result<Ticket, DriverError> {
        let request = resource_flush(resource_id, rect);
        let fence = fenced.then(|| self.new_fence());
        self.control.submit(&request, Submission { fence, ..Submission::plain() })
    }

    /// UPDATE_CURSOR: the image and where it is. Resource 0 hides it.
    pub fn update_cursor(
        &mut self,
        scanout: u32,
        at: (u32, u32),
        resource_id: u32,
        hot: (u32, u32),
    ) -> Result<(), DriverError> {
        self.cursor_command(&UpdateCursor {
            hdr: header(Command::UpdateCursor),
            pos: cursor_pos(scanout, at),
            resource_id: resource_id.into(),
            hot_x: hot.0.into(),
            hot_y: hot.1.into(),
            padding: 0.into(),
        })
    }

    /// MOVE_CURSOR.
    pub fn move_cursor(&mut self, scanout: u32, at: (u32, u32)) -> Result<(), DriverError> {
        self.cursor_command(&UpdateCursor {
            hdr: header(Command::MoveCursor),
            pos: cursor_pos(scanout, at),
            ..UpdateCursor::default()
        })
    }

    /// As Linux' driver sends them, cursor commands have no room for a response.
    fn cursor_command(&mut self, request: &UpdateCursor) -> Result<(), DriverError> {
        let ticket = self.cursor.submit(request, Submission::default())?;
        self.cursor.kick()?;
        self.cursor.wait_ticket(ticket, self.timeout).map(drop)
    }

    /// Makes a buffer the device knows.
    pub fn create_buffer(&mut self, spec: BufferSpec) -> Result<Buffer, DriverError> {
        let id = self.new_resource_id();
        let buffer = Buffer::new(self.driver.memory(), id, spec)?;
        let entries: Vec<_> = buffer.entries().collect();
        match spec.kind {
            BufferKind::Classic => {
                self.create_2d(id, spec.format, spec.width, spec.height)?;
                self.attach_backing(id, &entries)?;
            }
            BufferKind::Blob => self.create_blob(id, buffer.size(), &entries)?,
            BufferKind::Texture => {
                self.create_3d(&three_d::create_3d(id, spec.format, spec.width, spec.height))?;
                self.attach_backing(id, &entries)?;
            }
        }
        Ok(buffer)
    }

    /// Takes a buffer from the device.
    #[expect(clippy::needless_pass_by_value, reason = "its memory is given back at the end")]
    pub fn destroy_buffer(&mut self, buffer: Buffer) -> Result<(), DriverError> {
        if buffer.spec().kind != BufferKind::Blob {
            self.detach_backing(buffer.resource_id)?;
        }
        self.unref(buffer.resource_id)
    }

    /// Shows a buffer on a scanout.
    pub fn show_buffer(&mut self, scanout: u32, buffer: &Buffer) -> Result<(), DriverError> {
        match buffer.spec().kind {
            BufferKind::Classic | BufferKind::Texture => {
                self.set_scanout(scanout, buffer.resource_id, buffer.rect())
            }
            BufferKind::Blob => self.set_scanout_blob(scanout, &blob_frame(buffer), buffer.rect()),
        }
    }

    /// Sends what Linux' driver sends for a frame: the transfer (which means nothing for a blob on a
    /// scanout), the scanout if it shows another buffer now, and the flush, which has a fence for
    /// blobs. Returns the flush.
    pub fn submit_frame(
        &mut self,
        scanout: u32,
        buffer: &Buffer,
        flip: bool,
    ) -> Result<Ticket, DriverError> {
        let (id, rect) = (buffer.resource_id, buffer.rect());
        self.submit_transfer(id, rect, buffer.offset_of(0, 0))?;
        let blob = buffer.spec().kind == BufferKind::Blob;
        if flip && blob {
            let request = set_scanout_blob(scanout, &blob_frame(buffer), rect);
            self.control.submit(&request, Submission::plain())?;
        } else if flip {
            let request = set_scanout(scanout, id, rect);
            self.control.submit(&request, Submission::plain())?;
        }
        self.submit_flush(id, rect, blob)
    }

    /// Kicks, and waits until the device has none of the submitted commands; each must have been
    /// answered with OK_NODATA.
    pub fn finish(&mut self) -> Result<(), DriverError> {
        self.control.kick()?;
        self.control.wait_for(u16::MAX, self.timeout)?;
        while let Some(completion) = self.control.reap()? {
            completion.expect(RespType::OkNodata, size_of::<CtrlHdr>() as u32)?;
        }
        match self.control.outstanding() {
            0 => Ok(()),
            _ => Err(DriverError::Timeout { command: 0, timeout: self.timeout }),
        }
    }
}

/// The frame that fills a buffer.
pub fn blob_frame(buffer: &Buffer) -> BlobFrame {
    let BufferSpec { width, height, format, stride, offset, .. } = *buffer.spec();
    BlobFrame { resource_id: buffer.resource_id, width, height, format, stride, offset }
}

/// The request RESOURCE_FLUSH.
pub fn resource_flush(resource_id: u32, rect: Rect) -> ResourceFlush {
    ResourceFlush {
        hdr: header(Command::ResourceFlush),
        r: wire_rect(rect),
        resource_id: resource_id.into(),
        padding: 0.into(),
    }
}

/// The request TRANSFER_TO_HOST_2D.
pub fn transfer_to_host_2d(resource_id: u32, rect: Rect, offset: u64) -> TransferToHost2d {
    TransferToHost2d {
        hdr: header(Command::TransferToHost2d),
        r: wire_rect(rect),
        offset: offset.into(),
        resource_id: resource_id.into(),
        padding: 0.into(),
    }
}

/// The request SET_SCANOUT.
pub fn set_scanout(scanout: u32, resource_id: u32, rect: Rect) -> SetScanout {
    SetScanout {
        hdr: header(Command::SetScanout),
        r: wire_rect(rect),
        scanout_id: scanout.into(),
        resource_id: resource_id.into(),
    }
}

/// The request SET_SCANOUT_BLOB.
pub fn set_scanout_blob(scanout: u32, frame: &BlobFrame, rect: Rect) -> SetScanoutBlob {
    SetScanoutBlob {
        hdr: header(Command::SetScanoutBlob),
        r: wire_rect(rect),
        scanout_id: scanout.into(),
        resource_id: frame.resource_id.into(),
        width: frame.width.into(),
        height: frame.height.into(),
        format: frame.format.into(),
        padding: 0.into(),
        strides: [frame.stride, 0, 0, 0].map(Into::into),
        offsets: [frame.offset, 0, 0, 0].map(Into::into),
    }
}

fn cursor_pos(scanout: u32, (x, y): (u32, u32)) -> CursorPos {
    CursorPos { scanout_id: scanout.into(), x: x.into(), y: y.into(), padding: 0.into() }
}
