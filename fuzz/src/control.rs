//! Sequences of commands through real descriptor chains: none panics, hangs, or breaks what the
//! device counts, and every scanout it offers can be read.

use std::os::fd::BorrowedFd;

use arbitrary::Arbitrary;
use virtio_loopback_gpu::gpu::testing::{
    FREE, Fixture, QueueId, cursor_request, header, resource_request, scanout_blob_request,
    wire_rect,
};
use virtio_loopback_gpu::gpu::wire::{
    CURSOR_SIZE, Command, DisplayOne, Format, MAX_SCANOUTS, SetScanoutBlob,
};
use virtio_loopback_gpu::gpu::{
    CursorBitmap, CursorPosition, Display, DisplayQueryError, HostVisible, HostVisibleError,
    Limits, Rect, ScanoutSource,
};
use vm_memory::GuestMemoryMmap;
use zerocopy::IntoBytes;

/// What a driver does next. Commands with fields of their own are near enough to valid ones that
/// many succeed; the others are anything.
#[derive(Arbitrary, Debug)]
enum Step {
    Create2d {
        id: Id,
        format: u8,
        width: Side,
        height: Side,
    },
    CreateBlob {
        id: Id,
        size: u16,
        pieces: Vec<Piece>,
    },
    Attach {
        id: Id,
        pieces: Vec<Piece>,
    },
    /// A command that names a resource and nothing else.
    Resource {
        id: Id,
        command: u8,
    },
    Transfer {
        id: Id,
        area: Area,
        offset: Offset,
    },
    SetScanout {
        scanout: Scanout,
        id: Id,
        area: Area,
    },
    SetScanoutBlob {
        scanout: Scanout,
        id: Id,
        area: Area,
        frame: Frame,
    },
    Flush {
        id: Id,
        area: Area,
    },
    Cursor {
        scanout: Scanout,
        id: Id,
        moves: bool,
        x: u8,
    },
    /// GET_DISPLAY_INFO, GET_EDID, capsets, with any room for the answer.
    Query {
        command: u8,
        index: u8,
        room: u16,
    },
    /// A command of a known type whose body is these words.
    Command {
        queue: Queue,
        command: u8,
        flags: u8,
        body: Vec<Word>,
        split: [u8; 2],
        room: u16,
    },
    /// Any bytes.
    Bytes {
        queue: Queue,
        bytes: Vec<u8>,
        split: [u8; 2],
        room: u16,
    },
    /// A chain of any descriptors.
    Chain {
        queue: Queue,
        head: u8,
        descriptors: Vec<Descriptor>,
    },
    /// Bytes anywhere in the driver's memory, rings included.
    Write {
        addr: u32,
        bytes: Vec<u8>,
    },
    Reset,
}

/// A resource id: one of six most of the time, none now and then.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct Id(u8);

/// A scanout: one of the three most of the time.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct Scanout(u8);

/// A width, height or coordinate: below 70 most of the time.
#[derive(Arbitrary, Debug, Clone, Copy)]
struct Side(u8);

