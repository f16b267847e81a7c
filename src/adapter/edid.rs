//! The EDID a scanout shows to the driver: a VESA E-EDID 1.4 base block, and for modes that its
//! detailed timing cannot express a DisplayID 1.3 extension.
//!
//! Linux reads both in `drm_edid.c` and `drm_displayid.c`; all of 6.1 to 7.2 know the type I timing.

use crate::gpu::wire::MAX_EDID;

/// Bytes of a block.
pub const BLOCK_LENGTH: usize = 128;

/// What an EDID says about a scanout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Monitor<'a> {
    /// Preferred width in pixels, 1 to 65536.
    pub width: u32,
    /// Preferred height in pixels, 1 to 65536.
    pub height: u32,
    /// Frames per second of the preferred mode.
    pub refresh: u32,
    /// Pixels per inch; gives the physical size.
    pub dpi: u32,
    /// Number that tells several monitors apart.
    pub serial: u32,
    /// What it is called: ASCII, the first 13 characters.
    pub name: &'a str,
}

const _: () = assert!(2 * BLOCK_LENGTH <= MAX_EDID);

/// Largest number of the 12 bits that a detailed timing has for sizes.
const MAX_DETAILED: u32 = 0xfff;

/// Blanking after each line and frame, as reduced blanking has it: virtual, but a plausible clock.
const HORIZONTAL_BLANK: u32 = 160;
const VERTICAL_BLANK: u32 = 31;
/// Pixels from the end of a line to its sync pulse, and of the pulse.
const HORIZONTAL_SYNC: (u32, u32) = (48, 32);
/// The same in lines.
const VERTICAL_SYNC: (u32, u32) = (3, 5);

/// The EDID of `monitor`: one block, or two.
#[must_use]
pub fn edid(monitor: &Monitor<'_>) -> Vec<u8> {
    let timing = Timing::of(monitor);
    if timing.is_detailed() {
        return base_block(monitor, &timing, 0).to_vec();
    }
    // The base block must have a timing: the largest of the same shape that it can express. The
    // driver drops it, as it is preferred and not the size it was told of in GET_DISPLAY_INFO.
    let mut smaller = timing;
    while !smaller.is_detailed() {
        smaller = Timing {
            width: smaller.width.div_ceil(2),
            height: smaller.height.div_ceil(2),
            ..timing
        };
    }
    [base_block(monitor, &smaller, 1), displayid_block(monitor, &timing)].concat()
}

/// A mode with its blanking.
#[derive(Debug, Clone, Copy)]
struct Timing {
    width: u32,
    height: u32,
    refresh: u32,
}

impl Timing {
    const fn of(monitor: &Monitor<'_>) -> Self {
        Self { width: monitor.width, height: monitor.height, refresh: monitor.refresh }
    }

    /// Pixel clock in units of 10 kHz.
    fn clock(&self) -> u64 {
        let total =
            u64::from(self.width + HORIZONTAL_BLANK) * u64::from(self.height + VERTICAL_BLANK);
        total * u64::from(self.refresh) / 10_000
    }

    /// Whether a detailed timing of the base block can express it: up to 4095 pixels and 655.35 MHz.
    fn is_detailed(&self) -> bool {
        self.width <= MAX_DETAILED
            && self.height <= MAX_DETAILED
            && u16::try_from(self.clock()).is_ok()
    }

    /// Whether [`range_limits`] has room for it.
    fn is_in_range(&self) -> bool {
        let lines = u64::from(self.height + VERTICAL_BLANK) * u64::from(self.refresh);
        (1_000..=255_000).contains(&lines) && self.clock() <= 255_000
    }
}

fn base_block(monitor: &Monitor<'_>, timing: &Timing, extensions: u8) -> [u8; BLOCK_LENGTH] {
    let mut bytes = Vec::with_capacity(BLOCK_LENGTH);
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
    bytes.extend(detailed_timing(monitor, timing));
    bytes.extend(text_descriptor(0xfc, monitor.name.as_bytes()));
    let mode = Timing::of(monitor);
    bytes.extend(if mode.is_in_range() { range_limits() } else { unused_descriptor() });
    bytes.extend(unused_descriptor());
    bytes.push(extensions);
    bytes.push(checksum(&bytes));
    block(&bytes)
}

/// A DisplayID 1.3 section (VESA DisplayID 1.3, chapters 3 and 4) in an extension block of the EDID:
/// the mode, and the blocks a display must have besides.
fn displayid_block(monitor: &Monitor<'_>, timing: &Timing) -> [u8; BLOCK_LENGTH] {
    let data = [
        data_block(0x00, 0, &product(monitor)),
        data_block(0x01, 0, &parameters(monitor)),
        // Display interface: one link of DisplayPort, version 1.2; RGB of 8 bits; no protection.
        data_block(0x0f, 0, &[0xa1, 0x12, 0x02, 0, 0, 0, 0, 0, 0, 0]),
        data_block(0x03, 1, &type_1_timing(timing)),
    ]
    .concat();
    // Version 1.3, bytes of data, a standalone display, no further sections.
    let mut section = vec![0x13, u8::try_from(data.len()).unwrap_or(u8::MAX), 3, 0];
    section.extend(data);
    section.push(checksum(&section));
    let mut bytes = vec![0x70];
    bytes.extend(section);
    bytes.resize(BLOCK_LENGTH - 1, 0);
    bytes.push(checksum(&bytes));
    block(&bytes)
}

