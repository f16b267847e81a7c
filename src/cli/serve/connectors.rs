//! Monitors that are at real connectors: the container finds those.

use std::sync::{Arc, Mutex};

use virtio_loopback_display::DisplayEvent;
use virtio_loopback_gpu::adapter::{Mode, MonitorChange, Monitors, Shared};
use virtio_loopback_gpu::one_line;

/// Passes on what is plugged in and out.
pub struct Connectors {
    monitors: Monitors,
    shared: Arc<Mutex<Shared>>,
}

impl Connectors {
    pub fn new(monitors: Monitors, shared: Arc<Mutex<Shared>>) -> Self {
        Self { monitors, shared }
    }

    /// Takes an event of the display. Does not wait for anything.
    pub fn follow(&self, event: DisplayEvent) {
        let change = match event {
            DisplayEvent::Connected { scanout, edid, width, height, refresh } => {
                let mode = Mode { width, height, refresh };
                MonitorChange::Connect { scanout, mode, edid }
            }
            DisplayEvent::Disconnected { scanout } => MonitorChange::Remove(scanout),
            _ => return,
        };
        let told = match self.monitors.change(change) {
            Ok(changed) if changed.is_news => Shared::monitors_changed(&self.shared),
            Ok(_) => Ok(()),
            Err(error) => {
                log::warn!("a connector is not passed on: {}", one_line(&error));
                return;
            }
        };
        if let Err(error) = told {
            log::warn!("the driver is not told of a connector: {}", one_line(&error));
        }
    }
}
