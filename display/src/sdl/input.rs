//! What the user does in one window, as the events of Linux's input devices.

use std::collections::BTreeSet;

use sdl2::mouse::MouseButton;

use super::scale::Position;
use crate::codes::{
    ABS_MT_POSITION_X, ABS_MT_POSITION_Y, ABS_MT_SLOT, ABS_MT_TRACKING_ID, ABS_X, ABS_Y, BTN_EXTRA,
    BTN_LEFT, BTN_MIDDLE, BTN_RIGHT, BTN_SIDE, BTN_TOUCH, EV_ABS, EV_KEY, EV_REL, EV_SYN,
    MAX_FINGERS, REL_HWHEEL, REL_HWHEEL_HI_RES, REL_WHEEL, REL_WHEEL_HI_RES, REL_X, REL_Y,
    SYN_REPORT,
};
use crate::{DisplayEvent, InputEvent};

/// `REL_WHEEL_HI_RES` in a notch.
const UNITS_PER_NOTCH: i32 = 120;

/// Highest `ABS_MT_TRACKING_ID`, the kernel's (`input_mt_new_trkid`).
const MAX_TRACKING_ID: i32 = 0xffff;

/// A finger, as SDL names it: a device and a finger on it.
pub(super) type Finger = (i64, i64);

/// Kind, code and value.
type Entry = (u16, u16, i32);

/// Who is told.
pub(super) type Sink<'a> = &'a dyn Fn(DisplayEvent);

/// What a scanout knows of the user's input.
#[derive(Debug)]
pub(super) struct Input {
    scanout: u32,
    keys: BTreeSet<u16>,
    buttons: BTreeSet<u16>,
    /// By slot.
    fingers: [Option<Finger>; MAX_FINGERS as usize],
    next_tracking_id: i32,
    wheel: Wheel,
    horizontal_wheel: Wheel,
}

impl Input {
    pub(super) fn new(scanout: u32) -> Input {
        Input {
            scanout,
            keys: BTreeSet::new(),
            buttons: BTreeSet::new(),
            fingers: [None; MAX_FINGERS as usize],
            next_tracking_id: 0,
            wheel: Wheel::new(REL_WHEEL, REL_WHEEL_HI_RES),
            horizontal_wheel: Wheel::new(REL_HWHEEL, REL_HWHEEL_HI_RES),
        }
    }

    /// A key goes down or up. What is so already is no news.
    pub(super) fn key(&mut self, code: u16, is_down: bool, sink: Sink) {
        let is_news = if is_down { self.keys.insert(code) } else { self.keys.remove(&code) };
        if is_news {
            self.report(&[(EV_KEY, code, is_down.into())], sink);
        }
    }

    /// The pointer is at another place. Off the picture that is news only while a button is held.
    pub(super) fn motion(&self, at: Position, sink: Sink) {
        if at.is_inside || !self.buttons.is_empty() {
            self.report(&[(EV_ABS, ABS_X, at.x), (EV_ABS, ABS_Y, at.y)], sink);
        }
    }

    /// The pointer has been moved by so much.
    pub(super) fn relative_motion(&self, x: i32, y: i32, sink: Sink) {
        let moves = [(EV_REL, REL_X, x), (EV_REL, REL_Y, y)];
        let moves: Vec<Entry> = moves.into_iter().filter(|&(_, _, value)| value != 0).collect();
        self.report(&moves, sink);
    }

    /// A mouse button goes down or up, `at` some place or, while grabbed, nowhere in particular.
    /// Only on the picture can one go down.
    pub(super) fn button(&mut self, code: u16, is_down: bool, at: Option<Position>, sink: Sink) {
        let is_on_picture = at.is_none_or(|at| at.is_inside);
        let is_news = match is_down {
            true if is_on_picture || !self.buttons.is_empty() => self.buttons.insert(code),
            true => false,
            false => self.buttons.remove(&code),
        };
        if !is_news {
            return;
        }
        let mut entries = Vec::new();
        if let Some(at) = at {
            entries.extend([(EV_ABS, ABS_X, at.x), (EV_ABS, ABS_Y, at.y)]);
        }
        entries.push((EV_KEY, code, is_down.into()));
        self.report(&entries, sink);
    }

    /// The wheel was turned by so many notches, to the right and away from the user.
    pub(super) fn wheel(&mut self, x: f32, y: f32, sink: Sink) {
        let mut entries = self.wheel.turn(y);
        entries.extend(self.horizontal_wheel.turn(x));
        self.report(&entries, sink);
    }

