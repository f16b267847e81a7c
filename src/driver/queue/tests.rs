use std::sync::atomic::AtomicBool;
use std::thread;

use loopback_driver_glue::Transport;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::driver::test_device::{EVENT_IDX, INDIRECT, TestDevice, device_config, map, open_queue};
use crate::driver::{Driver, SoftwareTransport, connect};

const LONG: Duration = Duration::from_secs(20);

fn inverted(_queue: u16, request: &[u8]) -> Vec<u8> {
    request.iter().map(|byte| !byte).collect()
}

/// A driver with queue 0 in hand and a device that answers with the request's bytes inverted.
fn echo(features: u64, size: u16) -> (Driver, Queue, TestDevice) {
    let (transport, mut driver) = connect(device_config(features, size)).unwrap();
    let device = TestDevice::start(transport, inverted);
    driver.start(u64::MAX).unwrap();
    let queue = driver.take_queue(0).unwrap();
    (driver, queue, device)
}

/// A driver with queue 0 in hand and nobody on the other side.
fn deserted(features: u64, size: u16) -> (SoftwareTransport, Driver, Queue) {
    let (transport, mut driver) = connect(device_config(features, size)).unwrap();
    driver.start(u64::MAX).unwrap();
    let queue = driver.take_queue(0).unwrap();
    (transport, driver, queue)
}

fn part(address: u64, length: u32) -> Part {
    Part { address, length }
}

/// Pseudo-random numbers, the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// 100,000 chains of different shapes and depths: the ring indices wrap.
fn round_trips(features: u64) {
    const SIZE: u16 = 32;
    const ROUND_TRIPS: u32 = 100_000;
    let (driver, mut queue, device) = echo(features, SIZE);
    let buffers = driver.memory().allocate(u64::from(SIZE) * 64).unwrap();
    let mut numbers = Numbers(7);
    let mut expected = [None; SIZE as usize];
    let (mut sent, mut done) = (0u32, 0);
    while done < ROUND_TRIPS {
        let burst = 1 + numbers.below(12);
        for _ in 0..burst {
            let readable = 1 + numbers.below(2) as usize;
            if sent == ROUND_TRIPS || usize::from(queue.free()) < readable + 1 {
                break;
            }
            // A slot of the buffers that belongs to no chain in flight.
            let slot = expected.iter().position(Option::is_none).unwrap();
            let address = buffers.address() + slot as u64 * 64;
            buffers.put(slot as u64 * 64, &sent.to_le_bytes()).unwrap();
            let token = match readable {
                1 => queue.add(&[part(address, 4)], &[part(address + 32, 4)]),
                _ => queue.add(&[part(address, 1), part(address + 1, 3)], &[part(address + 32, 6)]),
            };
            expected[slot] = Some((token.unwrap(), sent));
            sent += 1;
        }
        queue.kick().unwrap();
        let mut used = queue.wait_used(LONG).unwrap();
        assert!(used.is_some(), "a chain was lost after {done}");
        while let Some(Used { token, length }) = used {
            let of_token = |entry: &Option<(Token, u32)>| entry.is_some_and(|(t, _)| t == token);
            let slot = expected.iter().position(of_token).unwrap();
            let (_, number) = expected[slot].take().unwrap();
            assert_eq!(length, 4);
            let answer: [u8; 4] = buffers.get(slot as u64 * 64 + 32).unwrap();
            assert_eq!(u32::from_le_bytes(answer), !number);
            done += 1;
            used = queue.take_used().unwrap();
        }
    }
    assert_eq!((queue.outstanding(), queue.free()), (0, SIZE));
    drop(driver);
    assert_eq!(device.join().chains.load(Ordering::Relaxed), u64::from(ROUND_TRIPS));
}

#[test]
fn round_trips_direct() {
    round_trips(0);
}

#[test]
fn round_trips_indirect() {
    round_trips(INDIRECT);
}

#[test]
fn round_trips_event_idx() {
    round_trips(EVENT_IDX);
}

#[test]
fn round_trips_indirect_event_idx() {
    round_trips(INDIRECT | EVENT_IDX);
}

