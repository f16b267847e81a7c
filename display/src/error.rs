//! Why something cannot be shown.

use thiserror::Error;

use crate::{CursorError, FrameError, MAX_SCANOUTS, MemoryError, PictureError};

/// What can go wrong between a frame and its presentation.
#[derive(Debug, Error)]
pub enum DisplayError {
    /// The window system cannot be used. Final for this process.
    #[error("cannot open an SDL window: {reason}; {advice}, or use --display headless")]
    NoWindowSystem {
        /// What SDL said.
        reason: String,
        /// What to do, without "or".
        advice: String,
    },

    /// One window or renderer operation failed.
    #[error("cannot {what}: {reason}")]
    Sdl {
        /// The operation, as the end of "cannot ...".
        what: &'static str,
        /// What SDL said.
        reason: String,
    },

    /// There is no card that could show anything.
    #[error(
        "there is no card with a connector to show something on; name one, or use --display headless"
    )]
    NoCard,

    /// The card cannot be used. Final for this process.
    #[error("cannot {what}")]
    Kms {
        /// The operation, as the end of "cannot ...".
        what: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },

    /// Somebody else shows something on the card.
    #[error(
        "another program shows something on {card}: end it, switch to another terminal, or have it lease a connector (--drm-fd)"
    )]
    NotMaster {
        /// The card.
        card: String,
    },

    /// The card has no connector of that name.
    #[error("{card} has no connector {name:?}, there are {known}")]
    NoConnector {
        /// The card.
        card: String,
        /// The name that is not there.
        name: String,
        /// Those that are.
        known: String,
    },

    /// The plane cannot be used.
    #[error("plane {plane} is none that can show something on {connector}")]
    NoPlane {
        /// The plane's object id.
        plane: u32,
        /// The connector's name.
        connector: String,
    },

    /// The scanout number is not below [`MAX_SCANOUTS`].
    #[error("scanout {0} does not exist, a display has scanouts 0 to {max}", max = MAX_SCANOUTS - 1)]
    UnknownScanout(u32),

    /// The scanout has no picture to work on: it was never given a frame, or is switched off.
    #[error("scanout {0} has no picture")]
    NoPicture(u32),

    /// The display has quit.
    #[error("the display is closed")]
    Closed,

    /// The presenter did not answer in time.
    #[error("the display did not answer within {0} s")]
    Timeout(u64),

    /// The system has no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),

    /// A frame does not fit its memory or the limits.
    #[error(transparent)]
    Frame(#[from] FrameError),

    /// Memory cannot be mapped or may not be trusted.
    #[error(transparent)]
    Memory(#[from] MemoryError),

    /// A cursor image does not fit its bytes or the limits.
    #[error(transparent)]
    Cursor(#[from] CursorError),

    /// A picture cannot be written.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// An error with all that lies behind it.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
