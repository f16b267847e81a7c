//! What a device has still to say to its driver: whole frames, and never more than a bound.
//!
//! A driver that takes nothing loses frames, never a part of one. When it takes something again, one
//! frame brings it up to date: keys and contacts are as the source has them, whatever was lost. That is
//! what the kernel's own `SYN_DROPPED` asks a reader to find out, which a virtio-input driver cannot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::codes::{ABS_MT_SLOT, ABS_MT_TRACKING_ID, EV_ABS, EV_KEY, EV_SYN, SYN_REPORT};
use super::wire::Event;

/// Events that wait at most; the driver has buffers for 64 more.
const MOST: usize = 512;

/// Keys, axes and contacts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    keys: BTreeSet<u16>,
    axes: BTreeMap<u16, i32>,
    /// The contact that values are about.
    slot: i32,
    /// Those that touch: their values by axis.
    contacts: BTreeMap<i32, BTreeMap<u16, i32>>,
}

/// Whether an axis is one of a contact.
fn is_of_contact(code: u16) -> bool {
    code > ABS_MT_SLOT
}

impl State {
    fn apply(&mut self, event: Event) {
        match (event.kind, event.code) {
            (EV_KEY, key) if event.value == 0 => {
                self.keys.remove(&key);
            }
            (EV_KEY, key) => {
                self.keys.insert(key);
            }
            (EV_ABS, ABS_MT_SLOT) => self.slot = event.value,
            (EV_ABS, ABS_MT_TRACKING_ID) if event.value < 0 => {
                self.contacts.remove(&self.slot);
            }
            (EV_ABS, axis) if is_of_contact(axis) => {
                self.contacts.entry(self.slot).or_default().insert(axis, event.value);
            }
            (EV_ABS, axis) => {
                self.axes.insert(axis, event.value);
            }
            _ => {}
        }
    }

    /// The events that make `self` of `told`.
    fn since(&self, told: &Self) -> Vec<Event> {
        let key = |key: &u16, value| Event::new(EV_KEY, *key, value);
        let mut events: Vec<Event> =
            told.keys.difference(&self.keys).map(|code| key(code, 0)).collect();
        events.extend(self.keys.difference(&told.keys).map(|code| key(code, 1)));
        let mut slot = told.slot;
        let mut select = |events: &mut Vec<Event>, wanted: i32| {
            if std::mem::replace(&mut slot, wanted) != wanted {
                events.push(Event::new(EV_ABS, ABS_MT_SLOT, wanted));
            }
        };
        for gone in told.contacts.keys().filter(|slot| !self.contacts.contains_key(slot)) {
            select(&mut events, *gone);
            events.push(Event::new(EV_ABS, ABS_MT_TRACKING_ID, -1));
        }
        for (number, axes) in &self.contacts {
            let before = told.contacts.get(number);
            let id = axes.get(&ABS_MT_TRACKING_ID);
            let is_new = before.is_none_or(|axes| axes.get(&ABS_MT_TRACKING_ID) != id);
            // Before the positions, which are about it.
            let id = id.filter(|_| is_new).map(|id| (&ABS_MT_TRACKING_ID, id));
            let others = axes.iter().filter(|(axis, value)| {
                **axis != ABS_MT_TRACKING_ID
                    && (is_new || before.and_then(|axes| axes.get(axis)) != Some(value))
            });
            for (axis, value) in id.into_iter().chain(others) {
                select(&mut events, *number);
                events.push(Event::new(EV_ABS, *axis, *value));
            }
        }
        select(&mut events, self.slot);
        let moved = self.axes.iter().filter(|(axis, value)| told.axes.get(axis) != Some(value));
        events.extend(moved.map(|(axis, value)| Event::new(EV_ABS, *axis, *value)));
        events
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    pending: VecDeque<Event>,
    /// As the source has it.
    wanted: State,
    /// As the driver has it once it has read `pending`.
    told: State,
    /// Frames were lost since.
    lost: bool,
    /// Frames that were lost, in all.
    dropped: u64,
}

impl Outbox {
    /// Adds a frame, which has neither a report at its end nor anything that the device cannot say.
    pub fn push(&mut self, frame: &[Event]) {
        if frame.is_empty() {
            return;
        }
        frame.iter().for_each(|event| self.wanted.apply(*event));
        // What comes after something that is lost is part of what brings the driver up to date.
        if self.lost || self.pending.len() + frame.len() + 1 > MOST {
            self.lost = true;
            self.dropped += 1;
            return;
        }
        self.add(frame);
    }

    fn add(&mut self, frame: &[Event]) {
        self.pending.extend(frame);
        self.pending.push_back(Event::new(EV_SYN, SYN_REPORT, 0));
        self.told = self.wanted.clone();
    }

    /// The next event for the driver.
    pub fn front(&mut self) -> Option<Event> {
        if self.pending.is_empty() && std::mem::take(&mut self.lost) {
            let frame = self.wanted.since(&self.told);
            if !frame.is_empty() {
                self.add(&frame);
            }
        }
        self.pending.front().copied()
    }

    /// The driver has got that event.
    pub fn pop(&mut self) {
        self.pending.pop_front();
    }

    /// There is another driver, or none: it knows nothing. What waits is about another one's past.
    pub fn forget(&mut self) {
        self.pending.clear();
        self.told = State::default();
        self.lost = true;
    }

    /// Frames that were lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests;
