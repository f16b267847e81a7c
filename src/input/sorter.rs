//! From a source's events to frames of the devices that a scanout has.
//!
//! A source is a window or somebody's input device. It may mix everything; each of ours is one thing.
//! What is held is remembered with the device that it was pressed on, so that a button goes up where it
//! went down, and everything goes up when the source is gone. The contacts of all of a scanout's sources are
//! together in [`Contacts`].

use std::collections::BTreeMap;

use super::codes::{
    ABS_MT_POSITION_X, ABS_MT_POSITION_Y, ABS_MT_SLOT, ABS_X, ABS_Y, BTN_EXTRA, BTN_LEFT,
    BTN_TOUCH, EV_ABS, EV_KEY, EV_REL, EV_SYN, KEY_PRINT, KEY_SYSRQ, REL_HWHEEL, REL_HWHEEL_HI_RES,
    REL_WHEEL, REL_WHEEL_HI_RES, REL_X, REL_Y, SYN_REPORT,
};
use super::contacts::{Contacts, SourceId};
use super::kind::{DeviceKind, MAX_POSITION, has_key};
use super::wire::Event;

/// Events of a source between two reports, at most.
const MOST: usize = 256;
/// Units of a wheel's fine motion in one notch (`REL_WHEEL_HI_RES` of the kernel's documentation).
const NOTCH: i32 = 120;

/// Frames by device.
pub type Frames = BTreeMap<DeviceKind, Vec<Event>>;

/// What positions of a source mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// They are pixels of a frame of this size.
    Pixels {
        /// Of the frame.
        width: u32,
        /// Of the frame.
        height: u32,
    },
    /// They are those of our devices, from 0 to [`MAX_POSITION`].
    Device,
    /// That is not known now, so they are dropped.
    Unknown,
}

impl Positions {
    fn scale(self, vertical: bool, value: i32) -> Option<i32> {
        match self {
            Self::Device => Some(value.clamp(0, MAX_POSITION)),
            Self::Unknown => None,
            Self::Pixels { width, height } => {
                let size = if vertical { height } else { width };
                Some(scale(value, 0, i64::from(size) - 1))
            }
        }
    }
}

/// A position between `min` and `max` as one between 0 and [`MAX_POSITION`]. What is outside is at the
/// edge.
#[must_use]
pub fn scale(value: i32, min: i64, max: i64) -> i32 {
    let range = max - min;
    if range <= 0 {
        return 0;
    }
    let inside = (i64::from(value) - min).clamp(0, range);
    // Rounded; at most MAX_POSITION.
    ((inside * i64::from(MAX_POSITION) + range / 2) / range) as i32
}

/// One wheel.
#[derive(Debug, Clone, Copy, Default)]
struct Wheel {
    /// Notches and fine units of the frame so far.
    notches: i32,
    fine: Option<i32>,
    /// Fine units that are not a notch yet.
    rest: i32,
}

