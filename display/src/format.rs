//! Pixel formats, and how their bytes become colours.

use std::fmt;

/// The 32-bit pixel formats a scanout can have, named as in `drm_fourcc.h`.
///
/// The alpha of a scanout has nothing to blend with and is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// `XR24`: bytes B, G, R, x.
    Xrgb8888,
    /// `AR24`: bytes B, G, R, A.
    Argb8888,
    /// `XB24`: bytes R, G, B, x.
    Xbgr8888,
    /// `AB24`: bytes R, G, B, A.
    Abgr8888,
    /// `BX24`: bytes x, R, G, B.
    Bgrx8888,
    /// `BA24`: bytes A, R, G, B.
    Bgra8888,
    /// `RX24`: bytes x, B, G, R.
    Rgbx8888,
    /// `RA24`: bytes A, B, G, R.
    Rgba8888,
}

impl PixelFormat {
    /// Bytes of one pixel, the same in all formats.
    pub const BYTES_PER_PIXEL: u32 = 4;

    /// Every format.
    pub const ALL: [PixelFormat; 8] = [
        PixelFormat::Xrgb8888,
        PixelFormat::Argb8888,
        PixelFormat::Xbgr8888,
        PixelFormat::Abgr8888,
        PixelFormat::Bgrx8888,
        PixelFormat::Bgra8888,
        PixelFormat::Rgbx8888,
        PixelFormat::Rgba8888,
    ];

    /// The format's code in `drm_fourcc.h`.
    pub const fn fourcc(self) -> u32 {
        u32::from_le_bytes(*match self {
            PixelFormat::Xrgb8888 => b"XR24",
            PixelFormat::Argb8888 => b"AR24",
            PixelFormat::Xbgr8888 => b"XB24",
            PixelFormat::Abgr8888 => b"AB24",
            PixelFormat::Bgrx8888 => b"BX24",
            PixelFormat::Bgra8888 => b"BA24",
            PixelFormat::Rgbx8888 => b"RX24",
            PixelFormat::Rgba8888 => b"RA24",
        })
    }

    /// The format with this `drm_fourcc.h` code, if it is one of the eight.
    pub fn from_fourcc(fourcc: u32) -> Option<PixelFormat> {
        Self::ALL.into_iter().find(|format| format.fourcc() == fourcc)
    }

    /// Red, green and blue of a pixel whose bytes are given in memory order.
    pub(crate) const fn rgb(self, pixel: [u8; 4]) -> [u8; 3] {
        let [a, b, c, d] = pixel;
        match self {
            PixelFormat::Xrgb8888 | PixelFormat::Argb8888 => [c, b, a],
            PixelFormat::Xbgr8888 | PixelFormat::Abgr8888 => [a, b, c],
            PixelFormat::Bgrx8888 | PixelFormat::Bgra8888 => [b, c, d],
            PixelFormat::Rgbx8888 | PixelFormat::Rgba8888 => [d, c, b],
        }
    }
}

/// The four characters of the fourcc.
impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fourcc().to_le_bytes().iter().try_for_each(|&byte| write!(f, "{}", char::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourcc_is_the_kernels() {
        // drm_fourcc.h: fourcc_code('X', 'R', '2', '4') and so on.
        assert_eq!(PixelFormat::Xrgb8888.fourcc(), 0x3432_5258);
        assert_eq!(PixelFormat::Rgba8888.fourcc(), 0x3432_4152);
        assert_eq!(PixelFormat::Bgrx8888.to_string(), "BX24");
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_fourcc(format.fourcc()), Some(format));
        }
        assert_eq!(PixelFormat::from_fourcc(u32::from_le_bytes(*b"NV12")), None);
    }
}
