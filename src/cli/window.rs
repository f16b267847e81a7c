//! Options of the windows, and what they tell their user.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use virtio_loopback_display::{
    DisplayEvent, Filter, HostPointer, Scaling, SdlOptions, ShortcutModifier,
};

use super::output;

/// What can be typed in a window, for `--help`.
pub const KEYS: &str = "\
Keys in a window (MOD is --shortcut-mod; no other key of a shortcut reaches the scanout):
  F11, MOD+F     full screen, and back (while grabbed, F11 is the scanout's)
  MOD+U          the scanout's size, 1:1
  MOD++, MOD+-   a larger or smaller window, which scales
  MOD+Z          the next of --scale: fit, integer, 1:1, stretch
  MOD+N          the other --filter
  MOD+G          grab keyboard and pointer, and release them
  MOD+S          save a screenshot
  MOD+I          show or hide frames and updates per second, and their times
  MOD+Q          close all windows, and so end the device";

/// Options of SDL windows.
#[derive(Debug, Clone, Args)]
pub struct WindowOptions {
    /// Open windows full screen.
    #[arg(long, help_heading = "Windows")]
    fullscreen: bool,
    /// How pictures are fitted into windows of another size.
    #[arg(long, value_enum, value_name = "HOW", default_value = "fit", help_heading = "Windows")]
    scale: Scale,
    /// How scaled pictures are made.
    #[arg(long, value_enum, default_value = "linear", help_heading = "Windows")]
    filter: ScaleFilter,
    /// Size of the windows; the scanout keeps its own, and a resized window changes it.
    #[arg(long, value_name = "WxH", value_parser = size, help_heading = "Windows")]
    window_size: Option<(u32, u32)>,
    /// Place of the first window on the desktop; the others follow further right and down. Not on Wayland.
    #[arg(
        long,
        value_name = "X,Y",
        value_parser = position,
        allow_hyphen_values = true,
        help_heading = "Windows"
    )]
    window_position: Option<(i32, i32)>,
    /// The desktop's pointer over a picture.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Windows")]
    host_pointer: Pointer,
    /// Keys to hold for shortcuts, such as super, or scrolllock, or rctrl+rshift.
    #[arg(long, value_name = "KEYS", default_value = "ctrl+alt", help_heading = "Windows")]
    shortcut_mod: ShortcutModifier,
    /// Where the shortcut for screenshots saves them [default: the current directory].
    #[arg(long, value_name = "DIR", value_parser = directory, help_heading = "Windows")]
    screenshot_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scale {
    /// As large as possible, in the picture's proportions.
    Fit,
    /// A whole number of times the picture's size.
    Integer,
    /// Pixel by pixel.
    #[value(name = "1:1")]
    OneToOne,
    /// The whole window.
    Stretch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScaleFilter {
    /// Smooth.
    Linear,
    /// Each pixel a rectangle.
    Nearest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pointer {
    /// Hidden where the scanout has a pointer of its own.
    Auto,
    /// To be seen, whatever the scanout has.
    Show,
    /// Hidden, for a client that draws its pointer into the picture.
    Hide,
}

impl WindowOptions {
    /// What they say.
    pub fn options(&self) -> SdlOptions {
        SdlOptions {
            fullscreen: self.fullscreen,
            scaling: match self.scale {
                Scale::Fit => Scaling::Fit,
                Scale::Integer => Scaling::Integer,
                Scale::OneToOne => Scaling::OneToOne,
                Scale::Stretch => Scaling::Stretch,
            },
            filter: match self.filter {
                ScaleFilter::Linear => Filter::Linear,
                ScaleFilter::Nearest => Filter::Nearest,
            },
            host_pointer: match self.host_pointer {
                Pointer::Auto => HostPointer::Auto,
                Pointer::Show => HostPointer::Show,
                Pointer::Hide => HostPointer::Hide,
            },
            shortcut_modifier: self.shortcut_mod.clone(),
            screenshot_directory: self.screenshot_dir.clone(),
            size: self.window_size,
            position: self.window_position,
            ..SdlOptions::default()
        }
    }
}

/// Says what the user wants to know of an event.
pub fn tell_of(event: &DisplayEvent) {
    if let DisplayEvent::ScreenshotSaved { scanout, path } = event {
        output::tell(&format_args!("scanout {scanout}: saved {}", path.display()));
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err("that is no directory".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let wrong = || "a size is WxH, each 1 to 16384, such as 1280x720".to_owned();
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let length = |text: &str| match text.parse() {
        Ok(length @ 1..=virtio_loopback_display::MAX_DIMENSION) => Ok(length),
        Ok(_) | Err(_) => Err(wrong()),
    };
    Ok((length(width)?, length(height)?))
}

fn position(text: &str) -> Result<(i32, i32), String> {
    let wrong = || "a position is X,Y, each -32768 to 32767, such as 100,50".to_owned();
    let (x, y) = text.split_once(',').ok_or_else(wrong)?;
    let coordinate = |text: &str| text.parse::<i16>().map(i32::from).map_err(|_| wrong());
    Ok((coordinate(x)?, coordinate(y)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_positions_are_read() {
        assert_eq!(size("1280x720"), Ok((1280, 720)));
        for text in ["", "x", "1280", "0x5", "5x0", "-1x5", "16385x1", "1x1x1", "1 x1"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(position("-10,20"), Ok((-10, 20)));
        for text in ["", ",", "1", "1,2,3", "40000,0", "1x2"] {
            assert!(position(text).is_err(), "{text}");
        }
    }
}
