//! Commands that need 3D: capsets, contexts, textures, and what is submitted to the renderer.

use vm_memory::GuestMemory;
use zerocopy::{FromZeros, IntoBytes};

use super::backing::Backing;
use super::chain::Request;
use super::display::Display;
use super::engine::{Direction, Engine, Timeline};
use super::error::CommandError;
use super::limits::LimitKind;
use super::rect::Rect;
use super::renderer::ThreeD;
use super::resource::{HostBlob, Image, Kind, Texture};
use super::wire::{
    BlobMem, CONTEXT_INIT_CAPSET_ID_MASK, CmdSubmit, CtrlHdr, CtxCreate, Format, GetCapset,
    GetCapsetInfo, RESOURCE_FLAG_Y_0_TOP, ResourceCreate3d, ResourceCreateBlob, ResourceRequest,
    RespCapsetInfo, RespType, TransferHost3d, blob_flag, flag,
};
use super::{CommandResult, Gpu, Outcome};

/// Gallium's targets: what kind of resource it is.
mod target {
    pub(super) const BUFFER: u32 = 0;
    pub(super) const TEXTURE_2D: u32 = 2;
    pub(super) const TEXTURE_RECT: u32 = 5;
}

/// Gallium's bind flags of a texture that can be drawn to and sampled.
const BIND_RENDER_TARGET_AND_SAMPLER: u32 = 1 << 1 | 1 << 3;

const BYTES_PER_PIXEL: u64 = Format::BYTES_PER_PIXEL as u64;

/// Bytes that a texel may have at most, in formats that are not looked at here.
const MOST_BYTES_PER_TEXEL: u64 = 16;

