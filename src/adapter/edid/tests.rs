//! Bytes, and modes as Linux reads them (`drm_mode_detailed`, `drm_mode_displayid_detailed`).

use super::*;

const MONITOR: Monitor<'static> =
    Monitor { width: 1280, height: 720, refresh: 60, dpi: 96, serial: 1, name: "loopback" };

/// A mode of the EDID: width, height, pixel clock in Hz, and the pixels and lines with blanking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Read {
    size: (u32, u32),
    clock: u64,
    total: (u32, u32),
}

impl Read {
    fn rate(&self) -> u64 {
        let pixels = u64::from(self.total.0) * u64::from(self.total.1);
        (self.clock + pixels / 2) / pixels
    }
}

/// The base block's detailed timing.
fn detailed(edid: &[u8]) -> Read {
    let timing = &edid[54..72];
    let number = |low: usize, high: u8| u32::from(timing[low]) | u32::from(high & 0xf) << 8;
    let size = (number(2, timing[4] >> 4), number(5, timing[7] >> 4));
    Read {
        size,
        clock: u64::from(u16::from_le_bytes([timing[0], timing[1]])) * 10_000,
        total: (size.0 + number(3, timing[4]), size.1 + number(6, timing[7])),
    }
}

/// The DisplayID extension's type I timing, and whether it is preferred.
fn type_1(edid: &[u8]) -> (Read, bool) {
    assert_eq!((edid[126], edid[128]), (1, 0x70));
    let section = &edid[129..255];
    let end = 4 + usize::from(section[1]);
    assert_eq!(sum(&section[..=end]), 0, "the section has a sum of its own");
    let mut blocks = &section[4..end];
    while blocks[0] != 3 {
        blocks = &blocks[3 + usize::from(blocks[2])..];
    }
    let (header, timing) = blocks.split_at(3);
    assert_eq!((header, timing.len()), (&[3, 1, 20][..], 20));
    let word = |at: usize| u32::from(u16::from_le_bytes([timing[at], timing[at + 1]])) + 1;
    let size = (word(4), word(12));
    let clock = u32::from_le_bytes([timing[0], timing[1], timing[2], 0]) + 1;
    let total = (size.0 + word(6), size.1 + word(14));
    (Read { size, clock: u64::from(clock) * 10_000, total }, timing[3] & 0x80 != 0)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
}

