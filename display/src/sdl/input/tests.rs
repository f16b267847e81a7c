use std::cell::RefCell;

use super::*;

const SYN: Entry = (EV_SYN, SYN_REPORT, 0);

/// What `act` reports, for scanout 3.
fn reported(input: &mut Input, act: impl FnOnce(&mut Input, Sink)) -> Vec<Entry> {
    let events = RefCell::new(Vec::new());
    act(input, &|event| match event {
        DisplayEvent::Input(event) => {
            assert_eq!(event.scanout, 3);
            events.borrow_mut().push((event.kind, event.code, event.value));
        }
        event => panic!("{event:?}"),
    });
    events.into_inner()
}

fn inside(x: i32, y: i32) -> Position {
    Position { x, y, is_inside: true }
}

fn outside(x: i32, y: i32) -> Position {
    Position { x, y, is_inside: false }
}

#[test]
fn keys_change_once_and_are_released() {
    let mut input = Input::new(3);
    let down = reported(&mut input, |input, sink| {
        input.key(30, true, sink);
        input.key(30, true, sink);
        input.key(31, true, sink);
        input.key(99, false, sink);
    });
    assert_eq!(down, [(EV_KEY, 30, 1), SYN, (EV_KEY, 31, 1), SYN]);
    let up = reported(&mut input, |input, sink| {
        input.key(31, false, sink);
        input.release_all(sink);
        input.release_all(sink);
        input.key(30, false, sink);
    });
    assert_eq!(up, [(EV_KEY, 31, 0), SYN, (EV_KEY, 30, 0), SYN]);
}

#[test]
fn the_pointer_counts_on_the_picture_and_while_a_button_is_held() {
    let mut input = Input::new(3);
    let free = reported(&mut input, |input, sink| {
        input.motion(outside(0, 9), sink);
        input.button(BTN_LEFT, true, Some(outside(0, 9)), sink);
        input.button(BTN_LEFT, false, Some(inside(1, 9)), sink);
        input.motion(inside(1, 9), sink);
    });
    assert_eq!(free, [(EV_ABS, ABS_X, 1), (EV_ABS, ABS_Y, 9), SYN]);
    let dragged = reported(&mut input, |input, sink| {
        input.button(BTN_LEFT, true, Some(inside(2, 9)), sink);
        input.motion(outside(0, 9), sink);
        input.button(BTN_LEFT, false, Some(outside(0, 8)), sink);
        input.motion(outside(0, 7), sink);
    });
    let expected = [
        [(EV_ABS, ABS_X, 2), (EV_ABS, ABS_Y, 9), (EV_KEY, BTN_LEFT, 1), SYN].as_slice(),
        &[(EV_ABS, ABS_X, 0), (EV_ABS, ABS_Y, 9), SYN],
        &[(EV_ABS, ABS_X, 0), (EV_ABS, ABS_Y, 8), (EV_KEY, BTN_LEFT, 0), SYN],
    ];
    assert_eq!(dragged, expected.concat());
}

#[test]
fn grabbed_the_pointer_only_moves() {
    let mut input = Input::new(3);
    let events = reported(&mut input, |input, sink| {
        input.relative_motion(-3, 0, sink);
        input.relative_motion(0, 0, sink);
        input.button(BTN_RIGHT, true, None, sink);
        input.release_all(sink);
    });
    let button = [(EV_KEY, BTN_RIGHT, 1), SYN, (EV_KEY, BTN_RIGHT, 0), SYN];
    assert_eq!(events, [[(EV_REL, REL_X, -3), SYN].as_slice(), &button].concat());
}

#[test]
fn wheels_count_units_and_notches() {
    let mut input = Input::new(3);
    let turned = reported(&mut input, |input, sink| {
        input.wheel(0.0, 1.0, sink);
        input.wheel(-2.0, 0.0, sink);
        input.wheel(f32::NAN, f32::INFINITY, sink);
    });
    let expected = [
        [(EV_REL, REL_WHEEL_HI_RES, 120), (EV_REL, REL_WHEEL, 1), SYN].as_slice(),
        &[(EV_REL, REL_HWHEEL_HI_RES, -240), (EV_REL, REL_HWHEEL, -2), SYN],
        &[(EV_REL, REL_WHEEL_HI_RES, 120_000), (EV_REL, REL_WHEEL, 1000), SYN],
    ];
    assert_eq!(turned, expected.concat());
    // A third of a notch, three times: no unit is lost, and the notch comes with the last.
    let thirds = reported(&mut input, |input, sink| {
        for _ in 0..3 {
            input.wheel(0.0, -1.0 / 3.0, sink);
        }
    });
    let units: i32 =
        thirds.iter().filter(|entry| entry.1 == REL_WHEEL_HI_RES).map(|entry| entry.2).sum();
    assert!((-120..=-119).contains(&units), "{thirds:?}");
}

#[test]
fn fingers_have_slots_and_numbers() {
    let mut input = Input::new(3);
    let position = |slot, at: Position| {
        [
            (EV_ABS, ABS_MT_SLOT, slot),
            (EV_ABS, ABS_MT_POSITION_X, at.x),
            (EV_ABS, ABS_MT_POSITION_Y, at.y),
        ]
    };
    let down = |slot, id, at: Position| {
        let [slot, x, y] = position(slot, at);
        [slot, (EV_ABS, ABS_MT_TRACKING_ID, id), x, y]
    };
    let up = |slot| [(EV_ABS, ABS_MT_SLOT, slot), (EV_ABS, ABS_MT_TRACKING_ID, -1)];
    let events = reported(&mut input, |input, sink| {
        input.finger_down((7, 1), inside(1, 2), sink);
        input.finger_down((7, 2), inside(3, 4), sink);
        input.finger_down((7, 3), outside(0, 0), sink);
        input.finger_motion((7, 2), outside(0, 5), sink);
        input.finger_motion((7, 3), inside(1, 1), sink);
        input.finger_up((7, 1), sink);
        input.finger_down((8, 1), inside(5, 6), sink);
        input.release_all(sink);
        input.finger_up((8, 1), sink);
    });
    let touch = |value| [(EV_KEY, BTN_TOUCH, value), SYN];
    assert_eq!(
        events,
        [
            down(0, 0, inside(1, 2)).as_slice(),
            &touch(1),
            &down(1, 1, inside(3, 4)),
            &[SYN],
            &position(1, inside(0, 5)),
            &[SYN],
            &up(0),
            &[SYN],
            &down(0, 2, inside(5, 6)),
            &[SYN],
            &up(0),
            &[SYN],
            &up(1),
            &touch(0),
        ]
        .concat()
    );
}

#[test]
fn more_fingers_than_slots_are_ignored() {
    let mut input = Input::new(3);
    let events = reported(&mut input, |input, sink| {
        for finger in 0..20 {
            input.finger_down((0, finger), inside(0, 0), sink);
        }
        for finger in 10..20 {
            input.finger_up((0, finger), sink);
        }
    });
    let ids: Vec<i32> =
        events.iter().filter(|entry| entry.1 == ABS_MT_TRACKING_ID).map(|entry| entry.2).collect();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
}
