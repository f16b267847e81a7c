//! Size and rate of a monitor.

use std::fmt;
use std::str::FromStr;

/// Size and rate of one monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub refresh: u32,
}

/// Smallest and largest width and height: those of the kernel's driver (XRES_MIN and XRES_MAX in
/// `virtgpu_display.c`), which makes no framebuffer of any other size.
const SIZES: std::ops::RangeInclusive<u32> = 32..=8192;
/// Rates that fit a plausible EDID.
const RATES: std::ops::RangeInclusive<u32> = 1..=240;
impl Default for Mode {
    fn default() -> Self {
        Self { width: 1280, height: 720, refresh: 60 }
    }
}

/// What is wrong with the text of a mode.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModeError {
    /// It is not `WxH` or `WxH@RATE`.
    #[error("{0:?} is not a size: write it as 1280x720 or 1280x720@60")]
    Syntax(String),
    /// The driver makes no framebuffer of this size.
    #[error("the kernel's driver takes sizes from {}x{} to {}x{}", SIZES.start(), SIZES.start(), SIZES.end(), SIZES.end())]
    Size,
    /// An EDID cannot say this rate.
    #[error("rates go from {} to {} frames a second", RATES.start(), RATES.end())]
    Rate,
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let syntax = || ModeError::Syntax(text.to_owned());
        let number = |text: &str| text.parse::<u32>().map_err(|_| syntax());
        let (size, refresh) = text.split_once('@').map_or((text, None), |(s, r)| (s, Some(r)));
        let (width, height) = size.split_once('x').ok_or_else(syntax)?;
        let mode = Self {
            width: number(width)?,
            height: number(height)?,
            refresh: refresh.map_or(Ok(Self::default().refresh), number)?,
        };
        mode.checked()
    }
}

impl Mode {
    /// The mode itself, if the driver and an EDID can have it.
    ///
    /// # Errors
    ///
    /// [`ModeError::Size`], [`ModeError::Rate`]
    pub fn checked(self) -> Result<Self, ModeError> {
        if !SIZES.contains(&self.width) || !SIZES.contains(&self.height) {
            return Err(ModeError::Size);
        }
        if RATES.contains(&self.refresh) { Ok(self) } else { Err(ModeError::Rate) }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}@{}", self.width, self.height, self.refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_users_write_them() {
        assert_eq!("800x600".parse(), Ok(Mode { width: 800, height: 600, refresh: 60 }));
        assert_eq!("1920x720@50".parse(), Ok(Mode { width: 1920, height: 720, refresh: 50 }));
        for text in ["", "800", "800x", "x600", "800x600@", "800x600x2", "-1x2", "8 x 6"] {
            assert_eq!(text.parse::<Mode>(), Err(ModeError::Syntax(text.to_owned())), "{text}");
        }
        for text in ["31x600", "800x31", "8193x600", "800x8193", "800x31@500"] {
            assert_eq!(text.parse::<Mode>(), Err(ModeError::Size), "{text}");
        }
        for text in ["800x600@0", "800x600@241"] {
            assert_eq!(text.parse::<Mode>(), Err(ModeError::Rate), "{text}");
        }
    }
}
