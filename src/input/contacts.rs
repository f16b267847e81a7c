//! The contacts of a scanout's touch screen, whichever sources they come from.
//!
//! Each source counts slots from 0 on. Here contacts of several have slots of their own, and tracking ids
//! that differ: a contact keeps what its source calls it unless somebody else's has it already.
//!
//! The kernel does not tell of a value that is what it was in that slot (`input_handle_abs_event` of its
//! `drivers/input/input.c`): a source whose next contact is at the place of the last one does not say
//! where. So positions are remembered by slot of the source, and told with each contact. All slots of a
//! device begin at 0.

use std::collections::BTreeMap;

use super::codes::{
    ABS_MT_POSITION_X, ABS_MT_POSITION_Y, ABS_MT_SLOT, ABS_MT_TRACKING_ID, ABS_X, ABS_Y, BTN_TOUCH,
    EV_ABS, EV_KEY,
};
use super::kind::MAX_CONTACTS;
use super::wire::Event;

/// Tracking ids are 16 bits long, as of the kernel's own drivers.
const TRACKING_IDS: i32 = 0xffff;
/// Slots that a source may have, the contacts in which are taken.
const SOURCE_SLOTS: i32 = 64;

/// Who says something of a scanout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceId {
    /// Its window.
    #[default]
    Window,
    /// The input device with this number.
    Device(usize),
}

/// A contact.
#[derive(Debug, Clone, Copy)]
struct Contact {
    source: SourceId,
    /// What the source calls it.
    source_slot: i32,
    /// And who it is, by the source.
    source_id: i32,
    id: i32,
    position: Position,
    /// Whether the touch screen has said where it is.
    told: [bool; 2],
}

/// Across and down, as far as they are known.
pub type Position = [Option<i32>; 2];

/// The axes of a contact, and those that stand for all where only one is understood.
const AXES: [u16; 2] = [ABS_MT_POSITION_X, ABS_MT_POSITION_Y];
const FIRST_AXES: [u16; 2] = [ABS_X, ABS_Y];

/// See the module.
#[derive(Debug, Default)]
pub struct Contacts {
    /// By slot of the touch screen.
    slots: BTreeMap<i32, Contact>,
    /// Where contacts of a source are that has not said anything of their slot.
    origins: BTreeMap<SourceId, Position>,
    /// Where the last contact of each slot of a source is or was.
    places: BTreeMap<(SourceId, i32), Position>,
    /// What the frame says so far, and about which slot last.
    frame: Vec<Event>,
    told_slot: Option<i32>,
    /// The contact that stands for all where only one is understood.
    first: Option<i32>,
    told_first: Position,
    told_touch: bool,
}

impl Contacts {
    /// A source begins; its own 0 is there.
    pub fn begin(&mut self, source: SourceId, origin: Position) {
        self.origins.insert(source, origin);
    }

    /// A source says something of the contact in a slot of its own. Positions are those of our devices.
    pub fn apply(&mut self, source: SourceId, source_slot: i32, code: u16, value: i32) {
        if !(0..SOURCE_SLOTS).contains(&source_slot) {
            return;
        }
        match code {
            ABS_MT_TRACKING_ID if value < 0 => {
                let slot = self.slot_of(source, source_slot);
                slot.into_iter().for_each(|slot| self.lift(slot));
            }
            ABS_MT_TRACKING_ID => self.put_down(source, source_slot, value),
            ABS_MT_POSITION_X | ABS_MT_POSITION_Y => self.place(source, source_slot, code, value),
            _ => {}
        }
    }

    /// All contacts of a source go up.
    pub fn release(&mut self, source: SourceId) {
        let of = self.slots.iter().filter(|(_, contact)| contact.source == source);
        let slots: Vec<i32> = of.map(|(slot, _)| *slot).collect();
        slots.into_iter().for_each(|slot| self.lift(slot));
    }

