//! virglrenderer, by way of rutabaga_gfx.
//!
//! Both are one per process, and virglrenderer's OpenGL contexts belong to the thread that started
//! it. So an [`Engine`] stays on its thread, which the compiler makes sure of.
//!
//! What rutabaga does not check, and a driver could reach, is checked by whoever calls: contexts are
//! of capsets that are offered (it has cross-domain contexts, too, which are not to be had here), the
//! memory that resources point to stays mapped, and it is taken from virglrenderer before its list.

mod export;
#[cfg(feature = "gfxstream")]
mod gfxstream;
mod memory;

use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use magma_gpu::util::{Handle, MAGMA_GPU_HANDLE_TYPE_MEM_DMABUF};
use rutabaga_gfx::{
    RUTABAGA_CAPSET_VENUS, RUTABAGA_CAPSET_VIRGL, RUTABAGA_CAPSET_VIRGL2, RUTABAGA_FLAG_FENCE,
    RUTABAGA_FLAG_INFO_RING_IDX, RUTABAGA_PATH_TYPE_GPU, ResourceCreate3D,
    ResourceCreateBlob as EngineBlob, Rutabaga, RutabagaBuilder, RutabagaComponentType,
    RutabagaFence, RutabagaHandler, RutabagaIovec, RutabagaPath, Transfer3D,
};
use vm_memory::GuestMemory;
use zerocopy::IntoBytes;

use super::super::backing::Backing;
use super::super::error::EngineError;
use super::super::memfd::Memfd;
use super::super::rect::Rect;
use super::super::texture_scanouts::Export;
use super::super::wire::{
    CapsetId, Format, ResourceCreate3d, ResourceCreateBlob, TransferHost3d, WireBox,
};
use super::{Capset, Direction, Signal, SignalHandler, StartError, Timeline};
use crate::render_nodes;

type Result<T> = std::result::Result<T, EngineError>;

/// The renderer.
pub(in super::super) struct Engine {
    rutabaga: Rutabaga,
    capsets: Vec<Capset>,
    /// Number of the last fence.
    last_fence: Arc<AtomicU64>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("capsets", &self.capsets).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts OpenGL: on the GPU of a render node, or on the one that EGL chooses, or in software. With
    /// a render server Vulkan besides.
    pub(in super::super) fn start(
        render_node: Option<&Path>,
        server: Option<OwnedFd>,
        on_signal: &SignalHandler,
    ) -> std::result::Result<Self, StartError> {
        let paths = choose_gpu(render_node)?
            .map(|path| vec![RutabagaPath { path, path_type: RUTABAGA_PATH_TYPE_GPU }]);
        let (handler, last_fence) = fence_handler(on_signal);
        let vulkan = server.is_some();
        let mask = 1 << RUTABAGA_CAPSET_VIRGL
            | 1 << RUTABAGA_CAPSET_VIRGL2
            | u64::from(vulkan) << RUTABAGA_CAPSET_VENUS;
        let rutabaga = RutabagaBuilder::new(mask, handler)
            .set_default_component(RutabagaComponentType::VirglRenderer)
            .set_use_egl(true)
            .set_use_gles(true)
            .set_use_surfaceless(true)
            .set_rutabaga_paths(paths)
            .set_use_render_server(vulkan)
            .set_server_descriptor(server.map(Into::into))
            .build()
            .map_err(|error| StartError::Engine(error.into()))?;
        let capsets = capsets_of(&rutabaga);
        // Without OpenGL it has gone back to its own 2D, silently.
        if !capsets.iter().any(|capset| capset.id == CapsetId::Virgl2.raw()) {
            return Err(StartError::OpenGl { render_node: render_node.map(Path::to_owned) });
        }
        if vulkan && !capsets.iter().any(|capset| capset.id == CapsetId::Venus.raw()) {
            return Err(StartError::Vulkan);
        }
        Ok(Self { rutabaga, capsets, last_fence })
    }

