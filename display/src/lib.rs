//! Presenters for scanouts: an SDL window, an output of a card (DRM/KMS), or headless. Knows no virtio.
//!
//! A *scanout* is one picture source, numbered from 0. Its [`Frame`] is memory that another process
//! keeps drawing into ([`PixelMemory`]); nothing is copied until a [`DisplayHandle::flush`] says
//! which part of it changed.
//!
//! ```no_run
//! use std::sync::Arc;
//! use virtio_loopback_display as display;
//! # fn memory() -> display::PixelMemory { unimplemented!() }
//!
//! # fn main() -> Result<(), display::DisplayError> {
//! let options = display::Options::new(display::DisplayKind::Headless, "cluster");
//! let (presenter, handle) = display::Presenter::open(options, |event| println!("{event:?}"))?;
//! std::thread::spawn(move || -> Result<(), display::DisplayError> {
//!     let layout = display::FrameLayout::packed(1280, 720, display::PixelFormat::Xrgb8888);
//!     let frame = display::Frame::new(Arc::new(memory()), layout)?;
//!     handle.set_scanout(0, Some(frame))?;
//!     handle.flush(0, layout.bounds(), || println!("the pixels may be overwritten"))?;
//!     handle.quit();
//!     Ok(())
//! });
//! presenter.run()
//! # }
//! ```
//!
//! Threads: [`Presenter`] belongs to the thread that opened it, which SDL wants to be the main
//! thread. Every other thread uses clones of [`DisplayHandle`].

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod codes;
mod cursor;
mod error;
mod event;
mod format;
mod frame;
mod geometry;
mod handle;
mod headless;
mod kms;
mod loss;
mod memory;
mod options;
mod picture;
mod presenter;
mod sdl;
mod shared;
mod statistics;
mod sync;

pub use cursor::{CursorError, CursorImage};
pub use error::DisplayError;
pub use event::{DisplayEvent, InputEvent};
pub use format::PixelFormat;
pub use frame::{Frame, FrameError, FrameLayout, Origin};
pub use geometry::Rect;
pub use handle::DisplayHandle;
pub use loss::{LossPicture, LossPolicy};
pub use memory::{MemoryError, PixelBuffer, PixelMemory, SharedMapping};
pub use options::{DisplayKind, KmsOptions, Options};
pub use picture::{Difference, Picture, PictureError};
pub use presenter::Presenter;
pub use sdl::{
    ClosePolicy, Filter, HostPointer, RendererChoice, Scaling, SdlOptions, ShortcutModifier,
};
pub use statistics::{Signal, Statistics};

/// Scanouts a display can have (`VIRTIO_GPU_MAX_SCANOUTS`, the most any source announces).
pub const MAX_SCANOUTS: u32 = 16;

/// Widest and highest frame, in pixels.
pub const MAX_DIMENSION: u32 = 16384;
