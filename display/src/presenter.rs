//! The display itself, on the thread that owns the window system.

use std::sync::Arc;

use crate::handle::Inner;
use crate::headless::Headless;
use crate::kms::KmsPresenter;
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
    Kms(Box<KmsPresenter>),
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
        let loss = options.loss.clone();
        let (opened, inner) = match options.kind {
            DisplayKind::Sdl => {
                let sdl = SdlPresenter::open(options, Box::new(on_event))?;
                let inner = Inner::Sdl(sdl.shared().clone());
                (Opened::Sdl(Box::new(sdl)), inner)
            }
            DisplayKind::Kms => {
                let kms = KmsPresenter::open(options, Box::new(on_event))?;
                let inner = Inner::Kms(kms.shared().clone());
                (Opened::Kms(Box::new(kms)), inner)
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
