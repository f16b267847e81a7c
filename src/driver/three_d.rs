//! Commands of 3D, and enough of virgl's protocol to draw with it.

use zerocopy::{FromZeros, IntoBytes};

use super::buffer::Buffer;
use super::channel::{Payload, Submission, Ticket};
use super::error::DriverError;
use super::gpu::{GpuDriver, header};
use crate::gpu::Rect;
use crate::gpu::wire::{
    BlobMem, CapsetId, CmdSubmit, Command, CtrlHdr, CtxCreate, Format, RESOURCE_FLAG_Y_0_TOP,
    ResourceCreate3d, ResourceCreateBlob, ResourceMapBlob, ResourceRequest, RespMapInfo, RespType,
    TransferHost3d, blob_flag,
};

/// Gallium's target of a texture with width and height.
const TEXTURE_2D: u32 = 2;
/// Gallium's bind flags: it can be drawn to, sampled, and shown.
const DRAWN_SAMPLED_SHOWN: u32 = 1 << 1 | 1 << 3 | 1 << 18;

impl GpuDriver {
    /// CTX_CREATE, for virgl.
    pub fn create_context(&mut self, context: u32, name: &str) -> Result<(), DriverError> {
        self.create_context_of(CapsetId::Virgl2, context, name)
    }

    /// CTX_CREATE, for a capset.
    pub fn create_context_of(
        &mut self,
        capset: CapsetId,
        context: u32,
        name: &str,
    ) -> Result<(), DriverError> {
        let mut request = CtxCreate { hdr: header(Command::CtxCreate), ..CtxCreate::default() };
        request.hdr.ctx_id.set(context);
        request.context_init = capset.into();
        let length = name.len().min(request.debug_name.len());
        request.nlen.set(length as u32);
        for (to, from) in request.debug_name.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        self.simple(&request)
    }

    /// CTX_DESTROY.
    pub fn destroy_context(&mut self, context: u32) -> Result<(), DriverError> {
        self.simple(&in_context(Command::CtxDestroy, context))
    }

    /// CTX_ATTACH_RESOURCE.
    pub fn attach_to_context(&mut self, context: u32, id: u32) -> Result<(), DriverError> {
        let hdr = in_context(Command::CtxAttachResource, context);
        self.simple(&ResourceRequest { hdr, resource_id: id.into(), padding: 0.into() })
    }

    /// CTX_DETACH_RESOURCE.
    pub fn detach_from_context(&mut self, context: u32, id: u32) -> Result<(), DriverError> {
        let hdr = in_context(Command::CtxDetachResource, context);
        self.simple(&ResourceRequest { hdr, resource_id: id.into(), padding: 0.into() })
    }

    /// RESOURCE_CREATE_3D.
    pub fn create_3d(&mut self, request: &ResourceCreate3d) -> Result<(), DriverError> {
        self.simple(request)
    }

    /// RESOURCE_CREATE_BLOB of the renderer's memory that the driver may map.
    pub fn create_host_blob(
        &mut self,
        context: u32,
        id: u32,
        blob_id: u64,
        size: u64,
    ) -> Result<(), DriverError> {
        self.simple(&host_blob(context, id, blob_id, size))
    }

    /// RESOURCE_MAP_BLOB: how it is to be cached, a value of [`crate::gpu::wire::map_cache`].
    pub fn map_blob(&mut self, id: u32, offset: u64) -> Result<u32, DriverError> {
        let response: RespMapInfo = self.command(&map_blob(id, offset), RespType::OkMapInfo)?;
        Ok(response.map_info.get())
    }

    /// RESOURCE_UNMAP_BLOB.
    pub fn unmap_blob(&mut self, id: u32) -> Result<(), DriverError> {
        let hdr = header(Command::ResourceUnmapBlob);
        self.simple(&ResourceRequest { hdr, resource_id: id.into(), padding: 0.into() })
    }

    /// TRANSFER_TO_HOST_3D of a rectangle of a texture that is as large as its backing.
    pub fn transfer_to_host_3d(&mut self, buffer: &Buffer, rect: Rect) -> Result<(), DriverError> {
        self.simple(&transfer_3d(Command::TransferToHost3d, buffer, rect))
    }

    /// TRANSFER_FROM_HOST_3D of a rectangle of a texture that is as large as its backing.
    pub fn transfer_from_host_3d(
        &mut self,
        buffer: &Buffer,
        rect: Rect,
    ) -> Result<(), DriverError> {
        self.simple(&transfer_3d(Command::TransferFromHost3d, buffer, rect))
    }

