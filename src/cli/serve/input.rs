//! What `ctl status` says of input.

use virtio_loopback_gpu::control::{InputDeviceStatus, InputSourceStatus, InputStatus};
use virtio_loopback_gpu::input::{DeviceOverview, Router, SourceOverview};

/// The devices that events of `router` go to, and their sources; `None` if there are none.
pub fn input_status(router: &Router) -> Option<InputStatus> {
    let overview = router.ask()?;
    Some(InputStatus {
        passes_windows: overview.passes_windows(),
        devices: overview.devices.iter().map(device_status).collect(),
        sources: overview.sources.into_iter().map(source_status).collect(),
    })
}

fn device_status(device: &DeviceOverview) -> InputDeviceStatus {
    InputDeviceStatus {
        scanout: device.scanout,
        kind: device.kind.to_string(),
        driver: device.has_driver,
        node: device.node().map(|node| node.display().to_string()),
        seat: device.seat(),
        lost_frames: device.lost_frames,
    }
}

fn source_status(source: SourceOverview) -> InputSourceStatus {
    InputSourceStatus {
        path: source.path.display().to_string(),
        name: source.name,
        scanout: source.scanout,
        state: if source.is_there { "there" } else { "gone" }.to_owned(),
        grabbed: source.is_grabbed,
    }
}
