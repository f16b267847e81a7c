//! What there is, for whoever asks the input thread by [`Router::ask`](super::Router::ask).

use std::path::PathBuf;

use super::kind::DeviceKind;
use super::seat::{self, Seat};

/// A GPU's input devices and their sources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    /// Those that the container gets.
    pub devices: Vec<DeviceOverview>,
    /// Those of `--input-device`.
    pub sources: Vec<SourceOverview>,
    /// Whether what windows get is passed on, as far as that was decided.
    pub(super) windows: Option<bool>,
}

/// A device that the container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOverview {
    /// Whose.
    pub scanout: u32,
    /// What it is.
    pub kind: DeviceKind,
    /// Whether a driver uses it.
    pub has_driver: bool,
    /// Frames that its driver was too slow for.
    pub lost_frames: u64,
    /// Where it is in sysfs, if the driver is the kernel's.
    pub(super) sysfs: Option<PathBuf>,
}

/// A device whose events are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOverview {
    /// As it was named.
    pub path: PathBuf,
    /// What it calls itself.
    pub name: Option<String>,
    /// Where its events go.
    pub scanout: u32,
    /// Whether it is there, or awaited.
    pub is_there: bool,
    /// Whether nobody else gets its events.
    pub is_grabbed: bool,
}

impl DeviceOverview {
    /// Its event device, once the kernel has made it.
    #[must_use]
    pub fn node(&self) -> Option<PathBuf> {
        seat::event_device(self.sysfs.as_ref()?)
    }

    /// The seat that udev has given it to; `None` as long as udev does not know the device.
    #[must_use]
    pub fn seat(&self) -> Option<String> {
        seat::name(self.sysfs.as_ref()?)
    }
}

impl Overview {
    /// Whether what windows get is passed on; `None` as long as udev has not seen all of the devices.
    #[must_use]
    pub fn passes_windows(&self) -> Option<bool> {
        let of = |device: &DeviceOverview| seat::of(device.sysfs.as_ref()?);
        self.windows.or_else(|| {
            let seats: Option<Vec<Seat>> = self.devices.iter().map(of).collect();
            Some(!seats?.contains(&Seat::Shared))
        })
    }
}