    /// Readable when [`Self::poll`] is due.
    pub(in super::super) fn poll_descriptor(&self) -> Option<OwnedFd> {
        self.rutabaga.poll_descriptor()?.as_fd().try_clone_to_owned().ok()
    }

    /// Looks at the results of queries, which only the thread of the contexts can: until then the
    /// fences after them do not signal.
    pub(in super::super) fn poll(&mut self) {
        self.rutabaga.event_poll();
    }

    pub(in super::super) fn capsets(&self) -> &[Capset] {
        &self.capsets
    }

    pub(in super::super) fn capset(&self, capset: Capset, version: u32) -> Result<Vec<u8>> {
        Ok(self.rutabaga.get_capset(capset.id, version)?)
    }

    pub(in super::super) fn create_context(
        &mut self,
        id: u32,
        init: u32,
        name: &str,
    ) -> Result<()> {
        let created = self.rutabaga.create_context(id, init, Some(name));
        self.leave_context();
        Ok(created?)
    }

    pub(in super::super) fn destroy_context(&mut self, id: u32) -> Result<()> {
        let destroyed = self.rutabaga.destroy_context(id);
        self.leave_context();
        Ok(destroyed?)
    }

    /// virglrenderer makes a context that comes or goes the current one of OpenGL, and goes on with the
    /// commands of the one before as if that still were. Then it knows that it has to switch.
    fn leave_context(&self) {
        self.rutabaga.force_ctx_0();
    }

    pub(in super::super) fn attach(&mut self, context: u32, resource: u32) -> Result<()> {
        Ok(self.rutabaga.context_attach_resource(context, resource)?)
    }

    pub(in super::super) fn detach(&mut self, context: u32, resource: u32) -> Result<()> {
        Ok(self.rutabaga.context_detach_resource(context, resource)?)
    }

    pub(in super::super) fn create_resource(&mut self, body: &ResourceCreate3d) -> Result<()> {
        let create = ResourceCreate3D {
            target: body.target.get(),
            format: body.format.get(),
            bind: body.bind.get(),
            width: body.width.get(),
            height: body.height.get(),
            depth: body.depth.get(),
            array_size: body.array_size.get(),
            last_level: body.last_level.get(),
            nr_samples: body.nr_samples.get(),
            flags: body.flags.get(),
        };
        Ok(self.rutabaga.resource_create_3d(body.resource_id.get(), create)?)
    }

    pub(in super::super) fn create_blob<M: GuestMemory>(
        &mut self,
        body: &ResourceCreateBlob,
        backing: Option<(&Backing, &M)>,
    ) -> Result<()> {
        let create = EngineBlob {
            blob_mem: body.blob_mem.get(),
            blob_flags: body.blob_flags.get(),
            blob_id: body.blob_id.get(),
            size: body.size.get(),
        };
        let iovecs = backing.map(|(backing, memory)| iovecs(backing, memory)).transpose()?;
        let (context, id) = (body.hdr.ctx_id.get(), body.resource_id.get());
        Ok(self.rutabaga.resource_create_blob(context, id, create, iovecs, None)?)
    }

    /// Lets a resource have its backing. It has to stay mapped until [`Self::detach_backing`] or
    /// [`Self::unref`].
    pub(in super::super) fn attach_backing<M: GuestMemory>(
        &mut self,
        id: u32,
        backing: &Backing,
        memory: &M,
    ) -> Result<()> {
        Ok(self.rutabaga.attach_backing(id, iovecs(backing, memory)?)?)
    }

    pub(in super::super) fn detach_backing(&mut self, id: u32) {
        if let Err(error) = self.rutabaga.detach_backing(id) {
            log::debug!("resource {id} keeps its backing: {error}");
        }
    }