fn data_block(tag: u8, revision: u8, payload: &[u8]) -> Vec<u8> {
    let header = [tag, revision, u8::try_from(payload.len()).unwrap_or(u8::MAX)];
    [&header, payload].concat()
}

/// Product identification, as in the base block; no name.
fn product(monitor: &Monitor<'_>) -> Vec<u8> {
    let mut bytes = b"VLG".to_vec();
    bytes.extend(0x0001_u16.to_le_bytes());
    bytes.extend(monitor.serial.to_le_bytes());
    // Week 0 (unspecified) of 2026, no bytes of name.
    bytes.extend([0, 26, 0]);
    bytes
}

/// Display parameters: size in tenths of a millimetre, pixels, gamma 2.2, 8 bits per colour.
fn parameters(monitor: &Monitor<'_>) -> Vec<u8> {
    let Monitor { width, height, dpi, .. } = *monitor;
    let word = |number: u32| u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes();
    let size = [width, height].map(|pixels| word(millimetres(pixels, dpi).saturating_mul(10)));
    let hundredths = u64::from(width.max(height)) * 100 / u64::from(width.min(height).max(1));
    let aspect = u8::try_from(hundredths.saturating_sub(100)).unwrap_or(u8::MAX);
    let mut bytes = [size, [word(width), word(height)]].as_flattened().as_flattened().to_vec();
    bytes.extend([0, 120, aspect, 0x77]);
    bytes
}

/// In the front porch of a type I timing: the sync pulse is positive.
const POSITIVE_SYNC: u16 = 1 << 15;

/// A type I detailed timing. Its numbers are stored as one less.
fn type_1_timing(timing: &Timing) -> Vec<u8> {
    let clock = u32::try_from(timing.clock()).unwrap_or(u32::MAX).saturating_sub(1);
    let [low, middle, high, _] = clock.min(0xff_ffff).to_le_bytes();
    // Preferred, not stereo, progressive, of no listed aspect ratio.
    let mut bytes = vec![low, middle, high, 0x80 | 8];
    let word = |number: u32| u16::try_from(number.saturating_sub(1)).unwrap_or(u16::MAX);
    let (horizontal_porch, horizontal_width) = HORIZONTAL_SYNC;
    let (vertical_porch, vertical_width) = VERTICAL_SYNC;
    for number in [
        word(timing.width),
        word(HORIZONTAL_BLANK),
        word(horizontal_porch) | POSITIVE_SYNC,
        word(horizontal_width),
        word(timing.height),
        word(VERTICAL_BLANK),
        word(vertical_porch),
        word(vertical_width),
    ] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// What makes the sum of `bytes` and itself zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

fn block(bytes: &[u8]) -> [u8; BLOCK_LENGTH] {
    let mut block = [0; BLOCK_LENGTH];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
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
fn basic_parameters(monitor: &Monitor<'_>) -> [u8; 5] {
    let centimetres = |pixels| {
        let size = millimetres(pixels, monitor.dpi).div_ceil(10);
        u8::try_from(size).unwrap_or(u8::MAX)
    };
    [0xa5, centimetres(monitor.width), centimetres(monitor.height), 120, 0x06]
}

impl Monitor<'_> {
    /// Whether a further mode makes sense: a client of a small display finds no larger one.
    const fn has_room_for(&self, width: u32, height: u32) -> bool {
        width <= self.width && height <= self.height
    }
}

/// 640x480, 800x600 and 1024x768 at 60 Hz, as far as they fit.
fn established_timings(monitor: &Monitor<'_>) -> [u8; 3] {
    let bit = |width, height, bit: u8| u8::from(monitor.has_room_for(width, height)) << bit;
    [bit(640, 480, 5) | bit(800, 600, 0), bit(1024, 768, 3), 0]
}

/// Other usual sizes at 60 Hz, as far as they fit; unused ones are 1, 1.
fn standard_timings(monitor: &Monitor<'_>) -> [u8; 16] {
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

fn detailed_timing(monitor: &Monitor<'_>, timing: &Timing) -> [u8; 18] {
    let Timing { width, height, .. } = *timing;
    // In units of 10 kHz.
    let clock = u16::try_from(timing.clock()).unwrap_or(u16::MAX).to_le_bytes();
    let size = [monitor.width, monitor.height].map(|pixels| millimetres(pixels, monitor.dpi));
    let [size_x, size_y] = size.map(|size| size.min(MAX_DETAILED));
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
        low(HORIZONTAL_SYNC.0),
        low(HORIZONTAL_SYNC.1),
        low(VERTICAL_SYNC.0 << 4 | VERTICAL_SYNC.1),
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

/// 1 to 240 Hz, 1 to 255 kHz, up to 2550 MHz, the most it can say: a virtual monitor takes every mode.
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
mod tests;
