//! Values of the command line and what is made of modes: what parses is in range and prints as what it
//! was, and every EDID is whole and says the mode it is for.

use arbitrary::Arbitrary;
use virtio_loopback_gpu::adapter::fuzzing::{BLOCK_LENGTH, Monitor, edid};
use virtio_loopback_gpu::adapter::{MAX_PIXELS, Mode, MonitorSpec, Monitors};
use virtio_loopback_gpu::control::is_valid_name;
use virtio_loopback_gpu::sandbox::User;

use crate::words::Word;

#[derive(Arbitrary, Debug)]
enum Input {
    Mode(Text),
    MonitorSpec(Text),
    User(Text),
    Name(Text),
    Modes(Vec<(u16, u16, u8)>),
    Monitor { size: [u16; 2], refresh: u8, dpi: Word, serial: Word },
}

#[derive(Arbitrary, Debug)]
enum Text {
    Any(String),
    Pieces(Vec<Piece>),
}

#[derive(Arbitrary, Debug)]
enum Piece {
    Number(Word),
    Known(u8),
    Letter(char),
}

const KNOWN: [&str; 14] =
    ["x", "@", ":", "-", ".", "_", "+", "0x", "root", "nobody", ",", "refresh=", "dpi=", "name="];

impl Text {
    fn text(self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Number(word) => word.value().to_string(),
            Piece::Known(index) => KNOWN[usize::from(*index) % KNOWN.len()].to_owned(),
            Piece::Letter(letter) => letter.to_string(),
        };
        match self {
            Self::Any(text) => text,
            Self::Pieces(pieces) => pieces.iter().map(piece).collect(),
        }
    }
}

