//! A driver for tests and fuzzing: rings in memory, real descriptor chains, one command at a time.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Arc, Weak};

use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::backing::Backing;
use super::resource::{Kind, Resource, Usage};
use super::wire::*;
use super::{
    Completion, CursorBitmap, CursorPosition, Display, DisplayQueryError, Gpu, Limits, PixelMemory,
    Rect, Renderer, Restored, ScanoutSource, StateFile,
};

/// Bytes of driver memory; all addresses are below.
pub const MEMORY: u64 = 24 << 20;
/// Driver memory a test may use as it likes begins here.
pub const FREE: u64 = 1 << 20;

const QUEUE_SIZE: u16 = 256;
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const REQUEST: u64 = 0x1_0000;
const RESPONSE: u64 = 0xc_0000;
/// What response buffers hold before the device writes.
pub const UNTOUCHED: u8 = 0xaa;

/// Flags of a descriptor.
pub mod descriptor {
    /// `next` is valid.
    pub const NEXT: u16 = 1;
    /// The device writes.
    pub const WRITE: u16 = 2;
    /// The buffer is a table of descriptors.
    pub const INDIRECT: u16 = 4;
}

/// Queues of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueId {
    /// For commands.
    Control,
    /// For cursor updates.
    Cursor,
}

/// A device and the driver side of its rings.
#[derive(Debug)]
pub struct Fixture<D> {
    /// The driver's memory.
    pub memory: GuestMemoryMmap,
    /// The device.
    pub gpu: Gpu,
    /// Its display.
    pub display: D,
    /// Whether control commands are given as those that may have been executed before.
    pub again: bool,
    queue: Queue,
    available: u16,
}

/// What came back for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the device says.
    pub completion: Completion,
    /// All of the response buffer, written or not.
    pub buffer: Vec<u8>,
}

impl Answer {
    /// The bytes written.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.completion.written as usize]
    }

    /// The response as `T`, which it must be exactly.
    #[track_caller]
    pub fn as_<T: FromBytes>(&self) -> T {
        let Ok(response) = T::read_from_bytes(self.bytes()) else {
            panic!("a response of {} bytes", self.bytes().len());
        };
        response
    }
}

