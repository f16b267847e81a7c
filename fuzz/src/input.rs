//! An input device between a driver that writes anything to its rings and a source that says anything: it
//! neither panics nor goes round in circles, says only what its devices can, and works after a reset.

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use virtio_loopback_gpu::input::fuzzing::{MEMORY, Rings, SIZE, Source, layout};
use virtio_loopback_gpu::input::wire::Event;
use virtio_loopback_gpu::input::{Capabilities, DeviceKind};

use crate::words::Word;

/// Where the driver's buffers are: behind its rings.
const BUFFERS: u64 = 0x4000;
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const EV_REL: u16 = 2;
const EV_ABS: u16 = 3;
const EV_LED: u16 = 17;
const WRITE: u16 = 2;

#[derive(Arbitrary, Debug)]
struct Input {
    event_idx: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes anywhere.
    Write { address: u16, bytes: Vec<u8> },
    /// An entry of a descriptor table.
    Descriptor { status: bool, index: u8, address: Place, length: Word, flags: u8, next: u8 },
    /// A buffer as a driver gives it.
    Buffer { status: bool, number: u8 },
    /// A head for the available ring.
    Push { status: bool, head: u16 },
    /// Any index of the available ring.
    Index { status: bool, index: u16 },
    /// A source says something, and with a width of 0 does not know where.
    Say { events: Vec<Said>, width: u16, height: u16 },
    /// It lets go.
    Release,
    /// The device looks.
    Serve,
    /// The driver resets the device.
    Reset,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Place {
    Memory(u16),
    Buffer(u8),
    End(u8),
    Any(u64),
}

impl Place {
    fn value(self) -> u64 {
        match self {
            Self::Memory(address) => address.into(),
            Self::Buffer(number) => BUFFERS + 8 * u64::from(number),
            Self::End(offset) => MEMORY - u64::from(offset),
            Self::Any(address) => address,
        }
    }
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Said {
    Key(u16, u8),
    Button(u8, bool),
    Motion(u8, i16),
    Position(u8, Word),
    Contact { slot: i8, id: i16 },
    Report,
    Any(u16, u16, i32),
}

impl Said {
    fn events(self) -> Vec<Event> {
        let one = |kind, code, value| vec![Event::new(kind, code, value)];
        match self {
            Self::Key(code, value) => one(EV_KEY, code % 0x300, (value % 3).into()),
            Self::Button(code, down) => one(EV_KEY, 0x110 + u16::from(code % 8), down.into()),
            Self::Motion(code, value) => one(EV_REL, (code % 16).into(), value.into()),
            Self::Position(code, value) => one(EV_ABS, (code % 64).into(), value.value() as i32),
            Self::Contact { slot, id } => {
                vec![Event::new(EV_ABS, 0x2f, slot.into()), Event::new(EV_ABS, 0x39, id.into())]
            }
            Self::Report => one(EV_SYN, 0, 0),
            Self::Any(kind, code, value) => one(kind, code, value),
        }
    }
}

struct Player {
    rings: Rings,
    source: Source,
    /// Index of each available ring, as the driver has it.
    available: [u16; 2],
    devices: BTreeMap<DeviceKind, Capabilities>,
}

impl Player {
    fn descriptor(
        &self,
        status: bool,
        index: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.rings.write(layout(status)[0] + 16 * u64::from(index % SIZE), &bytes);
    }

    fn push(&mut self, status: bool, head: u16) {
        let [_, ring, _] = layout(status);
        let index = self.available[usize::from(status)];
        self.rings.write(ring + 4 + 2 * u64::from(index % SIZE), &head.to_le_bytes());
        self.index(status, index.wrapping_add(1));
    }

    fn index(&mut self, status: bool, index: u16) {
        self.available[usize::from(status)] = index;
        self.rings.write(layout(status)[1] + 2, &index.to_le_bytes());
    }

    fn buffer(&mut self, status: bool, number: u16) {
        let number = number % SIZE;
        let flags = if status { 0 } else { WRITE };
        self.descriptor(status, number, BUFFERS + 8 * u64::from(number), 8, flags, 0);
        self.push(status, number);
    }

    /// What the devices say of it is theirs to say; the first device's rings take it.
    fn say(&mut self, frames: Vec<(DeviceKind, Vec<Event>)>) {
        for (kind, frame) in frames {
            for event in &frame {
                assert!(self.devices[&kind].has(event.kind, event.code), "{kind}: {event:?}");
            }
            self.rings.push(&frame);
        }
    }

    fn reset(&mut self) {
        self.rings.reset();
        self.available = [0; 2];
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { address, bytes } => {
                self.rings.write(address.into(), &bytes[..bytes.len().min(256)]);
            }
            Step::Descriptor { status, index, address, length, flags, next } => {
                let (address, length) = (address.value(), length.value());
                self.descriptor(status, index.into(), address, length, flags.into(), next.into());
            }
            Step::Buffer { status, number } => self.buffer(status, number.into()),
            Step::Push { status, head } => self.push(status, head),
            Step::Index { status, index } => self.index(status, index),
            Step::Say { events, width, height } => {
                for event in events.iter().take(64).flat_map(|said| said.events()) {
                    let frames = self.source.push(event, width.into(), height.into());
                    self.say(frames);
                }
            }
            Step::Release => {
                let frames = self.source.release();
                self.say(frames);
            }
            Step::Serve => {
                let said = self.rings.serve();
                assert!(said.len() <= SIZE.into());
            }
            Step::Reset => self.reset(),
        }
    }

    /// After a reset with a quiet source, a key arrives and a light is told of.
    fn verify(&mut self) {
        let frames = self.source.release();
        self.say(frames);
        self.reset();
        // What the driver before was not told of any more.
        while {
            (0..SIZE).for_each(|number| self.buffer(false, number));
            self.drain()
        } {}
        self.reset();
        self.rings.push(&[Event::new(EV_KEY, 30, 1)]);
        self.rings.write(BUFFERS + 64, &[17, 0, 1, 0, 1, 0, 0, 0]);
        self.descriptor(true, 0, BUFFERS + 64, 8, 0, 0);
        self.push(true, 0);
        (0..SIZE).for_each(|number| self.buffer(false, number));
        let said = self.rings.serve();
        assert_eq!(said, [Event::new(EV_LED, 1, 1)]);
    }

    /// Whether the device has filled all buffers: there may be more.
    fn drain(&mut self) -> bool {
        let used = |rings: &Rings| {
            let bytes = rings.read(layout(false)[2] + 2, 2);
            u16::from_le_bytes([bytes[0], bytes[1]])
        };
        let before = used(&self.rings);
        self.rings.serve();
        used(&self.rings).wrapping_sub(before) >= SIZE
    }
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    crate::play(bytes, sequence)
}

fn sequence(input: Input) {
    let devices = DeviceKind::ALL.map(|kind| (kind, kind.capabilities("gpu0", 0)));
    let mut player = Player {
        rings: Rings::new(input.event_idx),
        source: Source::default(),
        available: [0; 2],
        devices: devices.into_iter().collect(),
    };
    for step in input.steps.into_iter().take(200) {
        player.step(step);
    }
    player.verify();
}
