//! Sequences of commands through real descriptor chains: none panics, hangs, or breaks what the
//! device counts, and every scanout it offers can be read.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use virtio_loopback_gpu::gpu::testing::{
    FREE, Fixture, QueueId, blob_request, header, with_entries,
};
use virtio_loopback_gpu::gpu::wire::{
    CURSOR_SIZE, Command, DisplayOne, Format, MAX_SCANOUTS, ResourceAttachBacking,
};
use virtio_loopback_gpu::gpu::{
    CursorImage, CursorPosition, Display, DisplayError, Limits, Rect, ScanoutSource,
};
use vm_memory::GuestMemoryMmap;
use zerocopy::IntoBytes;

/// What a driver does next.
#[derive(Arbitrary, Debug)]
enum Step {
    /// A command of a known type whose body is these words.
    Command { queue: Queue, command: u8, flags: u8, body: Vec<Word>, split: [u8; 2], room: u16 },
    /// Any bytes.
    Bytes { queue: Queue, bytes: Vec<u8>, split: [u8; 2], room: u16 },
    /// RESOURCE_CREATE_2D, most of the time one that succeeds.
    Create2d { id: u8, format: u8, width: u16, height: u16 },
    /// RESOURCE_CREATE_BLOB of guest memory.
    CreateBlob { id: u8, size: u32, pieces: Vec<Piece> },
    /// RESOURCE_ATTACH_BACKING.
    Attach { id: u8, pieces: Vec<Piece> },
    /// A chain of any descriptors.
    Chain { queue: Queue, head: u8, descriptors: Vec<Descriptor> },
    /// Bytes anywhere in the driver's memory, rings included.
    Write { addr: u32, bytes: Vec<u8> },
    /// A reset of the device.
    Reset,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Queue {
    Control,
    Cursor,
}

/// 32 bits of a command, with those likelier that mean something.
#[derive(Arbitrary, Debug)]
enum Word {
    Small(u8),
    Medium(u16),
    FromTop(u8),
    Power(u8),
    Address(u8),
    Any(u32),
}

#[derive(Arbitrary, Debug)]
struct Piece {
    page: u8,
    offset: u16,
    length: u16,
}

#[derive(Arbitrary, Debug)]
struct Descriptor {
    addr: Word,
    len: Word,
    flags: u8,
    next: u8,
}

impl From<Queue> for QueueId {
    fn from(queue: Queue) -> Self {
        match queue {
            Queue::Control => Self::Control,
            Queue::Cursor => Self::Cursor,
        }
    }
}

impl Word {
    fn value(&self) -> u32 {
        match *self {
            Self::Small(value) => value.into(),
            Self::Medium(value) => value.into(),
            Self::FromTop(value) => u32::MAX - u32::from(value),
            Self::Power(bit) => 1 << (bit % 32),
            Self::Address(page) => FREE as u32 + u32::from(page) * 4096,
            Self::Any(value) => value,
        }
    }
}

fn entries(pieces: &[Piece]) -> Vec<(u64, u32)> {
    let entry = |piece: &Piece| {
        let addr = FREE + u64::from(piece.page) * 4096 + u64::from(piece.offset % 4096);
        (addr, piece.length.into())
    };
    pieces.iter().take(100).map(entry).collect()
}

/// A display that looks at all it is given.
#[derive(Default)]
struct Looker {
    memory: GuestMemoryMmap,
    on: [bool; MAX_SCANOUTS],
    pixels: Vec<u8>,
}

impl Looker {
    fn look(&mut self, source: &ScanoutSource, rect: Rect) {
        source.read_rect(&self.memory, rect, &mut self.pixels).unwrap();
        assert_eq!(self.pixels.len(), rect.width as usize * rect.height as usize * 4);
    }
}

impl Display for Looker {
    fn display_info(&mut self) -> Result<[DisplayOne; MAX_SCANOUTS], DisplayError> {
        Ok(Default::default())
    }

    fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DisplayError> {
        Ok(vec![1; 512 * (scanout as usize + 1)])
    }

