//! Shortcuts: which keys mean something to the window instead of the scanout.

use std::collections::BTreeSet;

use sdl2::keyboard::{Keycode, Scancode};

use super::options::ShortcutModifier;

/// What a shortcut does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// To or from full screen.
    Fullscreen,
    /// The window gets the frame's size.
    OriginalSize,
    /// The window gets the next larger step of the frame's size.
    Larger,
    /// The window gets the next smaller step of the frame's size.
    Smaller,
    /// Another way of fitting the picture into the window.
    NextScaling,
    /// Smooth or not.
    NextFilter,
    /// Keyboard and pointer belong to the window, or do so no more.
    Grab,
    /// Saves a picture.
    Screenshot,
    /// Shows figures over the picture, or hides them.
    Overlay,
    /// Closes all windows.
    Quit,
}

/// Keys that are modifiers to everybody. A shortcut has none of them but its own, and Shift, which
/// some layouts need for `+`.
const MODIFIERS: [Scancode; 6] = [
    Scancode::LCtrl,
    Scancode::RCtrl,
    Scancode::LAlt,
    Scancode::RAlt,
    Scancode::LGui,
    Scancode::RGui,
];

/// The keyboard as the window system has it, whatever the scanouts know of it.
#[derive(Debug)]
pub(super) struct Keyboard {
    modifier: ShortcutModifier,
    held: BTreeSet<i32>,
}

impl Keyboard {
    pub(super) fn new(modifier: ShortcutModifier) -> Keyboard {
        Keyboard { modifier, held: BTreeSet::new() }
    }

    pub(super) fn modifier(&self) -> &ShortcutModifier {
        &self.modifier
    }

    /// `key` goes down. The shortcut that it is, if it is one.
    pub(super) fn press(
        &mut self,
        key: Scancode,
        symbol: Option<Keycode>,
        is_grabbed: bool,
    ) -> Option<Action> {
        self.held.insert(key as i32);
        if key == Scancode::F11 && !is_grabbed && !self.held_modifiers().any(|_| true) {
            return Some(Action::Fullscreen);
        }
        let is_own = |key| self.modifier.contains(key);
        let is_shortcut = self.modifier.is_held(|key| self.is_held(key))
            && !is_own(key)
            && self.held_modifiers().all(is_own);
        is_shortcut.then(|| action(key, symbol)).flatten()
    }

    pub(super) fn release(&mut self, key: Scancode) {
        self.held.remove(&(key as i32));
    }

    /// Another window has the keyboard.
    pub(super) fn release_all(&mut self) {
        self.held.clear();
    }

    /// True if scanouts are never told of `key`: it is of the shortcuts' modifier, and no modifier
    /// otherwise.
    pub(super) fn is_private(&self, key: Scancode) -> bool {
        let is_shift = matches!(key, Scancode::LShift | Scancode::RShift);
        self.modifier.contains(key) && !MODIFIERS.contains(&key) && !is_shift
    }

    /// The modifiers that are held, but Shift.
    pub(super) fn held_modifiers(&self) -> impl Iterator<Item = Scancode> {
        MODIFIERS.into_iter().filter(|&key| self.is_held(key))
    }

    fn is_held(&self, key: Scancode) -> bool {
        self.held.contains(&(key as i32))
    }
}

/// By what is on the key in the user's layout or, where that is not in ASCII, on a US keyboard.
fn action(key: Scancode, symbol: Option<Keycode>) -> Option<Action> {
    let ascii = |symbol: Keycode| {
        u8::try_from(symbol.into_i32()).ok().filter(|symbol| symbol.is_ascii_graphic())
    };
    match symbol.and_then(ascii).or_else(|| us_symbol(key))? {
        b'f' => Some(Action::Fullscreen),
        b'u' => Some(Action::OriginalSize),
        b'+' | b'=' => Some(Action::Larger),
        b'-' => Some(Action::Smaller),
        b'z' => Some(Action::NextScaling),
        b'n' => Some(Action::NextFilter),
        b'g' => Some(Action::Grab),
        b's' => Some(Action::Screenshot),
        b'i' => Some(Action::Overlay),
        b'q' => Some(Action::Quit),
        _ => None,
    }
}

/// What is on a shortcut's key of a US keyboard.
fn us_symbol(key: Scancode) -> Option<u8> {
    match key {
        Scancode::F => Some(b'f'),
        Scancode::U => Some(b'u'),
        Scancode::Equals | Scancode::KpPlus => Some(b'+'),
        Scancode::Minus | Scancode::KpMinus => Some(b'-'),
        Scancode::Z => Some(b'z'),
        Scancode::N => Some(b'n'),
        Scancode::G => Some(b'g'),
        Scancode::S => Some(b's'),
        Scancode::I => Some(b'i'),
        Scancode::Q => Some(b'q'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(keyboard: &mut Keyboard, keys: &[Scancode], last: Keycode) -> Option<Action> {
        keyboard.release_all();
        let (&key, before) = keys.split_last().unwrap();
        for &key in before {
            assert_eq!(keyboard.press(key, None, false), None, "{key:?}");
        }
        keyboard.press(key, Some(last), false)
    }

    #[test]
    fn shortcuts_need_their_modifier_and_no_other() {
        use Scancode::{F, F11, LAlt, LCtrl, LGui, LShift, RAlt};
        let mut keyboard = Keyboard::new(ShortcutModifier::default());
        let fullscreen = Some(Action::Fullscreen);
        assert_eq!(pressed(&mut keyboard, &[LCtrl, RAlt, F], Keycode::F), fullscreen);
        assert_eq!(pressed(&mut keyboard, &[LCtrl, LShift, RAlt, F], Keycode::F), fullscreen);
        assert_eq!(pressed(&mut keyboard, &[LCtrl, F], Keycode::F), None);
        assert_eq!(pressed(&mut keyboard, &[LCtrl, LAlt, LGui, F], Keycode::F), None);
        assert_eq!(pressed(&mut keyboard, &[F11], Keycode::F11), fullscreen);
        assert_eq!(pressed(&mut keyboard, &[LAlt, F11], Keycode::F11), None);
        keyboard.release_all();
        assert_eq!(keyboard.press(F11, Some(Keycode::F11), true), None, "the scanout's if grabbed");
    }

    #[test]
    fn letters_are_those_of_the_layout() {
        use Scancode::{F, KpMinus, LAlt, LCtrl, RightBracket, Y, Z};
        let mut keyboard = Keyboard::new(ShortcutModifier::default());
        let mut action = |key, symbol| pressed(&mut keyboard, &[LCtrl, LAlt, key], symbol);
        // German.
        assert_eq!(action(Y, Keycode::Z), Some(Action::NextScaling));
        assert_eq!(action(Z, Keycode::Y), None);
        assert_eq!(action(RightBracket, Keycode::Plus), Some(Action::Larger));
        assert_eq!(action(KpMinus, Keycode::KpMinus), Some(Action::Smaller));
        // As with a Russian layout: nothing in ASCII is on it.
        assert_eq!(action(F, Keycode::KpEnter), Some(Action::Fullscreen));
    }

    #[test]
    fn keys_that_modify_nothing_else_are_private() {
        let keyboard = Keyboard::new("scrolllock".parse().unwrap());
        assert!(keyboard.is_private(Scancode::ScrollLock));
        assert!(!keyboard.is_private(Scancode::LCtrl));
        let keyboard = Keyboard::new("shift+super".parse().unwrap());
        assert!(!keyboard.is_private(Scancode::LShift));
    }
}