impl<D: Display> Fixture<D> {
    /// A device with these limits.
    pub fn with(limits: Limits, display: D) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap();
        let mut queue = Queue::new(QUEUE_SIZE).unwrap();
        queue.set_desc_table_address(Some(DESCRIPTORS as u32), Some(0));
        queue.set_avail_ring_address(Some(AVAILABLE as u32), Some(0));
        queue.set_used_ring_address(Some(USED as u32), Some(0));
        queue.set_ready(true);
        assert!(queue.is_valid(&memory));
        let gpu = Gpu::new(limits, Renderer::TwoD);
        Self { memory, gpu, display, again: false, queue, available: 0 }
    }

    /// Puts a new device in the place of the one there is, which goes on from this file and these
    /// pixels.
    pub fn restore(&mut self, state: File, pixels: HashMap<u64, File>) -> Restored {
        let limits = self.gpu.resources.limits().clone();
        let state = StateFile::open(state, &limits).unwrap();
        self.gpu = Gpu::new(limits, Renderer::TwoD);
        self.gpu.restore(state, pixels, &self.memory)
    }

    /// All there is, in a form that can be compared.
    pub fn contents(&self) -> Vec<String> {
        let resources = self.gpu.resources.iter().map(|(id, resource)| {
            let Resource { serial, uuid, backing, kind, .. } = resource;
            let kind = match kind {
                Kind::Image(image) => {
                    format!("{:?} {}x{}", image.format, image.width, image.height)
                }
                Kind::Blob(blob) => format!("{} {:?}", blob.size, blob.cursor_size),
                _ => return String::new(),
            };
            format!("{id} {serial} {uuid:?} {backing:?} {kind}")
        });
        let scanouts = self.gpu.scanouts.all().map(|(number, shown)| {
            let ScanoutSource { offset, stride, width, height, format, buffer, .. } = shown.source;
            let (id, rect) = (shown.resource_id, shown.rect);
            format!(
                "on {number} {id} {rect:?} {offset} {stride} {width} {height} {format:?} {buffer}"
            )
        });
        let mut contents: Vec<_> = resources.chain(scanouts).collect();
        contents.sort();
        contents.push(format!("{:?}", self.gpu.cursors.visible));
        contents
    }

    /// Writes a descriptor of the queue's table.
    pub fn put_descriptor(&self, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        self.put_descriptor_at(DESCRIPTORS, index, addr, len, flags, next);
    }

    /// Writes a descriptor of a table anywhere.
    pub fn put_descriptor_at(
        &self,
        table: u64,
        index: u16,
        addr: u64,
        len: u32,
        flags: u16,
        next: u16,
    ) {
        let descriptor = RawDescriptor::from(Descriptor::new(addr, len, flags, next));
        let place = GuestAddress(table + u64::from(index) * size_of::<Descriptor>() as u64);
        self.memory.write_obj(descriptor, place).unwrap();
    }

    /// Gives the device the chain that begins at descriptor `head`.
    pub fn submit_chain(&mut self, queue: QueueId, head: u16) -> Completion {
        let slot = AVAILABLE + 4 + 2 * u64::from(self.available % QUEUE_SIZE);
        self.memory.write_obj(head.to_le(), GuestAddress(slot)).unwrap();
        self.available = self.available.wrapping_add(1);
        self.memory.write_obj(self.available.to_le(), GuestAddress(AVAILABLE + 2)).unwrap();
        let memory = &self.memory;
        let Some(chain) = self.queue.pop_descriptor_chain(memory) else {
            // The head is beyond the table.
            return Completion::default();
        };
        match queue {
            QueueId::Control if self.again => self.gpu.control_again(chain, &mut self.display),
            QueueId::Control => self.gpu.control(chain, &mut self.display),
            QueueId::Cursor => self.gpu.cursor(chain, &mut self.display),
        }
    }

    /// A request in readable descriptors of these lengths, the rest in one more, and one writable
    /// descriptor of `room` bytes, none for 0.
    pub fn submit_split(
        &mut self,
        queue: QueueId,
        request: &[u8],
        splits: &[usize],
        room: u32,
    ) -> Answer {
        self.memory.write_slice(request, GuestAddress(REQUEST)).unwrap();
        assert!(REQUEST + request.len() as u64 <= RESPONSE);
        assert!(RESPONSE + u64::from(room) <= FREE);
        let untouched = vec![UNTOUCHED; room as usize];
        self.memory.write_slice(&untouched, GuestAddress(RESPONSE)).unwrap();
        let mut lengths: Vec<u32> = splits.iter().map(|&length| length as u32).collect();
        let rest = request.len() - splits.iter().sum::<usize>();
        if rest > 0 {
            lengths.push(rest as u32);
        }
        let count = lengths.len() as u16 + u16::from(room > 0);
        let mut addr = REQUEST;
        for (index, &length) in (0..).zip(&lengths) {
            let flags = if index + 1 < count { descriptor::NEXT } else { 0 };
            self.put_descriptor(index, addr, length, flags, index + 1);
            addr += u64::from(length);
        }
        if room > 0 {
            self.put_descriptor(count - 1, RESPONSE, room, descriptor::WRITE, 0);
        }
        let completion = self.submit_chain(queue, 0);
        let mut buffer = untouched;
        self.memory.read_slice(&mut buffer, GuestAddress(RESPONSE)).unwrap();
        Answer { completion, buffer }
    }

    /// A request on the control queue with room for any response.
    pub fn control<T: IntoBytes + Immutable>(&mut self, request: &T) -> Answer {
        self.submit_split(QueueId::Control, request.as_bytes(), &[], 2048)
    }

    /// A request whose response is a bare header. Returns its type, having compared every byte.
    #[track_caller]
    pub fn run(&mut self, request: &[u8]) -> RespType {
        let answer = self.submit_split(QueueId::Control, request, &[], 64);
        let header: CtrlHdr = answer.as_();
        let type_ = RespType::from_raw(header.type_.get()).expect("a response type");
        assert_eq!(header, CtrlHdr { type_: type_.into(), ..CtrlHdr::default() });
        assert!(answer.buffer[24..].iter().all(|&byte| byte == UNTOUCHED));
        type_
    }

    /// RESOURCE_CREATE_2D.
    pub fn create_2d(&mut self, id: u32, format: u32, width: u32, height: u32) -> RespType {
        self.run(
            ResourceCreate2d {
                hdr: header(Command::ResourceCreate2d),
                resource_id: id.into(),
                format: format.into(),
                width: width.into(),
                height: height.into(),
            }
            .as_bytes(),
        )
    }

    /// A command that names a resource and nothing else.
    pub fn resource(&mut self, command: Command, id: u32) -> RespType {
        self.run(resource_request(command, id).as_bytes())
    }

    /// RESOURCE_UNREF.
    pub fn unref(&mut self, id: u32) -> RespType {
        self.resource(Command::ResourceUnref, id)
    }

    /// RESOURCE_ATTACH_BACKING with (address, length) entries.
    pub fn attach(&mut self, id: u32, entries: &[(u64, u32)]) -> RespType {
        let request = ResourceAttachBacking {
            hdr: header(Command::ResourceAttachBacking),
            resource_id: id.into(),
            nr_entries: (entries.len() as u32).into(),
        };
        self.run(&with_entries(&request, entries))
    }

    /// RESOURCE_CREATE_BLOB of guest memory with (address, length) entries.
    pub fn create_blob(&mut self, id: u32, size: u64, entries: &[(u64, u32)]) -> RespType {
        self.run(&with_entries(&blob_request(id, size, entries.len() as u32), entries))
    }

    /// TRANSFER_TO_HOST_2D.
    pub fn transfer(&mut self, id: u32, rect: Rect, offset: u64) -> RespType {
        self.run(
            TransferToHost2d {
                hdr: header(Command::TransferToHost2d),
                r: wire_rect(rect),
                offset: offset.into(),
                resource_id: id.into(),
                padding: U32::ZERO,
            }
            .as_bytes(),
        )
    }

    /// SET_SCANOUT.
    pub fn set_scanout(&mut self, scanout: u32, id: u32, rect: Rect) -> RespType {
        self.run(
            SetScanout {
                hdr: header(Command::SetScanout),
                r: wire_rect(rect),
                scanout_id: scanout.into(),
                resource_id: id.into(),
            }
            .as_bytes(),
        )
    }

    /// RESOURCE_FLUSH.
    pub fn flush(&mut self, id: u32, rect: Rect) -> RespType {
        self.run(flush_request(id, rect).as_bytes())
    }

    /// UPDATE_CURSOR or MOVE_CURSOR with room for a response; returns its type.
    pub fn cursor(&mut self, request: &UpdateCursor) -> RespType {
        let answer = self.submit_split(QueueId::Cursor, request.as_bytes(), &[], 24);
        RespType::from_raw(answer.as_::<CtrlHdr>().type_.get()).expect("a response type")
    }

    /// Checks what holds between any two commands.
    pub fn verify(&self) {
        let (mut usage, mut resources) = (Usage::default(), 0);
        let mut serials = HashSet::new();
        for (id, resource) in self.gpu.resources.iter() {
            assert_ne!(id, 0);
            assert!(serials.insert(resource.serial), "two have the same serial number");
            resources += 1;
            usage.backing_entries += resource.backing.as_ref().map_or(0, Backing::pieces);
            match &resource.kind {
                Kind::Image(image) => {
                    usage.bytes += image.bytes;
                    usage.files += usize::from(image.memory.is_some());
                }
                Kind::Texture(_) | Kind::HostBlob(_) => panic!("a resource of 3D without 3D"),
                Kind::Blob(blob) => {
                    let backing = resource.backing.as_ref().map(Backing::len);
                    assert!(backing.is_none_or(|length| length >= blob.size));
                    if blob.shadow.is_some() {
                        usage.bytes += blob.size;
                        usage.files += 1;
                    }
                }
            }
        }
        assert_eq!(usage, *self.gpu.resources.usage());
        let limits = self.gpu.resources.limits();
        assert!(resources <= limits.resources);
        assert!(usage.bytes <= limits.bytes && usage.files <= limits.files);
        assert!(usage.backing_entries <= limits.total_backing_entries);
        for scanout in 0..MAX_SCANOUTS as u32 {
            assert!(scanout < limits.scanouts || !self.gpu.scanouts.is_on(scanout));
        }
        for (id, resource) in self.gpu.resources.iter() {
            for (_, shown) in self.gpu.scanouts.of(id) {
                self.verify_source(resource, &shown.source);
            }
        }
        let shown = (0..MAX_SCANOUTS as u32).filter(|&scanout| self.gpu.scanouts.is_on(scanout));
        let of = |(id, _)| self.gpu.scanouts.of(id).count();
        assert_eq!(shown.count(), self.gpu.resources.iter().map(of).sum::<usize>());
    }

    /// All rows of a scanout are within the memory they are said to be in.
    fn verify_source(&self, resource: &Resource, source: &ScanoutSource) {
        assert_eq!(source.buffer, resource.serial);
        let length = match (&source.memory, &resource.kind) {
            (PixelMemory::Memfd(file), Kind::Image(image)) => {
                assert_eq!(file.metadata().unwrap().len(), image.bytes);
                image.bytes
            }
            (PixelMemory::Memfd(file), Kind::Blob(blob)) => {
                assert_eq!(file.metadata().unwrap().len(), blob.size);
                blob.size
            }
            (&PixelMemory::Guest { address, length }, Kind::Blob(blob)) => {
                assert_eq!(length, blob.size);
                assert!(address.checked_add(length).unwrap() <= MEMORY);
                length
            }
            (memory, kind) => panic!("{kind:?} in {memory:?}"),
        };
        let row = u64::from(source.width) * 4;
        let rows = u64::from(source.height);
        assert!(rows > 0 && row > 0 && u64::from(source.stride) >= row);
        assert!(source.offset + (rows - 1) * u64::from(source.stride) + row <= length);
    }

    /// Writes driver memory.
    pub fn write(&self, addr: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(addr)).unwrap();
    }
}