    fn set_scanout(&mut self, scanout: u32, source: Option<&ScanoutSource>) {
        self.on[scanout as usize] = source.is_some();
        if let Some(source) = source {
            self.look(source, Rect::of_size(source.width, source.height));
        }
    }

    fn flush(&mut self, scanout: u32, damage: Rect, source: &ScanoutSource) {
        assert!(self.on[scanout as usize] && !damage.is_empty());
        self.look(source, damage);
    }

    fn cursor_update(&mut self, scanout: u32, _: CursorPosition, image: &CursorImage) {
        assert!(scanout < MAX_SCANOUTS as u32);
        assert!(image.hot_x < CURSOR_SIZE && image.hot_y < CURSOR_SIZE);
    }

    fn cursor_move(&mut self, scanout: u32, _: CursorPosition) {
        assert!(scanout < MAX_SCANOUTS as u32);
    }

    fn cursor_hide(&mut self, scanout: u32, _: CursorPosition) {
        assert!(scanout < MAX_SCANOUTS as u32);
    }
}

fn submit(
    fixture: &mut Fixture<Looker>,
    queue: Queue,
    bytes: &[u8],
    split: [u8; 2],
    room: u16,
) {
    let first = usize::from(split[0]).min(bytes.len());
    let second = usize::from(split[1]).min(bytes.len() - first);
    let answer =
        fixture.submit_split(queue.into(), bytes, &[first, second], u32::from(room));
    let written = answer.completion.written;
    assert!(written == 0 || (written >= 24 && written <= u32::from(room)));
}

fn step(fixture: &mut Fixture<Looker>, step: Step) {
    match step {
        Step::Command { queue, command, flags, body, split, room } => {
            let mut header = header(Command::ALL[usize::from(command) % Command::ALL.len()]);
            header.flags.set(flags.into());
            let mut bytes = header.as_bytes().to_vec();
            for word in body.iter().take(1000) {
                bytes.extend(word.value().to_le_bytes());
            }
            submit(fixture, queue, &bytes, split, room);
        }
        Step::Bytes { queue, bytes, split, room } => {
            submit(fixture, queue, &bytes[..bytes.len().min(4096)], split, room);
        }
        Step::Create2d { id, format, width, height } => {
            let format = Format::ALL[usize::from(format) % Format::ALL.len()];
            fixture.create_2d(id.into(), format.raw(), width.into(), height.into());
        }
        Step::CreateBlob { id, size, pieces } => {
            let entries = entries(&pieces);
            let request = blob_request(id.into(), size.into(), entries.len() as u32);
            fixture.run(&with_entries(&request, &entries));
        }
        Step::Attach { id, pieces } => {
            let entries = entries(&pieces);
            let request = ResourceAttachBacking {
                hdr: header(Command::ResourceAttachBacking),
                resource_id: u32::from(id).into(),
                nr_entries: (entries.len() as u32).into(),
            };
            fixture.run(&with_entries(&request, &entries));
        }
        Step::Chain { queue, head, descriptors } => {
            for (index, descriptor) in (0..256).zip(&descriptors) {
                let addr = descriptor.addr.value().into();
                let (len, flags) = (descriptor.len.value(), descriptor.flags.into());
                fixture.put_descriptor(index, addr, len, flags, descriptor.next.into());
            }
            fixture.submit_chain(queue.into(), head.into());
        }
        Step::Write { addr, bytes } => {
            let bytes = &bytes[..bytes.len().min(4096)];
            fixture.write(u64::from(addr) % (4 << 20), bytes);
        }
        Step::Reset => fixture.gpu.reset(&mut fixture.display),
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let limits = Limits {
        scanouts: 3,
        resources: 16,
        bytes: 4 << 20,
        files: 8,
        dimension: 2048,
        backing_entries: 64,
        total_backing_entries: 256,
    };
    let mut fixture = Fixture::with(limits, Looker::default());
    fixture.display.memory = fixture.memory.clone();
    for next in steps.into_iter().take(200) {
        step(&mut fixture, next);
        fixture.verify();
    }
    fixture.gpu.reset(&mut fixture.display);
    assert_eq!(fixture.display.on, [false; MAX_SCANOUTS]);
    fixture.verify();
});
