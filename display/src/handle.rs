//! What other threads see of a display.

use std::sync::Arc;

use crate::headless::Headless;
use crate::loss::LossWatch;
use crate::shared::{Completion, Shared};
use crate::{CursorImage, DisplayError, Frame, Picture, Rect, Statistics};

/// What other threads use to show something. Clones are the same display.
///
/// Calls never wait for the window system, but for [`screenshot`](DisplayHandle::screenshot). Each
/// one that names a scanout fails with [`DisplayError::UnknownScanout`] if there is none of that
/// number.
#[derive(Clone)]
pub struct DisplayHandle {
    pub(crate) inner: Inner,
    pub(crate) loss: LossWatch,
}

#[derive(Clone)]
pub(crate) enum Inner {
    Sdl(Arc<Shared>),
    Kms(Arc<Shared>),
    Headless(Arc<Headless>),
}

impl Inner {
    pub(crate) fn statistics(&self, scanout: u32) -> Option<Statistics> {
        match self {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.statistics(scanout),
            Inner::Headless(headless) => headless.statistics(scanout),
        }
    }

    /// Shows a frame in place of the last picture of a scanout that nobody draws. One that is drawn
    /// again shows that.
    pub(crate) fn stand_in(&self, scanout: u32, frame: Frame) -> Result<(), DisplayError> {
        match self {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.stand_in(scanout, frame),
            Inner::Headless(headless) => headless.stand_in(scanout, &frame),
        }
    }
}

impl DisplayHandle {
    /// Gives a scanout another picture source (page flip, mode set), or switches it off.
    ///
    /// A new source is shown with the next [`flush`](DisplayHandle::flush), whole. When switched
    /// off, the last picture stays visible, with all that was flushed before, and the frame's memory
    /// is read no more when this returns; a presenter that hangs gets a second for it. So this is not
    /// to be called from the presenter's thread.
    ///
    /// # Errors
    ///
    /// [`DisplayError::Closed`] after [`quit`](DisplayHandle::quit).
    pub fn set_scanout(&self, scanout: u32, frame: Option<Frame>) -> Result<(), DisplayError> {
        let is_live = frame.is_some();
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.set_scanout(scanout, frame),
            Inner::Headless(headless) => headless.set_scanout(scanout, frame),
        }?;
        if is_live {
            self.loss.live(scanout);
        } else {
            self.loss.lost(scanout);
        }
        Ok(())
    }

    /// Says whether a scanout has a monitor, which it has at first. One without is shown as long as it
    /// is drawn; once it is not, its window goes or its output is switched off, and nothing stands in for it.
    ///
    /// # Errors
    ///
    /// None but the scanout's number.
    pub fn set_plugged(&self, scanout: u32, plugged: bool) -> Result<(), DisplayError> {
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.set_plugged(scanout, plugged),
            Inner::Headless(headless) => headless.set_plugged(scanout, plugged),
        }
    }

    /// Says that whatever drew is gone: the last pictures stay, marked as such, and all frames'
    /// memory is read no more when this returns. The next [`set_scanout`](DisplayHandle::set_scanout) goes on.
    pub fn source_lost(&self) {
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.source_lost(),
            Inner::Headless(headless) => headless.source_lost(),
        }
        self.loss.all_lost();
    }

    /// Says that the pixels in `damage` have changed. It is clipped to the frame.
    ///
    /// `done` runs exactly once: when the pixels have been copied and may be overwritten, or at
    /// once when there is nothing to copy (headless, an error, quit). It may run in this call, or
    /// on the presenter's thread, and must be short.
    ///
    /// # Errors
    ///
    /// [`DisplayError::NoPicture`] if the scanout has no frame, [`DisplayError::Closed`] after
    /// [`quit`](DisplayHandle::quit).
    pub fn flush(
        &self,
        scanout: u32,
        damage: Rect,
        done: impl FnOnce() + Send + 'static,
    ) -> Result<(), DisplayError> {
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => {
                shared.flush(scanout, damage, Completion::new(done))
            }
            Inner::Headless(headless) => {
                let result = headless.flush(scanout, damage);
                done();
                result
            }
        }
    }

    /// Changes the image of the mouse pointer, not its place or visibility.
    ///
    /// # Errors
    ///
    /// None but the scanout's number.
    pub fn set_cursor(&self, scanout: u32, image: CursorImage) -> Result<(), DisplayError> {
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.set_cursor(scanout, image),
            Inner::Headless(headless) => headless.set_cursor(scanout, image),
        }
    }

    /// Places, shows or hides the mouse pointer.
    ///
    /// (`x`, `y`) is where the image's *top left* pixel lies, and may be outside the frame: Linux
    /// sends the cursor plane's `crtc_x` and `crtc_y` (`virtgpu_plane.c`), from which the drawing
    /// client has already subtracted the hot spot.
    ///
    /// # Errors
    ///
    /// None but the scanout's number.
    pub fn move_cursor(
        &self,
        scanout: u32,
        x: i32,
        y: i32,
        visible: bool,
    ) -> Result<(), DisplayError> {
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.move_cursor(scanout, x, y, visible),
            Inner::Headless(headless) => headless.move_cursor(scanout, x, y, visible),
        }
    }

    /// What the scanout shows, with the mouse pointer. With a window: what the window shows, in the
    /// window's size. KMS and headless: the frame or, once its source ended, its last picture, even after
    /// [`quit`](DisplayHandle::quit).
    ///
    /// # Errors
    ///
    /// [`DisplayError::NoPicture`] before the first frame. With a window also
    /// [`DisplayError::Closed`] and [`DisplayError::Timeout`].
    pub fn screenshot(&self, scanout: u32) -> Result<Picture, DisplayError> {
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.screenshot(scanout),
            Inner::Headless(headless) => headless.screenshot(scanout),
        }
    }

    /// Whether frames that are dma-bufs may be shown without a copy, if they are any.
    pub fn takes_dma_bufs(&self) -> bool {
        matches!(self.inner, Inner::Kms(_))
    }

    /// The scanout's figures; `None` if it never had a frame.
    pub fn statistics(&self, scanout: u32) -> Option<Statistics> {
        self.inner.statistics(scanout)
    }

    /// Makes [`Presenter::run`](crate::Presenter::run) return.
    pub fn quit(&self) {
        match &self.inner {
            Inner::Sdl(shared) | Inner::Kms(shared) => shared.quit(),
            Inner::Headless(headless) => headless.quit(),
        }
    }
}
