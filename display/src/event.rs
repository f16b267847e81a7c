//! What a user does to a window, or to a connector.

use std::path::PathBuf;

/// What the user did to a window, or to a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisplayEvent {
    /// The close button. What happens next is up to [`ClosePolicy`](crate::ClosePolicy).
    CloseRequested {
        /// The window's scanout.
        scanout: u32,
    },
    /// The user, or the window manager, gave the window another size: dragged, maximised, full
    /// screen. Sizes that follow from a frame are not reported.
    ///
    /// A few times a second while it is being dragged, and the final size always. When a frame of
    /// this size comes, it is shown 1:1.
    Resized {
        /// The window's scanout.
        scanout: u32,
        /// New width of the drawing area, in the screen's pixels.
        width: u32,
        /// New height of the drawing area, in the screen's pixels.
        height: u32,
    },
    /// A display is at the scanout's connector now, or it is another one. KMS only; once for each
    /// scanout that has a connector when the presenter is opened, too.
    Connected {
        /// The connector's scanout.
        scanout: u32,
        /// The display's EDID, whole; empty if it has none.
        edid: Vec<u8>,
        /// Columns of its preferred mode, in pixels.
        width: u32,
        /// Rows of its preferred mode, in pixels.
        height: u32,
        /// Frames a second in that mode.
        refresh: u32,
    },
    /// The display at the scanout's connector is gone. KMS only.
    Disconnected {
        /// The connector's scanout.
        scanout: u32,
    },
    /// Keyboard, pointer or touch input for the scanout of the window that has it.
    Input(InputEvent),
    /// The user asked for a picture of the window by its shortcut.
    ScreenshotSaved {
        /// The window's scanout.
        scanout: u32,
        /// The PNG file.
        path: PathBuf,
    },
}

/// One input event in the terms of Linux's `struct input_event` (`linux/input.h`), without the
/// time. Numbers are in [`codes`](crate::codes).
///
/// Events come in groups that end with `EV_SYN`, `SYN_REPORT`. A group is of one of these kinds, so
/// that each can be a device of its own:
///
/// - *keyboard*: `KEY_*`, value 1 and 0; a key that is held is not repeated.
/// - *pointer*: `ABS_X` and `ABS_Y` or, while the pointer is grabbed, `REL_X` and `REL_Y`;
///   `BTN_LEFT` to `BTN_EXTRA`; `REL_WHEEL` and `REL_HWHEEL`, each besides its `_HI_RES`.
/// - *touch*: `ABS_MT_*` of protocol B (`multi-touch-protocol.rst`), and `BTN_TOUCH`.
///
/// What is held when a window loses the focus or goes away is released: its events come then, so
/// the receiver has nothing to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputEvent {
    /// The scanout of the window.
    pub scanout: u32,
    /// `EV_*`.
    pub kind: u16,
    /// `KEY_*`, `BTN_*`, `REL_*` or `ABS_*`.
    pub code: u16,
    /// Key state, distance or position. Absolute positions are pixels of the frame: 0 to its width
    /// or height less 1, however it is scaled.
    pub value: i32,
}