#[test]
fn sums_are_zero_and_the_header_is_right() {
    for (width, blocks) in [(1280, 1), (7680, 2)] {
        let edid = edid(&Monitor { width, ..MONITOR });
        assert_eq!(edid.len(), blocks * BLOCK_LENGTH);
        assert!(edid.chunks(BLOCK_LENGTH).all(|block| sum(block) == 0));
        assert_eq!(edid[..8], [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        // "VLG" as five-bit letters, product 1, serial 1.
        assert_eq!(edid[8..16], [0x59, 0x87, 1, 0, 1, 0, 0, 0]);
        assert_eq!(edid[18..20], [1, 4]);
        assert_eq!(usize::from(edid[126]) + 1, blocks);
    }
}

#[test]
fn preferred_timing_is_the_mode() {
    let timing = detailed(&edid(&MONITOR));
    assert_eq!(timing, Read { size: (1280, 720), clock: 64_880_000, total: (1440, 751) });
    assert_eq!(timing.rate(), 60);
}

#[test]
fn the_largest_detailed_timing_has_no_extension() {
    // 4095 pixels: the largest number. 655.35 MHz: the fastest clock.
    for (width, height, refresh) in [(4095, 2160, 60), (2160, 4095, 60), (3840, 2160, 74)] {
        let edid = edid(&Monitor { width, height, refresh, ..MONITOR });
        assert_eq!(edid.len(), BLOCK_LENGTH);
        let timing = detailed(&edid);
        assert_eq!((timing.size, timing.rate()), ((width, height), refresh.into()));
    }
}

#[test]
fn a_mode_beyond_is_a_displayid_timing() {
    for (mode, smaller) in [
        ((4096, 2160, 60), (2048, 1080)),
        ((2160, 4096, 60), (1080, 2048)),
        // Too fast by a little.
        ((3840, 2160, 75), (1920, 1080)),
        ((7680, 4320, 60), (3840, 2160)),
        ((8192, 8192, 240), (1024, 1024)),
        ((8192, 32, 60), (2048, 8)),
    ] {
        let (width, height, refresh) = mode;
        let edid = edid(&Monitor { width, height, refresh, ..MONITOR });
        assert_eq!(edid.len(), 2 * BLOCK_LENGTH);
        let (timing, preferred) = type_1(&edid);
        assert!(preferred);
        assert_eq!((timing.size, timing.rate()), ((width, height), refresh.into()), "{mode:?}");
        assert_eq!(timing.total, (width + 160, height + 31));
        // In the base block the same shape, smaller, at the same rate.
        let timing = detailed(&edid);
        assert_eq!((timing.size, timing.rate()), (smaller, refresh.into()), "{mode:?}");
    }
}

/// Byte for byte what `edid-decode --check` has found to conform.
#[test]
fn displayid_block_is_as_it_was_checked() {
    let edid = edid(&Monitor { width: 7680, height: 4320, ..MONITOR });
    let section = [
        0x70, 0x13, 66, 3, 0, // the extension, version, length, a display
        0x00, 0, 12, b'V', b'L', b'G', 1, 0, 1, 0, 0, 0, 0, 26, 0, // product
        0x01, 0, 12, 0x60, 0x4f, 0xa6, 0x2c, 0x00, 0x1e, 0xe0, 0x10, 0, 120, 77,
        0x77, // display
        0x0f, 0, 10, 0xa1, 0x12, 0x02, 0, 0, 0, 0, 0, 0, 0, // interface
        0x03, 1, 20, 0x7e, 0x1f, 0x03, 0x88, // 2046.71 MHz, preferred
        0xff, 0x1d, 0x9f, 0x00, 0x2f, 0x80, 0x1f, 0x00, // 7680 + 160, 48 + 32, positive
        0xdf, 0x10, 0x1e, 0x00, 0x02, 0x00, 0x04, 0x00, // 4320 + 31, 3 + 5, negative
    ];
    assert_eq!(edid[128..128 + section.len()], section);
    assert_eq!(edid[128 + section.len() + 1..255], [0; 127 - 72]);
}

#[test]
fn range_limits_are_told_where_they_can_be() {
    for (height, refresh, tag) in [(2160, 60, 0xfd), (4320, 58, 0xfd), (4320, 59, 0x10)] {
        let edid = edid(&Monitor { width: 3840, height, refresh, ..MONITOR });
        assert_eq!(edid[90..95], [0, 0, 0, tag, 0], "{height}@{refresh}");
    }
}

#[test]
fn further_modes_fit_the_display() {
    // 640x480, 800x600; 1024x768 is too high. 1280x720 is byte 129 with 16:9.
    assert_eq!(edid(&MONITOR)[35..42], [0b0010_0001, 0, 0, 129, 0xc0, 1, 1]);
    let large = edid(&Monitor { width: 1920, height: 1080, ..MONITOR });
    let expected = [0b0010_0001, 0b1000, 0, 129, 0xc0, 129, 0, 129, 0x80, 149, 0, 1, 1];
    assert_eq!(large[35..48], expected);
    assert_eq!(large[48..54], [179, 0, 209, 0xc0, 1, 1]);
    let small = edid(&Monitor { width: 320, height: 200, ..MONITOR });
    assert_eq!(small[35..38], [0, 0, 0]);
    assert_eq!(small[38..54], [1; 16]);
}

#[test]
fn a_size_beyond_its_field_is_cut() {
    let edid = edid(&Monitor { width: 8192, height: 8192, dpi: 0, ..MONITOR });
    // Centimetres, then millimetres.
    assert_eq!(edid[21..23], [255, 255]);
    assert_eq!(edid[66..69], [0xff, 0xff, 0xff]);
}

/// Asks `edid-decode`, where it is installed; the bytes above are what it has found to conform.
#[test]
fn edid_decode_finds_nothing_wrong() {
    let directory = tempfile::tempdir().unwrap();
    for (width, height, refresh) in
        [(1280, 720, 60), (3840, 2160, 75), (4096, 2160, 60), (7680, 4320, 60), (8192, 8192, 240)]
    {
        let path = directory.path().join("edid");
        std::fs::write(&path, edid(&Monitor { width, height, refresh, ..MONITOR })).unwrap();
        let decoded = std::process::Command::new("edid-decode").arg("--check").arg(&path).output();
        let all = std::env::var_os("NO_TEST_SKIPPED").is_some();
        let decoded = match decoded {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !all => return,
            decoded => decoded.unwrap(),
        };
        let text = String::from_utf8_lossy(&decoded.stdout);
        assert!(decoded.status.success() && text.contains("EDID conformity: PASS"), "{text}");
        assert!(text.contains(&format!(" {width}x{height} ")), "{text}");
    }
}