#[test]
fn long_chains_arrive_whole() {
    for features in [0, INDIRECT] {
        let (driver, mut queue, device) = echo(features, 64);
        let buffer = driver.memory().allocate(4096).unwrap();
        let request: Vec<u8> = (0..90).collect();
        buffer.write(0, &request).unwrap();
        for parts in [1, 2, 7, 8, 9, 30, 45] {
            let readable: Vec<_> = (0..parts).map(|i| part(buffer.address() + 2 * i, 2)).collect();
            // Answer in pieces of 5 bytes, the last beyond what is answered.
            let writable: Vec<_> =
                (0..19).map(|i| part(buffer.address() + 2048 + 7 * i, 5)).collect();
            let token = queue.add(&readable, &writable).unwrap();
            queue.kick().unwrap();
            let used = queue.wait_used(LONG).unwrap().unwrap();
            assert_eq!(used, Used { token, length: 2 * parts as u32 });
            for (index, byte) in request[..2 * parts as usize].iter().enumerate() {
                let at = 2048 + index as u64 / 5 * 7 + index as u64 % 5;
                assert_eq!(buffer.get::<u8>(at).unwrap(), !byte);
            }
        }
        assert_eq!(queue.free(), 64);
        drop(driver);
        device.join();
    }
}

#[test]
fn chains_are_laid_out_as_the_specification_says() {
    let (transport, _driver, mut queue) = deserted(0, 8);
    let memory = map(&transport);
    queue.add(&[part(0x1000, 24)], &[part(0x2000, 408)]).unwrap();
    queue.add(&[part(0x3000, 1)], &[]).unwrap();
    let info = transport.queue(0).unwrap();
    let mut table = [0; 48];
    memory.read_slice(&mut table, GuestAddress(info.desc)).unwrap();
    #[rustfmt::skip]
    assert_eq!(table, [
        0x00, 0x10, 0, 0, 0, 0, 0, 0,  24, 0, 0, 0,       1, 0,  1, 0,
        0x00, 0x20, 0, 0, 0, 0, 0, 0,  0x98, 0x01, 0, 0,  2, 0,  2, 0,
        0x00, 0x30, 0, 0, 0, 0, 0, 0,  1, 0, 0, 0,        0, 0,  3, 0,
    ]);
    let mut avail = [0; 8];
    memory.read_slice(&mut avail, GuestAddress(info.avail)).unwrap();
    // Flags (no interrupts while nobody waits), index, and the two heads.
    assert_eq!(avail, [1, 0, 2, 0, 0, 0, 2, 0]);
}

#[test]
fn an_indirect_chain_takes_one_descriptor() {
    let (transport, _driver, mut queue) = deserted(INDIRECT | EVENT_IDX, 8);
    let memory = map(&transport);
    queue.add(&[part(0x1000, 24), part(0x5000, 16)], &[part(0x2000, 24)]).unwrap();
    assert_eq!(queue.free(), 7);
    let desc = transport.queue(0).unwrap().desc;
    let head: [u64; 2] =
        std::array::from_fn(|i| memory.read_obj(GuestAddress(desc + 8 * i as u64)).unwrap());
    assert_eq!(head[1], 48 | (4 << 32));
    let mut table = [0; 48];
    memory.read_slice(&mut table, GuestAddress(head[0])).unwrap();
    #[rustfmt::skip]
    assert_eq!(table, [
        0x00, 0x10, 0, 0, 0, 0, 0, 0,  24, 0, 0, 0,  1, 0,  1, 0,
        0x00, 0x50, 0, 0, 0, 0, 0, 0,  16, 0, 0, 0,  1, 0,  2, 0,
        0x00, 0x20, 0, 0, 0, 0, 0, 0,  24, 0, 0, 0,  2, 0,  3, 0,
    ]);
}

