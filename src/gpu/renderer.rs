//! What makes the pixels.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::engine::{Capset, Engine, SignalHandler, StartError};
use super::wire::feature;

/// The renderers. It decides which features the device offers, because what a driver does hangs on
/// them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Renderer {
    /// Nothing but copying. The driver's dumb buffers are guest blobs then, and are not even copied.
    TwoD,
    /// OpenGL besides.
    Virgl(Box<ThreeD>),
}

/// A renderer of 3D, and what is there of its contexts.
#[derive(Debug)]
pub struct ThreeD {
    pub(super) engine: Engine,
    /// Numbers of the contexts there are.
    pub(super) contexts: HashSet<u32>,
    /// Commands on their way to the engine. Kept for its allocation.
    pub(super) commands: Vec<u32>,
}

impl Renderer {
    /// Starts OpenGL on the GPU of a render node, or on the one that EGL chooses. Once per process,
    /// and on the thread that uses it. With the socket of a render server of virglrenderer's Vulkan
    /// besides. `on_signal` is told what the GPU has done.
    pub fn start_virgl(
        render_node: Option<&Path>,
        server: Option<OwnedFd>,
        on_signal: &SignalHandler,
    ) -> Result<Self, StartError> {
        let engine = Engine::start(render_node, server, on_signal)?;
        Ok(Self::Virgl(Box::new(ThreeD { engine, contexts: HashSet::new(), commands: Vec::new() })))
    }

    /// Starts gfxstream. Once per process, and on the thread that uses it.
    #[cfg(feature = "gfxstream")]
    pub fn start_gfxstream(on_signal: &SignalHandler) -> Result<Self, StartError> {
        let engine = Engine::start_gfxstream(on_signal)?;
        Ok(Self::Virgl(Box::new(ThreeD { engine, contexts: HashSet::new(), commands: Vec::new() })))
    }

    /// Mask of device feature bits.
    #[must_use]
    pub const fn features(&self) -> u64 {
        let two_d = 1 << feature::EDID | 1 << feature::RESOURCE_UUID | 1 << feature::RESOURCE_BLOB;
        match self {
            Self::TwoD => two_d,
            Self::Virgl(_) => two_d | 1 << feature::VIRGL | 1 << feature::CONTEXT_INIT,
        }
    }

    /// Readable when the renderer wants [`Gpu::poll_renderer`](super::Gpu::poll_renderer) to be called.
    #[must_use]
    pub fn poll_descriptor(&self) -> Option<OwnedFd> {
        match self {
            Self::TwoD => None,
            Self::Virgl(three_d) => three_d.engine.poll_descriptor(),
        }
    }

    /// Capsets there are.
    pub(super) fn capsets(&self) -> &[Capset] {
        match self {
            Self::TwoD => &[],
            Self::Virgl(three_d) => three_d.engine.capsets(),
        }
    }

    pub(super) fn three_d(&mut self) -> Option<&mut ThreeD> {
        match self {
            Self::TwoD => None,
            Self::Virgl(three_d) => Some(three_d),
        }
    }
}