    /// A source is gone, and so is what it was known to say.
    pub fn forget(&mut self, source: SourceId) {
        self.release(source);
        self.places.retain(|(of, _), _| *of != source);
        self.origins.remove(&source);
    }

    /// Ends the frame, and gives what the touch screen is to say: for whoever knows of one contact only,
    /// too, whether there is one, and where.
    pub fn finish(&mut self) -> Vec<Event> {
        self.tell_places();
        if !self.first.is_some_and(|slot| self.slots.contains_key(&slot)) {
            self.first = self.slots.keys().next().copied();
        }
        let contact = self.first.and_then(|slot| self.slots.get(&slot)).copied();
        let touch = contact.is_some();
        if std::mem::replace(&mut self.told_touch, touch) != touch {
            self.frame.push(Event::new(EV_KEY, BTN_TOUCH, touch.into()));
        }
        let position = contact.map(|contact| contact.position).unwrap_or_default();
        for ((code, told), new) in FIRST_AXES.into_iter().zip(&mut self.told_first).zip(position) {
            if let Some(new) = new
                && told.replace(new) != Some(new)
            {
                self.frame.push(Event::new(EV_ABS, code, new));
            }
        }
        self.told_slot = None;
        std::mem::take(&mut self.frame)
    }

    /// Where contacts are whose source does not say it, for it has said so of those before.
    fn tell_places(&mut self) {
        let mut places = Vec::new();
        for (slot, contact) in &mut self.slots {
            let axes = AXES.into_iter().zip(contact.position).zip(&mut contact.told);
            for ((code, value), told) in axes {
                if let Some(value) = value
                    && !std::mem::replace(told, true)
                {
                    places.push((*slot, code, value));
                }
            }
        }
        places.into_iter().for_each(|(slot, code, value)| self.tell(slot, code, value));
    }

    /// Where the touch screen has a contact of a source.
    fn slot_of(&self, source: SourceId, source_slot: i32) -> Option<i32> {
        let is_it =
            |contact: &Contact| (contact.source, contact.source_slot) == (source, source_slot);
        self.slots.iter().find(|(_, contact)| is_it(contact)).map(|(slot, _)| *slot)
    }

    fn origin(&self, source: SourceId) -> Position {
        self.origins.get(&source).copied().unwrap_or_default()
    }

    /// A source says where the contact of a slot is: across, or else down.
    fn place(&mut self, source: SourceId, source_slot: i32, code: u16, value: i32) {
        let across = code == ABS_MT_POSITION_X;
        let origin = self.origin(source);
        let [x, y] = self.places.entry((source, source_slot)).or_insert(origin);
        *(if across { x } else { y }) = Some(value);
        let Some(slot) = self.slot_of(source, source_slot) else { return };
        let Some(contact) = self.slots.get_mut(&slot) else { return };
        let ([x, y], [told_x, told_y]) = (&mut contact.position, &mut contact.told);
        let (at, told) = if across { (x, told_x) } else { (y, told_y) };
        *at = Some(value);
        *told = true;
        self.tell(slot, code, value);
    }

    /// A contact that there is no room for is none.
    fn put_down(&mut self, source: SourceId, source_slot: i32, source_id: i32) {
        let known = self.slot_of(source, source_slot);
        let is_free = |slot: &i32| !self.slots.contains_key(slot);
        let own = Some(source_slot).filter(|slot| *slot < MAX_CONTACTS);
        let free = || own.filter(is_free).or_else(|| (0..MAX_CONTACTS).find(is_free));
        let Some(slot) = known.or_else(free) else { return };
        if self.slots.get(&slot).is_some_and(|contact| contact.source_id == source_id) {
            return;
        }
        let id = self.free_id(source_id);
        let place = self.places.get(&(source, source_slot)).copied();
        let position = place.unwrap_or_else(|| self.origin(source));
        let contact = Contact { source, source_slot, source_id, id, position, told: [false; 2] };
        self.slots.insert(slot, contact);
        self.tell(slot, ABS_MT_TRACKING_ID, id);
    }

