//! Options that say where the scanouts are shown.

use clap::{Args, ValueEnum};
use virtio_loopback_display::{DisplayKind, Options};

use super::output;
use super::window::WindowOptions;

/// Options of the display.
#[derive(Debug, Clone, Args)]
pub struct DisplayOptions {
    /// Where to show the scanouts [default: sdl with a desktop, else headless].
    #[arg(long, value_enum)]
    display: Option<DisplayChoice>,
    #[command(flatten)]
    window: WindowOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DisplayChoice {
    /// A window per scanout.
    Sdl,
    /// Keep the last frame, for screenshots.
    Headless,
}

impl DisplayOptions {
    /// How the display of the device `name` is opened.
    pub fn options(&self, name: &str) -> Options {
        let desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        let kind = match self.display {
            Some(DisplayChoice::Sdl) => DisplayKind::Sdl,
            Some(DisplayChoice::Headless) => DisplayKind::Headless,
            None if desktop => DisplayKind::Sdl,
            None => {
                output::tell(
                    &"no desktop found (neither WAYLAND_DISPLAY nor DISPLAY is set): headless",
                );
                DisplayKind::Headless
            }
        };
        Options { sdl: self.window.options(), ..Options::new(kind, name) }
    }
}
