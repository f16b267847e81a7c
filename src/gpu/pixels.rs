//! Pixels of one format as pixels of another.

use super::wire::Format;

/// A pixel as 0xAARRGGBB, opaque when its format has no alpha.
pub(super) const fn to_argb(format: Format, [a, b, c, d]: [u8; 4]) -> u32 {
    u32::from_be_bytes(match format {
        Format::B8g8r8a8 => [d, c, b, a],
        Format::B8g8r8x8 => [0xff, c, b, a],
        Format::A8r8g8b8 => [a, b, c, d],
        Format::X8r8g8b8 => [0xff, b, c, d],
        Format::R8g8b8a8 => [d, a, b, c],
        Format::R8g8b8x8 => [0xff, a, b, c],
        Format::A8b8g8r8 => [a, d, c, b],
        Format::X8b8g8r8 => [0xff, d, c, b],
    })
}

/// Turns pixels of `format` into 0xXXRRGGBB words of this machine, in place: what the UPDATE message
/// of a vhost-user-gpu socket carries. Bytes beyond the last whole pixel stay.
pub fn to_xrgb(format: Format, pixels: &mut [u8]) {
    let same = if cfg!(target_endian = "little") { Format::B8g8r8x8 } else { Format::X8r8g8b8 };
    if format.opaque() == same {
        return;
    }
    for pixel in pixels.as_chunks_mut::<4>().0 {
        *pixel = to_argb(format, *pixel).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of red 1, green 2, blue 3, alpha 4 in memory, spelled out per format.
    const CASES: [(Format, [u8; 4], bool); 8] = [
        (Format::B8g8r8a8, [3, 2, 1, 4], true),
        (Format::B8g8r8x8, [3, 2, 1, 4], false),
        (Format::A8r8g8b8, [4, 1, 2, 3], true),
        (Format::X8r8g8b8, [4, 1, 2, 3], false),
        (Format::R8g8b8a8, [1, 2, 3, 4], true),
        (Format::X8b8g8r8, [4, 3, 2, 1], false),
        (Format::A8b8g8r8, [4, 3, 2, 1], true),
        (Format::R8g8b8x8, [1, 2, 3, 4], false),
    ];

    #[test]
    fn every_format_becomes_argb() {
        assert_eq!(CASES.map(|case| case.0), *Format::ALL);
        for (format, bytes, alpha) in CASES {
            let expected = if alpha { 0x0401_0203 } else { 0xff01_0203 };
            assert_eq!(to_argb(format, bytes), expected, "{format:?}");
        }
    }

    #[test]
    fn every_format_becomes_xrgb_in_place() {
        for (format, bytes, _) in CASES {
            let mut pixels = [bytes, bytes].concat();
            pixels.push(9);
            to_xrgb(format, &mut pixels);
            for pixel in pixels.as_chunks::<4>().0 {
                assert_eq!(u32::from_ne_bytes(*pixel) & 0xff_ffff, 0x01_0203, "{format:?}");
            }
            assert_eq!(pixels.last(), Some(&9));
        }
    }
}
