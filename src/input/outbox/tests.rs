use super::super::codes::{ABS_MT_POSITION_X, ABS_X, EV_REL, REL_X};
use super::*;

fn key(code: u16, value: i32) -> Event {
    Event::new(EV_KEY, code, value)
}

fn abs(code: u16, value: i32) -> Event {
    Event::new(EV_ABS, code, value)
}

const REPORT: Event = Event::new(EV_SYN, SYN_REPORT, 0);

/// All that waits.
fn drain(outbox: &mut Outbox) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = outbox.front() {
        outbox.pop();
        events.push(event);
    }
    events
}

/// Fills the box up with motion, which nobody needs to hear of later.
fn fill(outbox: &mut Outbox) {
    while outbox.dropped() == 0 {
        outbox.push(&[Event::new(EV_REL, REL_X, 1)]);
    }
}

#[test]
fn frames_come_out_as_they_went_in_with_reports() {
    let mut outbox = Outbox::default();
    outbox.push(&[key(30, 1), key(42, 1)]);
    outbox.push(&[]);
    outbox.push(&[key(30, 0)]);
    assert_eq!(drain(&mut outbox), [key(30, 1), key(42, 1), REPORT, key(30, 0), REPORT]);
    assert_eq!(outbox.front(), None);
}

#[test]
fn a_driver_that_takes_nothing_loses_whole_frames_and_is_brought_up_to_date() {
    let mut outbox = Outbox::default();
    outbox.push(&[key(30, 1)]);
    fill(&mut outbox);
    // Lost: one key goes up, one goes down and up, and one goes down.
    outbox.push(&[key(30, 0)]);
    outbox.push(&[key(31, 1)]);
    outbox.push(&[key(31, 0)]);
    outbox.push(&[key(32, 1), abs(ABS_X, 7)]);
    let events = drain(&mut outbox);
    assert_eq!(events[..2], [key(30, 1), REPORT]);
    // 510 events of motion with reports, then what is different now.
    assert_eq!(events.len(), 512 + 4);
    assert_eq!(events[512..], [key(30, 0), key(32, 1), abs(ABS_X, 7), REPORT]);
    assert!(events[2..512].chunks(2).all(|frame| frame == [Event::new(EV_REL, REL_X, 1), REPORT]));
    assert_eq!(outbox.dropped(), 5);
    // From here on all is as ever.
    outbox.push(&[key(32, 0)]);
    assert_eq!(drain(&mut outbox), [key(32, 0), REPORT]);
}

#[test]
fn when_nothing_is_different_nothing_is_said() {
    let mut outbox = Outbox::default();
    fill(&mut outbox);
    outbox.push(&[key(30, 1)]);
    outbox.push(&[key(30, 0)]);
    assert_eq!(drain(&mut outbox).len(), 512);
}

#[test]
fn a_frame_that_can_never_fit_is_lost_and_made_up_for() {
    let mut outbox = Outbox::default();
    let frame: Vec<Event> = (0..600).map(|_| key(30, 1)).collect();
    outbox.push(&frame);
    assert_eq!(drain(&mut outbox), [key(30, 1), REPORT]);
}

#[test]
fn another_driver_begins_with_how_things_are() {
    let mut outbox = Outbox::default();
    let id = |id| abs(ABS_MT_TRACKING_ID, id);
    let (slot, x) = (|slot| abs(ABS_MT_SLOT, slot), |x| abs(ABS_MT_POSITION_X, x));
    outbox.push(&[key(30, 1), slot(2), id(9), x(100)]);
    outbox.push(&[slot(3), id(10), x(200)]);
    drain(&mut outbox);
    outbox.push(&[key(30, 0), key(31, 1)]);
    outbox.forget();
    let expected = [key(31, 1), slot(2), id(9), x(100), slot(3), id(10), x(200), REPORT];
    assert_eq!(drain(&mut outbox), expected);
}

#[test]
fn contacts_that_were_lost_go_up_and_down() {
    let mut outbox = Outbox::default();
    let id = |id| abs(ABS_MT_TRACKING_ID, id);
    let (slot, x) = (|slot| abs(ABS_MT_SLOT, slot), |x| abs(ABS_MT_POSITION_X, x));
    outbox.push(&[slot(0), id(1), x(10), slot(1), id(2), x(20), slot(2), id(3), x(30)]);
    drain(&mut outbox);
    fill(&mut outbox);
    // The first goes, the second becomes another one at the same place, the third moves.
    outbox.push(&[slot(0), id(-1), slot(1), id(-1)]);
    outbox.push(&[slot(1), id(4), x(20), slot(2), x(31)]);
    let events = drain(&mut outbox);
    let expected = [slot(0), id(-1), slot(1), id(4), x(20), slot(2), x(31), REPORT];
    assert_eq!(events[512..], expected);
}
