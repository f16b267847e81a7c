//! Names of input devices on the transport.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::kind::DeviceKind;

/// Longest name that a transport takes, in bytes.
const MOST: usize = 31;

/// The name of a scanout's device, unique as the GPU's own: that is in front, or as much of it as there
/// is room for and a number that stands for all of it.
#[must_use]
pub fn transport_name(gpu: &str, scanout: u32, kind: DeviceKind) -> String {
    let suffix = format!(".{scanout}-{kind}");
    let room = MOST.saturating_sub(suffix.len());
    if gpu.len() <= room {
        return format!("{gpu}{suffix}");
    }
    let mut hasher = DefaultHasher::new();
    gpu.hash(&mut hasher);
    let number = format!("-{:06x}", hasher.finish() & 0xff_ffff);
    format!("{}{number}{suffix}", cut(gpu, room.saturating_sub(number.len())))
}

/// As much of a text as `most` bytes have room for.
#[must_use]
pub fn cut(text: &str, most: usize) -> &str {
    (0..=most.min(text.len())).rev().find_map(|length| text.get(..length)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut_in_two() {
        assert_eq!(cut("äö", 3), "ä");
        assert_eq!(cut("äö", 4), "äö");
        assert_eq!(cut("a", 9), "a");
    }

    #[test]
    fn names_fit_and_differ() {
        assert_eq!(transport_name("gpu0", 0, DeviceKind::Keyboard), "gpu0.0-keyboard");
        assert_eq!(transport_name("a-name-of-19-bytes.", 15, DeviceKind::Keyboard).len(), 31);
        let long = |last: char| format!("a-name-that-is-as-long-as-can-{last}");
        let names = ['a', 'b'].map(|last| transport_name(&long(last), 15, DeviceKind::Keyboard));
        assert_ne!(names[0], names[1]);
        for name in &names {
            assert_eq!(name.len(), 31);
            assert!(name.starts_with("a-name-that-") && name.ends_with(".15-keyboard"), "{name}");
        }
    }
}
