use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use virtio_loopback_display::InputEvent;

use super::super::codes::{
    ABS_MT_SLOT, ABS_MT_TRACKING_ID, ABS_X, BTN_LEFT, BTN_TOUCH, EV_ABS, EV_KEY, EV_LED, EV_REL,
    EV_REP, EV_SYN, LED_CAPSL, REL_X, SYN_REPORT,
};
use super::super::{Backing, DeviceKind, Hooks, InputService, MAX_POSITION, Options, Router};
use super::*;
use crate::driver::queue::Part;
use crate::driver::{Driver, InputDriver, connect_with_memory};

const TIME: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);
const REPORT: Event = Event::new(EV_SYN, SYN_REPORT, 0);

fn key(code: u16, value: i32) -> Event {
    Event::new(EV_KEY, code, value)
}

/// The devices of a GPU with one scanout, and the drivers that nobody has started yet.
struct Rig {
    router: Router,
    service: InputService,
    drivers: Vec<Driver>,
    said: mpsc::Receiver<(u32, DeviceKind, Event)>,
}

fn rig() -> Rig {
    let router = Router::new().unwrap();
    let (sender, said) = mpsc::channel();
    let mut drivers = Vec::new();
    let mut create = |config: &DeviceConfig| -> Result<Box<dyn Transport>, TransportError> {
        let (transport, driver) = connect_with_memory(config.clone(), 1 << 20).unwrap();
        drivers.push(driver);
        Ok(Box::new(transport))
    };
    let options = Options { name: "gpu0".into(), scanouts: 1, ..Options::default() };
    let hooks = Hooks {
        frame_size: Box::new(|scanout| (scanout == 0).then_some((640, 480))),
        status: Box::new(move |scanout, kind, event| {
            sender.send((scanout, kind, event)).unwrap();
        }),
    };
    let service =
        InputService::start(&options, &router, Backing::Virtio(&mut create), hooks).unwrap();
    Rig { router, service, drivers, said }
}

impl Rig {
    /// A driver of the device of this kind.
    fn start(&mut self, kind: DeviceKind) -> InputDriver {
        let suffix = format!("-{kind}");
        let found = self.drivers.iter().position(|driver| driver.device().name.ends_with(&suffix));
        InputDriver::start(self.drivers.swap_remove(found.unwrap())).unwrap()
    }

    fn send(&self, events: &[Event]) {
        for event in events.iter().chain([&REPORT]) {
            let Event { kind, code, value } = *event;
            self.router.send(InputEvent { scanout: 0, kind, code, value });
        }
    }
}

/// The next events of a device, which come at once.
fn events(driver: &mut InputDriver, count: usize) -> Vec<Event> {
    (0..count).map(|_| driver.next(TIME).unwrap().unwrap()).collect()
}

#[test]
fn answers_are_those_of_the_kernels_headers() {
    let golden = include_str!("../table/golden.txt");
    for kind in DeviceKind::ALL {
        let table = kind.capabilities("gpu0", 0).table();
        let mut expected = Vec::new();
        let name = kind.to_string();
        for line in golden.lines() {
            let mut words = line.split(' ');
            if words.next() != Some(name.as_str()) {
                continue;
            }
            let mut number = || words.next().unwrap().parse::<u8>().unwrap();
            let (select, subsel) = (number(), number());
            let hex = words.next().unwrap();
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            assert_eq!(super::super::answer(&table, select, subsel), bytes, "{line}");
            expected.push((select, subsel, bytes.len()));
        }
        // And nothing else: each answer has a header of four bytes.
        let bytes: usize = expected.iter().map(|(_, _, length)| 4 + length).sum();
        assert_eq!(table.len(), bytes, "{name}");
        assert!(expected.len() >= 5, "{name}");
        assert_eq!(super::super::answer(&table, 0x11, 0x15), b"", "no force feedback");
    }
}

#[test]
fn a_driver_learns_what_the_devices_are() {
    let mut rig = rig();
    let keyboard = rig.start(DeviceKind::Keyboard);
    let description = keyboard.description();
    assert_eq!(description.name, "gpu0 scanout 0 keyboard");
    assert_eq!(description.serial, "gpu0");
    assert_eq!(description.ids, [6, 0x1af4, 0x0101, 1]);
    assert_eq!(description.codes[&EV_LED], [0, 1, 2]);
    assert_eq!(description.codes[&EV_REP], [0, 1]);
    assert!(!description.codes.contains_key(&EV_REL));
    let touch = rig.start(DeviceKind::Touch);
    let description = touch.description();
    assert_eq!(description.properties, [1]);
    assert_eq!(description.axes[&(ABS_MT_SLOT as u8)], (0, 15));
    assert_eq!(description.axes[&(ABS_X as u8)], (0, MAX_POSITION));
    assert_eq!(description.axes.len(), 6);
}

