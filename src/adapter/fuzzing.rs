//! Parts of the adapter on their own, for fuzzing: the display socket's server, the front-end and the
//! EDID.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use loopback_driver_glue::MemoryWindow;
use virtio_loopback_display::{DisplayKind, MAX_SCANOUTS, Options, Presenter};

pub use super::edid::{BLOCK_LENGTH, Monitor, edid};
pub use super::front_end::{FrontEnd, Ring};
pub use super::watch::{Step, Work};

use super::display_server::{DisplayServer, DisplayServerError};
use super::kept::Kept;
use super::monitor_spec::MonitorSpec;
use super::monitors::Monitors;
use super::scanouts::ScanoutMemory;
use crate::gpu::Limits;

/// Serves the backend behind `stream` on a display of its own until it hangs up, and looks at all
/// that is shown then. `window` is the driver's memory, of `size` bytes.
pub fn serve(stream: UnixStream, window: &File, size: u64) -> Result<(), DisplayServerError> {
    let (presenter, display) =
        Presenter::open(Options::new(DisplayKind::Headless, "fuzz"), |_| {}).unwrap();
    let memory = ScanoutMemory::new(MemoryWindow { fd: window.as_fd(), size }).unwrap();
    let monitors = Monitors::new(vec![MonitorSpec::default(); 2], 2);
    let mut server = DisplayServer::new(stream, display.clone(), memory, monitors).unwrap();
    server.keep_in(Arc::new(Mutex::new(Kept::new(&Limits::default(), None).unwrap())));
    let result = server.run();
    for scanout in 0..MAX_SCANOUTS {
        if let Some(figures) = display.statistics(scanout) {
            let picture = display.screenshot(scanout).unwrap();
            assert_eq!((picture.width(), picture.height()), (figures.width, figures.height));
        }
    }
    drop(presenter);
    result
}
