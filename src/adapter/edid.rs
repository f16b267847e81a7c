//! The EDID a scanout shows to the driver (VESA E-EDID 1.4, base block only).

use crate::gpu::wire::MAX_EDID;

/// Bytes of the base block.
pub const EDID_LENGTH: usize = 128;

/// What an EDID says about a scanout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Monitor {
    /// Preferred width in pixels, at most 4095 (a field of 12 bits).
    pub width: u32,
    /// Preferred height in pixels, at most 4095.
    pub height: u32,
    /// Frames per second of the preferred mode.
    pub refresh: u32,
    /// Pixels per inch; gives the physical size.
    pub dpi: u32,
    /// Number that tells several monitors apart.
    pub serial: u32,
}

const _: () = assert!(EDID_LENGTH <= MAX_EDID);

/// Largest number a detailed timing can express.
pub const MAX_TIMING: u32 = 4095;

/// Blanking after each line and frame, as reduced blanking has it: virtual, but a plausible clock.
const HORIZONTAL_BLANK: u32 = 160;
const VERTICAL_BLANK: u32 = 31;

/// The base block for `monitor`. Numbers beyond their field are cut to its largest value.
#[must_use]
pub fn base_block(monitor: &Monitor) -> [u8; EDID_LENGTH] {
    let mut bytes = Vec::with_capacity(EDID_LENGTH);
    bytes.extend([0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    bytes.extend(manufacturer(*b"VLG").to_be_bytes());
    bytes.extend(0x0001_u16.to_le_bytes());
    bytes.extend(monitor.serial.to_le_bytes());
    // Week 0 (unspecified) of 2026; version 1.4.
    bytes.extend([0, 36, 1, 4]);
    bytes.extend(basic_parameters(monitor));
    bytes.extend(SRGB_CHROMATICITY);
    bytes.extend(established_timings(monitor));
    bytes.extend(standard_timings(monitor));
    bytes.extend(detailed_timing(monitor));
    bytes.extend(text_descriptor(0xfc, b"loopback"));
    bytes.extend(range_limits());
    bytes.extend(unused_descriptor());
    // No extension blocks.
    bytes.push(0);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes.push(sum.wrapping_neg());
    let mut block = [0; EDID_LENGTH];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = from;
    }
    block
}

/// Chromaticity coordinates of sRGB, bytes 25 to 34.
const SRGB_CHROMATICITY: [u8; 10] = [0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54];

/// Three letters of five bits each.
fn manufacturer(letters: [u8; 3]) -> u16 {
    letters.iter().fold(0, |id, letter| id << 5 | u16::from(letter.wrapping_sub(b'@') & 0x1f))
}

/// Digital, 8 bits per colour, DisplayPort; size in centimetres; gamma 2.2; sRGB and preferred
/// timing is native.
fn basic_parameters(monitor: &Monitor) -> [u8; 5] {
    let centimetres = |pixels| {
        let size = millimetres(pixels, monitor.dpi).div_ceil(10);
        u8::try_from(size).unwrap_or(u8::MAX)
    };
    [0xa5, centimetres(monitor.width), centimetres(monitor.height), 120, 0x06]
}

impl Monitor {
    /// Whether a further mode makes sense: a client of a small display finds no larger one.
    const fn has_room_for(&self, width: u32, height: u32) -> bool {
        width <= self.width && height <= self.height
    }
}

/// 640x480, 800x600 and 1024x768 at 60 Hz, as far as they fit.
fn established_timings(monitor: &Monitor) -> [u8; 3] {
    let bit = |width, height, bit: u8| u8::from(monitor.has_room_for(width, height)) << bit;
    [bit(640, 480, 5) | bit(800, 600, 0), bit(1024, 768, 3), 0]
}

/// Other usual sizes at 60 Hz, as far as they fit; unused ones are 1, 1.
fn standard_timings(monitor: &Monitor) -> [u8; 16] {
    /// Width, height, and the code of their ratio (16:10, 4:3, 5:4, 16:9).
    const SIZES: [(u32, u32, u8); 8] = [
        (1280, 720, 3),
        (1280, 800, 0),
        (1280, 1024, 2),
        (1440, 900, 0),
        (1600, 1200, 1),
        (1680, 1050, 0),
        (1920, 1080, 3),
        (1920, 1200, 0),
    ];
    let mut timings = [1; 16];
    for (timing, (width, height, ratio)) in timings.as_chunks_mut::<2>().0.iter_mut().zip(SIZES) {
        if monitor.has_room_for(width, height) {
            *timing = [(width / 8 - 31).to_le_bytes()[0], ratio << 6];
        }
    }
    timings
}

fn millimetres(pixels: u32, dpi: u32) -> u32 {
    (u64::from(pixels) * 254 / (u64::from(dpi.max(1)) * 10)).try_into().unwrap_or(u32::MAX)
}

fn detailed_timing(monitor: &Monitor) -> [u8; 18] {
    let (width, height) = (monitor.width.min(MAX_TIMING), monitor.height.min(MAX_TIMING));
    let total = u64::from(width + HORIZONTAL_BLANK) * u64::from(height + VERTICAL_BLANK);
    // In units of 10 kHz.
    let clock = total * u64::from(monitor.refresh) / 10_000;
    let clock = u16::try_from(clock).unwrap_or(u16::MAX).to_le_bytes();
    let size = [millimetres(width, monitor.dpi), millimetres(height, monitor.dpi)];
    let [size_x, size_y] = size.map(|size| size.min(MAX_TIMING));
    let low = |number: u32| number.to_le_bytes()[0];
    let high = |a: u32, b: u32| low(a >> 8 & 0xf) << 4 | low(b >> 8 & 0xf);
    [
        clock[0],
        clock[1],
        low(width),
        low(HORIZONTAL_BLANK),
        high(width, HORIZONTAL_BLANK),
        low(height),
        low(VERTICAL_BLANK),
        high(height, VERTICAL_BLANK),
        // Sync: 48 pixels front porch, 32 wide; 3 lines front porch, 5 wide.
        48,
        32,
        3 << 4 | 5,
        0,
        low(size_x),
        low(size_y),
        high(size_x, size_y),
        0,
        0,
        // Digital separate sync, positive horizontal.
        0x1a,
    ]
}

fn text_descriptor(tag: u8, text: &[u8]) -> [u8; 18] {
    let mut descriptor = [b' '; 18];
    descriptor[..5].copy_from_slice(&[0, 0, 0, tag, 0]);
    for (to, from) in descriptor.iter_mut().skip(5).zip(text.iter().chain(b"\n")) {
        *to = *from;
    }
    descriptor
}

/// 1 to 240 Hz, 1 to 255 kHz, any clock: a virtual monitor takes every mode.
fn range_limits() -> [u8; 18] {
    let mut descriptor = [b' '; 18];
    descriptor[..12].copy_from_slice(&[0, 0, 0, 0xfd, 0, 1, 240, 1, 255, 255, 1, b'\n']);
    descriptor
}

fn unused_descriptor() -> [u8; 18] {
    let mut descriptor = [0; 18];
    descriptor[3] = 0x10;
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONITOR: Monitor = Monitor { width: 1280, height: 720, refresh: 60, dpi: 96, serial: 1 };

    #[test]
    fn sum_is_zero_and_header_is_right() {
        let block = base_block(&MONITOR);
        assert_eq!(block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(block[..8], [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        // "VLG" as five-bit letters, product 1, serial 1.
        assert_eq!(block[8..16], [0x59, 0x87, 1, 0, 1, 0, 0, 0]);
        assert_eq!(block[18..20], [1, 4]);
    }

    #[test]
    fn preferred_timing_is_the_mode() {
        let timing = &base_block(&MONITOR)[54..72];
        assert_eq!(u32::from(timing[2]) | u32::from(timing[4] >> 4) << 8, 1280);
        assert_eq!(u32::from(timing[5]) | u32::from(timing[7] >> 4) << 8, 720);
        let clock = u64::from(u16::from_le_bytes([timing[0], timing[1]])) * 10_000;
        let (total_x, total_y) = (1280 + 160, 720 + 31);
        assert_eq!(clock.div_ceil(total_x * total_y), 60);
    }

    #[test]
    fn further_modes_fit_the_display() {
        // 640x480, 800x600; 1024x768 is too high. 1280x720 is byte 129 with 16:9.
        assert_eq!(base_block(&MONITOR)[35..42], [0b0010_0001, 0, 0, 129, 0xc0, 1, 1]);
        let large = Monitor { width: 1920, height: 1080, ..MONITOR };
        let expected = [0b0010_0001, 0b1000, 0, 129, 0xc0, 129, 0, 129, 0x80, 149, 0, 1, 1];
        assert_eq!(base_block(&large)[35..48], expected);
        assert_eq!(base_block(&large)[48..54], [179, 0, 209, 0xc0, 1, 1]);
        let small = Monitor { width: 320, height: 200, ..MONITOR };
        assert_eq!(base_block(&small)[35..38], [0, 0, 0]);
        assert_eq!(base_block(&small)[38..54], [1; 16]);
    }

    #[test]
    fn numbers_beyond_their_field_are_cut() {
        let monitor = Monitor { width: 16384, height: 9000, refresh: 240, dpi: 0, ..MONITOR };
        let block = base_block(&monitor);
        let timing = &block[54..72];
        assert_eq!(u32::from(timing[2]) | u32::from(timing[4] >> 4) << 8, 4095);
        assert_eq!([timing[0], timing[1]], [0xff, 0xff]);
        assert_eq!(block[21], 255);
    }
}