#[derive(Arbitrary, Debug, Clone, Copy)]
struct Area {
    x: Side,
    y: Side,
    width: Side,
    height: Side,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Offset {
    /// Where Linux would have it, for a resource of this width.
    Natural(Side),
    Any(u64),
    Small(u16),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
struct Frame {
    width: Side,
    height: Side,
    /// Words a row is longer than its pixels.
    gap: Side,
    offset: Side,
    format: u8,
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

impl Id {
    fn value(self) -> u32 {
        match self.0 {
            ..208 => u32::from(self.0) % 6 + 1,
            208..224 => 0,
            224.. => u32::from(self.0) - 224,
        }
    }
}

impl Scanout {
    fn value(self) -> u32 {
        if self.0 < 240 { u32::from(self.0) % 3 } else { 1 << (self.0 - 240) }
    }
}

impl Side {
    fn value(self) -> u32 {
        match self.0 {
            255 => u32::MAX,
            254 => 0x4000_0000,
            253 => 2048,
            value => u32::from(value) % 70,
        }
    }
}

impl From<Area> for Rect {
    fn from(area: Area) -> Self {
        Self {
            x: area.x.value(),
            y: area.y.value(),
            width: area.width.value(),
            height: area.height.value(),
        }
    }
}

impl Offset {
    fn value(self, area: Area) -> u64 {
        let (x, y) = (u64::from(area.x.value()), u64::from(area.y.value()));
        match self {
            Self::Natural(width) => (y * u64::from(width.value())).wrapping_add(x).wrapping_mul(4),
            Self::Any(offset) => offset,
            Self::Small(offset) => offset.into(),
        }
    }
}

impl Frame {
    /// With a format from 128 the frame ends where the area does.
    fn request(self, scanout: Scanout, id: Id, area: Area) -> SetScanoutBlob {
        let end = |start: Side, length: Side| start.value().saturating_add(length.value());
        let (width, height) = match self.format {
            ..128 => (self.width.value(), self.height.value()),
            128.. => (end(area.x, area.width), end(area.y, area.height)),
        };
        let stride = width.saturating_add(self.gap.value()).saturating_mul(4);
        let mut request = scanout_blob_request(scanout.value(), id.value(), width, height, stride);
        request.r = wire_rect(area.into());
        request.offsets[0] = (self.offset.value() & !3).into();
        request.format = format(self.format).raw().into();
        request
    }
}

fn format(index: u8) -> Format {
    Format::ALL[usize::from(index) % Format::ALL.len()]
}

fn one_of(commands: &[Command], index: u8) -> Command {
    commands[usize::from(index) % commands.len()]
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

/// The pieces, or one of this size where there is none.
fn entries_of(size: u16, pieces: &[Piece]) -> Vec<(u64, u32)> {
    match pieces {
        [] => vec![(FREE, size.into())],
        pieces => entries(pieces),
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
    fn display_info(&mut self) -> Result<[DisplayOne; MAX_SCANOUTS], DisplayQueryError> {
        Ok(Default::default())
    }

    fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DisplayQueryError> {
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

    fn cursor_update(&mut self, scanout: u32, _: CursorPosition, image: &CursorBitmap) {
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

/// A window that nothing gets into: without 3D there is no blob that could be mapped.
#[derive(Debug)]
struct Empty;

impl HostVisible for Empty {
    fn map(&mut self, _: BorrowedFd<'_>, _: u64, _: u64) -> Result<(), HostVisibleError> {
        panic!("something is mapped");
    }

    fn unmap(&mut self, _: u64, _: u64) -> Result<(), HostVisibleError> {
        panic!("something is unmapped");
    }
}

fn submit(fixture: &mut Fixture<Looker>, queue: Queue, bytes: &[u8], split: [u8; 2], room: u16) {
    let first = usize::from(split[0]).min(bytes.len());
    let second = usize::from(split[1]).min(bytes.len() - first);
    let answer = fixture.submit_split(queue.into(), bytes, &[first, second], u32::from(room));
    let written = answer.completion.written;
    assert!(written == 0 || (written >= 24 && written <= u32::from(room)));
}

/// Commands that name a resource and nothing else.
const RESOURCE_COMMANDS: [Command; 3] =
    [Command::ResourceUnref, Command::ResourceDetachBacking, Command::ResourceAssignUuid];

/// Commands with an answer.
const QUERIES: [Command; 4] =
    [Command::GetDisplayInfo, Command::GetEdid, Command::GetCapsetInfo, Command::GetCapset];

fn step(fixture: &mut Fixture<Looker>, step: Step) {
    match step {
        Step::Create2d { id, format: index, width, height } => {
            let format = format(index).raw();
            fixture.create_2d(id.value(), format, width.value(), height.value());
        }
        Step::CreateBlob { id, size, pieces } => {
            fixture.create_blob(id.value(), size.into(), &entries_of(size, &pieces));
        }
        Step::Attach { id, pieces } => {
            fixture.attach(id.value(), &entries_of(u16::MAX, &pieces));
        }
        Step::Resource { id, command } => {
            let request = resource_request(one_of(&RESOURCE_COMMANDS, command), id.value());
            fixture.control(&request);
        }
        Step::Transfer { id, area, offset } => {
            fixture.transfer(id.value(), area.into(), offset.value(area));
        }
        Step::SetScanout { scanout, id, area } => {
            fixture.set_scanout(scanout.value(), id.value(), area.into());
        }
        Step::SetScanoutBlob { scanout, id, area, frame } => {
            fixture.run(frame.request(scanout, id, area).as_bytes());
        }
        Step::Flush { id, area } => {
            fixture.flush(id.value(), area.into());
        }
        Step::Cursor { scanout, id, moves, x } => {
            let mut request = cursor_request(scanout.value(), id.value(), x.into(), 0);
            if moves {
                request.hdr = header(Command::MoveCursor);
            }
            fixture.cursor(&request);
        }
        Step::Query { command, index, room } => {
            let request = resource_request(one_of(&QUERIES, command), index.into());
            submit(fixture, Queue::Control, request.as_bytes(), [0; 2], room);
        }
        Step::Reset => fixture.gpu.reset(&mut fixture.display),
        other => anything(fixture, other),
    }
}

fn anything(fixture: &mut Fixture<Looker>, step: Step) {
    match step {
        Step::Command { queue, command, flags, body, split, room } => {
            let mut header = header(one_of(Command::ALL, command));
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
        _ => {}
    }
}

/// Plays the bytes; false: they are no input.
pub fn run(bytes: &[u8]) -> bool {
    crate::play(bytes, sequence)
}

fn sequence(steps: Vec<Step>) {
    let limits = Limits {
        scanouts: 3,
        resources: 10,
        bytes: 4 << 20,
        files: 4,
        dimension: 2048,
        backing_entries: 64,
        total_backing_entries: 256,
        command: 2048,
        contexts: 1,
    };
    let mut fixture = Fixture::with(limits, Looker::default());
    fixture.gpu.set_host_visible(Box::new(Empty), 1 << 20);
    fixture.display.memory = fixture.memory.clone();
    for next in steps.into_iter().take(200) {
        step(&mut fixture, next);
        fixture.verify();
    }
    fixture.gpu.reset(&mut fixture.display);
    assert_eq!(fixture.display.on, [false; MAX_SCANOUTS]);
    fixture.verify();
}
