//! Names of virtio feature bits.

use std::fmt;

use virtio_bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use crate::gpu::wire::feature;

/// Feature bits of a GPU. [`fmt::Display`] names them as the specification does, without prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features(pub u64);

/// The bits that have a name here: those of the device, and those of the rings the driver may use.
const NAMES: [(u32, &str); 9] = [
    (feature::VIRGL, "VIRGL"),
    (feature::EDID, "EDID"),
    (feature::RESOURCE_UUID, "RESOURCE_UUID"),
    (feature::RESOURCE_BLOB, "RESOURCE_BLOB"),
    (feature::CONTEXT_INIT, "CONTEXT_INIT"),
    (VIRTIO_RING_F_INDIRECT_DESC, "INDIRECT_DESC"),
    (VIRTIO_RING_F_EVENT_IDX, "EVENT_IDX"),
    (VIRTIO_F_VERSION_1, "VERSION_1"),
    (VIRTIO_F_ACCESS_PLATFORM, "ACCESS_PLATFORM"),
];

impl Features {
    /// A name for each bit that is set, the lowest first; `bit N` for one without.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let name = |bit| {
            let known = NAMES.iter().find(|(number, _)| *number == bit);
            known.map_or_else(|| format!("bit {bit}"), |(_, name)| (*name).to_owned())
        };
        (0..u64::BITS).filter(|bit| self.0 & 1 << bit != 0).map(name).collect()
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            _ => f.write_str(&self.names().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_their_names() {
        assert_eq!(Features(0).to_string(), "none");
        // As the kernel's driver accepts them of the 2D backend.
        let names = "EDID, RESOURCE_UUID, RESOURCE_BLOB, INDIRECT_DESC, EVENT_IDX, VERSION_1, ACCESS_PLATFORM";
        assert_eq!(Features(0x3_3000_000e).to_string(), names);
        assert_eq!(Features(1 << 63 | 0x11).to_string(), "VIRGL, CONTEXT_INIT, bit 63");
    }
}