impl Wheel {
    /// Motion of the frame that ends, in notches and fine units: a source may say either or both.
    fn take(&mut self) -> (i32, i32) {
        let notches = std::mem::take(&mut self.notches);
        let Some(fine) = self.fine.take() else {
            return (notches, notches.saturating_mul(NOTCH));
        };
        if notches != 0 {
            self.rest = 0;
            return (notches, fine);
        }
        let sum = self.rest.saturating_add(fine);
        self.rest = sum % NOTCH;
        (sum / NOTCH, fine)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Sorter {
    source: SourceId,
    frame: Vec<Event>,
    overflowed: bool,
    /// The pointer that moved last: what is pressed now is pressed there.
    pointer: DeviceKind,
    held: BTreeMap<u16, DeviceKind>,
    wheels: [Wheel; 2],
    /// The slot that the source speaks of.
    slot: i32,
}

impl Default for Sorter {
    fn default() -> Self {
        Self::new(SourceId::Window, DeviceKind::Pointer, 0)
    }
}

impl Sorter {
    /// For a source whose buttons are those of `pointer` until it moves one, and whose contacts are in
    /// `slot` until it says another one.
    #[must_use]
    pub fn new(source: SourceId, pointer: DeviceKind, slot: i32) -> Self {
        Self {
            source,
            frame: Vec::new(),
            overflowed: false,
            pointer,
            held: BTreeMap::new(),
            wheels: [Wheel::default(); 2],
            slot,
        }
    }

    /// Takes an event. With a report, which ends a frame, gives what the devices are to say.
    pub fn push(&mut self, event: Event, positions: Positions, contacts: &mut Contacts) -> Frames {
        if (event.kind, event.code) != (EV_SYN, SYN_REPORT) {
            if event.kind != EV_SYN && self.frame.len() < MOST {
                self.frame.push(event);
            } else if event.kind != EV_SYN {
                self.overflowed = true;
            }
            return Frames::new();
        }
        let frame = std::mem::take(&mut self.frame);
        if std::mem::take(&mut self.overflowed) {
            log::warn!("an input source sends frames without end");
            return self.release(contacts);
        }
        self.sort(&frame, positions, contacts)
    }

    fn sort(&mut self, frame: &[Event], positions: Positions, contacts: &mut Contacts) -> Frames {
        let touches = frame.iter().any(is_touch);
        let moves = |kind: u16, x: u16, y: u16| {
            frame.iter().any(|event| event.kind == kind && [x, y].contains(&event.code))
        };
        if moves(EV_REL, REL_X, REL_Y) {
            self.pointer = DeviceKind::Mouse;
        } else if !touches && moves(EV_ABS, ABS_X, ABS_Y) {
            self.pointer = DeviceKind::Pointer;
        }
        let mut frames = Frames::new();
        for event in frame {
            match event.kind {
                EV_KEY => self.key(&mut frames, *event),
                EV_REL => self.relative(&mut frames, *event),
                EV_ABS if touches => self.touch(*event, positions, contacts),
                EV_ABS => absolute(&mut frames, *event, positions),
                _ => {}
            }
        }
        self.turn_wheels(&mut frames);
        add_contacts(&mut frames, contacts);
        frames
    }

    fn key(&mut self, frames: &mut Frames, event: Event) {
        let code = if event.code == KEY_SYSRQ { KEY_PRINT } else { event.code };
        let device = match code {
            BTN_LEFT..=BTN_EXTRA => self.pointer,
            code if has_key(code) => DeviceKind::Keyboard,
            // Other buttons are of devices that a scanout does not have; other keys are the host's.
            _ => return,
        };
        let device = match event.value {
            0 => self.held.remove(&code),
            1 => self.held.insert(code, device).is_none().then_some(device),
            // Repeated: the driver does that itself.
            _ => None,
        };
        if let Some(device) = device {
            frames.entry(device).or_default().push(Event::new(EV_KEY, code, event.value));
        }
    }

    fn relative(&mut self, frames: &mut Frames, event: Event) {
        let [vertical, horizontal] = &mut self.wheels;
        let add = |sum: i32| sum.saturating_add(event.value);
        match event.code {
            REL_X | REL_Y => frames.entry(DeviceKind::Mouse).or_default().push(event),
            REL_WHEEL => vertical.notches = add(vertical.notches),
            REL_HWHEEL => horizontal.notches = add(horizontal.notches),
            REL_WHEEL_HI_RES => vertical.fine = Some(add(vertical.fine.unwrap_or(0))),
            REL_HWHEEL_HI_RES => horizontal.fine = Some(add(horizontal.fine.unwrap_or(0))),
            _ => {}
        }
    }

    fn turn_wheels(&mut self, frames: &mut Frames) {
        let codes = [(REL_WHEEL, REL_WHEEL_HI_RES), (REL_HWHEEL, REL_HWHEEL_HI_RES)];
        for (wheel, (notch, fine)) in self.wheels.iter_mut().zip(codes) {
            let turned = wheel.take();
            for (code, value) in [(notch, turned.0), (fine, turned.1)] {
                if value != 0 {
                    let frame = frames.entry(self.pointer).or_default();
                    frame.push(Event::new(EV_REL, code, value));
                }
            }
        }
    }

    fn touch(&mut self, event: Event, positions: Positions, contacts: &mut Contacts) {
        let value = match event.code {
            ABS_MT_SLOT => {
                self.slot = event.value;
                return;
            }
            ABS_MT_POSITION_X => positions.scale(false, event.value),
            ABS_MT_POSITION_Y => positions.scale(true, event.value),
            _ => Some(event.value),
        };
        if let Some(value) = value {
            contacts.apply(self.source, self.slot, event.code, value);
        }
    }

    /// The source is gone, or the focus: everything that it holds goes up.
    pub fn release(&mut self, contacts: &mut Contacts) -> Frames {
        let mut frames = Frames::new();
        self.frame.clear();
        for (code, device) in std::mem::take(&mut self.held) {
            frames.entry(device).or_default().push(Event::new(EV_KEY, code, 0));
        }
        contacts.release(self.source);
        add_contacts(&mut frames, contacts);
        frames
    }
}

/// What the touch screen is to say.
fn add_contacts(frames: &mut Frames, contacts: &mut Contacts) {
    let said = contacts.finish();
    if !said.is_empty() {
        frames.insert(DeviceKind::Touch, said);
    }
}

/// Whether an event is one of a touch screen.
fn is_touch(event: &Event) -> bool {
    match event.kind {
        EV_ABS => event.code >= ABS_MT_SLOT,
        EV_KEY => event.code == BTN_TOUCH,
        _ => false,
    }
}

fn absolute(frames: &mut Frames, event: Event, positions: Positions) {
    let vertical = match event.code {
        ABS_X => false,
        ABS_Y => true,
        _ => return,
    };
    if let Some(value) = positions.scale(vertical, event.value) {
        let frame = frames.entry(DeviceKind::Pointer).or_default();
        frame.push(Event::new(EV_ABS, event.code, value));
    }
}

#[cfg(test)]
mod tests;
