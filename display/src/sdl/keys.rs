//! Which Linux key each of SDL's is.

use sdl2::keyboard::Scancode;

/// SDL names keys by their place (USB HID usages), Linux by what is on them on a US keyboard; the
/// pairs are those of the kernel's table for USB (`drivers/hid/hid-input.c`).
macro_rules! keys {
    ($($scancode:ident => $name:ident = $code:literal),* $(,)?) => {
        /// `KEY_*` of `linux/input-event-codes.h`; `None` for keys that Linux has no number for.
        pub(super) fn linux_key(scancode: Scancode) -> Option<u16> {
            match scancode {
                $(Scancode::$scancode => Some($code),)*
                _ => None,
            }
        }

        #[cfg(test)]
        const NAMES: &[(&str, u16)] = &[$((stringify!($name), $code)),*];
    };
}

keys! {
    A => KEY_A = 30, B => KEY_B = 48, C => KEY_C = 46, D => KEY_D = 32, E => KEY_E = 18,
    F => KEY_F = 33, G => KEY_G = 34, H => KEY_H = 35, I => KEY_I = 23, J => KEY_J = 36,
    K => KEY_K = 37, L => KEY_L = 38, M => KEY_M = 50, N => KEY_N = 49, O => KEY_O = 24,
    P => KEY_P = 25, Q => KEY_Q = 16, R => KEY_R = 19, S => KEY_S = 31, T => KEY_T = 20,
    U => KEY_U = 22, V => KEY_V = 47, W => KEY_W = 17, X => KEY_X = 45, Y => KEY_Y = 21,
    Z => KEY_Z = 44,
    Num1 => KEY_1 = 2, Num2 => KEY_2 = 3, Num3 => KEY_3 = 4, Num4 => KEY_4 = 5, Num5 => KEY_5 = 6,
    Num6 => KEY_6 = 7, Num7 => KEY_7 = 8, Num8 => KEY_8 = 9, Num9 => KEY_9 = 10, Num0 => KEY_0 = 11,
    Return => KEY_ENTER = 28, Escape => KEY_ESC = 1, Backspace => KEY_BACKSPACE = 14,
    Tab => KEY_TAB = 15, Space => KEY_SPACE = 57, Minus => KEY_MINUS = 12, Equals => KEY_EQUAL = 13,
    LeftBracket => KEY_LEFTBRACE = 26, RightBracket => KEY_RIGHTBRACE = 27,
    Backslash => KEY_BACKSLASH = 43, NonUsHash => KEY_BACKSLASH = 43,
    Semicolon => KEY_SEMICOLON = 39, Apostrophe => KEY_APOSTROPHE = 40, Grave => KEY_GRAVE = 41,
    Comma => KEY_COMMA = 51, Period => KEY_DOT = 52, Slash => KEY_SLASH = 53,
    CapsLock => KEY_CAPSLOCK = 58,
    F1 => KEY_F1 = 59, F2 => KEY_F2 = 60, F3 => KEY_F3 = 61, F4 => KEY_F4 = 62, F5 => KEY_F5 = 63,
    F6 => KEY_F6 = 64, F7 => KEY_F7 = 65, F8 => KEY_F8 = 66, F9 => KEY_F9 = 67, F10 => KEY_F10 = 68,
    F11 => KEY_F11 = 87, F12 => KEY_F12 = 88, F13 => KEY_F13 = 183, F14 => KEY_F14 = 184,
    F15 => KEY_F15 = 185, F16 => KEY_F16 = 186, F17 => KEY_F17 = 187, F18 => KEY_F18 = 188,
    F19 => KEY_F19 = 189, F20 => KEY_F20 = 190, F21 => KEY_F21 = 191, F22 => KEY_F22 = 192,
    F23 => KEY_F23 = 193, F24 => KEY_F24 = 194,
    PrintScreen => KEY_SYSRQ = 99, ScrollLock => KEY_SCROLLLOCK = 70, Pause => KEY_PAUSE = 119,
    Insert => KEY_INSERT = 110, Home => KEY_HOME = 102, PageUp => KEY_PAGEUP = 104,
    Delete => KEY_DELETE = 111, End => KEY_END = 107, PageDown => KEY_PAGEDOWN = 109,
    Right => KEY_RIGHT = 106, Left => KEY_LEFT = 105, Down => KEY_DOWN = 108, Up => KEY_UP = 103,
    NumLockClear => KEY_NUMLOCK = 69, KpDivide => KEY_KPSLASH = 98,
    KpMultiply => KEY_KPASTERISK = 55, KpMinus => KEY_KPMINUS = 74, KpPlus => KEY_KPPLUS = 78,
    KpEnter => KEY_KPENTER = 96, Kp1 => KEY_KP1 = 79, Kp2 => KEY_KP2 = 80, Kp3 => KEY_KP3 = 81,
    Kp4 => KEY_KP4 = 75, Kp5 => KEY_KP5 = 76, Kp6 => KEY_KP6 = 77, Kp7 => KEY_KP7 = 71,
    Kp8 => KEY_KP8 = 72, Kp9 => KEY_KP9 = 73, Kp0 => KEY_KP0 = 82, KpPeriod => KEY_KPDOT = 83,
    KpEquals => KEY_KPEQUAL = 117, KpComma => KEY_KPCOMMA = 121,
    NonUsBackslash => KEY_102ND = 86, Application => KEY_COMPOSE = 127, Power => KEY_POWER = 116,
    Execute => KEY_OPEN = 134, Help => KEY_HELP = 138, Menu => KEY_PROPS = 130,
    Select => KEY_FRONT = 132, Stop => KEY_STOP = 128, Again => KEY_AGAIN = 129,
    Undo => KEY_UNDO = 131, Cut => KEY_CUT = 137, Copy => KEY_COPY = 133, Paste => KEY_PASTE = 135,
    Find => KEY_FIND = 136, Mute => KEY_MUTE = 113, VolumeUp => KEY_VOLUMEUP = 115,
    VolumeDown => KEY_VOLUMEDOWN = 114,
    International1 => KEY_RO = 89, International2 => KEY_KATAKANAHIRAGANA = 93,
    International3 => KEY_YEN = 124, International4 => KEY_HENKAN = 92,
    International5 => KEY_MUHENKAN = 94, International6 => KEY_KPJPCOMMA = 95,
    Lang1 => KEY_HANGEUL = 122, Lang2 => KEY_HANJA = 123, Lang3 => KEY_KATAKANA = 90,
    Lang4 => KEY_HIRAGANA = 91, Lang5 => KEY_ZENKAKUHANKAKU = 85,
    LCtrl => KEY_LEFTCTRL = 29, LShift => KEY_LEFTSHIFT = 42, LAlt => KEY_LEFTALT = 56,
    LGui => KEY_LEFTMETA = 125, RCtrl => KEY_RIGHTCTRL = 97, RShift => KEY_RIGHTSHIFT = 54,
    RAlt => KEY_RIGHTALT = 100, RGui => KEY_RIGHTMETA = 126,
    // SDL's name for the AltGr of some X11 layouts.
    Mode => KEY_RIGHTALT = 100,
    AudioNext => KEY_NEXTSONG = 163, AudioPrev => KEY_PREVIOUSSONG = 165,
    AudioStop => KEY_STOPCD = 166, AudioPlay => KEY_PLAYPAUSE = 164, AudioMute => KEY_MUTE = 113,
    MediaSelect => KEY_MEDIA = 226, Www => KEY_WWW = 150, Mail => KEY_MAIL = 155,
    Calculator => KEY_CALC = 140, Computer => KEY_COMPUTER = 157, AcSearch => KEY_SEARCH = 217,
    AcHome => KEY_HOMEPAGE = 172, AcBack => KEY_BACK = 158, AcForward => KEY_FORWARD = 159,
    AcStop => KEY_STOP = 128, AcRefresh => KEY_REFRESH = 173, AcBookmarks => KEY_BOOKMARKS = 156,
    BrightnessDown => KEY_BRIGHTNESSDOWN = 224, BrightnessUp => KEY_BRIGHTNESSUP = 225,
    DisplaySwitch => KEY_SWITCHVIDEOMODE = 227, KbdIllumToggle => KEY_KBDILLUMTOGGLE = 228,
    KbdIllumDown => KEY_KBDILLUMDOWN = 229, KbdIllumUp => KEY_KBDILLUMUP = 230,
    Eject => KEY_EJECTCD = 161, Sleep => KEY_SLEEP = 142,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::header;

    #[test]
    fn numbers_are_the_kernels() {
        for &(name, code) in NAMES {
            header::check(name, code);
        }
    }

    #[test]
    fn keys_are_found_by_their_place() {
        assert_eq!(linux_key(Scancode::A), Some(30));
        assert_eq!(linux_key(Scancode::RAlt), Some(100));
        assert_eq!(linux_key(Scancode::KpClear), None);
    }
}
