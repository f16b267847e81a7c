//! Both ends of the loopback: the steps of a driver's life.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use loopback_driver_glue::{Event, QueueInfo, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::EventFd;

use super::test_device::{EVENT_IDX, INDIRECT, TestDevice, VERSION_1, device_config};
use super::*;

const LONG: Duration = Duration::from_secs(20);

fn readable(fd: impl AsFd) -> bool {
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
}

#[test]
fn the_driver_accepts_what_is_offered_and_wanted() {
    let (mut transport, mut driver) = connect(device_config(INDIRECT | 0b1011, 64)).unwrap();
    assert!(!readable(&transport));
    assert_eq!(transport.next_event().unwrap(), None);
    assert_eq!(driver.features(), None);
    let features = driver.start(INDIRECT | EVENT_IDX | 0b110).unwrap();
    assert_eq!(features, VERSION_1 | INDIRECT | 0b10);
    assert!(readable(&transport));
    assert_eq!(transport.next_event().unwrap(), Some(Event::FeaturesOk { features }));
    assert!(readable(&transport));
    assert_eq!(transport.next_event().unwrap(), Some(Event::DriverOk { features }));
    assert!(!readable(&transport));
    assert_eq!(transport.next_event().unwrap(), None);
    assert!(matches!(driver.start(0), Err(DriverError::Started)));
}

#[test]
fn a_legacy_device_is_refused() {
    let mut config = device_config(EVENT_IDX, 64);
    config.features = EVENT_IDX;
    let (mut transport, mut driver) = connect(config).unwrap();
    assert!(matches!(
        driver.start(u64::MAX),
        Err(DriverError::Features { offered: EVENT_IDX, required: VERSION_1 })
    ));
    assert_eq!(transport.next_event().unwrap(), None);
}

#[test]
fn queue_sizes_must_be_powers_of_two() {
    for size in [0, 3, 1000] {
        let error = connect(device_config(0, size)).unwrap_err();
        assert!(
            matches!(error, DriverError::Queue(queue::QueueError::Size { size: s }) if s == size)
        );
    }
}

#[test]
fn queues_are_seen_once_they_are_set_up() {
    let (mut transport, mut driver) = connect(device_config(0, 256)).unwrap();
    let idle = QueueInfo { size: 256, ..QueueInfo::default() };
    assert_eq!(transport.queue(0).unwrap(), idle);
    assert!(matches!(driver.take_queue(0), Err(DriverError::NoQueue { index: 0 })));
    driver.start(0).unwrap();
    let (control, cursor) = (transport.queue(0).unwrap(), transport.queue(1).unwrap());
    for info in [control, cursor] {
        assert!(info.ready);
        assert_eq!((info.size, info.next_avail), (256, 0));
        assert!([info.desc, info.avail, info.used].iter().all(|a| *a != 0 && a % 4096 == 0));
        assert!(info.used + 6 + 8 * 256 <= transport.memory().size);
    }
    assert!(control.used < cursor.desc || cursor.used < control.desc);
    assert!(transport.queue(2).is_err());
    let fd = EventFd::new(0).unwrap();
    assert!(transport.set_queue_fds(2, &fd, &fd).is_err());
    driver.take_queue(1).unwrap();
    assert!(matches!(driver.take_queue(1), Err(DriverError::NoQueue { index: 1 })));
    driver.reset(Duration::ZERO).unwrap_err();
    assert_eq!(transport.queue(0).unwrap(), idle);
}

