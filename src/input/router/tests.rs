use super::super::codes::{EV_KEY, EV_REL, REL_X};
use super::*;

fn event(kind: u16, code: u16, value: i32) -> InputEvent {
    InputEvent { scanout: 3, kind, code, value }
}

fn message(kind: u16, code: u16, value: i32) -> Message {
    Message::Event { scanout: 3, event: Event::new(kind, code, value) }
}

#[test]
fn events_come_out_in_order_once_somebody_takes_them() {
    let router = Router::new().unwrap();
    router.send(event(EV_KEY, 30, 1));
    assert!(router.take().messages.is_empty(), "nobody was there");
    router.open();
    router.send(event(EV_KEY, 30, 1));
    router.clone().release(Some(3));
    router.send(event(EV_SYN, SYN_REPORT, 0));
    let mail = router.take();
    let expected =
        [message(EV_KEY, 30, 1), Message::Release(Some(3)), message(EV_SYN, SYN_REPORT, 0)];
    assert_eq!(mail.messages, expected);
    assert!(!mail.stop);
    router.stop();
    assert!(router.take().stop);
    router.close();
    router.send(event(EV_KEY, 30, 1));
    assert!(router.take().messages.is_empty());
}

#[test]
fn what_does_not_fit_is_made_up_for_by_letting_go() {
    let router = Router::new().unwrap();
    router.open();
    for _ in 0..MOST + 10 {
        router.send(event(EV_REL, REL_X, 1));
    }
    router.send(event(EV_SYN, SYN_REPORT, 0));
    assert_eq!(router.take().messages.len(), MOST);
    // The rest of a frame of which something was lost, and its end.
    router.send(event(EV_KEY, 30, 1));
    assert!(router.take().messages.is_empty());
    router.send(event(EV_SYN, SYN_REPORT, 0));
    router.send(event(EV_KEY, 31, 1));
    assert_eq!(router.take().messages, [Message::Release(None), message(EV_KEY, 31, 1)]);
}