#[test]
fn a_full_queue_says_so_and_recovers() {
    let (driver, mut queue, device) = echo(0, 4);
    let buffer = driver.memory().allocate(64).unwrap();
    let (request, answer) = (part(buffer.address(), 1), part(buffer.address() + 32, 1));
    queue.add(&[request], &[answer]).unwrap();
    queue.add(&[request], &[]).unwrap();
    assert!(matches!(
        queue.add(&[request], &[answer]),
        Err(QueueError::Full { wanted: 2, free: 1 })
    ));
    queue.add(&[request], &[]).unwrap();
    assert!(matches!(queue.add(&[request], &[]), Err(QueueError::Full { wanted: 1, free: 0 })));
    queue.kick().unwrap();
    assert_eq!(queue.wait_pending(u16::MAX, LONG).unwrap(), 3);
    while queue.take_used().unwrap().is_some() {}
    assert_eq!((queue.free(), queue.outstanding()), (4, 0));
    queue.add(&[request, request], &[answer, answer]).unwrap();
    drop(driver);
    device.join();
}

#[test]
fn chains_that_cannot_be_are_refused() {
    let (_transport, _driver, mut queue) = deserted(INDIRECT, 8);
    assert!(matches!(queue.add(&[], &[]), Err(QueueError::Chain { parts: 0, bytes: 0 })));
    let huge = part(0, u32::MAX);
    assert!(matches!(
        queue.add(&[huge], &[part(0, 1)]),
        Err(QueueError::Chain { parts: 2, bytes: 0x1_0000_0000 })
    ));
    assert_eq!((queue.free(), queue.outstanding()), (8, 0));
}

/// The device side of a test that wants to decide every step.
struct ManualDevice {
    _transport: SoftwareTransport,
    memory: GuestMemoryMmap,
    info: QueueInfo,
    queue: virtio_queue::Queue,
    kick: EventFd,
    call: EventFd,
}

impl ManualDevice {
    fn new(mut transport: SoftwareTransport, event_idx: bool) -> Self {
        let nonblock = vmm_sys_util::eventfd::EFD_NONBLOCK;
        let (kick, call) = (EventFd::new(nonblock).unwrap(), EventFd::new(0).unwrap());
        transport.set_queue_fds(0, &kick, &call).unwrap();
        let memory = map(&transport);
        let info = transport.queue(0).unwrap();
        let queue = open_queue(info, event_idx);
        Self { _transport: transport, memory, info, queue, kick, call }
    }

    /// Kicks since the last call.
    fn kicks(&self) -> u64 {
        self.kick.read().unwrap_or(0)
    }

    /// Uses the next chain; returns whether the driver wants an interrupt.
    fn use_one(&mut self) -> bool {
        let head = self.queue.pop_descriptor_chain(&self.memory).unwrap().head_index();
        self.queue.add_used(&self.memory, head, 0).unwrap();
        if self.queue.event_idx_enabled() {
            return self.queue.needs_notification(&self.memory).unwrap();
        }
        // virtio-queue 0.18 does not look at the flag.
        let flags: u16 = self.memory.read_obj(GuestAddress(self.info.avail)).unwrap();
        flags & AVAIL_NO_INTERRUPT == 0
    }

