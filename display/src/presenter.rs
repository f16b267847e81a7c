//! The display itself, on the thread that owns the window system.

use std::sync::Arc;

use crate::handle::Inner;
use crate::headless::Headless;
use crate::kms::KmsPresenter;
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
    Sdl(SdlPresenter),
    Kms(KmsPresenter),
    Headless(Arc<Headless>),
}

impl Presenter {
    /// Opens the window system; windows come with the first frames. `on_event` is called on the
    /// presenter's thread and must be short.
    ///
    /// # Errors
    ///
    /// [`DisplayError::NoWindowSystem`], or for KMS one that says what about the card is not right; their
    /// text says what to do.
    pub fn open(
        options: Options,
        on_event: impl Fn(DisplayEvent) + Send + 'static,
    ) -> Result<(Presenter, DisplayHandle), DisplayError> {
        match options.kind {
            DisplayKind::Sdl => {
                let sdl = SdlPresenter::open(options, Box::new(on_event))?;
                let handle = DisplayHandle { inner: Inner::Sdl(sdl.shared().clone()) };
                Ok((Presenter { opened: Opened::Sdl(sdl) }, handle))
            }
            DisplayKind::Kms => {
                let kms = KmsPresenter::open(options, Box::new(on_event))?;
                let handle = DisplayHandle { inner: Inner::Kms(kms.shared().clone()) };
                Ok((Presenter { opened: Opened::Kms(kms) }, handle))
            }
            DisplayKind::Headless => {
                let headless = Headless::new();
                let handle = DisplayHandle { inner: Inner::Headless(headless.clone()) };
                Ok((Presenter { opened: Opened::Headless(headless) }, handle))
            }
        }
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
            Opened::Kms(kms) => kms.run(),
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
            // They do so when they are dropped themselves.
            Opened::Sdl(_) | Opened::Kms(_) => {}
            Opened::Headless(headless) => headless.quit(),
        }
    }
}
