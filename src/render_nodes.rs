//! The GPUs of this machine. Cards of our own transport have render nodes, too, but are none of them: a
//! renderer that used the card it renders for would wait for itself.

use std::path::{Path, PathBuf};

/// Render nodes there can be: minor numbers, `drivers/gpu/drm/drm_drv.c`.
const MINORS: std::ops::Range<u32> = 128..192;

/// Name of a device of our module in sysfs, but for its number.
const TRANSPORT: &str = "virtio-loopback.";

/// Whether this is where render nodes are.
#[cfg(any(test, feature = "virgl"))]
#[must_use]
pub fn is_render_node(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with("/dev/dri/renderD"))
}

/// Whether a render node is that of a card of our own transport, whoever runs that.
#[must_use]
pub fn is_loopback(node: &Path) -> bool {
    let Some(name) = node.file_name() else { return false };
    let device = Path::new("/sys/class/drm").join(name).join("device").canonicalize();
    device.is_ok_and(|device| is_on_transport(&device))
}

/// Whether a device in sysfs is on our own transport.
#[must_use]
pub fn is_on_transport(device: &Path) -> bool {
    let mut names = device.iter().filter_map(|name| name.to_str());
    names.any(|name| name.starts_with(TRANSPORT))
}

/// Render nodes that there are.
#[derive(Debug)]
pub struct RenderNodes {
    /// Those of GPUs.
    pub gpus: Vec<PathBuf>,
    /// Those of cards of our own transport.
    #[cfg_attr(not(feature = "virgl"), allow(dead_code, reason = "only renderers look"))]
    pub loopback: Vec<PathBuf>,
}

/// Looks for all that there are now.
#[must_use]
pub fn find() -> RenderNodes {
    let nodes = MINORS.map(|minor| PathBuf::from(format!("/dev/dri/renderD{minor}")));
    let (loopback, gpus) = nodes.filter(|node| node.exists()).partition(|node| is_loopback(node));
    RenderNodes { gpus, loopback }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_of_our_transport_are_known_by_their_place() {
        for (device, ours) in [
            ("/sys/devices/platform/virtio-loopback.3/virtio5", true),
            ("/sys/devices/pci0000:00/0000:00:02.0/virtio0", false),
            ("/sys/devices/pci0000:00/0000:00:02.0", false),
            ("/sys/devices/platform/virtio-loopback/virtio5", false),
        ] {
            assert_eq!(is_on_transport(Path::new(device)), ours, "{device}");
        }
        assert!(!is_loopback(Path::new("/dev/dri/renderD999")));
        assert!(is_render_node(Path::new("/dev/dri/renderD128")));
        assert!(!is_render_node(Path::new("/dev/dri/card0")));
    }
}
