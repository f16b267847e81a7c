//! Both ends of the control socket, each without the other, for fuzzing.

use std::cell::Cell;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use virtio_loopback_display::{
    DisplayHandle, DisplayKind, Frame, FrameLayout, Options, PixelBuffer, PixelFormat, Presenter,
};

use super::server::{After, Controlled, answer};
use super::{ClientError, Status, client};
use super::{Request, ScanoutRequest};
use crate::adapter::{MonitorChange, MonitorSpec, Monitors};

/// A device that has a picture on scanout 0.
pub struct Device {
    _presenter: Presenter,
    display: DisplayHandle,
    monitors: Monitors,
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
        let monitors = Monitors::new(vec![MonitorSpec::default()], 3);
        Self { _presenter: presenter, display, monitors }
    }

    /// Serves one client. The device is one that stays when it is told to detach.
    pub fn serve(&self, client: &UnixStream, status: &Status) -> (Effect, io::Result<()>) {
        let served = Served { device: self, status, effect: Cell::default() };
        let after = answer(client, &served);
        let kept = matches!(after, Ok(After::KeepUntilGone));
        (Effect { kept, ..served.effect.get() }, after.map(|_| ()))
    }
}

/// A device while one client is served.
struct Served<'a> {
    device: &'a Device,
    status: &'a Status,
    effect: Cell<Effect>,
}

impl Controlled for Served<'_> {
    fn display(&self) -> &DisplayHandle {
        &self.device.display
    }

    fn status(&self) -> Status {
        self.effect.set(Effect { asked: true, ..self.effect.get() });
        self.status.clone()
    }

    fn scanouts(&self) -> u32 {
        self.device.monitors.count()
    }

    fn change_scanout(&self, request: ScanoutRequest) -> Result<u32, String> {
        let change = MonitorChange::try_from(request).map_err(|error| error.to_string())?;
        let changed = self.device.monitors.change(change).map_err(|error| error.to_string())?;
        Ok(changed.scanout)
    }

    fn quit(&self) {
        self.effect.set(Effect { told_to_end: true, ..self.effect.get() });
    }

    fn detach(&self) -> bool {
        true
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

/// Asks the device behind `stream` for what a scanout shows.
pub fn frame(stream: UnixStream, scanout: u32) -> Result<client::Frame, ClientError> {
    client::frame_of(stream, scanout)
}

/// Has the device behind `stream` change its monitors.
pub fn change_scanout(stream: UnixStream, request: ScanoutRequest) -> Result<u32, ClientError> {
    client::change_of(stream, request)
}

/// Tells the device behind `stream` to end.
pub fn quit(stream: UnixStream) -> Result<(), ClientError> {
    client::end_of(stream, &Request::Quit)
}
