//! How SDL windows look and behave.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sdl2::keyboard::Scancode;

/// How SDL windows look and behave.
#[derive(Debug, Clone)]
pub struct SdlOptions {
    /// Open windows full screen; a shortcut toggles it later.
    pub fullscreen: bool,
    /// What draws.
    pub renderer: RendererChoice,
    /// What the close button does.
    pub on_close: ClosePolicy,
    /// SDL's video driver, such as `x11`, `wayland` or `dummy`. When unset: the environment's
    /// `SDL_VIDEODRIVER`, else X11 or Wayland.
    pub video_driver: Option<String>,
    /// How pictures are fitted into windows, at first.
    pub scaling: Scaling,
    /// How scaled pictures are made, at first.
    pub filter: Filter,
    /// The window system's pointer over a picture.
    pub host_pointer: HostPointer,
    /// What is held for shortcuts.
    pub shortcut_modifier: ShortcutModifier,
    /// Where the screenshot shortcut writes; `None` is the current directory.
    pub screenshot_directory: Option<PathBuf>,
    /// Size of the windows, in the window system's units, whatever the frames have; `None`: the
    /// frame's.
    pub size: Option<(u32, u32)>,
    /// Place of the first window on the desktop; each further one is 32 further right and down.
    /// `None`: the centre. Wayland's compositors place windows themselves.
    pub position: Option<(i32, i32)>,
    /// Whether [`DisplayEvent::Resized`](crate::DisplayEvent::Resized) is reported.
    pub report_resize: bool,
}

impl Default for SdlOptions {
    fn default() -> SdlOptions {
        SdlOptions {
            fullscreen: false,
            renderer: RendererChoice::default(),
            on_close: ClosePolicy::default(),
            video_driver: None,
            scaling: Scaling::default(),
            filter: Filter::default(),
            host_pointer: HostPointer::default(),
            shortcut_modifier: ShortcutModifier::default(),
            screenshot_directory: None,
            size: None,
            position: None,
            report_resize: true,
        }
    }
}

/// Which kind of SDL renderer draws the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RendererChoice {
    /// The GPU where there is one, else the CPU; never a GPU emulated on the CPU.
    #[default]
    Auto,
    /// Whatever SDL's GL finds, an emulated GPU too.
    Accelerated,
    /// The CPU.
    Software,
}

/// What happens at a window's close button, besides
/// [`DisplayEvent::CloseRequested`](crate::DisplayEvent::CloseRequested).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClosePolicy {
    /// The window goes away, and with the last one the presenter's `run` returns.
    #[default]
    Quit,
    /// Nothing: the receiver of the event decides.
    Report,
}

/// What becomes of the window system's pointer over a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostPointer {
    /// Hidden where the scanout has a pointer of its own, by its cursor queue.
    #[default]
    Auto,
    /// To be seen, beside the scanout's.
    Show,
    /// Hidden: for a client that draws its pointer into the picture.
    Hide,
}

/// How a picture is fitted into a window of another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scaling {
    /// As large as possible, all of it, in its aspect ratio.
    #[default]
    Fit,
    /// A whole number of times its size, if once is possible; else as [`Scaling::Fit`].
    Integer,
    /// Pixel by pixel; what does not fit is cut off at the right and the bottom.
    OneToOne,
    /// The whole window, whatever the aspect ratio.
    Stretch,
}

impl Scaling {
    /// The one after it, in a circle.
    pub(super) fn next(self) -> Scaling {
        match self {
            Scaling::Fit => Scaling::Integer,
            Scaling::Integer => Scaling::OneToOne,
            Scaling::OneToOne => Scaling::Stretch,
            Scaling::Stretch => Scaling::Fit,
        }
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Scaling::Fit => "fit",
            Scaling::Integer => "integer",
            Scaling::OneToOne => "1:1",
            Scaling::Stretch => "stretch",
        })
    }
}

/// How a picture is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Smoothly.
    #[default]
    Linear,
    /// Each pixel a rectangle.
    Nearest,
}

impl Filter {
    /// The other one.
    pub(super) fn next(self) -> Filter {
        match self {
            Filter::Linear => Filter::Nearest,
            Filter::Nearest => Filter::Linear,
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Filter::Linear => "linear",
            Filter::Nearest => "nearest",
        })
    }
}

/// A key, or either of two, that makes a shortcut of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ModifierKey {
    name: &'static str,
    /// As people write it.
    label: &'static str,
    keys: &'static [Scancode],
}