    pub(in super::super) fn unref(&mut self, id: u32) {
        // Rutabaga frees its list of pieces before virglrenderer lets go of it.
        self.detach_backing(id);
        if let Err(error) = self.rutabaga.unref_resource(id) {
            log::debug!("resource {id} was not there: {error}");
        }
    }

    /// Copies between a resource and its backing, for a context or, 0, for none.
    pub(in super::super) fn transfer(
        &mut self,
        direction: Direction,
        body: &TransferHost3d,
    ) -> Result<()> {
        let WireBox { x, y, z, w, h, d } = body.box_;
        let transfer = Transfer3D {
            x: x.get(),
            y: y.get(),
            z: z.get(),
            w: w.get(),
            h: h.get(),
            d: d.get(),
            level: body.level.get(),
            stride: body.stride.get(),
            layer_stride: body.layer_stride.get(),
            offset: body.offset.get(),
        };
        let (context, id) = (body.hdr.ctx_id.get(), body.resource_id.get());
        match direction {
            Direction::ToHost => self.rutabaga.transfer_write(context, id, transfer, None)?,
            Direction::FromHost => self.rutabaga.transfer_read(context, id, transfer, None)?,
        }
        Ok(())
    }

    /// Copies a rectangle of a texture to the same place of `pixels`, whose rows are `stride` bytes
    /// apart. Waits for the GPU.
    pub(in super::super) fn read_pixels(
        &mut self,
        id: u32,
        rect: Rect,
        stride: u32,
        pixels: &Memfd,
    ) -> Result<()> {
        let Rect { x, y, width, height } = rect;
        let offset =
            u64::from(y) * u64::from(stride) + u64::from(x) * u64::from(Format::BYTES_PER_PIXEL);
        let transfer = Transfer3D { stride, ..Transfer3D::new_2d(x, y, width, height, offset) };
        memory::with_bytes(pixels, |bytes| {
            Ok(self.rutabaga.transfer_read(0, id, transfer, Some(bytes))?)
        })
    }

    /// A texture as a dma-buf, where the renderer can make one of it.
    pub(in super::super) fn export(&mut self, id: u32) -> Option<Export> {
        let info = self.rutabaga.resource3d_info(id).ok()?;
        let handle = Handle::try_from(self.rutabaga.export_blob(id).ok()?).ok()?;
        if handle.handle_type != MAGMA_GPU_HANDLE_TYPE_MEM_DMABUF {
            return None;
        }
        let fd = handle.os_handle.as_fd().try_clone_to_owned().ok()?;
        let ([offset, ..], [stride, ..]) = (info.offsets, info.strides);
        Some(Export { fd, offset, stride, fourcc: info.drm_fourcc, modifier: info.modifier })
    }

    /// Executes commands of a context. `commands` may be changed.
    pub(in super::super) fn submit(&mut self, context: u32, commands: &mut [u32]) -> Result<()> {
        Ok(self.rutabaga.submit_command(context, commands.as_mut_bytes(), &[])?)
    }

    /// Asks for a signal when all that a timeline has to do is done. Its number.
    pub(in super::super) fn create_fence(&mut self, timeline: Timeline) -> Result<u64> {
        // The signal may come before the call returns, and needs the number.
        let number = self.last_fence.fetch_add(1, Ordering::AcqRel) + 1;
        let fence = match timeline {
            Timeline::Global => RutabagaFence {
                flags: RUTABAGA_FLAG_FENCE,
                fence_id: number,
                ctx_id: 0,
                ring_idx: 0,
            },
            Timeline::Ring { context, ring } => RutabagaFence {
                flags: RUTABAGA_FLAG_FENCE | RUTABAGA_FLAG_INFO_RING_IDX,
                fence_id: number,
                ctx_id: context,
                ring_idx: ring,
            },
        };
        self.rutabaga.create_fence(fence)?;
        Ok(number)
    }
}