impl Gpu {
    pub(super) fn get_capset_info<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let index = request.body::<GetCapsetInfo>()?.capset_index.get();
        let capset = usize::try_from(index).ok();
        let capset = capset.and_then(|index| self.capsets().get(index));
        let capset = capset.ok_or(CommandError::OutOfRange("capset"))?;
        let response = RespCapsetInfo {
            hdr: request.reply(RespType::OkCapsetInfo),
            capset_id: capset.id.into(),
            capset_max_version: capset.max_version.into(),
            capset_max_size: capset.max_size.into(),
            padding: 0.into(),
        };
        Ok(Outcome::Answered(request.respond(&response)?))
    }

    pub(super) fn get_capset<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let body: GetCapset = request.body()?;
        let (id, version) = (body.capset_id.get(), body.capset_version.get());
        let known = self.capsets().iter().find(|capset| capset.id == id).copied();
        let capset = known.filter(|capset| version <= capset.max_version);
        let capset = capset.ok_or(CommandError::OutOfRange("capset"))?;
        let engine = &self.three_d()?.engine;
        let mut response = request.reply(RespType::OkCapset).as_bytes().to_vec();
        response.extend(engine.capset(capset, version)?);
        Ok(Outcome::Answered(request.respond(response.as_slice())?))
    }

    pub(super) fn ctx_create<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let body: CtxCreate = request.body()?;
        let (id, init) = (body.hdr.ctx_id.get(), body.context_init.get());
        let name = usize::try_from(body.nlen.get()).ok().and_then(|len| body.debug_name.get(..len));
        let name = String::from_utf8_lossy(name.ok_or(CommandError::OutOfRange("name"))?);
        let name = name.trim_end_matches('\0').to_owned();
        let capset = init & CONTEXT_INIT_CAPSET_ID_MASK;
        // 0: a driver without CONTEXT_INIT.
        if capset != 0 && !self.capsets().iter().any(|offered| offered.id == capset) {
            return Err(CommandError::OutOfRange("capset"));
        }
        if init & !CONTEXT_INIT_CAPSET_ID_MASK != 0 {
            return Err(CommandError::OutOfRange("flags of the context"));
        }
        let most = self.resources.limits().contexts;
        let three_d = self.three_d()?;
        if id == 0 || three_d.contexts.contains(&id) {
            return Err(CommandError::ContextIdTaken(id));
        }
        if three_d.contexts.len() >= most {
            return Err(CommandError::OverLimit(LimitKind::Contexts));
        }
        three_d.engine.create_context(id, init, &name)?;
        three_d.contexts.insert(id);
        let count = three_d.contexts.len();
        self.resources.counts.hold(LimitKind::Contexts, count as u64);
        Ok(Outcome::Done)
    }

    pub(super) fn ctx_destroy<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let id = request.header().ctx_id.get();
        let three_d = self.context(id)?;
        three_d.contexts.remove(&id);
        let count = three_d.contexts.len();
        three_d.engine.destroy_context(id)?;
        self.resources.counts.hold(LimitKind::Contexts, count as u64);
        self.destroyed = Some(id);
        Ok(Outcome::Done)
    }

    pub(super) fn ctx_attach_resource<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let body: ResourceRequest = request.body()?;
        let (context, id) = (body.hdr.ctx_id.get(), body.resource_id.get());
        self.context(context)?;
        match &self.resources.get(id)?.kind {
            Kind::Image(_) => self.make_texture(id, request.memory())?,
            Kind::Blob(_) => self.share_restored_blob(id, request.memory())?,
            Kind::Texture(_) | Kind::HostBlob(_) => {}
        }
        self.context(context)?.engine.attach(context, id)?;
        Ok(Outcome::Done)
    }

    pub(super) fn ctx_detach_resource<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let body: ResourceRequest = request.body()?;
        let (context, id) = (body.hdr.ctx_id.get(), body.resource_id.get());
        self.context(context)?;
        self.resources.get(id)?;
        self.context(context)?.engine.detach(context, id)?;
        Ok(Outcome::Done)
    }

    pub(super) fn resource_create_3d<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: ResourceCreate3d = request.body()?;
        let id = body.resource_id.get();
        self.three_d()?;
        if self.repeating && self.resources.get(id).is_ok() {
            // An earlier device has made it, and this one has its picture only.
            self.remove_resource(id, display);
        }
        self.resources.check_free(id)?;
        let texture = self.texture_of(&body)?;
        let kind = Kind::Texture(texture);
        if !self.resources.has_room_for(&kind) {
            return Err(CommandError::OverLimit(LimitKind::Bytes));
        }
        self.three_d()?.engine.create_resource(&body)?;
        let inserted = self.resources.insert(id, kind, None);
        self.unless_inserted(id, inserted)?;
        Ok(Outcome::Done)
    }

    /// What is known here of a 3D resource.
    fn texture_of(&mut self, body: &ResourceCreate3d) -> Result<Texture, CommandError> {
        let (width, height) = (body.width.get(), body.height.get());
        let (depth, layers) = (body.depth.get(), body.array_size.get());
        if width == 0 || height == 0 || depth == 0 || layers == 0 {
            return Err(CommandError::OutOfRange("width, height, depth or layers"));
        }
        if body.target.get() == target::BUFFER {
            return Ok(Texture::buffer(width.into()));
        }
        self.dimensions(width.max(depth), height.max(layers))?;
        let samples = body.nr_samples.get().max(1);
        let plain = matches!(body.target.get(), target::TEXTURE_2D | target::TEXTURE_RECT)
            && (depth, layers, samples) == (1, 1, 1);
        let format = Format::from_raw(body.format.get());
        let texel = format.map_or(MOST_BYTES_PER_TEXEL, |_| BYTES_PER_PIXEL);
        // Dimensions are limited, and there are fewer than 2^16 samples in any renderer.
        let texels = u64::from(width) * u64::from(height) * u64::from(depth);
        let bytes = texels.saturating_mul(layers.into()).saturating_mul(samples.into());
        let bytes = bytes.saturating_mul(texel);
        // Smaller levels add a third at most.
        let bytes = if body.last_level.get() > 0 { bytes.saturating_add(bytes / 3) } else { bytes };
        let image = format.filter(|_| plain).and_then(|format| Image::new(format, width, height));
        let y_0_top = body.flags.get() & RESOURCE_FLAG_Y_0_TOP != 0;
        Ok(Texture { bytes, image, y_0_top, dma_buf: None })
    }

    /// Makes a texture of an image that a context wants to use, with what there is in it.
    fn make_texture<M: GuestMemory>(&mut self, id: u32, memory: &M) -> Result<(), CommandError> {
        let Kind::Image(image) = &self.resources.get(id)?.kind else {
            return Err(CommandError::WrongKind(id));
        };
        let mut body = ResourceCreate3d::new_zeroed();
        body.resource_id.set(id);
        body.target.set(target::TEXTURE_2D);
        body.format.set(image.format.raw());
        body.bind.set(BIND_RENDER_TARGET_AND_SAMPLER);
        body.width.set(image.width);
        body.height.set(image.height);
        body.depth.set(1);
        body.array_size.set(1);
        body.flags.set(RESOURCE_FLAG_Y_0_TOP);
        let whole = Rect::of_size(image.width, image.height);
        self.three_d()?.engine.create_resource(&body)?;
        let became = self.resources.become_texture(id);
        self.unless_inserted(id, became)?;
        if self.resources.get(id)?.backing.is_some() {
            self.share_backing(id, memory)?;
            // What was transferred before is in the backing still, or has been overdrawn there.
            self.transfer_2d(id, whole, 0)?;
        }
        Ok(())
    }

    /// TRANSFER_TO_HOST_2D of a texture.
    pub(super) fn transfer_2d(
        &mut self,
        id: u32,
        rect: Rect,
        offset: u64,
    ) -> Result<(), CommandError> {
        let resource = self.resources.get(id)?;
        let Kind::Texture(Texture { image: Some(image), .. }) = &resource.kind else {
            return Err(CommandError::WrongKind(id));
        };
        if resource.backing.is_none() {
            return Err(CommandError::NoBacking(id));
        }
        if !rect.fits(image.width, image.height) {
            return Err(CommandError::OutOfRange("rectangle"));
        }
        if rect.is_empty() {
            return Ok(());
        }
        let mut body = TransferHost3d::new_zeroed();
        body.resource_id.set(id);
        body.box_ = rect.into();
        body.stride.set(image.stride);
        body.offset.set(offset);
        self.transfer(Direction::ToHost, &body)
    }

    pub(super) fn transfer_3d<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        direction: Direction,
    ) -> CommandResult {
        let body: TransferHost3d = request.body()?;
        let (context, id) = (body.hdr.ctx_id.get(), body.resource_id.get());
        self.three_d()?;
        if context != 0 {
            self.context(context)?;
        }
        if !self.resources.get(id)?.rendered {
            return Err(CommandError::WrongKind(id));
        }
        self.transfer(direction, &body)?;
        Ok(Outcome::Done)
    }

    /// A copy between a resource that the renderer has and its backing.
    fn transfer(
        &mut self,
        direction: Direction,
        body: &TransferHost3d,
    ) -> Result<(), CommandError> {
        let plain = self.resources.get(body.resource_id.get())?.kind.image().is_some();
        if !fits_32_bits(body, if plain { BYTES_PER_PIXEL } else { MOST_BYTES_PER_TEXEL }) {
            return Err(CommandError::OutOfRange("transfer"));
        }
        Ok(self.three_d()?.engine.transfer(direction, body)?)
    }

    pub(super) fn submit_3d<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
    ) -> CommandResult {
        let body: CmdSubmit = request.body()?;
        let (context, size) = (body.hdr.ctx_id.get(), body.size.get());
        let three_d = self.context(context)?;
        // What a driver says it is: at most what it sends, which is limited.
        let words = usize::try_from(size / 4).map_err(|_| CommandError::Truncated)?;
        if size % 4 != 0 {
            return Err(CommandError::OutOfRange("size"));
        }
        if u64::from(size) > request.bytes() {
            return Err(CommandError::Truncated);
        }
        three_d.commands.resize(words, 0);
        request.read_exact(three_d.commands.as_mut_bytes())?;
        if words > 0 {
            let submitted = three_d.engine.submit(context, &mut three_d.commands);
            // Those before the one that is wrong are under way.
            self.has_work = true;
            submitted?;
        }
        Ok(Outcome::Done)
    }

    /// RESOURCE_CREATE_BLOB of the renderer's memory, or of the driver's and the renderer's.
    pub(super) fn create_host_blob<M: GuestMemory>(
        &mut self,
        body: &ResourceCreateBlob,
        backing: Option<Backing>,
        memory: &M,
    ) -> CommandResult {
        let context = body.hdr.ctx_id.get();
        self.context(context)?;
        let mappable = body.blob_flags.get() & blob_flag::USE_MAPPABLE != 0;
        let kind = Kind::HostBlob(HostBlob { bytes: body.size.get(), mappable, exported: None });
        if !self.resources.has_room_for(&kind) {
            return Err(CommandError::OverLimit(LimitKind::Bytes));
        }
        if mappable && !self.resources.has_room_for_file() {
            return Err(CommandError::OverLimit(LimitKind::Files));
        }
        let engine = &mut self.three_d()?.engine;
        engine.create_blob(body, backing.as_ref().map(|backing| (backing, memory)))?;
        let id = body.resource_id.get();
        let inserted = self.resources.insert(id, kind, backing);
        self.unless_inserted(id, inserted)?;
        self.resources.hold_memory(id, self.memory.clone());
        Ok(Outcome::Done)
    }

    /// The renderer keeps no resource that is not in the table.
    pub(super) fn unless_inserted(
        &mut self,
        id: u32,
        inserted: Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        inserted.inspect_err(|_| {
            if let Some(three_d) = self.renderer.three_d() {
                three_d.engine.unref(id);
            }
        })
    }

    /// Lets the renderer know a blob that is the driver's memory.
    pub(super) fn share_guest_blob<M: GuestMemory>(
        &mut self,
        body: &ResourceCreateBlob,
        backing: &Backing,
        memory: &M,
    ) -> Result<bool, CommandError> {
        let Some(three_d) = self.renderer.three_d() else { return Ok(false) };
        three_d.engine.create_blob(body, Some((backing, memory)))?;
        Ok(true)
    }

    /// Lets the renderer know a blob of the driver's memory that an earlier device has left.
    fn share_restored_blob<M: GuestMemory>(
        &mut self,
        id: u32,
        memory: &M,
    ) -> Result<(), CommandError> {
        let resource = self.resources.get(id)?;
        let (Kind::Blob(blob), Some(backing), false) =
            (&resource.kind, &resource.backing, resource.rendered)
        else {
            return Ok(());
        };
        let mut body = ResourceCreateBlob::new_zeroed();
        body.resource_id.set(id);
        body.blob_mem = BlobMem::Guest.into();
        body.blob_flags.set(blob_flag::USE_SHAREABLE);
        body.size.set(blob.size);
        let three_d = self.renderer.three_d().ok_or(CommandError::NotOffered)?;
        three_d.engine.create_blob(&body, Some((backing, memory)))?;
        self.resources.set_rendered(id);
        self.resources.hold_memory(id, self.memory.clone());
        Ok(())
    }

    /// Lets the renderer have the backing of a resource that it knows.
    pub(super) fn share_backing<M: GuestMemory>(
        &mut self,
        id: u32,
        memory: &M,
    ) -> Result<(), CommandError> {
        let resource = self.resources.get(id)?;
        let (true, Some(backing)) = (resource.rendered, &resource.backing) else { return Ok(()) };
        if let Some(three_d) = self.renderer.three_d() {
            three_d.engine.attach_backing(id, backing, memory)?;
            self.resources.hold_memory(id, self.memory.clone());
        }
        Ok(())
    }

    /// What has a context.
    fn context(&mut self, id: u32) -> Result<&mut ThreeD, CommandError> {
        let three_d = self.three_d()?;
        if three_d.contexts.contains(&id) { Ok(three_d) } else { Err(CommandError::NoContext(id)) }
    }

    fn three_d(&mut self) -> Result<&mut ThreeD, CommandError> {
        self.renderer.three_d().ok_or(CommandError::NotOffered)
    }

    /// The engine lets go of everything.
    pub(super) fn reset_3d(&mut self) {
        let Some(three_d) = self.renderer.three_d() else { return };
        for context in three_d.contexts.drain() {
            if let Err(error) = three_d.engine.destroy_context(context) {
                log::warn!("context {context} is not destroyed: {error}");
            }
        }
        self.resources.counts.hold(LimitKind::Contexts, 0);
        unref_all(&mut three_d.engine, self.resources.rendered());
    }
}

