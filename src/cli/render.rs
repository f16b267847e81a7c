//! Options of what renders.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use virtio_loopback_gpu::backend::{DmaBufs, RenderServer, Rendering};
use virtio_loopback_gpu::sandbox::Needs;

/// Those of a GPU backend.
#[derive(Debug, Clone, Args)]
pub struct RenderOptions {
    /// What the GPU backend renders.
    #[arg(long, value_enum, default_value_t = Render::TwoD)]
    render: Render,
    /// The GPU that renders, such as /dev/dri/renderD128, in place of the one that EGL chooses.
    #[arg(long, value_name = "NODE")]
    render_node: Option<String>,
    /// Whether scanouts that OpenGL has drawn go to the display as dma-bufs, without a copy.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = DmaBufScanouts::Auto)]
    dmabuf_scanouts: DmaBufScanouts,
}

/// When scanouts are dma-bufs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DmaBufScanouts {
    /// Where the display of this program can show them.
    Auto,
    /// Always; a display that cannot show them stays black.
    On,
    /// Never.
    Off,
}

impl fmt::Display for DmaBufScanouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

impl From<DmaBufScanouts> for DmaBufs {
    fn from(scanouts: DmaBufScanouts) -> Self {
        match scanouts {
            DmaBufScanouts::Auto => Self::Auto,
            DmaBufScanouts::On => Self::On,
            DmaBufScanouts::Off => Self::Off,
        }
    }
}

/// The renderers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Render {
    /// Scanouts, cursors and blobs, without 3D.
    #[value(name = "2d")]
    TwoD,
    /// OpenGL besides, or fail.
    Virgl,
    /// OpenGL besides where it can be started, else 2d.
    Auto,
    /// Vulkan and OpenGL ES by gfxstream besides, or fail; not tested.
    #[cfg(feature = "gfxstream")]
    Gfxstream,
}

impl fmt::Display for Render {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TwoD => "2d",
            Self::Virgl => "virgl",
            Self::Auto => "auto",
            #[cfg(feature = "gfxstream")]
            Self::Gfxstream => "gfxstream",
        })
    }
}

impl Render {
    /// Whether virglrenderer may render.
    pub fn is_virgl(self) -> bool {
        matches!(self, Self::Virgl | Self::Auto)
    }
}

impl RenderOptions {
    /// Which renderer.
    pub fn render(&self) -> Render {
        self.render
    }

    /// Another renderer.
    pub fn set(&mut self, render: Render) {
        self.render = render;
    }

    /// The GPU, if one is named.
    pub fn node(&self) -> Option<&str> {
        self.render_node.as_deref()
    }

    /// What they ask for, with Vulkan if there is what renders it.
    pub fn rendering(&self, vulkan: Option<RenderServer>) -> Rendering {
        let or_2d = match self.render {
            Render::TwoD => return Rendering::TwoD,
            Render::Virgl => false,
            Render::Auto => true,
            #[cfg(feature = "gfxstream")]
            Render::Gfxstream => return Rendering::Gfxstream,
        };
        Rendering::Virgl {
            render_node: self.render_node.clone().map(PathBuf::from),
            or_2d,
            dma_bufs: self.dmabuf_scanouts.into(),
            vulkan,
        }
    }

    /// What the sandbox has to leave them.
    pub fn needs(&self) -> Needs {
        match self.rendering(None) {
            Rendering::TwoD => Needs::TwoD,
            Rendering::Virgl { render_node, .. } => Needs::OpenGl { render_node },
            #[cfg(feature = "gfxstream")]
            Rendering::Gfxstream => Needs::OpenGl { render_node: None },
        }
    }

    /// Options that say the same to a backend.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--render={}", self.render)];
        if let Some(node) = &self.render_node {
            arguments.push(format!("--render-node={node}"));
        }
        if self.dmabuf_scanouts != DmaBufScanouts::Auto {
            arguments.push(format!("--dmabuf-scanouts={}", self.dmabuf_scanouts));
        }
        arguments
    }
}