    /// Waits until the driver asks for an interrupt, with EVENT_IDX for this used entry.
    fn wait_until_asked_for(&self, entry: u16) {
        let deadline = Instant::now() + LONG;
        let (offset, asked) = match self.queue.event_idx_enabled() {
            true => (4 + 2 * u64::from(self.info.size), entry),
            false => (0, 0),
        };
        let at = GuestAddress(self.info.avail + offset);
        while self.memory.read_obj::<u16>(at).unwrap() != asked {
            assert!(Instant::now() < deadline, "no interrupt was asked for");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes the used ring as no honest device does.
    fn forge(&self, slot: u64, id: u32, length: u32, index: u16) {
        let entry = GuestAddress(self.info.used + 4 + 8 * slot);
        self.memory.write_obj(u64::from(id) | (u64::from(length) << 32), entry).unwrap();
        self.memory.write_obj(index, GuestAddress(self.info.used + 2)).unwrap();
    }
}

fn manual(features: u64) -> (Driver, Queue, ManualDevice) {
    let (transport, driver, queue) = deserted(features, 16);
    (driver, queue, ManualDevice::new(transport, features & EVENT_IDX != 0))
}

#[test]
fn kicks_are_sent_when_the_device_wants_them() {
    for features in [0, EVENT_IDX] {
        let (_driver, mut queue, mut device) = manual(features);
        assert_eq!(device.kicks(), 1, "new eventfds are signalled once");
        let read = [part(4096, 4)];
        assert!(!queue.kick().unwrap(), "nothing was added");
        queue.add(&read, &[]).unwrap();
        assert!(queue.kick().unwrap());
        assert!(!queue.kick().unwrap(), "nothing new was added");
        assert_eq!(device.kicks(), 1);

        device.queue.disable_notification(&device.memory).unwrap();
        device.use_one();
        queue.add(&read, &[]).unwrap();
        queue.add(&read, &[]).unwrap();
        assert!(!queue.kick().unwrap(), "the device is awake");
        assert_eq!(device.kicks(), 0);

        device.use_one();
        device.use_one();
        assert!(!device.queue.enable_notification(&device.memory).unwrap());
        queue.add(&read, &[]).unwrap();
        queue.add(&read, &[]).unwrap();
        assert!(queue.kick().unwrap(), "the device sleeps again");
        assert_eq!(device.kicks(), 1);
        // With EVENT_IDX the device has been told; it asks anew by moving its index.
        queue.add(&read, &[]).unwrap();
        assert_eq!(queue.kick().unwrap(), features == 0);
    }
}

#[test]
fn kicks_are_right_across_the_wrap_of_the_index() {
    let (_driver, mut queue, mut device) = manual(EVENT_IDX);
    for round in 0..70_000u32 {
        queue.add(&[part(4096, 4)], &[]).unwrap();
        assert!(queue.kick().unwrap(), "round {round}");
        device.queue.disable_notification(&device.memory).unwrap();
        device.use_one();
        assert!(!device.queue.enable_notification(&device.memory).unwrap());
        assert!(queue.take_used().unwrap().is_some());
    }
}

#[test]
fn interrupts_are_asked_for_only_while_waiting() {
    for features in [0, EVENT_IDX] {
        let (_driver, mut queue, mut device) = manual(features);
        let read = [part(4096, 4)];
        // Meets the index that a zeroed ring asks for, see `disarm`.
        queue.add(&read, &[]).unwrap();
        device.use_one();
        queue.take_used().unwrap();

        (0..5).for_each(|_| _ = queue.add(&read, &[]).unwrap());
        assert!(!device.use_one());
        assert!(queue.take_used().unwrap().is_some());

        // Time runs out; the ring still asks for the third of the chains in flight with EVENT_IDX,
        // and for nothing without.
        assert_eq!(queue.wait_pending(3, Duration::from_millis(2)).unwrap(), 0);
        assert!(!device.use_one());
        assert!(!device.use_one());
        assert_eq!(device.use_one(), features == EVENT_IDX);

        let waiter = thread::spawn(move || {
            let pending = queue.wait_pending(4, LONG).unwrap();
            (queue, pending)
        });
        // Two were taken, the fourth from there has index 5.
        device.wait_until_asked_for(5);
        assert!(device.use_one(), "the last chain is asked for");
        device.call.write(1).unwrap();
        let (queue, pending) = waiter.join().unwrap();
        assert_eq!(pending, 4);
        let waits = queue.signals.counters.waits.load(Ordering::Relaxed);
        assert!((2..=4).contains(&waits), "{waits} sleeps for two waits");
    }
}

#[test]
fn a_batch_costs_one_interrupt() {
    let (driver, mut queue, device) = echo(EVENT_IDX | INDIRECT, 64);
    let buffer = driver.memory().allocate(4096).unwrap();
    for _ in 0..100 {
        for _ in 0..32 {
            queue.add(&[part(buffer.address(), 4)], &[part(buffer.address() + 8, 4)]).unwrap();
        }
        queue.kick().unwrap();
        assert_eq!(queue.wait_pending(32, LONG).unwrap(), 32);
        while queue.take_used().unwrap().is_some() {}
    }
    drop(driver);
    let counts = device.join();
    assert_eq!(counts.chains.load(Ordering::Relaxed), 3200);
    let interrupts = counts.interrupts.load(Ordering::Relaxed);
    assert!(interrupts <= 101, "{interrupts} interrupts for 100 batches");
}

#[test]
fn kicks_before_there_are_eventfds_are_not_lost() {
    let (transport, driver, mut queue) = deserted(EVENT_IDX, 8);
    let buffer = driver.memory().allocate(64).unwrap();
    buffer.put(0, &5u8).unwrap();
    queue.add(&[part(buffer.address(), 1)], &[part(buffer.address() + 8, 1)]).unwrap();
    queue.kick().unwrap();
    let waiter = thread::spawn(move || queue.wait_used(LONG).unwrap());
    thread::sleep(Duration::from_millis(20));
    let device = TestDevice::start(transport, inverted);
    assert_eq!(waiter.join().unwrap().map(|used| used.length), Some(1));
    assert_eq!(buffer.get::<u8>(8).unwrap(), !5);
    drop(driver);
    device.join();
}

#[test]
fn replaced_eventfds_are_used() {
    let (_driver, mut queue, mut device) = manual(0);
    let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
    assert_eq!(device.kicks(), 1);
    device._transport.set_queue_fds(0, &kick, &call).unwrap();
    assert_eq!(kick.read().unwrap(), 1);
    queue.add(&[part(4096, 4)], &[]).unwrap();
    assert!(queue.kick().unwrap());
    assert_eq!((kick.read().unwrap(), device.kicks()), (1, 0));
    device.use_one();
    queue.take_used().unwrap();
    queue.add(&[part(4096, 4)], &[]).unwrap();
    let waiter = thread::spawn(move || queue.wait_used(LONG));
    device.use_one();
    call.write(1).unwrap();
    assert!(waiter.join().unwrap().unwrap().is_some());
}

#[test]
fn an_index_beyond_the_chains_breaks_the_queue() {
    for index in [2, 0x8000, u16::MAX] {
        let (_driver, mut queue, device) = manual(0);
        queue.add(&[part(4096, 4)], &[]).unwrap();
        device.forge(0, 0, 0, index);
        assert!(matches!(
            queue.take_used(),
            Err(QueueError::UsedIndex { used, outstanding: 1 }) if used == index
        ));
        assert!(matches!(queue.take_used(), Err(QueueError::Broken)));
        assert!(matches!(queue.wait_used(LONG), Err(QueueError::Broken)));
        assert!(matches!(queue.add(&[part(4096, 4)], &[]), Err(QueueError::Broken)));
    }
}

#[test]
fn a_chain_the_device_does_not_have_breaks_the_queue() {
    // Never given, the inside of a chain, beyond the ring, and one that would wrap to 0.
    for id in [3, 1, 16, 0x10000, u32::MAX] {
        let (_driver, mut queue, device) = manual(0);
        queue.add(&[part(4096, 4)], &[part(8192, 4)]).unwrap();
        device.forge(0, id, 0, 1);
        assert!(matches!(queue.take_used(), Err(QueueError::UsedId { id: i }) if i == id));
        assert!(matches!(queue.take_used(), Err(QueueError::Broken)));
    }
}

#[test]
fn a_chain_returned_twice_breaks_the_queue() {
    let (_driver, mut queue, device) = manual(INDIRECT);
    let first = queue.add(&[part(4096, 4)], &[]).unwrap();
    queue.add(&[part(4096, 4)], &[]).unwrap();
    device.forge(0, 0, 0, 1);
    assert_eq!(queue.take_used().unwrap(), Some(Used { token: first, length: 0 }));
    device.forge(1, 0, 0, 2);
    assert!(matches!(queue.take_used(), Err(QueueError::UsedId { id: 0 })));
}

#[test]
fn a_length_beyond_the_room_is_an_error_of_that_chain_only() {
    for features in [0, INDIRECT] {
        let (_driver, mut queue, device) = manual(features);
        queue.add(&[part(4096, 4)], &[part(8192, 4), part(8200, 6)]).unwrap();
        let second = queue.add(&[part(4096, 4)], &[part(8192, 4)]).unwrap();
        device.forge(0, 0, 11, 1);
        assert!(matches!(
            queue.take_used(),
            Err(QueueError::UsedLength { token: Token(0), length: 11, room: 10 })
        ));
        device.forge(1, u32::from(second.index()), 4, 2);
        assert_eq!(queue.take_used().unwrap(), Some(Used { token: second, length: 4 }));
        assert_eq!((queue.free(), queue.outstanding()), (16, 0));
    }
}

#[test]
fn a_device_that_scribbles_over_the_rings_gets_errors_and_nothing_else() {
    for seed in 1..30 {
        let (_driver, mut queue, device) = manual(if seed % 2 == 0 { 0 } else { EVENT_IDX });
        let stop = Arc::new(AtomicBool::new(false));
        let scribbler = thread::spawn({
            let (stop, info, memory) = (Arc::clone(&stop), device.info, device.memory.clone());
            move || {
                let mut numbers = Numbers(seed);
                let rings = info.used + 4096 - info.desc;
                while !stop.load(Ordering::Relaxed) {
                    let at = GuestAddress(info.desc + numbers.below(rings / 2) * 2);
                    // Small numbers are likely to be taken for ids and indices.
                    memory.write_obj(numbers.below(20) as u16, at).unwrap();
                    let index = GuestAddress(info.used + 2);
                    memory.write_obj(numbers.below(20) as u16, index).unwrap();
                }
            }
        });
        for _ in 0..2000 {
            let _ = queue.add(&[part(4096, 4)], &[part(8192, 4)]);
            let _ = queue.kick();
            let _ = queue.take_used();
            assert!(queue.free() + 2 * queue.outstanding() == 16);
        }
        stop.store(true, Ordering::Relaxed);
        scribbler.join().unwrap();
    }
}

#[test]
fn raw_access_reaches_the_device() {
    let (_driver, mut queue, mut device) = manual(0);
    let mut raw = queue.raw();
    // A chain that is its own successor, and heads beyond the table.
    let looped =
        Descriptor { addr: 4096.into(), len: 4.into(), flags: DESC_NEXT.into(), next: 5.into() };
    raw.set_descriptor(5, looped).unwrap();
    raw.push_avail(5).unwrap();
    raw.push_avail(0x7fff).unwrap();
    raw.kick().unwrap();
    assert_eq!(device.kicks(), 2);
    let chain = device.queue.pop_descriptor_chain(&device.memory).unwrap();
    assert_eq!(chain.head_index(), 5);
    let parts: Vec<_> = chain.collect();
    assert_eq!((parts[0].addr().0, parts[0].next()), (4096, 5));
    device.queue.add_used(&device.memory, 5, 77).unwrap();

    assert_eq!(raw.used_idx().unwrap(), 1);
    let element = raw.wait_used(LONG).unwrap();
    assert_eq!(element, Some(UsedElem { id: 5.into(), len: 77.into() }));
    assert_eq!(raw.wait_used(Duration::from_millis(5)).unwrap(), None);
    raw.set_avail_idx(0x4321).unwrap();
    raw.set_avail_entry(0x4322, 9).unwrap();
    assert_eq!(raw.avail_idx(), 0x4321);
    let avail: [u16; 4] = std::array::from_fn(|i| {
        device.memory.read_obj(GuestAddress(device.info.avail + 2 * i as u64)).unwrap()
    });
    // Flags, index, and entries 0 and 1; 0x4322 is entry 2.
    assert_eq!(avail, [0, 0x4321, 5, 0x7fff]);
    let entry: u16 = device.memory.read_obj(GuestAddress(device.info.avail + 8)).unwrap();
    assert_eq!(entry, 9);
}

#[test]
fn a_reset_ends_the_wait() {
    let (transport, mut driver, mut queue) = deserted(EVENT_IDX, 8);
    let device = TestDevice::start(transport, |queue, _: &[u8]| panic!("queue {queue} was used"));
    let device_has_nothing = queue.wait_used(Duration::from_secs(600)).unwrap();
    assert_eq!(device_has_nothing, None, "with nothing outstanding there is nothing to wait for");
    let mut cursor = driver.take_queue(1).unwrap();
    let waiter = thread::spawn(move || cursor.raw().wait_used(LONG).map(drop));
    thread::sleep(Duration::from_millis(20));
    driver.reset(LONG).unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(QueueError::Stopped)));
    assert!(matches!(queue.add(&[part(4096, 4)], &[]), Err(QueueError::Stopped)));
    assert!(matches!(queue.take_used(), Err(QueueError::Stopped)));
    drop(driver);
    device.join();
}

