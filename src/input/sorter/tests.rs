use super::super::codes::{ABS_MT_TRACKING_ID, BTN_RIGHT, EV_LED, KEY_POWER};
use super::*;

const PIXELS: Positions = Positions::Pixels { width: 640, height: 480 };
const REPORT: Event = Event::new(EV_SYN, SYN_REPORT, 0);

fn key(code: u16, value: i32) -> Event {
    Event::new(EV_KEY, code, value)
}

fn rel(code: u16, value: i32) -> Event {
    Event::new(EV_REL, code, value)
}

fn abs(code: u16, value: i32) -> Event {
    Event::new(EV_ABS, code, value)
}

/// A source that is the only one of its scanout.
#[derive(Default)]
struct Only {
    sorter: Sorter,
    contacts: Contacts,
}

impl Only {
    fn push(&mut self, event: Event, positions: Positions) -> Frames {
        self.sorter.push(event, positions, &mut self.contacts)
    }

    fn release(&mut self) -> Frames {
        self.sorter.release(&mut self.contacts)
    }
}

/// The frame that the events are, with a report.
fn frame(sorter: &mut Only, events: &[Event]) -> Vec<(DeviceKind, Vec<Event>)> {
    for event in events {
        assert!(sorter.push(*event, PIXELS).is_empty(), "only a report ends a frame");
    }
    sorter.push(REPORT, PIXELS).into_iter().collect()
}

#[test]
fn positions_reach_both_edges() {
    for (value, width, position) in [
        (0, 640, 0),
        (639, 640, MAX_POSITION),
        (640, 640, MAX_POSITION),
        (-1, 640, 0),
        (320, 640, 16409),
        (8191, 8192, MAX_POSITION),
        (0, 1, 0),
        (5, 0, 0),
    ] {
        assert_eq!(scale(value, 0, width - 1), position, "{value} of {width}");
    }
    assert_eq!(scale(i32::MAX, i32::MIN.into(), i32::MAX.into()), MAX_POSITION);
    assert_eq!(scale(0, -100, 100), 16384);
}