/// Whether the last byte of a transfer is one that 32 bits can name. virglrenderer counts in 32 bits, and
/// would take one that is beyond for one that is not.
fn fits_32_bits(body: &TransferHost3d, texel: u64) -> bool {
    let box_ = &body.box_;
    let [width, height, depth] = [box_.w, box_.h, box_.d].map(|size| u64::from(size.get()));
    let or = |given: u32, least: u64| if given == 0 { least } else { given.into() };
    let stride = or(body.stride.get(), width.saturating_mul(texel));
    let rows = stride.saturating_mul(height);
    let layers = or(body.layer_stride.get(), rows).saturating_mul(depth);
    let end = body.offset.get().saturating_add(rows).saturating_add(layers);
    let corner = |at: u32, size: u64| u64::from(at) + size <= u64::from(u32::MAX);
    end <= u64::from(u32::MAX)
        && corner(box_.x.get(), width)
        && corner(box_.y.get(), height)
        && corner(box_.z.get(), depth)
}

fn unref_all(engine: &mut Engine, resources: impl Iterator<Item = u32>) {
    resources.for_each(|id| engine.unref(id));
}

/// The timeline of a fenced command.
pub(super) fn timeline_of(header: &CtrlHdr) -> Timeline {
    if header.flags.get() & flag::INFO_RING_IDX == 0 {
        Timeline::Global
    } else {
        Timeline::Ring { context: header.ctx_id.get(), ring: header.ring_idx }
    }
}