#[test]
fn rings_outlive_a_queue_that_was_dropped() {
    let (driver, mut queue, mut device) = manual(INDIRECT);
    queue.add(&[part(4096, 4)], &[part(8192, 4)]).unwrap();
    drop(queue);
    let others = driver.memory().allocate(4096).unwrap();
    others.write(0, &[0xff; 4096]).unwrap();
    let chain = device.queue.pop_descriptor_chain(&device.memory).unwrap();
    let head = chain.head_index();
    let parts: Vec<_> = chain.map(|part| (part.addr().0, part.len())).collect();
    assert_eq!(parts, [(4096, 4), (8192, 4)]);
    device.queue.add_used(&device.memory, head, 0).unwrap();
    assert_eq!(others.get::<[u8; 4]>(0).unwrap(), [0xff; 4]);
}

/// Heads in the available ring from `index` on.
fn available(queue: &Queue, index: u16, count: u16) -> Vec<u16> {
    let entry = |index| queue.rings.load_u16(queue.layout.avail_entry(index), Ordering::Relaxed);
    (0..count).map(|offset| entry(index.wrapping_add(offset)).unwrap()).collect()
}

/// The device returns a chain.
fn return_chain(queue: &Queue, head: u16) {
    let used = queue.rings.load_u16(queue.layout.used_idx(), Ordering::Relaxed).unwrap();
    let element = UsedElem { id: u32::from(head).into(), len: 0.into() };
    queue.rings.put(queue.layout.used_entry(used), &element).unwrap();
    let index = queue.layout.used_idx();
    queue.rings.store_u16(index, used.wrapping_add(1), Ordering::Release).unwrap();
}

