//! How a display is opened.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{LossPolicy, SdlOptions};

/// Where scanouts are shown. Closed: every `match` on it names all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisplayKind {
    /// A window for each scanout.
    #[default]
    Sdl,
    /// The outputs of a card, directly: DRM/KMS.
    Kms,
    /// Nowhere: the last frame is kept for screenshots.
    Headless,
}

impl fmt::Display for DisplayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DisplayKind::Sdl => "sdl",
            DisplayKind::Kms => "kms",
            DisplayKind::Headless => "headless",
        })
    }
}

impl FromStr for DisplayKind {
    type Err = String;

    fn from_str(name: &str) -> Result<DisplayKind, String> {
        match name {
            "sdl" => Ok(DisplayKind::Sdl),
            "kms" => Ok(DisplayKind::Kms),
            "headless" => Ok(DisplayKind::Headless),
            _ => Err(format!("unknown display {name:?}, there are sdl, kms and headless")),
        }
    }
}

/// How a display is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where scanouts are shown.
    pub kind: DisplayKind,
    /// The device's name, shown in window titles.
    pub name: String,
    /// What scanouts show that nobody draws any more.
    pub loss: LossPolicy,
    /// For [`DisplayKind::Sdl`] only.
    pub sdl: SdlOptions,
    /// For [`DisplayKind::Kms`] only.
    pub kms: KmsOptions,
}

impl Options {
    /// Options with the defaults of each kind.
    pub fn new(kind: DisplayKind, name: impl Into<String>) -> Options {
        let (loss, sdl, kms) = Default::default();
        Options { kind, name: name.into(), loss, sdl, kms }
    }
}

/// Which outputs scanouts are shown on.
#[derive(Debug, Clone, Default)]
pub struct KmsOptions {
    /// An open card instead of `devices`, such as a DRM lease.
    pub fd: Option<Arc<OwnedFd>>,
    /// Primary nodes (`/dev/dri/card0`). The first that has a connected display is used, else the
    /// first that has a connector.
    pub devices: Vec<PathBuf>,
    /// Names of connectors (`HDMI-A-1`) in the order of scanouts. Without, the connected ones in the
    /// card's order.
    pub connectors: Vec<String>,
    /// Object ids of planes, in the order of scanouts: the scanout is put there, over what its CRTC
    /// shows.
    pub planes: Vec<u32>,
}