#[test]
fn what_happens_in_a_window_arrives_at_the_drivers() {
    let mut rig = rig();
    let mut keyboard = rig.start(DeviceKind::Keyboard);
    let mut pointer = rig.start(DeviceKind::Pointer);
    let mut mouse = rig.start(DeviceKind::Mouse);
    rig.send(&[key(30, 1)]);
    rig.send(&[key(30, 2)]);
    rig.send(&[key(30, 0)]);
    assert_eq!(events(&mut keyboard, 4), [key(30, 1), REPORT, key(30, 0), REPORT]);
    rig.send(&[Event::new(EV_ABS, ABS_X, 639), key(BTN_LEFT, 1)]);
    let expected = [Event::new(EV_ABS, ABS_X, MAX_POSITION), key(BTN_LEFT, 1), REPORT];
    assert_eq!(events(&mut pointer, 3), expected);
    rig.send(&[Event::new(EV_REL, REL_X, -7)]);
    assert_eq!(events(&mut mouse, 2), [Event::new(EV_REL, REL_X, -7), REPORT]);
    // More than there are buffers, again and again.
    for number in 0..500 {
        rig.send(&[Event::new(EV_REL, REL_X, number + 1)]);
        assert_eq!(events(&mut mouse, 2)[0].value, number + 1);
    }
    assert_eq!(keyboard.next(SHORT).unwrap(), None);
    // The focus is lost: the button goes up.
    rig.router.release(Some(0));
    assert_eq!(events(&mut pointer, 2), [key(BTN_LEFT, 0), REPORT]);
}

#[test]
fn a_slow_driver_loses_frames_and_knows_in_the_end() {
    let mut rig = rig();
    let mut keyboard = rig.start(DeviceKind::Keyboard);
    rig.send(&[key(42, 1)]);
    assert_eq!(keyboard.withhold(TIME).unwrap(), Some(key(42, 1)));
    assert_eq!(keyboard.withhold(TIME).unwrap(), Some(REPORT));
    // 62 buffers and 512 events that wait: each of these frames has two.
    for _ in 0..400 {
        rig.send(&[key(31, 1)]);
        rig.send(&[key(31, 0)]);
        // So that no message is lost on the way.
        thread::sleep(Duration::from_micros(200));
    }
    rig.send(&[key(42, 0)]);
    rig.send(&[key(32, 1)]);
    let mut held = Vec::new();
    while let Some(event) = keyboard.withhold(Duration::from_millis(300)).unwrap() {
        held.push(event);
    }
    assert_eq!(held.len(), 62, "all buffers are full");
    keyboard.give_all().unwrap();
    let mut all = held;
    while let Some(event) = keyboard.next(Duration::from_millis(300)).unwrap() {
        all.push(event);
    }
    assert!((62 + 500..62 + 520).contains(&all.len()), "{}", all.len());
    // Frames are whole: each event has its report.
    assert!(all.chunks(2).take(280).all(|frame| frame[0].code == 31 && frame[1] == REPORT));
    let mut down = std::collections::BTreeSet::from([42]);
    for event in all.iter().filter(|event| event.kind == EV_KEY) {
        let changed =
            if event.value == 0 { down.remove(&event.code) } else { down.insert(event.code) };
        assert!(changed, "{event:?} changes nothing");
    }
    assert_eq!(down.into_iter().collect::<Vec<_>>(), [32], "what is held in the end");
}

#[test]
fn what_the_driver_says_is_told_and_taken() {
    let mut rig = rig();
    let mut keyboard = rig.start(DeviceKind::Keyboard);
    for value in [1, 0] {
        let light = Event::new(EV_LED, LED_CAPSL, value);
        assert!(keyboard.say(light, TIME).unwrap());
        assert_eq!(rig.said.recv_timeout(TIME).unwrap(), (0, DeviceKind::Keyboard, light));
    }
    let delay = Event::new(EV_REP, 0, 400);
    assert!(keyboard.say(delay, TIME).unwrap());
    assert_eq!(rig.said.recv_timeout(TIME).unwrap(), (0, DeviceKind::Keyboard, delay));
}