#[test]
fn every_pixel_of_a_frame_is_told_from_its_neighbours() {
    let positions: Vec<i32> = (0..8192).map(|pixel| scale(pixel, 0, 8191)).collect();
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn keys_go_to_the_keyboard_once() {
    let mut sorter = Only::default();
    assert_eq!(frame(&mut sorter, &[key(30, 1)]), [(DeviceKind::Keyboard, vec![key(30, 1)])]);
    // Repeated, or pressed twice, or never pressed.
    assert_eq!(frame(&mut sorter, &[key(30, 2), key(30, 1), key(31, 0)]), []);
    assert_eq!(frame(&mut sorter, &[key(30, 0)]), [(DeviceKind::Keyboard, vec![key(30, 0)])]);
    // A source's own lights are not passed on.
    assert_eq!(frame(&mut sorter, &[Event::new(EV_LED, 0, 1)]), []);
}

#[test]
fn print_does_not_reach_the_hosts_magic_key() {
    let mut sorter = Only::default();
    let printed = |value| (DeviceKind::Keyboard, vec![key(KEY_PRINT, value)]);
    assert_eq!(frame(&mut sorter, &[key(KEY_SYSRQ, 1)]), [printed(1)]);
    assert_eq!(frame(&mut sorter, &[key(KEY_SYSRQ, 0)]), [printed(0)]);
    assert_eq!(frame(&mut sorter, &[key(KEY_POWER, 1)]), []);
    assert_eq!(frame(&mut sorter, &[key(0, 1), key(249, 1), key(0x2ff, 1)]), []);
    let keyboard = DeviceKind::Keyboard.capabilities("gpu0", 0);
    assert!(!keyboard.has(EV_KEY, KEY_SYSRQ) && !keyboard.has(EV_KEY, KEY_POWER));
    assert!(keyboard.has(EV_KEY, KEY_PRINT));
}

#[test]
fn a_button_goes_up_where_it_went_down() {
    let mut sorter = Only::default();
    let at = |x, y| (DeviceKind::Pointer, vec![abs(ABS_X, x), abs(ABS_Y, y)]);
    assert_eq!(frame(&mut sorter, &[abs(ABS_X, 639), abs(ABS_Y, 0)]), [at(MAX_POSITION, 0)]);
    let down = (DeviceKind::Pointer, vec![key(BTN_LEFT, 1)]);
    assert_eq!(frame(&mut sorter, &[key(BTN_LEFT, 1)]), [down]);
    let moved = (DeviceKind::Mouse, vec![rel(REL_X, -4), key(BTN_RIGHT, 1)]);
    assert_eq!(frame(&mut sorter, &[rel(REL_X, -4), key(BTN_RIGHT, 1)]), [moved]);
    let up = [
        (DeviceKind::Pointer, vec![key(BTN_LEFT, 0)]),
        (DeviceKind::Mouse, vec![key(BTN_RIGHT, 0)]),
    ];
    assert_eq!(frame(&mut sorter, &[key(BTN_LEFT, 0), key(BTN_RIGHT, 0)]), up);
}

#[test]
fn wheels_turn_in_notches_and_in_parts_of_them() {
    let turn = |sorter: &mut Only, events: &[Event]| {
        frame(sorter, events).into_iter().flat_map(|(_, events)| events).collect::<Vec<_>>()
    };
    let mut sorter = Only::default();
    // Notches only, both, and parts only, from which notches are made.
    let both = [rel(REL_WHEEL, -2), rel(REL_WHEEL_HI_RES, -240)];
    assert_eq!(turn(&mut sorter, &[rel(REL_WHEEL, -2)]), both);
    assert_eq!(turn(&mut sorter, &both), both);
    assert_eq!(turn(&mut sorter, &[rel(REL_HWHEEL_HI_RES, 80)]), [rel(REL_HWHEEL_HI_RES, 80)]);
    assert_eq!(
        turn(&mut sorter, &[rel(REL_HWHEEL_HI_RES, 80)]),
        [rel(REL_HWHEEL, 1), rel(REL_HWHEEL_HI_RES, 80)]
    );
    assert_eq!(turn(&mut sorter, &[rel(REL_HWHEEL_HI_RES, 79)]), [rel(REL_HWHEEL_HI_RES, 79)]);
}

#[test]
fn contacts_are_told_with_the_first_of_them() {
    let mut sorter = Only::default();
    let id = |id| abs(ABS_MT_TRACKING_ID, id);
    let slot = |slot| abs(ABS_MT_SLOT, slot);
    let (x, y) = (|x| abs(ABS_MT_POSITION_X, x), |y| abs(ABS_MT_POSITION_Y, y));
    let touch = |events: Vec<Event>| [(DeviceKind::Touch, events)];
    // What a source says of the first contact is not needed.
    let down = [slot(0), id(5), x(639), y(0), key(BTN_TOUCH, 1), abs(ABS_X, 639), abs(ABS_Y, 0)];
    let told = vec![
        slot(0),
        id(5),
        x(MAX_POSITION),
        y(0),
        key(BTN_TOUCH, 1),
        abs(ABS_X, MAX_POSITION),
        abs(ABS_Y, 0),
    ];
    assert_eq!(frame(&mut sorter, &down), touch(told));
    let told = vec![slot(3), id(6), x(0), y(MAX_POSITION)];
    assert_eq!(frame(&mut sorter, &[slot(3), id(6), x(0), y(479)]), touch(told));
    // The first goes: the other one is that now.
    let told = vec![slot(0), id(-1), abs(ABS_X, 0), abs(ABS_Y, MAX_POSITION)];
    assert_eq!(frame(&mut sorter, &[slot(0), id(-1)]), touch(told));
    // Beyond what we have; and one that never came.
    assert_eq!(frame(&mut sorter, &[slot(64), id(7), x(3)]), []);
    assert_eq!(frame(&mut sorter, &[slot(-1), id(7), slot(4), id(-1), x(5)]), []);
    let told = vec![slot(3), id(-1), key(BTN_TOUCH, 0)];
    assert_eq!(frame(&mut sorter, &[slot(3), id(-1)]), touch(told));
}

#[test]
fn everything_goes_up_when_the_source_goes() {
    let mut sorter = Only::default();
    frame(&mut sorter, &[key(42, 1), key(30, 1), key(BTN_LEFT, 1)]);
    frame(&mut sorter, &[abs(ABS_MT_SLOT, 1), abs(ABS_MT_TRACKING_ID, 1)]);
    // Half a frame goes, too.
    sorter.push(key(31, 1), PIXELS);
    let up = sorter.release();
    assert_eq!(up[&DeviceKind::Keyboard], [key(30, 0), key(42, 0)]);
    assert_eq!(up[&DeviceKind::Pointer], [key(BTN_LEFT, 0)]);
    let touch = [abs(ABS_MT_SLOT, 1), abs(ABS_MT_TRACKING_ID, -1), key(BTN_TOUCH, 0)];
    assert_eq!(up[&DeviceKind::Touch], touch);
    assert!(sorter.release().is_empty());
    assert_eq!(frame(&mut sorter, &[]), []);
}

#[test]
fn frames_without_end_let_go_of_everything() {
    let mut sorter = Only::default();
    frame(&mut sorter, &[key(30, 1)]);
    let endless: Vec<Event> = (0..1000).map(|_| rel(REL_X, 1)).collect();
    assert_eq!(frame(&mut sorter, &endless), [(DeviceKind::Keyboard, vec![key(30, 0)])]);
}

#[test]
fn without_a_frame_there_are_no_positions() {
    let mut sorter = Only::default();
    sorter.push(abs(ABS_X, 4), Positions::Unknown);
    assert!(sorter.push(REPORT, Positions::Unknown).is_empty());
}