/// A request header without a fence.
pub fn header(command: Command) -> CtrlHdr {
    CtrlHdr { type_: command.into(), ..CtrlHdr::default() }
}

/// A request that names a resource and nothing else.
pub fn resource_request(command: Command, id: u32) -> ResourceRequest {
    ResourceRequest { hdr: header(command), resource_id: id.into(), padding: U32::ZERO }
}

/// RESOURCE_CREATE_BLOB of guest memory as dumb buffers are.
pub fn blob_request(id: u32, size: u64, entries: u32) -> ResourceCreateBlob {
    ResourceCreateBlob {
        hdr: header(Command::ResourceCreateBlob),
        resource_id: id.into(),
        blob_mem: BlobMem::Guest.into(),
        blob_flags: blob_flag::USE_SHAREABLE.into(),
        nr_entries: entries.into(),
        blob_id: U64::ZERO,
        size: size.into(),
    }
}

/// SET_SCANOUT_BLOB of a whole frame that begins at byte 0 of its blob.
pub fn scanout_blob_request(
    scanout: u32,
    id: u32,
    width: u32,
    height: u32,
    stride: u32,
) -> SetScanoutBlob {
    SetScanoutBlob {
        hdr: header(Command::SetScanoutBlob),
        r: wire_rect(Rect::of_size(width, height)),
        scanout_id: scanout.into(),
        resource_id: id.into(),
        width: width.into(),
        height: height.into(),
        format: Format::B8g8r8x8.into(),
        padding: U32::ZERO,
        strides: [stride.into(), U32::ZERO, U32::ZERO, U32::ZERO],
        offsets: [U32::ZERO; 4],
    }
}