fn check_mode(text: &str) {
    match text.parse::<Mode>() {
        Ok(mode) => {
            let Mode { width, height, refresh } = mode;
            assert!((32..=8192).contains(&width) && (32..=8192).contains(&height));
            assert!((1..=240).contains(&refresh));
            assert_eq!(mode.to_string().parse(), Ok(mode));
            check_monitors(vec![mode.into()]);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_monitor_spec(text: &str) {
    match text.parse::<MonitorSpec>() {
        Ok(spec) => {
            assert_eq!(spec.to_string().parse(), Ok(spec.clone()));
            check_monitors(vec![spec]);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_user(text: &str) {
    match text.parse::<User>() {
        Ok(user) => {
            let text = user.to_string();
            let (uid, gid) = text.split_once(':').unwrap();
            assert!(uid != "0" && gid != "0");
            assert_eq!(user.to_string().parse(), Ok(user));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A name makes one file name, and nothing in it means anything to anybody.
fn check_name(text: &str) {
    let path = std::path::Path::new(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if is_valid_name(text) {
        assert_eq!(path.file_name(), Some(text.as_ref()));
        assert!(text.len() < 32 && text.bytes().all(plain));
    } else {
        let starts = text.bytes().next().is_some_and(|first| first != b'.');
        assert!(!starts || text.len() > 31 || !text.bytes().all(plain), "{text:?}");
    }
}

fn check_monitors(specs: Vec<MonitorSpec>) {
    let all = Monitors::new(specs.clone(), 0);
    let count = specs.len().clamp(1, 16);
    assert_eq!(all.count() as usize, count);
    assert!(MAX_PIXELS > 0);
    let info = all.display_info();
    let mut next = (0, 0);
    for (index, one) in info.pmodes.iter().enumerate() {
        let reply = all.edid(index as u32);
        let Some(MonitorSpec { mode, position, .. }) = specs.get(index).filter(|_| index < count)
        else {
            assert_eq!((one.enabled.get(), reply.size.get()), (0, 0));
            continue;
        };
        let (x, y) = position.unwrap_or(next);
        let rect = (one.r.x.get(), one.r.y.get(), one.r.width.get(), one.r.height.get());
        assert_eq!(rect, (x, y, mode.width, mode.height));
        next = (x + mode.width, y);
        let (bytes, rest) = reply.edid.split_at(reply.size.get() as usize);
        assert!(rest.iter().all(|&byte| byte == 0));
        check_edid(bytes, mode.width, mode.height, mode.refresh);
    }
    assert_eq!(all.edid(16).size.get(), 0);
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(bytes[at]) | u32::from(bytes[at + 1]) << 8
}

/// A timing: width, height, both with their blanking, and the clock in units of 10 kHz.
type Timing = [u32; 5];

/// The detailed timing at byte 54 of a base block (E-EDID 1.4, 3.10.2).
fn detailed(block: &[u8]) -> Timing {
    let at = |byte: usize| u32::from(block[54 + byte]);
    let pair = |low: usize, high: usize, shift: u32| at(low) | (at(high) >> shift & 0xf) << 8;
    let (width, height) = (pair(2, 4, 4), pair(5, 7, 4));
    [width, height, width + pair(3, 4, 0), height + pair(6, 7, 0), word(block, 54)]
}

/// The type I timing of a DisplayID section (DisplayID 1.3, 4.4.1), whose data blocks lie one after the
/// other and end where the section says.
fn type_1(section: &[u8]) -> Timing {
    assert_eq!((section[0], section[3]), (0x13, 0));
    let end = 4 + usize::from(section[1]);
    assert!(section[..=end].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0);
    let mut at = 4;
    let mut found = None;
    while at < end {
        let length = usize::from(section[at + 2]);
        if section[at] == 3 {
            let data = &section[at + 3..at + 3 + length];
            let clock = word(data, 0) | u32::from(data[2]) << 16;
            let (width, height) = (word(data, 4) + 1, word(data, 12) + 1);
            let total = [width + word(data, 6) + 1, height + word(data, 14) + 1];
            found = Some([width, height, total[0], total[1], clock + 1]);
        }
        at += 3 + length;
    }
    assert_eq!(at, end);
    found.unwrap()
}

fn check_edid(bytes: &[u8], width: u32, height: u32, refresh: u32) {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_LENGTH>();
    assert!(rest.is_empty() && (1..=2).contains(&blocks.len()));
    for block in blocks {
        assert_eq!(block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    }
    assert_eq!(bytes[..8], [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    assert_eq!(usize::from(bytes[126]), blocks.len() - 1);
    // Descriptors that are no timings say what they are.
    for at in [72, 90, 108] {
        assert_eq!(bytes[at..at + 3], [0; 3]);
        assert!([0xfc, 0xfd, 0x10].contains(&bytes[at + 3]));
    }
    let base = detailed(&blocks[0]);
    let timing = match blocks.get(1) {
        None => base,
        Some(block) => {
            assert_eq!(block[0], 0x70);
            // One that is not the mode's own, but a timing all the same.
            assert!((1..=width).contains(&base[0]) && (1..=height).contains(&base[1]));
            type_1(&block[1..])
        }
    };
    assert_eq!(timing[..2], [width, height]);
    // As near to the rate as 10 kHz are.
    let pixels = u64::from(timing[2]) * u64::from(timing[3]);
    let clock = pixels * u64::from(refresh) / 10_000;
    assert_eq!(u64::from(timing[4]), clock.max(u64::from(blocks.len() > 1)));
}

fn check(input: Input) {
    match input {
        Input::Mode(text) => check_mode(&text.text()),
        Input::MonitorSpec(text) => check_monitor_spec(&text.text()),
        Input::User(text) => check_user(&text.text()),
        Input::Name(text) => check_name(&text.text()),
        Input::Modes(modes) => {
            let mode = |(width, height, refresh)| {
                let text = format!("{}x{}@{refresh}", width % 8193, height % 8193);
                text.parse::<MonitorSpec>().ok()
            };
            check_monitors(modes.into_iter().filter_map(mode).collect());
        }
        Input::Monitor { size: [width, height], refresh, dpi, serial } => {
            let (width, height) = (u32::from(width) + 1, u32::from(height) + 1);
            let (dpi, serial) = (dpi.value(), serial.value());
            let refresh = u32::from(refresh.clamp(1, 240));
            let bytes = edid(&Monitor { width, height, refresh, dpi, serial, name: "fuzz" });
            // What no timing can say is not said: see `edid`.
            let expressible = u64::from(width + 160) * u64::from(height + 31) * u64::from(refresh);
            if expressible / 10_000 < 1 << 24 {
                check_edid(&bytes, width, height, refresh);
            }
            assert_eq!(u32::from_le_bytes(bytes[12..16].try_into().unwrap()), serial);
        }
    }
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    crate::play(bytes, check)
}
