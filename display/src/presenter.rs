use std::sync::Arc;

use crate::handle::Inner;
use crate::headless::Headless;
use crate::{Backend, DisplayError, DisplayEvent, DisplayHandle, Options};

/// Owns the window system. Stays on the thread that opened it.
///
/// Dropping it is the same as [`DisplayHandle::quit`].
pub struct Presenter {
    backend: Opened,
}

/// An opened [`Backend`].
enum Opened {
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
        match options.backend {
            Backend::Sdl => {
                drop((options, on_event));
                Err(DisplayError::NoWindowSystem { reason: "not there yet".into() })
            }
            Backend::Headless => {
                let headless = Headless::new();
                let handle = DisplayHandle { inner: Inner::Headless(headless.clone()) };
                Ok((Presenter { backend: Opened::Headless(headless) }, handle))
            }
        }
    }

    /// Shows what the handles ask for, until one of them says [`quit`](DisplayHandle::quit) or the
    /// user has closed the last window (see [`ClosePolicy`](crate::ClosePolicy)).
    ///
    /// # Errors
    ///
    /// The window system failed.
    pub fn run(self) -> Result<(), DisplayError> {
        match &self.backend {
            Opened::Headless(headless) => {
                headless.run();
                Ok(())
            }
        }
    }
}

impl Drop for Presenter {
    fn drop(&mut self) {
        match &self.backend {
            Opened::Headless(headless) => headless.quit(),
        }
    }
}
