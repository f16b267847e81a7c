//! The scanouts the driver is offered.

use std::fmt;
use std::str::FromStr;

use zerocopy::FromZeros;

use super::edid::{self, Monitor};
use crate::gpu::wire::{CtrlHdr, DisplayOne, MAX_SCANOUTS, RespDisplayInfo, RespEdid, RespType};

/// Size and rate of one scanout.
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
/// Pixels per inch of the physical size in the EDID.
const DPI: u32 = 96;

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
    /// A number is out of range.
    #[error("the kernel's driver takes sizes from {}x{} to {}x{}; rates go from {} to {}", SIZES.start(), SIZES.start(), SIZES.end(), SIZES.end(), RATES.start(), RATES.end())]
    Range,
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
        let possible = SIZES.contains(&mode.width)
            && SIZES.contains(&mode.height)
            && RATES.contains(&mode.refresh);
        if possible { Ok(mode) } else { Err(ModeError::Range) }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}@{}", self.width, self.height, self.refresh)
    }
}

/// The modes of all scanouts, the first one's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes(Vec<Mode>);

impl Modes {
    /// One mode per scanout, at most [`MAX_SCANOUTS`]; what is beyond is not offered.
    #[must_use]
    pub fn new(mut modes: Vec<Mode>) -> Self {
        if modes.is_empty() {
            modes.push(Mode::default());
        }
        modes.truncate(MAX_SCANOUTS);
        Self(modes)
    }

    /// Pixels of all scanouts together.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        self.0.iter().map(|mode| u64::from(mode.width) * u64::from(mode.height)).sum()
    }

    /// Scanouts offered.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The reply to `GET_DISPLAY_INFO`: scanouts side by side.
    #[must_use]
    pub fn display_info(&self) -> RespDisplayInfo {
        let mut info = RespDisplayInfo {
            hdr: header(RespType::OkDisplayInfo),
            ..RespDisplayInfo::new_zeroed()
        };
        let mut x = 0;
        for (entry, mode) in info.pmodes.iter_mut().zip(&self.0) {
            let mut one = DisplayOne::new_zeroed();
            one.r.x = x.into();
            one.r.width = mode.width.into();
            one.r.height = mode.height.into();
            one.enabled = 1.into();
            *entry = one;
            x += mode.width;
        }
        info
    }

    /// The reply to `GET_EDID`; a scanout that is not offered has none (`size` 0).
    #[must_use]
    pub fn edid(&self, scanout: u32) -> RespEdid {
        let mut reply = RespEdid::new_zeroed();
        reply.hdr = header(RespType::OkEdid);
        let Some(mode) = self.0.get(scanout as usize) else { return reply };
        let Mode { width, height, refresh } = *mode;
        let monitor = Monitor { width, height, refresh, dpi: DPI, serial: scanout + 1 };
        let mut size = 0;
        for (to, from) in reply.edid.iter_mut().zip(edid::edid(&monitor)) {
            *to = from;
            size += 1;
        }
        reply.size = size.into();
        reply
    }
}

fn header(kind: RespType) -> CtrlHdr {
    CtrlHdr { type_: kind.raw().into(), ..CtrlHdr::new_zeroed() }
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
        for text in ["31x600", "800x31", "8193x600", "800x8193", "800x600@0", "800x600@241"] {
            assert_eq!(text.parse::<Mode>(), Err(ModeError::Range), "{text}");
        }
    }

    #[test]
    fn scanouts_lie_side_by_side() {
        let modes = ["800x600", "1024x768"].map(|text| text.parse().unwrap());
        let info = Modes::new(modes.to_vec()).display_info();
        assert_eq!(info.hdr.type_.get(), 0x1101);
        let rects = info
            .pmodes
            .map(|one| (one.enabled.get(), one.r.x.get(), one.r.width.get(), one.r.height.get()));
        assert_eq!(rects[..3], [(1, 0, 800, 600), (1, 800, 1024, 768), (0, 0, 0, 0)]);
    }

    #[test]
    fn a_scanout_that_is_not_offered_has_no_edid() {
        let modes = Modes::new(Vec::new());
        assert_eq!((modes.edid(0).size.get(), modes.edid(1).size.get()), (128, 0));
        let large = Modes::new(vec!["8192x8192@240".parse().unwrap()]).edid(0);
        assert_eq!((large.size.get(), large.edid[126], large.edid[128]), (256, 1, 0x70));
        assert_eq!(modes.edid(0).hdr.type_.get(), 0x1104);
    }
}
