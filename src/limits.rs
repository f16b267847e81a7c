//! The limits of a device that a user can set: what the driver, and so the container that has the
//! device, may make others hold for it.
//!
//! They are named by a word each, on command lines and in the status. Some are the GPU backend's own
//! ([`gpu::Limits`]), the others the transport's.

use std::fmt;
use std::str::FromStr;

use crate::gpu::{self, LimitKind};

/// All limits of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Those of the GPU backend.
    pub gpu: gpu::Limits,
    /// Entries of the control queue: commands that the device has at once. A power of two.
    pub outstanding: u16,
    /// Bytes that the kernel's copies of commands and responses take; 0: as many as the module
    /// allows.
    pub bounce: u64,
    /// Bytes of the driver's memory that dma-bufs hold.
    pub export: u64,
}

impl Default for DeviceLimits {
    fn default() -> Self {
        Self { gpu: gpu::Limits::default(), outstanding: 1024, bounce: 0, export: 2 << 30 }
    }
}

/// Names one of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKey {
    /// Of the GPU backend.
    Gpu(LimitKind),
    /// [`DeviceLimits::outstanding`].
    Outstanding,
    /// [`DeviceLimits::bounce`].
    Bounce,
    /// [`DeviceLimits::export`].
    Export,
}

/// Why a text sets no limit. The messages name what there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// It is not KEY=VALUE.
    #[error("a limit is KEY=VALUE, and the keys are {}", Keys)]
    Form,
    /// There is no such limit.
    #[error("there is no limit {0:?}, the keys are {keys}", keys = Keys)]
    Key(String),
    /// It is no number.
    #[error("the limit {key} is a number, for sizes with K, M or G behind it, not {value:?}")]
    Number {
        /// The limit.
        key: LimitKey,
        /// What was given.
        value: String,
    },
    /// It is too small or too large.
    #[error("the limit {key} is from {least} to {most}", least = Size(key.bounds().0), most = Size(key.bounds().1))]
    Bounds {
        /// The limit.
        key: LimitKey,
    },
    /// A queue cannot have so many entries.
    #[error("the limit outstanding is a power of two from 16 to 1024")]
    PowerOfTwo,
}

/// One limit and its value, as on a command line: `bytes=64M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Which one.
    pub key: LimitKey,
    /// Within its bounds.
    pub value: u64,
}

impl LimitKey {
    /// All there are.
    pub const ALL: [Self; LimitKind::COUNT + 3] = [
        Self::Gpu(LimitKind::Resources),
        Self::Gpu(LimitKind::Bytes),
        Self::Gpu(LimitKind::Files),
        Self::Gpu(LimitKind::Dimension),
        Self::Gpu(LimitKind::BackingEntries),
        Self::Gpu(LimitKind::TotalBackingEntries),
        Self::Gpu(LimitKind::Command),
        Self::Gpu(LimitKind::Contexts),
        Self::Outstanding,
        Self::Bounce,
        Self::Export,
    ];