#[test]
fn chains_that_make_no_sense_come_back_empty() {
    let mut rig = rig();
    let mut keyboard = rig.start(DeviceKind::Keyboard);
    let memory = keyboard.driver().memory().allocate(4096).unwrap();
    let part = |offset, length| Part { address: memory.address() + offset, length };
    // Too short, of writable parts only, and behind the end of the memory.
    let bad: [(&[Part], &[Part]); 3] = [
        (&[part(0, 7)], &[]),
        (&[], &[part(0, 8)]),
        (&[Part { address: 1 << 40, length: 8 }], &[]),
    ];
    for (readable, writable) in bad {
        let status = keyboard.status_queue();
        let token = status.add(readable, writable).unwrap();
        status.kick().unwrap();
        let used = status.wait_used(TIME).unwrap().unwrap();
        assert_eq!((used.token, used.length), (token, 0));
    }
    assert!(rig.said.try_recv().is_err());
    // In two parts it is one event.
    let light = WireBytes::of(Event::new(EV_LED, LED_CAPSL, 1));
    memory.write(100, &light.0).unwrap();
    let status = keyboard.status_queue();
    status.add(&[part(100, 3), part(103, 5)], &[]).unwrap();
    status.kick().unwrap();
    assert!(status.wait_used(TIME).unwrap().is_some());
    assert_eq!(rig.said.recv_timeout(TIME).unwrap().2, Event::new(EV_LED, LED_CAPSL, 1));
    // A buffer that is too short for an event is not filled, and the event is not lost by it.
    let mut mouse = rig.start(DeviceKind::Mouse);
    rig.send(&[Event::new(EV_REL, REL_X, 1)]);
    for _ in 0..2 {
        mouse.withhold(TIME).unwrap().unwrap();
    }
    let short = mouse.event_queue().add(&[], &[part(0, 4)]).unwrap();
    mouse.event_queue().kick().unwrap();
    for number in 0..31 {
        rig.send(&[Event::new(EV_REL, REL_X, number + 2)]);
    }
    let mut seen = Vec::new();
    for _ in 0..62 {
        seen.push(mouse.withhold(TIME).unwrap().unwrap().value);
    }
    assert!(seen.iter().step_by(2).copied().eq(2..33));
    rig.send(&[Event::new(EV_REL, REL_X, 33)]);
    let used = mouse.event_queue().wait_used(TIME).unwrap().unwrap();
    assert_eq!((used.token, used.length), (short, 0));
    mouse.give_all().unwrap();
    assert_eq!(mouse.next(TIME).unwrap(), Some(Event::new(EV_REL, REL_X, 33)));
}

/// An event's bytes.
struct WireBytes([u8; 8]);

impl WireBytes {
    fn of(event: Event) -> Self {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&event.kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&event.code.to_le_bytes());
        bytes[4..].copy_from_slice(&event.value.to_le_bytes());
        Self(bytes)
    }
}

#[test]
fn another_driver_is_told_how_things_are() {
    let mut rig = rig();
    let mut keyboard = rig.start(DeviceKind::Keyboard);
    rig.send(&[key(42, 1)]);
    assert_eq!(events(&mut keyboard, 2), [key(42, 1), REPORT]);
    keyboard.driver().reset(TIME).unwrap();
    // Nobody is told of these.
    rig.send(&[key(30, 1)]);
    rig.send(&[key(30, 0)]);
    let mut again = keyboard.restart().unwrap();
    assert_eq!(events(&mut again, 2), [key(42, 1), REPORT]);
    rig.send(&[key(42, 0)]);
    assert_eq!(events(&mut again, 2), [key(42, 0), REPORT]);
}

#[test]
fn everything_goes_up_before_the_devices_go() {
    let mut rig = rig();
    let mut keyboard = rig.start(DeviceKind::Keyboard);
    let mut touch = rig.start(DeviceKind::Touch);
    rig.send(&[key(42, 1), Event::new(EV_ABS, ABS_MT_SLOT, 0)]);
    rig.send(&[Event::new(EV_ABS, ABS_MT_TRACKING_ID, 1)]);
    assert_eq!(events(&mut keyboard, 2), [key(42, 1), REPORT]);
    drop(rig.service);
    // What was in the buffers when the device went is there still.
    let left = |driver: &mut InputDriver| {
        let mut left = Vec::new();
        while let Ok(Some(event)) = driver.withhold(SHORT) {
            left.push(event);
        }
        left
    };
    assert_eq!(left(&mut keyboard), [key(42, 0), REPORT]);
    let last = left(&mut touch);
    let up = [Event::new(EV_ABS, ABS_MT_TRACKING_ID, -1), key(BTN_TOUCH, 0), REPORT];
    assert!(last.ends_with(&up), "{last:?}");
    // They are gone.
    assert!(keyboard.next(TIME).is_err());
    rig.router.send(InputEvent { scanout: 0, kind: EV_KEY, code: 30, value: 1 });
}

#[test]
fn a_source_has_a_scanout_that_there_is() {
    let router = Router::new().unwrap();
    let options = Options {
        name: "gpu0".into(),
        scanouts: 2,
        sources: vec!["/dev/null,scanout=2".parse().unwrap()],
        any_seat: false,
    };
    let hooks = Hooks { frame_size: Box::new(|_| None), status: Box::new(|_, _, _| ()) };
    let started = InputService::start(&options, &router, Backing::Uinput, hooks);
    assert!(matches!(started, Err(InputError::NoScanout { scanout: 2, .. })));
}
