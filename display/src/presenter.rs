//! The display itself, on the thread that owns the window system.

use std::sync::Arc;

use crate::handle::Inner;
use crate::headless::Headless;
use crate::loss::LossWatch;
use crate::sdl::SdlPresenter;
use crate::{DisplayError, DisplayEvent, DisplayHandle, DisplayKind, Options};

/// Owns the window system. Stays on the thread that opened it.
///
/// Dropping it is the same as [`DisplayHandle::quit`].
pub struct Presenter {
    opened: Opened,
}

/// An opened [`DisplayKind`].
enum Opened {
    Sdl(Box<SdlPresenter>),
    Headless(Arc<Headless>),
}

impl Presenter {
    /// Opens the window system; windows come with the first frames. `on_event` is called on the
    /// presenter's thread and must be short.
    ///
    /// # Errors
    ///
    /// [`DisplayError::NoWindowSystem`], whose text says what to do.
    pub fn open(
        options: Options,
        on_event: impl Fn(DisplayEvent) + Send + 'static,
    ) -> Result<(Presenter, DisplayHandle), DisplayError> {
        let loss = options.loss.clone();
        let (opened, inner) = match options.kind {
            DisplayKind::Sdl => {
                let sdl = SdlPresenter::open(options, Box::new(on_event))?;
                let inner = Inner::Sdl(sdl.shared().clone());
                (Opened::Sdl(Box::new(sdl)), inner)
            }
            DisplayKind::Headless => {
                let headless = Headless::new();
                (Opened::Headless(headless.clone()), Inner::Headless(headless))
            }
        };
        let loss = LossWatch::start(loss, inner.clone())?;
        Ok((Presenter { opened }, DisplayHandle { inner, loss }))
    }

    /// Shows what the handles ask for, until one of them says [`quit`](DisplayHandle::quit) or the
    /// user has closed the last window (see [`ClosePolicy`](crate::ClosePolicy)).
    ///
    /// # Errors
    ///
    /// The window system failed.
    pub fn run(mut self) -> Result<(), DisplayError> {
        match &mut self.opened {
            Opened::Sdl(sdl) => sdl.run(),
            Opened::Headless(headless) => {
                headless.run();
                Ok(())
            }
        }
    }
}

impl Drop for Presenter {
    fn drop(&mut self) {
        match &self.opened {
            // Does so when it is dropped itself.
            Opened::Sdl(_) => {}
            Opened::Headless(headless) => headless.quit(),
        }
    }
}
