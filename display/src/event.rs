//! What a user does to a window, or to a connector.

/// What the user did to a window, or to a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisplayEvent {
    /// The close button. What happens next is up to [`ClosePolicy`](crate::ClosePolicy).
    CloseRequested {
        /// The window's scanout.
        scanout: u32,
    },
    /// The user gave the window another size. Sizes that follow from a frame are not reported.
    Resized {
        /// The window's scanout.
        scanout: u32,
        /// New width of the drawing area, in pixels.
        width: u32,
        /// New height of the drawing area, in pixels.
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
    /// Keyboard or pointer input over a window. Not produced yet.
    Input(InputEvent),
}

/// One input event in the terms of Linux's `struct input_event` (`linux/input.h`), without the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputEvent {
    /// The scanout of the window that had the focus.
    pub scanout: u32,
    /// `EV_*`.
    pub kind: u16,
    /// `KEY_*`, `BTN_*`, `REL_*` or `ABS_*`.
    pub code: u16,
    /// Key state, distance or position; absolute positions are in pixels of the frame.
    pub value: i32,
}