    /// A finger touches the picture.
    pub(super) fn finger_down(&mut self, finger: Finger, at: Position, sink: Sink) {
        if !at.is_inside || self.slot(finger).is_some() {
            return;
        }
        let is_first = self.fingers.iter().all(Option::is_none);
        let Some((slot, free)) = (0..).zip(&mut self.fingers).find(|(_, slot)| slot.is_none())
        else {
            return;
        };
        *free = Some(finger);
        let id = self.next_tracking_id;
        self.next_tracking_id = if id == MAX_TRACKING_ID { 0 } else { id + 1 };
        let mut entries = vec![
            (EV_ABS, ABS_MT_SLOT, slot),
            (EV_ABS, ABS_MT_TRACKING_ID, id),
            (EV_ABS, ABS_MT_POSITION_X, at.x),
            (EV_ABS, ABS_MT_POSITION_Y, at.y),
        ];
        if is_first {
            entries.push((EV_KEY, BTN_TOUCH, 1));
        }
        self.report(&entries, sink);
    }

    /// A finger that touched the picture moves.
    pub(super) fn finger_motion(&self, finger: Finger, at: Position, sink: Sink) {
        if let Some(slot) = self.slot(finger) {
            let entries = [
                (EV_ABS, ABS_MT_SLOT, slot),
                (EV_ABS, ABS_MT_POSITION_X, at.x),
                (EV_ABS, ABS_MT_POSITION_Y, at.y),
            ];
            self.report(&entries, sink);
        }
    }

    /// A finger is lifted.
    pub(super) fn finger_up(&mut self, finger: Finger, sink: Sink) {
        let Some(slot) = self.slot(finger) else { return };
        for known in &mut self.fingers {
            if *known == Some(finger) {
                *known = None;
            }
        }
        let mut entries = vec![(EV_ABS, ABS_MT_SLOT, slot), (EV_ABS, ABS_MT_TRACKING_ID, -1)];
        if self.fingers.iter().all(Option::is_none) {
            entries.push((EV_KEY, BTN_TOUCH, 0));
        }
        self.report(&entries, sink);
    }

    /// True if it touches the picture.
    pub(super) fn has_finger(&self, finger: Finger) -> bool {
        self.slot(finger).is_some()
    }

    /// The finger's slot.
    fn slot(&self, finger: Finger) -> Option<i32> {
        (0..).zip(&self.fingers).find_map(|(slot, known)| (*known == Some(finger)).then_some(slot))
    }

    /// The user types for somebody else now.
    pub(super) fn release_keys(&mut self, sink: Sink) {
        let keys = std::mem::take(&mut self.keys);
        let entries: Vec<Entry> = keys.into_iter().map(|code| (EV_KEY, code, 0)).collect();
        self.report(&entries, sink);
    }

    /// Nothing more comes from the user.
    pub(super) fn release_all(&mut self, sink: Sink) {
        self.release_keys(sink);
        let buttons = std::mem::take(&mut self.buttons);
        let entries: Vec<Entry> = buttons.into_iter().map(|code| (EV_KEY, code, 0)).collect();
        self.report(&entries, sink);
        for finger in self.fingers.into_iter().flatten() {
            self.finger_up(finger, sink);
        }
    }

    /// A group of events, if there are any.
    fn report(&self, entries: &[Entry], sink: Sink) {
        if entries.is_empty() {
            return;
        }
        let scanout = self.scanout;
        for &(kind, code, value) in entries.iter().chain(&[(EV_SYN, SYN_REPORT, 0)]) {
            sink(DisplayEvent::Input(InputEvent { scanout, kind, code, value }));
        }
    }
}

/// One axis of a mouse's wheel.
#[derive(Debug)]
struct Wheel {
    notches_code: u16,
    units_code: u16,
    /// Part of a unit that was not reported yet.
    rest: f32,
    /// Units since the last notch.
    units: i32,
}

impl Wheel {
    fn new(notches_code: u16, units_code: u16) -> Wheel {
        Wheel { notches_code, units_code, rest: 0.0, units: 0 }
    }

    /// The events of a turn by so many notches.
    fn turn(&mut self, notches: f32) -> Vec<Entry> {
        let exact = notches.clamp(-1000.0, 1000.0) * UNITS_PER_NOTCH as f32 + self.rest;
        if !exact.is_finite() {
            return Vec::new();
        }
        let units = exact.trunc();
        self.rest = exact - units;
        // At most 120 121, by the clamp.
        let units = units as i32;
        self.units += units;
        let notches = self.units / UNITS_PER_NOTCH;
        self.units %= UNITS_PER_NOTCH;
        [(EV_REL, self.units_code, units), (EV_REL, self.notches_code, notches)]
            .into_iter()
            .filter(|&(_, _, value)| value != 0)
            .collect()
    }
}

/// `BTN_*` of a mouse button.
pub(super) fn linux_button(button: MouseButton) -> Option<u16> {
    match button {
        MouseButton::Left => Some(BTN_LEFT),
        MouseButton::Middle => Some(BTN_MIDDLE),
        MouseButton::Right => Some(BTN_RIGHT),
        MouseButton::X1 => Some(BTN_SIDE),
        MouseButton::X2 => Some(BTN_EXTRA),
        MouseButton::Unknown => None,
    }
}

#[cfg(test)]
mod tests;
