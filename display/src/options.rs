//! How a display is opened.

use std::fmt;
use std::str::FromStr;

use crate::{LossPolicy, SdlOptions};

/// Where scanouts are shown. Closed: every `match` on it names all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisplayKind {
    /// A window for each scanout.
    #[default]
    Sdl,
    /// Nowhere: the last frame is kept for screenshots.
    Headless,
}

impl fmt::Display for DisplayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DisplayKind::Sdl => "sdl",
            DisplayKind::Headless => "headless",
        })
    }
}

impl FromStr for DisplayKind {
    type Err = String;

    fn from_str(name: &str) -> Result<DisplayKind, String> {
        match name {
            "sdl" => Ok(DisplayKind::Sdl),
            "headless" => Ok(DisplayKind::Headless),
            _ => Err(format!("unknown display {name:?}, there are sdl and headless")),
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
}

impl Options {
    /// Options with SDL's defaults.
    pub fn new(kind: DisplayKind, name: impl Into<String>) -> Options {
        let (loss, sdl) = Default::default();
        Options { kind, name: name.into(), loss, sdl }
    }
}