    /// Its name on command lines and in the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpu(LimitKind::Resources) => "resources",
            Self::Gpu(LimitKind::Bytes) => "bytes",
            Self::Gpu(LimitKind::Files) => "files",
            Self::Gpu(LimitKind::Dimension) => "dimension",
            Self::Gpu(LimitKind::BackingEntries) => "entries",
            Self::Gpu(LimitKind::TotalBackingEntries) => "total_entries",
            Self::Gpu(LimitKind::Command) => "command",
            Self::Gpu(LimitKind::Contexts) => "contexts",
            Self::Outstanding => "outstanding",
            Self::Bounce => "bounce",
            Self::Export => "export",
        }
    }

    /// The least and the most that it can be set to.
    #[must_use]
    pub const fn bounds(self) -> (u64, u64) {
        match self {
            // The state file has room for so many; its pages cost nothing until they are used.
            Self::Gpu(LimitKind::Resources) => (1, 1 << 20),
            Self::Gpu(LimitKind::Bytes) => (4 << 10, 1 << 40),
            // Two processes need a descriptor for each, of which they have 1024.
            Self::Gpu(LimitKind::Files) => (1, 512),
            Self::Gpu(LimitKind::Dimension) => (64, 16_384),
            Self::Gpu(LimitKind::BackingEntries | LimitKind::TotalBackingEntries) => (1, 1 << 24),
            Self::Gpu(LimitKind::Command) => (4 << 10, 1 << 30),
            Self::Gpu(LimitKind::Contexts) => (1, 65_536),
            Self::Outstanding => (16, 1024),
            Self::Bounce => (16 << 20, 16 << 30),
            Self::Export => (4 << 10, 1 << 40),
        }
    }

    /// Whether the GPU backend minds it, or the transport.
    #[must_use]
    pub const fn is_of_backend(self) -> bool {
        matches!(self, Self::Gpu(_))
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl DeviceLimits {
    /// Sets one.
    pub fn set(&mut self, limit: Limit) {
        let value = limit.value;
        // No bound is above what `usize` holds where this program runs.
        let count = usize::try_from(value).unwrap_or(usize::MAX);
        match limit.key {
            LimitKey::Gpu(LimitKind::Resources) => self.gpu.resources = count,
            LimitKey::Gpu(LimitKind::Bytes) => self.gpu.bytes = value,
            LimitKey::Gpu(LimitKind::Files) => self.gpu.files = count,
            LimitKey::Gpu(LimitKind::Dimension) => {
                self.gpu.dimension = u32::try_from(value).unwrap_or(u32::MAX);
            }
            LimitKey::Gpu(LimitKind::BackingEntries) => self.gpu.backing_entries = count,
            LimitKey::Gpu(LimitKind::TotalBackingEntries) => {
                self.gpu.total_backing_entries = count;
            }
            LimitKey::Gpu(LimitKind::Command) => self.gpu.command = value,
            LimitKey::Gpu(LimitKind::Contexts) => self.gpu.contexts = count,
            LimitKey::Outstanding => self.outstanding = u16::try_from(value).unwrap_or(u16::MAX),
            LimitKey::Bounce => self.bounce = value,
            LimitKey::Export => self.export = value,
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, key: LimitKey) -> u64 {
        match key {
            LimitKey::Gpu(LimitKind::Resources) => self.gpu.resources as u64,
            LimitKey::Gpu(LimitKind::Bytes) => self.gpu.bytes,
            LimitKey::Gpu(LimitKind::Files) => self.gpu.files as u64,
            LimitKey::Gpu(LimitKind::Dimension) => self.gpu.dimension.into(),
            LimitKey::Gpu(LimitKind::BackingEntries) => self.gpu.backing_entries as u64,
            LimitKey::Gpu(LimitKind::TotalBackingEntries) => self.gpu.total_backing_entries as u64,
            LimitKey::Gpu(LimitKind::Command) => self.gpu.command,
            LimitKey::Gpu(LimitKind::Contexts) => self.gpu.contexts as u64,
            LimitKey::Outstanding => self.outstanding.into(),
            LimitKey::Bounce => self.bounce,
            LimitKey::Export => self.export,
        }
    }

    /// Options that tell a GPU backend its own ones.
    #[must_use]
    pub fn backend_arguments(&self) -> Vec<String> {
        let usual = Self::default();
        let set = LimitKey::ALL.into_iter().filter(|key| {
            // What it does by itself need not be said.
            key.is_of_backend() && self.get(*key) != usual.get(*key)
        });
        set.map(|key| format!("--limit={key}={}", self.get(key))).collect()
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (name, number) = text.split_once('=').ok_or(LimitError::Form)?;
        let key = LimitKey::ALL.into_iter().find(|key| key.name() == name);
        let key = key.ok_or_else(|| LimitError::Key(name.to_owned()))?;
        let value = parse_size(number)
            .ok_or_else(|| LimitError::Number { key, value: number.to_owned() })?;
        let (least, most) = key.bounds();
        if key == LimitKey::Outstanding && !value.is_power_of_two() {
            return Err(LimitError::PowerOfTwo);
        }
        if (least..=most).contains(&value) {
            Ok(Self { key, value })
        } else if key == LimitKey::Outstanding {
            Err(LimitError::PowerOfTwo)
        } else {
            Err(LimitError::Bounds { key })
        }
    }
}

/// A number, with a suffix for 2^10, 2^20 or 2^30 of it. One that is too large is the largest.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 10),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 20),
        b'G' | b'g' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1 << shift))
}