    /// SUBMIT_3D, with a fence if one is given. It is on the queue, and not kicked.
    pub fn submit_3d(
        &mut self,
        context: u32,
        commands: &[u32],
        fence: Option<u64>,
    ) -> Result<Ticket, DriverError> {
        let bytes = commands.as_bytes();
        let size = bytes.len() as u32;
        let hdr = in_context(Command::Submit3d, context);
        let request = CmdSubmit { hdr, size: size.into(), padding: 0.into() };
        let payload = if bytes.is_empty() {
            None
        } else {
            let memory = self.driver().memory().allocate(bytes.len() as u64)?;
            memory.write(0, bytes)?;
            Some(Payload::Request(memory, size))
        };
        let submission = Submission { payload, fence, ..Submission::plain() };
        self.control().submit(&request, submission)
    }
}

/// A header of a command for a context.
pub fn in_context(command: Command, context: u32) -> CtrlHdr {
    CtrlHdr { ctx_id: context.into(), ..header(command) }
}

/// A blob of the renderer's memory that the driver may map.
pub fn host_blob(context: u32, id: u32, blob_id: u64, size: u64) -> ResourceCreateBlob {
    ResourceCreateBlob {
        hdr: in_context(Command::ResourceCreateBlob, context),
        resource_id: id.into(),
        blob_mem: BlobMem::Host3d.into(),
        blob_flags: blob_flag::USE_MAPPABLE.into(),
        nr_entries: 0.into(),
        blob_id: blob_id.into(),
        size: size.into(),
    }
}

/// The request RESOURCE_MAP_BLOB.
pub fn map_blob(id: u32, offset: u64) -> ResourceMapBlob {
    let hdr = header(Command::ResourceMapBlob);
    ResourceMapBlob { hdr, resource_id: id.into(), padding: 0.into(), offset: offset.into() }
}

/// A texture that can be drawn to and shown.
pub fn create_3d(id: u32, format: Format, width: u32, height: u32) -> ResourceCreate3d {
    ResourceCreate3d {
        hdr: header(Command::ResourceCreate3d),
        resource_id: id.into(),
        target: TEXTURE_2D.into(),
        format: format.into(),
        bind: DRAWN_SAMPLED_SHOWN.into(),
        width: width.into(),
        height: height.into(),
        depth: 1.into(),
        array_size: 1.into(),
        flags: RESOURCE_FLAG_Y_0_TOP.into(),
        ..ResourceCreate3d::new_zeroed()
    }
}

/// A copy between a texture and its backing, which is as large.
pub fn transfer_3d(command: Command, buffer: &Buffer, rect: Rect) -> TransferHost3d {
    TransferHost3d {
        hdr: header(command),
        box_: rect.into(),
        offset: buffer.offset_of(rect.x, rect.y).into(),
        resource_id: buffer.resource_id().into(),
        level: 0.into(),
        stride: buffer.spec().stride.into(),
        layer_stride: 0.into(),
    }
}

/// Commands of virgl's protocol, `virgl_protocol.h` of virglrenderer.
#[derive(Debug, Default, Clone)]
pub struct VirglCommands(Vec<u32>);

impl VirglCommands {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The words of a SUBMIT_3D.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    /// Any command: `object` is 0 for those that are about none.
    pub fn command(&mut self, number: u8, object: u8, payload: &[u32]) -> &mut Self {
        // 16 bits are for the length.
        let length = payload.len() as u32;
        self.0.push(length << 16 | u32::from(object) << 8 | u32::from(number));
        self.0.extend(payload);
        self
    }

    /// Draws to a texture from now on, by a surface of this number.
    pub fn draw_to(&mut self, surface: u32, texture: u32, format: Format) -> &mut Self {
        const CREATE_OBJECT: u8 = 1;
        const SET_FRAMEBUFFER_STATE: u8 = 5;
        const SURFACE: u8 = 8;
        self.command(CREATE_OBJECT, SURFACE, &[surface, texture, format.raw(), 0, 0]).command(
            SET_FRAMEBUFFER_STATE,
            0,
            &[1, 0, surface],
        )
    }

    /// Fills what is drawn to with a colour: red, green, blue and alpha from 0 to 1.
    pub fn clear(&mut self, colour: [f32; 4]) -> &mut Self {
        const CLEAR: u8 = 7;
        const COLOR0: u32 = 1 << 2;
        let [r, g, b, a] = colour.map(f32::to_bits);
        self.command(CLEAR, 0, &[COLOR0, r, g, b, a, 0, 0, 0])
    }
}