#[test]
fn the_configuration_space_goes_both_ways() {
    let (mut transport, mut driver) = connect(device_config(0, 64)).unwrap();
    assert!(!driver.wait_config_change(Duration::from_millis(5)).unwrap());
    transport.set_config(8, &3u32.to_le_bytes()).unwrap();
    transport.set_config(0, &[1]).unwrap();
    assert!(driver.wait_config_change(LONG).unwrap());
    assert!(!driver.wait_config_change(Duration::ZERO).unwrap());
    let mut bytes = [9; 16];
    driver.read_config(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);

    driver.write_config(4, &[1, 2, 3, 4]).unwrap();
    assert_eq!(
        transport.next_event().unwrap(),
        Some(Event::ConfigWritten { offset: 4, length: 4, data: [1, 2, 3, 4, 0, 0, 0, 0] })
    );
    // events_clear clears bits of events_read, and holds nothing itself.
    transport.set_config(0, &[0xff, 0xff, 0xff, 0xff]).unwrap();
    driver.write_config(3, &[0xaa, 0x01, 0x80, 0, 0x10, 0xee]).unwrap();
    driver.read_config(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0xfe, 0x7f, 0xff, 0xef, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    assert!(transport.next_event().unwrap().is_some());

    let refused = |result| assert!(matches!(result, Err(DriverError::Config { .. })));
    refused(driver.read_config(15, &mut [0; 2]));
    refused(driver.read_config(u32::MAX, &mut [0; 2]));
    refused(driver.write_config(13, &[0; 4]));
    refused(driver.write_config(0, &[0; 9]));
    refused(driver.write_config(0, &[]));
    assert!(transport.set_config(16, &[0]).is_err());
    assert!(transport.set_config(u32::MAX, &[0]).is_err());
    assert_eq!(transport.next_event().unwrap(), None);
}

#[test]
fn a_change_of_the_configuration_wakes_the_driver() {
    let (mut transport, mut driver) = connect(device_config(0, 64)).unwrap();
    let waiter = thread::spawn(move || {
        let changed = driver.wait_config_change(LONG).unwrap();
        (driver, changed)
    });
    thread::sleep(Duration::from_millis(20));
    transport.set_config(0, &[1]).unwrap();
    let (mut driver, changed) = waiter.join().unwrap();
    assert!(changed);
    drop(transport);
    assert!(matches!(driver.wait_config_change(LONG), Err(DriverError::Gone)));
}

#[test]
fn a_reset_waits_for_its_acknowledgement() {
    let (mut transport, mut driver) = connect(device_config(0, 64)).unwrap();
    driver.reset(LONG).unwrap(); // Nothing runs: nothing to wait for.
    driver.start(0).unwrap();
    assert!(matches!(transport.next_event().unwrap(), Some(Event::FeaturesOk { .. })));
    assert!(matches!(transport.next_event().unwrap(), Some(Event::DriverOk { .. })));
    let resetting = thread::spawn(move || {
        driver.reset(LONG).unwrap();
        driver
    });
    let deadline = Instant::now() + LONG;
    let sequence = loop {
        match transport.next_event().unwrap() {
            Some(Event::Reset { sequence }) => break sequence,
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            other => panic!("{other:?}"),
        }
    };
    thread::sleep(Duration::from_millis(50));
    assert!(!resetting.is_finished());
    assert!(transport.acknowledge(0).is_err());
    assert!(transport.acknowledge(sequence + 1).is_err());
    assert!(!resetting.is_finished());
    transport.acknowledge(sequence).unwrap();
    let mut driver = resetting.join().unwrap();

    // The next life has its own reset, which the old acknowledgement does not serve.
    driver.start(0).unwrap();
    let timeout = Duration::from_millis(30);
    let before = Instant::now();
    assert!(
        matches!(driver.reset(timeout), Err(DriverError::ResetTimeout { timeout: t }) if t == timeout)
    );
    assert!(before.elapsed() >= timeout);
    driver.start(0).unwrap();
    let figures = transport.figures().unwrap();
    assert!(figures.contains(&("resets", 2)) && figures.contains(&("reset_timeouts", 1)));
}

#[test]
fn memory_comes_back_with_a_reset() {
    let (transport, mut driver) = connect(device_config(INDIRECT, 1024)).unwrap();
    let device = TestDevice::start(transport, |_, _: &[u8]| Vec::new());
    let free = driver.memory().free_bytes();
    for _ in 0..5 {
        driver.start(INDIRECT).unwrap();
        let taken = driver.take_queue(0).unwrap();
        assert!(driver.memory().free_bytes() < free);
        driver.reset(LONG).unwrap();
        drop(taken);
        assert_eq!(driver.memory().free_bytes(), free);
    }
    drop(driver);
    device.join();
}

#[test]
fn letting_go_is_an_event() {
    let (mut transport, mut driver) = connect(device_config(0, 64)).unwrap();
    driver.start(0).unwrap();
    drop(driver);
    let events: Vec<_> = std::iter::from_fn(|| transport.next_event().unwrap()).collect();
    assert_eq!(events.len(), 3);
    assert_eq!(events[2], Event::Unbound);
    assert!(!transport.queue(0).unwrap().ready);

    let (mut transport, mut driver) = connect(device_config(0, 64)).unwrap();
    driver.start(0).unwrap();
    driver.unbind(Duration::from_millis(1)).unwrap_err();
    let events: Vec<_> = std::iter::from_fn(|| transport.next_event().unwrap()).collect();
    assert_eq!(events[2..], [Event::Reset { sequence: 1 }, Event::Unbound]);
}

#[test]
fn a_device_that_is_gone_is_an_error() {
    let (transport, mut driver) = connect(device_config(0, 64)).unwrap();
    driver.start(0).unwrap();
    let mut queue = driver.take_queue(0).unwrap();
    let waiter = thread::spawn(move || queue.raw().wait_used(LONG).map(drop));
    thread::sleep(Duration::from_millis(20));
    drop(transport);
    assert!(matches!(waiter.join().unwrap(), Err(queue::QueueError::Stopped)));
    assert!(matches!(driver.write_config(0, &[0]), Err(DriverError::Gone)));
    assert!(matches!(driver.reset(LONG), Err(DriverError::Gone)));
    assert!(matches!(driver.start(0), Err(DriverError::Gone)));
}
