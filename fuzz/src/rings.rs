//! A driver that writes anything to its rings and memory, through the backend's own queue code: it
//! neither panics nor goes round in circles, with and without a display, and works after a reset.

#![no_main]

use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use virtio_loopback_gpu::adapter;
use virtio_loopback_gpu::backend::fuzzing::{FREE, Layout, MEMORY, QUEUE_SIZE, Rings};
use virtio_loopback_gpu::gpu::Limits;
use virtio_loopback_gpu::gpu::wire::{Command, Format};
use zerocopy::IntoBytes;

/// Where commands and their responses are, one page each.
const REQUEST: u64 = FREE;
const RESPONSE: u64 = FREE + 0x1000;

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
    /// A command as a driver sends it, at a head.
    Command { queue: bool, head: u8, command: u8, body: Vec<Word>, room: u16 },
    /// A resource of the driver's memory on a scanout, and its flush.
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

/// 32 bits, with those likelier that mean something.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Word {
    Small(u8),
    Medium(u16),
    FromTop(u8),
    Power(u8),
    Any(u32),
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

impl Word {
    fn value(self) -> u32 {
        match self {
            Self::Small(value) => value.into(),
            Self::Medium(value) => value.into(),
            Self::FromTop(value) => u32::MAX - u32::from(value),
            Self::Power(bit) => 1 << (bit % 32),
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

/// The driver.
struct Driver {
    rings: Rings,
    /// Index of the available ring of each queue.
    available: [u16; 2],
}

impl Driver {
    fn push(&mut self, queue: u16, head: u16) {
        let ring = Layout::of(queue).available;
        let index = &mut self.available[usize::from(queue)];
        let entry = ring + 4 + 2 * u64::from(*index % QUEUE_SIZE);
        self.rings.write(entry, &head.to_le_bytes());
        *index = index.wrapping_add(1);
        self.rings.write(ring + 2, &index.to_le_bytes());
    }

    fn descriptor(
        &mut self,
        queue: u16,
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
        let table = Layout::of(queue).descriptors;
        self.rings.write(table + 16 * u64::from(index % QUEUE_SIZE), &bytes);
    }

    /// Gives the device a request, at two descriptors, and lets it work.
    fn command(&mut self, queue: u16, head: u16, command: Command, body: &[u32], room: u32) {
        let mut request = vec![0_u32; 6];
        request[0] = command.raw();
        request.extend(body);
        self.rings.write(REQUEST, request.as_bytes());
        let next = (head + 1) % QUEUE_SIZE;
        self.descriptor(queue, head, REQUEST, request.as_bytes().len() as u32, 1, next);
        self.descriptor(queue, next, RESPONSE, room, 2, 0);
        self.push(queue, head);
        self.rings.process(queue);
    }

    fn show(&mut self, scanout: u32, id: u32, width: u32, height: u32, blob: bool) {
        let format = Format::B8g8r8x8.raw();
        let (address, bytes) = (FREE as u32 + 0x1_0000, width * height * 4);
        if blob {
            let size = [bytes, 0, address, 0, bytes, 0];
            let create = [&[id, 1, 0, 1, 0, 0][..], &size].concat();
            self.command(0, 0, Command::ResourceCreateBlob, &create, 24);
            let frame = [0, 0, width, height, scanout, id, width, height, format, 0];
            let planes = [width * 4, 0, 0, 0, 0, 0, 0, 0];
            let show = [&frame[..], &planes].concat();
            self.command(0, 0, Command::SetScanoutBlob, &show, 24);
        } else {
            self.command(0, 0, Command::ResourceCreate2d, &[id, format, width, height], 24);
            let attach = [id, 1, address, 0, bytes, 0];
            self.command(0, 0, Command::ResourceAttachBacking, &attach, 24);
            let transfer = [0, 0, width, height, 0, 0, id, 0];
            self.command(0, 0, Command::TransferToHost2d, &transfer, 24);
            let show = [0, 0, width, height, scanout, id];
            self.command(0, 0, Command::SetScanout, &show, 24);
        }
        self.command(0, 0, Command::ResourceFlush, &[0, 0, width, height, id, 0], 24);
    }

    fn reset(&mut self) {
        self.rings.reset();
        self.available = [0; 2];
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { address, bytes } => {
                self.rings.write(address.value(), &bytes[..bytes.len().min(4096)]);
            }
            Step::Descriptor { queue, index, entry } => {
                let table = Layout::of(queue.into()).descriptors;
                let at = table + 16 * u64::from(u16::from(index) % QUEUE_SIZE);
                self.rings.write(at, &entry.bytes());
            }
            Step::Table { page, entries } => {
                let bytes: Vec<u8> = entries.iter().take(256).flat_map(|e| e.bytes()).collect();
                self.rings.write(FREE + u64::from(page) * 4096, &bytes);
            }
            Step::Push { queue, head } => self.push(queue.into(), head),
            Step::Index { queue, index } => {
                self.available[usize::from(queue)] = index;
                let ring = Layout::of(queue.into()).available;
                self.rings.write(ring + 2, &index.to_le_bytes());
            }
            Step::Command { queue, head, command, body, room } => {
                let command = Command::ALL[usize::from(command) % Command::ALL.len()];
                let body: Vec<u32> = body.iter().take(64).map(|word| word.value()).collect();
                self.command(queue.into(), (head % 64).into(), command, &body, room.into());
            }
            Step::Show { scanout, id, width, height, blob } => {
                let size = |value: u8| u32::from(value).max(1);
                self.show((scanout % 4).into(), size(id), size(width), size(height), blob);
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
        self.rings.write(RESPONSE, &[0xff; 4]);
        let format = Format::B8g8r8x8.raw();
        self.command(0, 0, Command::ResourceCreate2d, &[id, format, 4, 4], 24);
        let mut response = [0; 4];
        self.rings.memory().read_exact_at(&mut response, RESPONSE).unwrap();
        assert_eq!(u32::from_le_bytes(response), 0x1100);
    }
}

fuzz_target!(|input: Input| {
    let limits = Limits {
        scanouts: 3,
        resources: 16,
        bytes: 4 << 20,
        files: 8,
        dimension: 2048,
        backing_entries: 64,
        total_backing_entries: 256,
    };
    let mut driver = Driver { rings: Rings::new(limits), available: [0; 2] };
    let display = input.display.then(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let memory = driver.rings.memory().try_clone().unwrap();
        let server = std::thread::spawn(move || adapter::fuzzing::serve(theirs, &memory, MEMORY));
        driver.rings.connect_display(ours);
        server
    });
    for step in input.steps.into_iter().take(200) {
        driver.step(step);
    }
    driver.verify();
    drop(driver);
    if let Some(display) = display {
        display.join().unwrap().unwrap();
    }
});
