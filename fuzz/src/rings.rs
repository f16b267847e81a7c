//! A driver that writes anything to its rings and memory, through the backend's own queue code: it
//! neither panics nor goes round in circles, with and without a display, and works after a reset.

use std::os::unix::net::UnixStream;

use arbitrary::Arbitrary;
use virtio_loopback_gpu::adapter;
use virtio_loopback_gpu::backend::fuzzing::{FREE, Layout, MEMORY, QUEUE_SIZE, Rings};
use virtio_loopback_gpu::gpu::Limits;
use virtio_loopback_gpu::gpu::wire::{Command, Format};

use crate::driver::{Driver, REQUEST, RESPONSE};
use crate::words::Word;

#[derive(Arbitrary, Debug)]
struct Input {
    display: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes anywhere, rings included.
    Write { address: Place, bytes: Vec<u8> },
    /// An entry of a descriptor table.
    Descriptor { queue: bool, index: u8, entry: Entry },
    /// Entries of an indirect table.
    Table { page: u8, entries: Vec<Entry> },
    /// A head for the available ring.
    Push { queue: bool, head: u16 },
    /// Any index of the available ring.
    Index { queue: bool, index: u16 },
    /// A command as a driver sends it, at a head; of the length that it has if the head is below 128.
    Command { queue: bool, head: u8, command: u8, body: Vec<Word>, room: u16 },
    /// A resource of the driver's memory on a scanout, and its flush. Or, with a scanout from 128, a
    /// cursor.
    Show { scanout: u8, id: u8, width: u8, height: u8, blob: bool },
    /// The device looks.
    Kick { queue: bool },
    /// The display has answered.
    Collect,
    /// The driver resets the device.
    Reset,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
struct Entry {
    address: Place,
    length: Word,
    flags: u8,
    next: u8,
}

/// 64 bits, most of them in memory.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Place {
    Rings(u16),
    Request(u8),
    Response(u8),
    Free(u16),
    End(u8),
    Any(u64),
}

impl Place {
    fn value(self) -> u64 {
        match self {
            Self::Rings(offset) => offset.into(),
            Self::Request(offset) => REQUEST + u64::from(offset),
            Self::Response(offset) => RESPONSE + u64::from(offset),
            Self::Free(unit) => FREE + u64::from(unit) * 16,
            Self::End(offset) => MEMORY - u64::from(offset),
            Self::Any(value) => value,
        }
    }
}

impl Entry {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = self.address.value().to_le_bytes().to_vec();
        bytes.extend(self.length.value().to_le_bytes());
        bytes.extend(u16::from(self.flags).to_le_bytes());
        bytes.extend(u16::from(self.next).to_le_bytes());
        bytes
    }
}

/// The driver and the device.
struct Player {
    rings: Rings,
    driver: Driver,
}

impl Player {
    /// Gives the device a request, and lets it work.
    fn command(&mut self, queue: u16, head: u16, command: Command, body: &[u32], room: u32) {
        self.driver.offer(queue, head, command, body, room);
        self.rings.process(queue);
    }

    fn reset(&mut self) {
        self.driver.begin();
        self.rings.reset();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { address, bytes } => {
                self.driver.write(address.value(), &bytes[..bytes.len().min(4096)]);
            }
            Step::Descriptor { queue, index, entry } => {
                let table = Layout::of(queue.into()).descriptors;
                let at = table + 16 * u64::from(u16::from(index) % QUEUE_SIZE);
                self.driver.write(at, &entry.bytes());
            }
            Step::Table { page, entries } => {
                let bytes: Vec<u8> = entries.iter().take(256).flat_map(|e| e.bytes()).collect();
                self.driver.write(FREE + u64::from(page) * 4096, &bytes);
            }
            Step::Push { queue, head } => self.driver.push(queue.into(), head),
            Step::Index { queue, index } => {
                self.driver.set_index(queue.into(), index);
            }
            Step::Command { queue, head, command, body, room } => {
                let command = Command::ALL[usize::from(command) % Command::ALL.len()];
                let mut body: Vec<u32> = body.iter().take(64).map(|word| word.value()).collect();
                if head < 128 {
                    body = Driver::natural(command, body);
                }
                self.command(queue.into(), (head % 64).into(), command, &body, room.into());
            }
            Step::Show { scanout, id, width, height, blob } => {
                let size = |value: u8| u32::from(value).max(1);
                let (number, id) = ((scanout % 4).into(), size(id));
                let commands = match scanout {
                    ..128 => Driver::showing(number, id, size(width), size(height), blob),
                    128.. => Driver::pointing(number, id, blob),
                };
                for (command, body) in commands {
                    self.command(Driver::queue_of(command), 0, command, &body, 24);
                }
            }
            Step::Kick { queue } => self.rings.process(queue.into()),
            Step::Collect => self.rings.collect(),
            Step::Reset => self.reset(),
        }
    }

    /// After a reset, a command gets its answer.
    fn verify(&mut self) {
        self.reset();
        let id = 1;
        self.driver.write(RESPONSE, &[0xff; 4]);
        let format = Format::B8g8r8x8.raw();
        self.command(0, 0, Command::ResourceCreate2d, &[id, format, 4, 4], 24);
        assert_eq!(self.driver.response(), 0x1100);
    }
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    crate::play(bytes, sequence)
}

fn sequence(input: Input) {
    let limits = Limits {
        scanouts: 3,
        resources: 16,
        bytes: 4 << 20,
        files: 8,
        dimension: 2048,
        backing_entries: 64,
        total_backing_entries: 256,
        command: 2048,
        contexts: 1,
    };
    let rings = Rings::new(limits);
    let driver = Driver::new(rings.memory().try_clone().unwrap());
    let mut player = Player { rings, driver };
    let display = input.display.then(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let memory = player.rings.memory().try_clone().unwrap();
        let server = std::thread::spawn(move || adapter::fuzzing::serve(theirs, &memory, MEMORY));
        player.rings.connect_display(ours);
        server
    });
    for step in input.steps.into_iter().take(200) {
        player.step(step);
    }
    player.verify();
    drop(player);
    if let Some(display) = display {
        display.join().unwrap().unwrap();
    }
}
