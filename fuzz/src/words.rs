//! Numbers of which those are likelier that mean something.

use arbitrary::Arbitrary;

/// 32 bits.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Word {
    Small(u8),
    Medium(u16),
    FromTop(u8),
    Power(u8),
    Any(u32),
}

impl Word {
    pub fn value(self) -> u32 {
        match self {
            Self::Small(value) => value.into(),
            Self::Medium(value) => value.into(),
            Self::FromTop(value) => u32::MAX - u32::from(value),
            Self::Power(bit) => 1 << (bit % 32),
            Self::Any(value) => value,
        }
    }
}

/// 64 bits.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Long {
    Small(u8),
    /// A multiple of a page.
    Page(u16),
    FromTop(u8),
    Power(u8),
    Any(u64),
}

impl Long {
    pub fn value(self) -> u64 {
        match self {
            Self::Small(value) => value.into(),
            Self::Page(page) => u64::from(page) * 4096,
            Self::FromTop(value) => u64::MAX - u64::from(value),
            Self::Power(bit) => 1 << (bit % 64),
            Self::Any(value) => value,
        }
    }
}