/// RESOURCE_FLUSH.
pub fn flush_request(id: u32, rect: Rect) -> ResourceFlush {
    ResourceFlush {
        hdr: header(Command::ResourceFlush),
        r: wire_rect(rect),
        resource_id: id.into(),
        padding: U32::ZERO,
    }
}

/// UPDATE_CURSOR with its hot spot at (1, 2).
pub fn cursor_request(scanout: u32, id: u32, x: i32, y: i32) -> UpdateCursor {
    UpdateCursor {
        hdr: header(Command::UpdateCursor),
        pos: CursorPos {
            scanout_id: scanout.into(),
            x: x.cast_unsigned().into(),
            y: y.cast_unsigned().into(),
            padding: U32::ZERO,
        },
        resource_id: id.into(),
        hot_x: 1.into(),
        hot_y: 2.into(),
        padding: U32::ZERO,
    }
}

/// A request followed by (address, length) entries.
pub fn with_entries<T: IntoBytes + Immutable>(request: &T, entries: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = request.as_bytes().to_vec();
    for &(addr, length) in entries {
        let entry = MemEntry { addr: addr.into(), length: length.into(), padding: U32::ZERO };
        bytes.extend_from_slice(entry.as_bytes());
    }
    bytes
}

/// A rectangle as on the wire.
pub fn wire_rect(rect: Rect) -> WireRect {
    WireRect {
        x: rect.x.into(),
        y: rect.y.into(),
        width: rect.width.into(),
        height: rect.height.into(),
    }
}

