//! What makes the pixels.

use super::wire::feature;

/// The renderers. It decides which features the device offers, because what a driver does hangs on
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renderer {
    /// Nothing but copying. The driver's dumb buffers are guest blobs then, and are not even copied.
    TwoD,
}

impl Renderer {
    /// Mask of device feature bits.
    pub const fn features(self) -> u64 {
        match self {
            Self::TwoD => {
                1 << feature::EDID | 1 << feature::RESOURCE_UUID | 1 << feature::RESOURCE_BLOB
            }
        }
    }

    /// Capsets there are.
    pub const fn capsets(self) -> u32 {
        match self {
            Self::TwoD => 0,
        }
    }
}