#[test]
fn chains_that_were_not_used_are_offered_again_in_their_order() {
    let (mut transport, _driver, mut queue) = deserted(INDIRECT | EVENT_IDX, 8);
    let add = |queue: &mut Queue| queue.add(&[part(0x1000, 4)], &[]).unwrap().index();
    assert_eq!(transport.reoffer(0).unwrap(), 0);
    let [a, b, c, d] = [(); 4].map(|()| add(&mut queue));
    // Out of order; the driver has taken one of the two, and used its descriptor again.
    return_chain(&queue, c);
    return_chain(&queue, a);
    assert_eq!(queue.take_used().unwrap().unwrap().token.index(), c);
    let e = add(&mut queue);
    assert_eq!(e, c);
    assert_eq!(transport.reoffer(0).unwrap(), 3);
    assert_eq!(transport.queue(0).unwrap().next_avail, 2);
    assert_eq!(available(&queue, 2, 3), [b, d, e]);
    // Once more, with one that has waited while the rings went round many times.
    for _ in 0..100 {
        let f = add(&mut queue);
        return_chain(&queue, f);
        while queue.take_used().unwrap().is_some() {}
    }
    return_chain(&queue, d);
    assert_eq!(transport.reoffer(0).unwrap(), 2);
    let next = transport.queue(0).unwrap().next_avail;
    assert_eq!((next, available(&queue, next, 2)), (103, vec![b, e]));
    // What comes then follows.
    let f = add(&mut queue);
    assert_eq!(available(&queue, next, 3), [b, e, f]);
    for head in [b, e, f] {
        return_chain(&queue, head);
    }
    while queue.take_used().unwrap().is_some() {}
    assert_eq!((queue.outstanding(), transport.reoffer(0).unwrap()), (0, 0));
}

#[test]
fn a_used_index_that_makes_no_sense_is_not_gone_on_from() {
    let (mut transport, _driver, mut queue) = deserted(0, 8);
    queue.add(&[part(0x1000, 4)], &[]).unwrap();
    for index in [2, 100, u16::MAX] {
        queue.rings.store_u16(queue.layout.used_idx(), index, Ordering::Relaxed).unwrap();
        transport.reoffer(0).unwrap_err();
    }
    transport.reoffer(9).unwrap_err();
}
