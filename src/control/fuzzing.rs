//! Both ends of the control socket, each without the other, for fuzzing.

use std::cell::Cell;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use virtio_loopback_display::{
    DisplayHandle, DisplayKind, Frame, FrameLayout, Options, PixelBuffer, PixelFormat, Presenter,
};

use super::Request;
use super::server::{After, answer};
use super::{ClientError, Status, client};

/// A device that has a picture on scanout 0.
pub struct Device {
    _presenter: Presenter,
    display: DisplayHandle,
}

/// What a request has brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    /// The device's status was asked for.
    pub asked: bool,
    /// The device was told to end.
    pub told_to_end: bool,
    /// The client is kept until the device is gone.
    pub kept: bool,
}

impl Device {
    /// A device with a display of its own.
    pub fn new() -> Self {
        let (presenter, display) =
            Presenter::open(Options::new(DisplayKind::Headless, "fuzz"), |_| {}).unwrap();
        let layout = FrameLayout::packed(5, 3, PixelFormat::Xrgb8888);
        let pixels = PixelBuffer::new(5 * 3 * 4).unwrap();
        let frame = Frame::new(Arc::clone(pixels.memory()), layout).unwrap();
        display.set_scanout(0, Some(frame)).unwrap();
        display.flush(0, layout.bounds(), || {}).unwrap();
        Self { _presenter: presenter, display }
    }

    /// Serves one client. The device is one that stays when it is told to detach.
    pub fn serve(&self, client: &UnixStream, status: &Status) -> (Effect, io::Result<()>) {
        let (asked, ended) = (Cell::new(false), Cell::new(false));
        let tell = || {
            asked.set(true);
            status.clone()
        };
        let after = answer(client, &self.display, &tell, &|| ended.set(true), &|| true);
        let kept = matches!(after, Ok(After::KeepUntilGone));
        let effect = Effect { asked: asked.get(), told_to_end: ended.get(), kept };
        (effect, after.map(|_| ()))
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

/// Asks the device behind `stream` for its status.
pub fn status(stream: UnixStream) -> Result<Status, ClientError> {
    client::status_of(stream)
}

/// Asks the device behind `stream` for the PNG of a scanout.
pub fn screenshot(stream: UnixStream, scanout: u32) -> Result<Vec<u8>, ClientError> {
    client::screenshot_of(stream, scanout)
}

/// Tells the device behind `stream` to end.
pub fn quit(stream: UnixStream) -> Result<(), ClientError> {
    client::end_of(stream, &Request::Quit)
}
