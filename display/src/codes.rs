//! Numbers of `linux/input-event-codes.h` that windows make events with.

/// Ends each group of events.
pub const EV_SYN: u16 = 0x00;
/// Keys and buttons.
pub const EV_KEY: u16 = 0x01;
/// Relative axes.
pub const EV_REL: u16 = 0x02;
/// Absolute axes.
pub const EV_ABS: u16 = 0x03;

/// The code of [`EV_SYN`] that ends a group.
pub const SYN_REPORT: u16 = 0;

/// Mouse button.
pub const BTN_LEFT: u16 = 0x110;
/// Mouse button.
pub const BTN_RIGHT: u16 = 0x111;
/// Mouse button.
pub const BTN_MIDDLE: u16 = 0x112;
/// Mouse button, most often "back".
pub const BTN_SIDE: u16 = 0x113;
/// Mouse button, most often "forward".
pub const BTN_EXTRA: u16 = 0x114;
/// At least one finger touches.
pub const BTN_TOUCH: u16 = 0x14a;

/// Motion to the right.
pub const REL_X: u16 = 0x00;
/// Motion downwards.
pub const REL_Y: u16 = 0x01;
/// Notches of a wheel to the right.
pub const REL_HWHEEL: u16 = 0x06;
/// Notches of a wheel away from the user.
pub const REL_WHEEL: u16 = 0x08;
/// The same in 120ths of a notch.
pub const REL_WHEEL_HI_RES: u16 = 0x0b;
/// The same in 120ths of a notch.
pub const REL_HWHEEL_HI_RES: u16 = 0x0c;

/// Column of the pointer.
pub const ABS_X: u16 = 0x00;
/// Row of the pointer.
pub const ABS_Y: u16 = 0x01;
/// The finger that the following is about.
pub const ABS_MT_SLOT: u16 = 0x2f;
/// Column of a finger.
pub const ABS_MT_POSITION_X: u16 = 0x35;
/// Row of a finger.
pub const ABS_MT_POSITION_Y: u16 = 0x36;
/// The number of a touch; -1 when it has ended.
pub const ABS_MT_TRACKING_ID: u16 = 0x39;

/// Fingers at once: slots 0 to 9.
pub const MAX_FINGERS: u16 = 10;

#[cfg(test)]
pub(crate) mod header {
    //! The kernel's own numbers.

    /// Fails unless `linux/input-event-codes.h` gives `name` this number.
    pub(crate) fn check(name: &str, code: u16) {
        let path = "/usr/include/linux/input-event-codes.h";
        let text = std::fs::read_to_string(path).expect("package linux-libc-dev");
        let value = text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.next())
        });
        let value = value.flatten().unwrap_or_else(|| panic!("{path} has no {name}"));
        let number = value
            .strip_prefix("0x")
            .map_or_else(|| value.parse(), |hex| u16::from_str_radix(hex, 16));
        assert_eq!(number, Ok(code), "{name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (name, code) in [
            ("EV_SYN", EV_SYN),
            ("EV_KEY", EV_KEY),
            ("EV_REL", EV_REL),
            ("EV_ABS", EV_ABS),
            ("SYN_REPORT", SYN_REPORT),
            ("BTN_LEFT", BTN_LEFT),
            ("BTN_RIGHT", BTN_RIGHT),
            ("BTN_MIDDLE", BTN_MIDDLE),
            ("BTN_SIDE", BTN_SIDE),
            ("BTN_EXTRA", BTN_EXTRA),
            ("BTN_TOUCH", BTN_TOUCH),
            ("REL_X", REL_X),
            ("REL_Y", REL_Y),
            ("REL_HWHEEL", REL_HWHEEL),
            ("REL_WHEEL", REL_WHEEL),
            ("REL_WHEEL_HI_RES", REL_WHEEL_HI_RES),
            ("REL_HWHEEL_HI_RES", REL_HWHEEL_HI_RES),
            ("ABS_X", ABS_X),
            ("ABS_Y", ABS_Y),
            ("ABS_MT_SLOT", ABS_MT_SLOT),
            ("ABS_MT_POSITION_X", ABS_MT_POSITION_X),
            ("ABS_MT_POSITION_Y", ABS_MT_POSITION_Y),
            ("ABS_MT_TRACKING_ID", ABS_MT_TRACKING_ID),
        ] {
            header::check(name, code);
        }
    }
}