/// A number that is easy to read: `64M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            size if size.is_multiple_of(1 << 30) => write!(f, "{}G", size >> 30),
            size if size.is_multiple_of(1 << 20) => write!(f, "{}M", size >> 20),
            size if size.is_multiple_of(1 << 10) && size >= 1 << 13 => write!(f, "{}K", size >> 10),
            size => write!(f, "{size}"),
        }
    }
}

/// All limits and their bounds, for a message.
struct Keys;

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in LimitKey::ALL.into_iter().enumerate() {
            let (least, most) = key.bounds();
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{key} ({} to {})", Size(least), Size(most))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_sets_one_limit() {
        let mut limits = DeviceLimits::default();
        for (text, key, value) in [
            ("resources=7", LimitKey::Gpu(LimitKind::Resources), 7),
            ("bytes=64M", LimitKey::Gpu(LimitKind::Bytes), 64 << 20),
            ("files=3", LimitKey::Gpu(LimitKind::Files), 3),
            ("dimension=4k", LimitKey::Gpu(LimitKind::Dimension), 4096),
            ("entries=512", LimitKey::Gpu(LimitKind::BackingEntries), 512),
            ("total_entries=16M", LimitKey::Gpu(LimitKind::TotalBackingEntries), 1 << 24),
            ("command=1G", LimitKey::Gpu(LimitKind::Command), 1 << 30),
            ("outstanding=64", LimitKey::Outstanding, 64),
            ("bounce=16M", LimitKey::Bounce, 16 << 20),
            ("export=4096", LimitKey::Export, 4096),
        ] {
            let before = limits.clone();
            let limit: Limit = text.parse().unwrap();
            assert_eq!(limit, Limit { key, value });
            limits.set(limit);
            assert_eq!(limits.get(key), value, "{text}");
            for other in LimitKey::ALL.into_iter().filter(|other| *other != key) {
                assert_eq!(limits.get(other), before.get(other), "{text} changes {other}");
            }
        }
        assert_eq!(
            limits.backend_arguments(),
            [
                "--limit=resources=7",
                "--limit=bytes=67108864",
                "--limit=files=3",
                "--limit=dimension=4096",
                "--limit=entries=512",
                "--limit=total_entries=16777216",
                "--limit=command=1073741824",
            ]
        );
        assert_eq!(DeviceLimits::default().backend_arguments(), Vec::<String>::new());
    }

    #[test]
    fn defaults_are_within_the_bounds() {
        let limits = DeviceLimits::default();
        for key in LimitKey::ALL.into_iter().filter(|key| *key != LimitKey::Bounce) {
            let text = format!("{key}={}", limits.get(key));
            assert_eq!(text.parse(), Ok(Limit { key, value: limits.get(key) }));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let said = |text: &str| text.parse::<Limit>().unwrap_err().to_string();
        let keys = "resources (1 to 1M), bytes (4096 to 1024G), files (1 to 512), \
                    dimension (64 to 16K), entries (1 to 16M), total_entries (1 to 16M), \
                    command (4096 to 1G), contexts (1 to 64K), outstanding (16 to 1024), bounce (16M to 16G), \
                    export (4096 to 1024G)";
        assert_eq!(said("bytes"), format!("a limit is KEY=VALUE, and the keys are {keys}"));
        assert_eq!(said("pixels=1"), format!("there is no limit \"pixels\", the keys are {keys}"));
        for wrong in ["", "-1", "1.5M", "M", "64MB", " 64", "0x10", "+5"] {
            let message = format!(
                "the limit bytes is a number, for sizes with K, M or G behind it, not {wrong:?}"
            );
            assert_eq!(said(&format!("bytes={wrong}")), message);
        }
        assert_eq!(said("files=513"), "the limit files is from 1 to 512");
        assert_eq!(said("files=0"), "the limit files is from 1 to 512");
        assert_eq!(said("bytes=99999999999999999999G"), "the limit bytes is from 4096 to 1024G");
        for wrong in ["0", "8", "17", "2048", "1000"] {
            let message = "the limit outstanding is a power of two from 16 to 1024";
            assert_eq!(said(&format!("outstanding={wrong}")), message);
        }
    }
}