    fn lift(&mut self, slot: i32) {
        self.slots.remove(&slot);
        self.tell(slot, ABS_MT_TRACKING_ID, -1);
    }

    /// The tracking id that is wanted, or the next one that no contact has.
    fn free_id(&self, wanted: i32) -> i32 {
        let has = |id: i32| self.slots.values().any(|contact| contact.id == id);
        let mut id = wanted & TRACKING_IDS;
        // As many as there are contacts at most.
        while has(id) {
            id = (id + 1) & TRACKING_IDS;
        }
        id
    }

    /// Each frame says itself which slot it is about: the one before it may be lost.
    fn tell(&mut self, slot: i32, code: u16, value: i32) {
        if self.told_slot.replace(slot) != Some(slot) {
            self.frame.push(Event::new(EV_ABS, ABS_MT_SLOT, slot));
        }
        self.frame.push(Event::new(EV_ABS, code, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SourceId = SourceId::Device(0);
    const TWO: SourceId = SourceId::Device(1);

    fn abs(code: u16, value: i32) -> Event {
        Event::new(EV_ABS, code, value)
    }

    fn slot(slot: i32) -> Event {
        abs(ABS_MT_SLOT, slot)
    }

    fn id(id: i32) -> Event {
        abs(ABS_MT_TRACKING_ID, id)
    }

    fn touch(down: bool) -> Event {
        Event::new(EV_KEY, BTN_TOUCH, down.into())
    }

    fn down(contacts: &mut Contacts, source: SourceId, slot: i32, id: i32, x: i32) -> Vec<Event> {
        contacts.apply(source, slot, ABS_MT_TRACKING_ID, id);
        contacts.apply(source, slot, ABS_MT_POSITION_X, x);
        contacts.finish()
    }

    fn up(contacts: &mut Contacts, source: SourceId, slot: i32) -> Vec<Event> {
        contacts.apply(source, slot, ABS_MT_TRACKING_ID, -1);
        contacts.finish()
    }

    #[test]
    fn two_sources_touch_at_once() {
        let mut contacts = Contacts::default();
        let x = |x| abs(ABS_MT_POSITION_X, x);
        let told = [slot(0), id(7), x(10), touch(true), abs(ABS_X, 10)];
        assert_eq!(down(&mut contacts, ONE, 0, 7, 10), told);
        // The same slot and the same id, of another source: another contact.
        assert_eq!(down(&mut contacts, TWO, 0, 7, 20), [slot(1), id(8), x(20)]);
        // Each moves its own.
        contacts.apply(TWO, 0, ABS_MT_POSITION_X, 21);
        contacts.apply(ONE, 0, ABS_MT_POSITION_X, 11);
        assert_eq!(contacts.finish(), [slot(1), x(21), slot(0), x(11), abs(ABS_X, 11)]);
        // A second one of the first source, whose own slot is taken.
        assert_eq!(down(&mut contacts, ONE, 1, 8, 30), [slot(2), id(9), x(30)]);
        // One lifts all: the other still touches, and is the one that stands for all.
        contacts.release(ONE);
        let told = [slot(0), id(-1), slot(2), id(-1), abs(ABS_X, 21)];
        assert_eq!(contacts.finish(), told);
        assert_eq!(up(&mut contacts, ONE, 0), []);
        assert_eq!(up(&mut contacts, TWO, 0), [slot(1), id(-1), touch(false)]);
    }

    #[test]
    fn a_contact_that_there_is_no_room_for_is_none() {
        let mut contacts = Contacts::default();
        for slot in 0..10 {
            assert!(!down(&mut contacts, ONE, slot, slot, 1).is_empty());
        }
        for slot in 0..6 {
            assert!(!down(&mut contacts, TWO, slot, slot, 1).is_empty());
        }
        let mut ids: Vec<i32> = contacts.slots.values().map(|contact| contact.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 16);
        assert_eq!(contacts.slots.keys().copied().collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
        assert_eq!(down(&mut contacts, TWO, 6, 6, 5), []);
        assert_eq!(up(&mut contacts, TWO, 6), []);
        // There is when another goes.
        assert_eq!(up(&mut contacts, ONE, 3), [slot(3), id(-1)]);
        assert_eq!(down(&mut contacts, TWO, 6, 100, 5)[..2], [slot(3), id(100)]);
    }

    #[test]
    fn a_contact_may_become_another_one_in_its_slot() {
        let mut contacts = Contacts::default();
        down(&mut contacts, ONE, 4, 1, 10);
        contacts.apply(ONE, 4, ABS_MT_TRACKING_ID, 1);
        assert_eq!(contacts.finish(), [], "it is the same one");
        contacts.apply(ONE, 4, ABS_MT_TRACKING_ID, 2);
        assert_eq!(contacts.finish(), [slot(4), id(2), abs(ABS_MT_POSITION_X, 10)]);
        // Beyond 16 bits, and what becomes of it is taken.
        assert_eq!(down(&mut contacts, TWO, 0, 0x1_0002, 3)[..2], [slot(0), id(3)]);
    }

    #[test]
    fn a_source_need_not_say_again_where_it_was_touched() {
        let mut contacts = Contacts::default();
        let (x, y) = (|x| abs(ABS_MT_POSITION_X, x), |y| abs(ABS_MT_POSITION_Y, y));
        contacts.apply(ONE, 0, ABS_MT_POSITION_Y, 5);
        assert_eq!(contacts.finish(), [], "nothing touches");
        let told = [slot(0), id(1), x(10), y(5), touch(true), abs(ABS_X, 10), abs(ABS_Y, 5)];
        assert_eq!(down(&mut contacts, ONE, 0, 1, 10), told);
        up(&mut contacts, ONE, 0);
        // Somebody else's contact was in that slot meanwhile, and is still.
        let told = [slot(0), id(1), x(20), touch(true), abs(ABS_X, 20)];
        assert_eq!(down(&mut contacts, TWO, 0, 1, 20), told);
        contacts.apply(ONE, 0, ABS_MT_TRACKING_ID, 2);
        assert_eq!(contacts.finish(), [slot(1), id(2), x(10), y(5)]);
        // One that comes back has said nothing yet.
        contacts.forget(ONE);
        assert_eq!(contacts.finish(), [slot(1), id(-1)]);
        contacts.apply(ONE, 0, ABS_MT_TRACKING_ID, 2);
        assert_eq!(contacts.finish(), [slot(1), id(2)]);
    }

    #[test]
    fn a_device_begins_where_its_own_0_is() {
        let mut contacts = Contacts::default();
        contacts.begin(ONE, [Some(0), Some(16384)]);
        let (x, y) = (|x| abs(ABS_MT_POSITION_X, x), |y| abs(ABS_MT_POSITION_Y, y));
        let told = [slot(2), id(1), x(7), y(16384), touch(true), abs(ABS_X, 7), abs(ABS_Y, 16384)];
        assert_eq!(down(&mut contacts, ONE, 2, 1, 7), told);
        contacts.apply(ONE, 3, ABS_MT_TRACKING_ID, 2);
        assert_eq!(contacts.finish(), [slot(3), id(2), x(0), y(16384)]);
    }

    #[test]
    fn slots_that_no_source_has_are_not_taken() {
        let mut contacts = Contacts::default();
        for slot in [-1, SOURCE_SLOTS, i32::MAX] {
            assert_eq!(down(&mut contacts, ONE, slot, 1, 2), []);
        }
        assert_eq!(down(&mut contacts, ONE, SOURCE_SLOTS - 1, 1, 2)[..2], [slot(0), id(1)]);
    }
}
