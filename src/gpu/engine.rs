//! What executes 3D commands: rutabaga_gfx with virglrenderer, where it is built in.
//!
//! It is given numbers that were checked before: contexts and resources that exist, sizes within the
//! limits. What it does with their contents is its own; the process is what confines it.

#[cfg(not(feature = "virgl"))]
mod none;
#[cfg(feature = "virgl")]
mod virgl;

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::EngineError;

#[cfg(not(feature = "virgl"))]
pub(super) use none::Engine;
#[cfg(feature = "virgl")]
pub(super) use virgl::Engine;

/// Mapped memory that something points into, which stays mapped as long as this is there.
#[derive(Clone)]
pub struct MemoryKeeper(#[allow(dead_code, reason = "held, not used")] Arc<dyn Any + Send + Sync>);

impl MemoryKeeper {
    /// Keeps this.
    pub fn new(memory: Arc<dyn Any + Send + Sync>) -> Self {
        Self(memory)
    }
}

impl fmt::Debug for MemoryKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryKeeper")
    }
}

/// Order in which fences signal: within a timeline in that in which they were made, and independent
/// of those of other timelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timeline {
    /// That of every command that names no other.
    Global,
    /// One of a context.
    Ring {
        /// The context.
        context: u32,
        /// Which one.
        ring: u8,
    },
}

/// Something that a timeline has reached, and so everything before it in that timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Where.
    pub timeline: Timeline,
    /// The number that was given to it. Numbers rise.
    pub work: u64,
}

/// Told of signals, from any thread, also from within a call of the device.
pub type SignalHandler = Arc<dyn Fn(Signal) + Send + Sync>;

/// Why there is no 3D.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The program was built without it.
    #[error(
        "this program was built without OpenGL (cargo's feature \"virgl\", virglrenderer 1.0 or later); use --render 2d"
    )]
    NotBuilt,
    /// What was named is no GPU.
    #[error(
        "{} is no render node: those that there are are /dev/dri/renderD128 and so on", .0.display()
    )]
    RenderNode(PathBuf),
    /// It would wait for itself.
    #[error(
        "{} is a card of virtio-loopback-gpu, which needs a GPU to render with; without --render-node it renders in software",
        .0.display()
    )]
    Loopback(PathBuf),
    /// It would wait for itself or for others of its kind.
    #[error(
        "there is no GPU, and in its place virglrenderer would take a card of virtio-loopback-gpu, {}, which only the sandbox keeps it from; use --sandbox=on on a kernel with Landlock, or --render 2d",
        .0.display()
    )]
    OnlyLoopback(PathBuf),
    /// EGL or OpenGL failed.
    #[error(
        "OpenGL cannot be started{}: virglrenderer finds no EGL driver that works; install Mesa's (libegl-mesa0, libgl1-mesa-dri), name a --render-node, or use --render 2d",
        .render_node.as_ref().map(|node| format!(" on {}", node.display())).unwrap_or_default()
    )]
    OpenGl {
        /// The GPU that was asked for.
        render_node: Option<PathBuf>,
    },
    /// virglrenderer has no Vulkan.
    #[error("virglrenderer was built without Venus, which renders Vulkan; leave out --venus")]
    Vulkan,
    /// The renderer refused for another reason.
    #[error("the renderer cannot be started")]
    Engine(#[source] EngineError),
}

/// A capset that contexts can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capset {
    pub(super) id: u32,
    pub(super) max_version: u32,
    /// Bytes.
    pub(super) max_size: u32,
}

/// A copy between a resource and its backing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToHost,
    FromHost,
}