/// What tells of fences that signal, and the number of the last one that was made.
fn fence_handler(on_signal: &SignalHandler) -> (RutabagaHandler<RutabagaFence>, Arc<AtomicU64>) {
    let on_signal = Arc::clone(on_signal);
    let last_fence = Arc::new(AtomicU64::new(0));
    let last = Arc::clone(&last_fence);
    let handler = RutabagaHandler::new(move |fence: RutabagaFence| {
        let work = whole_number(fence.fence_id, last.load(Ordering::Acquire));
        on_signal(Signal { timeline: timeline_of(&fence), work });
    });
    (handler, last_fence)
}

fn capsets_of(rutabaga: &Rutabaga) -> Vec<Capset> {
    (0..rutabaga.get_num_capsets())
        .filter_map(|index| rutabaga.get_capset_info(index).ok())
        .map(|(id, max_version, max_size)| Capset { id, max_version, max_size })
        // It names what it was asked for, be it there or not.
        .filter(|capset| capset.max_size > 0)
        .collect()
}

/// The GPU that was asked for; or `None`: virglrenderer chooses, and renders in software if there is none.
/// Where it could choose a card of our own transport, it is not left the choice.
fn choose_gpu(asked: Option<&Path>) -> std::result::Result<Option<PathBuf>, StartError> {
    let Some(node) = asked else {
        let nodes = render_nodes::find();
        return match (nodes.gpus.into_iter().next(), nodes.loopback) {
            (_, loopback) if loopback.is_empty() => Ok(None),
            (Some(gpu), _) => Ok(Some(gpu)),
            // As a rule the sandbox has closed them.
            (None, loopback) => match loopback.into_iter().find(|node| opens(node)) {
                Some(node) => Err(StartError::OnlyLoopback(node)),
                None => Ok(None),
            },
        };
    };
    // Rutabaga would go on without it.
    let real = node.canonicalize().ok().filter(|path| render_nodes::is_render_node(path));
    let real = real.ok_or_else(|| StartError::RenderNode(node.to_owned()))?;
    if render_nodes::is_loopback(&real) {
        return Err(StartError::Loopback(node.to_owned()));
    }
    Ok(Some(node.to_owned()))
}

fn opens(node: &Path) -> bool {
    File::options().read(true).write(true).open(node).is_ok()
}

/// The number of a fence whose lower half virglrenderer has kept: the last one that ends so.
fn whole_number(fence: u64, last: u64) -> u64 {
    // Truncated on purpose.
    last.wrapping_sub(u64::from((last as u32).wrapping_sub(fence as u32)))
}

fn timeline_of(fence: &RutabagaFence) -> Timeline {
    if fence.flags & RUTABAGA_FLAG_INFO_RING_IDX == 0 {
        Timeline::Global
    } else {
        Timeline::Ring { context: fence.ctx_id, ring: fence.ring_idx }
    }
}

/// A backing as the pieces of our own address space that it is mapped to.
fn iovecs<M: GuestMemory>(backing: &Backing, memory: &M) -> Result<Vec<RutabagaIovec>> {
    let mut iovecs = Vec::with_capacity(backing.pieces());
    backing.for_each_piece(memory, |piece| {
        let base = piece.ptr_guard_mut().as_ptr().cast();
        iovecs.push(RutabagaIovec { base, len: piece.len() });
    })?;
    Ok(iovecs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_number_names_the_last_fence_that_ends_so() {
        for (fence, last, whole) in [
            (5, 7, 5),
            (7, 7, 7),
            (0xffff_ffff, 0x1_0000_0002, 0xffff_ffff),
            (1, 0x1_0000_0002, 0x1_0000_0001),
            (0xffff_fffe, 0x3_0000_0000, 0x2_ffff_fffe),
            // As a ring's timeline has it.
            (0x1_0000_0001, 0x1_0000_0002, 0x1_0000_0001),
        ] {
            assert_eq!(whole_number(fence, last), whole, "{fence:#x} of {last:#x}");
        }
    }
}