/// A call of the display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `set_scanout`.
    SetScanout(u32, Option<Shown>),
    /// `flush`.
    Flush(u32, Rect),
    /// `cursor_update`; the image is in [`Recorder::cursor`].
    CursorUpdate(u32, i32, i32),
    /// `cursor_move`.
    CursorMove(u32, i32, i32),
    /// `cursor_hide`.
    CursorHide(u32, i32, i32),
}

/// What can be compared of a [`ScanoutSource`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// See [`ScanoutSource::offset`].
    pub offset: u64,
    /// See [`ScanoutSource::stride`].
    pub stride: u32,
    /// See [`ScanoutSource::width`].
    pub width: u32,
    /// See [`ScanoutSource::height`].
    pub height: u32,
    /// See [`ScanoutSource::format`].
    pub format: Format,
}

/// A display that keeps what it is told.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Calls since they were last taken.
    pub calls: Vec<Call>,
    /// What each scanout shows.
    pub sources: [Option<ScanoutSource>; MAX_SCANOUTS],
    /// The last cursor image.
    pub cursor: Option<CursorBitmap>,
    /// What `edid` answers, an error without one.
    pub edid: Option<Vec<u8>>,
    /// The files it was given to keep, as long as somebody else has them.
    pub kept: HashMap<u64, Weak<File>>,
}

impl Recorder {
    /// The files it keeps, as another device would get them.
    pub fn pixels(&self) -> HashMap<u64, File> {
        let kept = self.kept.iter().filter_map(|(&buffer, file)| Some((buffer, file.upgrade()?)));
        kept.map(|(buffer, file)| (buffer, file.try_clone().unwrap())).collect()
    }

    /// The calls since the last time.
    pub fn take(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }
}

impl Display for Recorder {
    fn display_info(&mut self) -> Result<[DisplayOne; MAX_SCANOUTS], DisplayQueryError> {
        let mut displays = [DisplayOne::default(); MAX_SCANOUTS];
        displays[0].r = wire_rect(Rect::of_size(1280, 720));
        displays[0].enabled.set(1);
        Ok(displays)
    }

    fn edid(&mut self, _: u32) -> Result<Vec<u8>, DisplayQueryError> {
        self.edid.clone().ok_or(DisplayQueryError::Unknown)
    }

    fn set_scanout(&mut self, scanout: u32, source: Option<&ScanoutSource>) {
        let shown = source.map(|source| Shown {
            offset: source.offset,
            stride: source.stride,
            width: source.width,
            height: source.height,
            format: source.format,
        });
        self.calls.push(Call::SetScanout(scanout, shown));
        self.sources[scanout as usize] = source.cloned();
    }

    fn flush(&mut self, scanout: u32, damage: Rect, source: &ScanoutSource) {
        let shown = self.sources[scanout as usize].as_ref().expect("a scanout that is on");
        assert_eq!(shown.buffer, source.buffer);
        assert!(damage.fits(source.width, source.height) && !damage.is_empty());
        self.calls.push(Call::Flush(scanout, damage));
    }

    fn keep_memory(&mut self, buffer: u64, file: &Arc<File>, bytes: u64) {
        assert_eq!(file.metadata().unwrap().len(), bytes);
        self.kept.insert(buffer, Arc::downgrade(file));
    }

    fn cursor_update(&mut self, scanout: u32, position: CursorPosition, image: &CursorBitmap) {
        self.calls.push(Call::CursorUpdate(scanout, position.x, position.y));
        self.cursor = Some(image.clone());
    }

    fn cursor_move(&mut self, scanout: u32, position: CursorPosition) {
        self.calls.push(Call::CursorMove(scanout, position.x, position.y));
    }

    fn cursor_hide(&mut self, scanout: u32, position: CursorPosition) {
        self.calls.push(Call::CursorHide(scanout, position.x, position.y));
    }
}

impl Default for Fixture<Recorder> {
    /// A device with its default limits.
    fn default() -> Self {
        Self::with(Limits::default(), Recorder::default())
    }
}

impl Fixture<Recorder> {
    /// The pixels a scanout shows.
    #[track_caller]
    pub fn pixels(&self, scanout: u32) -> Vec<u8> {
        let source = self.display.sources[scanout as usize].as_ref().expect("a scanout that is on");
        let (mut pixels, all) = (Vec::new(), Rect::of_size(source.width, source.height));
        source.read_rect(&self.memory, all, &mut pixels).unwrap();
        pixels
    }
}