const CTRL: ModifierKey =
    ModifierKey { name: "ctrl", label: "Ctrl", keys: &[Scancode::LCtrl, Scancode::RCtrl] };
const ALT: ModifierKey =
    ModifierKey { name: "alt", label: "Alt", keys: &[Scancode::LAlt, Scancode::RAlt] };
const MODIFIER_KEYS: &[ModifierKey] = &[
    CTRL,
    ALT,
    ModifierKey { name: "shift", label: "Shift", keys: &[Scancode::LShift, Scancode::RShift] },
    ModifierKey { name: "super", label: "Super", keys: &[Scancode::LGui, Scancode::RGui] },
    ModifierKey { name: "lctrl", label: "LeftCtrl", keys: &[Scancode::LCtrl] },
    ModifierKey { name: "rctrl", label: "RightCtrl", keys: &[Scancode::RCtrl] },
    ModifierKey { name: "lshift", label: "LeftShift", keys: &[Scancode::LShift] },
    ModifierKey { name: "rshift", label: "RightShift", keys: &[Scancode::RShift] },
    ModifierKey { name: "lalt", label: "LeftAlt", keys: &[Scancode::LAlt] },
    ModifierKey { name: "ralt", label: "RightAlt", keys: &[Scancode::RAlt] },
    ModifierKey { name: "lsuper", label: "LeftSuper", keys: &[Scancode::LGui] },
    ModifierKey { name: "rsuper", label: "RightSuper", keys: &[Scancode::RGui] },
    ModifierKey { name: "scrolllock", label: "ScrollLock", keys: &[Scancode::ScrollLock] },
    ModifierKey { name: "pause", label: "Pause", keys: &[Scancode::Pause] },
    ModifierKey { name: "menu", label: "Menu", keys: &[Scancode::Application] },
];

/// Keys that are held for a shortcut, such as `ctrl+alt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortcutModifier(Vec<ModifierKey>);

impl ShortcutModifier {
    /// True if all of it is held.
    pub(super) fn is_held(&self, is_held: impl Fn(Scancode) -> bool) -> bool {
        self.0.iter().all(|modifier| modifier.keys.iter().any(|&key| is_held(key)))
    }

    /// True if `key` is one of its keys.
    pub(super) fn contains(&self, key: Scancode) -> bool {
        self.0.iter().any(|modifier| modifier.keys.contains(&key))
    }
}

impl Default for ShortcutModifier {
    /// QEMU's.
    fn default() -> ShortcutModifier {
        ShortcutModifier(vec![CTRL, ALT])
    }
}

impl fmt::Display for ShortcutModifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<&str> = self.0.iter().map(|modifier| modifier.label).collect();
        f.pad(&labels.join("+"))
    }
}

impl FromStr for ShortcutModifier {
    type Err = String;

    /// Names of keys with `+` between them.
    fn from_str(text: &str) -> Result<ShortcutModifier, String> {
        let mut modifiers: Vec<ModifierKey> = Vec::new();
        for name in text.split('+') {
            let known = MODIFIER_KEYS.iter().find(|known| known.name.eq_ignore_ascii_case(name));
            let Some(known) = known else {
                let names: Vec<&str> = MODIFIER_KEYS.iter().map(|known| known.name).collect();
                let names = names.join(", ");
                return Err(format!("unknown key {name:?}; one or more, joined by +, of {names}"));
            };
            if !modifiers.contains(known) {
                modifiers.push(*known);
            }
        }
        Ok(ShortcutModifier(modifiers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_are_read_and_written() {
        let parse = |text: &str| text.parse::<ShortcutModifier>();
        assert_eq!(parse("ctrl+alt"), Ok(ShortcutModifier::default()));
        assert_eq!(parse("Alt+alt").unwrap().to_string(), "Alt");
        assert_eq!(ShortcutModifier::default().to_string(), "Ctrl+Alt");
        let error = parse("ctrl+f").unwrap_err();
        assert!(error.starts_with("unknown key \"f\"; one or more"), "{error}");
        assert!(parse("").is_err());
    }

    #[test]
    fn either_side_will_do() {
        let modifier = ShortcutModifier::default();
        let held = |keys: &'static [Scancode]| modifier.is_held(|key| keys.contains(&key));
        assert!(held(&[Scancode::RCtrl, Scancode::LAlt]));
        assert!(!held(&[Scancode::RCtrl, Scancode::LCtrl]));
        let left: ShortcutModifier = "lalt".parse().unwrap();
        assert!(!left.is_held(|key| key == Scancode::RAlt));
    }
}
