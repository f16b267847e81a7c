//! What a driver can do wrong, through the rings and the real backend process: each thing gets the
//! response the specification names or a chain that comes back empty, and the device goes on.

#[allow(dead_code, reason = "not all of it is used here")]
mod common;

use std::time::{Duration, Instant};

use common::{Device, TIMEOUT};
use virtio_loopback_gpu::driver::memory::Region;
use virtio_loopback_gpu::driver::queue::{
    DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Descriptor, UsedElem,
};
use virtio_loopback_gpu::driver::{
    BufferKind, BufferSpec, DriverError, GpuDriver, Payload, Submission, header, resource_flush,
    set_scanout, transfer_to_host_2d,
};
use virtio_loopback_gpu::gpu::Rect;
use virtio_loopback_gpu::gpu::wire::*;
use zerocopy::{Immutable, IntoBytes};

const ALL: u64 = u64::MAX;
/// Entries of the control queue.
const QUEUE_SIZE: u16 = 1024;
/// What memory holds that the device must not write.
const UNTOUCHED: [u8; 64] = [0xaa; 64];

/// A device and a driver that does what it likes.
struct Hostile {
    device: Device,
    gpu: Option<GpuDriver>,
    /// A request at 0, a response at 4096, tables from 8192 on.
    scratch: Region,
    frames: u32,
}

impl Hostile {
    fn start(features: u64) -> Self {
        let mut device = Device::start(&["64x48"]);
        let mut gpu = GpuDriver::start(device.driver.take().unwrap(), features).unwrap();
        gpu.set_timeout(TIMEOUT);
        let scratch = gpu.driver().memory().allocate(1 << 20).unwrap();
        scratch.write(0, header(Command::GetDisplayInfo).as_bytes()).unwrap();
        Self { device, gpu: Some(gpu), scratch, frames: 0 }
    }

    fn gpu(&mut self) -> &mut GpuDriver {
        self.gpu.as_mut().unwrap()
    }

    /// A descriptor of scratch memory.
    fn part(&self, offset: u64, length: u32, flags: u16, next: u16) -> Descriptor {
        descriptor(self.scratch.address() + offset, length, flags, next)
    }

    fn request(&self, flags: u16, next: u16) -> Descriptor {
        self.part(0, 24, flags, next)
    }

    fn response(&self) -> Descriptor {
        self.part(4096, 1024, DESC_WRITE, 0)
    }

    /// Puts descriptors from the first on into the table, and gives the chain at `head` to the
    /// device.
    fn submit(&mut self, table: &[Descriptor], head: u16) -> UsedElem {
        self.scratch.write(4096, &UNTOUCHED).unwrap();
        let mut raw = self.gpu().control().queue().raw();
        for (index, entry) in (0..).zip(table) {
            raw.set_descriptor(index, *entry).unwrap();
        }
        raw.push_avail(head).unwrap();
        raw.kick().unwrap();
        let used = raw.wait_used(TIMEOUT).unwrap().expect("the chain comes back");
        assert_eq!(used.id.get(), u32::from(head));
        used
    }

    fn response_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        self.scratch.read(4096, &mut bytes).unwrap();
        bytes
    }

    fn response_type(&self) -> u32 {
        u32::from_le_bytes(*self.response_bytes().first_chunk().unwrap())
    }

    /// A correct frame, from the buffer to the picture.
    fn assert_works(&mut self) {
        self.frames += 1;
        let colour = (0x0001_0203 * self.frames) & 0x00ff_ffff;
        let kind =
            if self.frames.is_multiple_of(2) { BufferKind::Blob } else { BufferKind::Classic };
        let gpu = self.gpu();
        let spec = BufferSpec::new(kind, 64, 48, Format::B8g8r8x8);
        // Numbers of their own, which no bad command has used.
        let id = 0x7000_0000 + gpu.new_resource_id();
        let memory = gpu.driver().memory().allocate(64 * 48 * 4).unwrap();
        let pixels = colour.to_le_bytes().repeat(64 * 48);
        memory.write(0, &pixels).unwrap();
        let entries = [MemEntry {
            addr: memory.address().into(),
            length: (64 * 48 * 4).into(),
            padding: 0.into(),
        }];
        let rect = Rect { x: 0, y: 0, width: 64, height: 48 };
        match kind {
            BufferKind::Classic | BufferKind::Texture => {
                gpu.create_2d(id, spec.format, 64, 48).unwrap();
                gpu.attach_backing(id, &entries).unwrap();
                gpu.transfer_to_host_2d(id, rect, 0).unwrap();
                gpu.set_scanout(0, id, rect).unwrap();
            }
            BufferKind::Blob => {
                gpu.create_blob(id, 64 * 48 * 4, &entries).unwrap();
                let frame = virtio_loopback_gpu::driver::BlobFrame {
                    resource_id: id,
                    width: 64,
                    height: 48,
                    format: spec.format,
                    stride: 256,
                    offset: 0,
                };
                gpu.set_scanout_blob(0, &frame, rect).unwrap();
            }
        }
        gpu.flush(id, rect).unwrap();
        gpu.update_cursor(0, (0, 0), 0, (0, 0)).unwrap();
        let [_, r, g, b] = colour.to_be_bytes();
        let picture = self.device.picture();
        assert_eq!((picture.width(), picture.height()), (64, 48));
        assert!(picture.as_rgb().as_chunks().0.iter().all(|pixel| *pixel == [r, g, b]));
        self.gpu().unref(id).unwrap();
    }

    /// A control queue that was broken is started again by a reset.
    fn reset(&mut self) {
        let (driver, result) = self.gpu.take().unwrap().reset(TIMEOUT);
        result.unwrap();
        self.gpu = Some(GpuDriver::start(driver, ALL).unwrap());
    }

    fn stop(mut self) {
        self.gpu.take().unwrap().unbind(TIMEOUT).unwrap();
        self.device.stop().unwrap();
    }

    /// A line of the backend's `/proc/PID/status`, in KiB or as a count.
    fn status(&self, name: &str) -> u64 {
        let pid = self.device.backend_id.unwrap();
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// `None` if this is not root: nobody else may look into a confined backend.
    fn open_files(&self) -> Option<usize> {
        let pid = self.device.backend_id.unwrap();
        match std::fs::read_dir(format!("/proc/{pid}/fd")) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
            files => Some(files.unwrap().count()),
        }
    }

    /// Clock ticks the backend has run, 10 ms each.
    fn ticks(&self) -> u64 {
        let pid = self.device.backend_id.unwrap();
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = text.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn assert_idle(&self) {
        std::thread::sleep(Duration::from_millis(20));
        let before = self.ticks();
        std::thread::sleep(Duration::from_millis(250));
        let ran = self.ticks() - before;
        assert!(ran <= 2, "the backend ran for {ran} of 25 ticks");
    }
}

fn descriptor(addr: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { addr: addr.into(), len: len.into(), flags: flags.into(), next: next.into() }
}

#[test]
fn broken_chains_come_back_empty() {
    for features in [ALL, ALL & !(1 << 28) & !(1 << 29)] {
        let mut bench = Hostile::start(features);
        let beyond = bench.gpu().driver().memory().size();
        let plain = bench.request(0, 0);
        let request =
            |flags: u16, next: u16| Descriptor { flags: flags.into(), next: next.into(), ..plain };
        let response = bench.response();
        let long: Vec<_> =
            (1..=QUEUE_SIZE).map(|next| request(DESC_NEXT, next % QUEUE_SIZE)).collect();
        let table = bench.scratch.address() + 8192;
        let indirect = |len| descriptor(table, len, DESC_INDIRECT, 0);
        let cases: &[(&str, Vec<Descriptor>)] = &[
            ("a descriptor that follows itself", vec![request(DESC_NEXT, 0)]),
            ("two that follow each other", vec![request(DESC_NEXT, 1), request(DESC_NEXT, 0)]),
            ("a loop through the whole table", long),
            ("a successor beyond the table", vec![request(DESC_NEXT, QUEUE_SIZE)]),
            ("the last successor", vec![request(DESC_NEXT, u16::MAX)]),
            (
                "more than 4 GiB",
                vec![bench.part(0, u32::MAX, DESC_NEXT, 1), bench.part(4096, 1024, DESC_WRITE, 0)],
            ),
            (
                "a request after a response",
                vec![bench.part(4096, 1024, DESC_WRITE | DESC_NEXT, 1), request(0, 0)],
            ),
            ("an indirect table of no bytes", vec![indirect(0)]),
            ("an indirect table of half a descriptor", vec![indirect(8)]),
            ("an indirect table of 17 bytes", vec![indirect(17)]),
            ("an indirect table that is too long", vec![indirect(16 * 65536)]),
            ("the longest indirect table", vec![indirect(u32::MAX)]),
            ("an indirect table beyond the memory", vec![descriptor(beyond, 32, DESC_INDIRECT, 0)]),
            ("one at the end", vec![descriptor(u64::MAX - 15, 32, DESC_INDIRECT, 0)]),
            (
                "a response beyond the memory",
                vec![request(DESC_NEXT, 1), descriptor(beyond, 1024, DESC_WRITE, 0)],
            ),
            (
                "a response that reaches beyond it",
                vec![request(DESC_NEXT, 1), descriptor(beyond - 8, 1024, DESC_WRITE, 0)],
            ),
            (
                "a response at the end of all addresses",
                vec![request(DESC_NEXT, 1), descriptor(u64::MAX - 8, 1024, DESC_WRITE, 0)],
            ),
            (
                "no room for a response",
                vec![request(DESC_NEXT, 1), bench.part(4096, 23, DESC_WRITE, 0)],
            ),
            ("no response", vec![request(0, 0)]),
            (
                "a response of no bytes",
                vec![request(DESC_NEXT, 1), bench.part(4096, 0, DESC_WRITE, 0)],
            ),
        ];
        for (what, descriptors) in cases {
            let used = bench.submit(descriptors, 0);
            assert_eq!(used.len.get(), 0, "{what}");
            assert_eq!(bench.response_bytes(), UNTOUCHED, "{what}");
        }
        bench.assert_works();
        // Tables whose contents are broken.
        let inner: &[(&str, [Descriptor; 2])] = &[
            ("indirect in indirect", [indirect(32), response]),
            ("a loop in a table", [request(DESC_NEXT, 1), request(DESC_NEXT, 0)]),
            ("a successor beyond a table", [request(DESC_NEXT, 2), response]),
        ];
        for (what, entries) in inner {
            bench.scratch.write(8192, entries.as_bytes()).unwrap();
            let used = bench.submit(&[indirect(32)], 0);
            assert_eq!(used.len.get(), 0, "{what}");
            assert_eq!(bench.response_bytes(), UNTOUCHED, "{what}");
        }
        bench.assert_works();
        bench.stop();
    }
}

#[test]
fn requests_that_cannot_be_read_are_refused() {
    let mut bench = Hostile::start(ALL);
    let beyond = bench.gpu().driver().memory().size();
    let response = bench.response();
    let with_response = |request: Descriptor| {
        let flags = (request.flags.get() | DESC_NEXT).into();
        vec![Descriptor { flags, next: 1.into(), ..request }, response]
    };
    let cases: &[(&str, Vec<Descriptor>)] = &[
        ("beyond the memory", with_response(descriptor(beyond, 24, 0, 0))),
        ("reaching beyond it", with_response(descriptor(beyond - 8, 24, 0, 0))),
        ("at the end of all addresses", with_response(descriptor(u64::MAX - 8, 24, 0, 0))),
        ("of no bytes", with_response(bench.part(0, 0, 0, 0))),
        ("of half a header", with_response(bench.part(0, 23, 0, 0))),
        ("not there", vec![response]),
        (
            "in two parts, one not there",
            vec![bench.part(0, 12, DESC_NEXT, 1), descriptor(beyond, 12, DESC_NEXT, 2), response],
        ),
    ];
    for (what, descriptors) in cases {
        let used = bench.submit(descriptors, 0);
        assert_eq!(used.len.get(), 24, "{what}");
        assert_eq!(bench.response_type(), RespType::ErrUnspec.raw(), "{what}");
        assert_eq!(bench.response_bytes()[24..], UNTOUCHED[24..], "{what}");
    }
    // Odd, but right: parts of no bytes, a header in 24 parts, more bytes than the request has.
    let mut split: Vec<_> = (0..24)
        .flat_map(|byte| {
            let next = 2 * byte + 1;
            [
                bench.part(u64::from(byte), 0, DESC_NEXT, next),
                bench.part(u64::from(byte), 1, DESC_NEXT, next + 1),
            ]
        })
        .collect();
    split.push(response);
    for descriptors in [split, with_response(bench.part(0, 1 << 20, 0, 0))] {
        let used = bench.submit(&descriptors, 0);
        assert_eq!(used.len.get(), 408);
        assert_eq!(bench.response_type(), RespType::OkDisplayInfo.raw());
    }
    bench.assert_works();
    bench.stop();
}

#[test]
fn a_head_given_twice_comes_back_twice() {
    let mut bench = Hostile::start(ALL);
    let (request, response) = (bench.request(DESC_NEXT, 1), bench.response());
    let mut raw = bench.gpu().control().queue().raw();
    raw.set_descriptor(0, request).unwrap();
    raw.set_descriptor(1, response).unwrap();
    for _ in 0..QUEUE_SIZE {
        raw.push_avail(0).unwrap();
    }
    raw.kick().unwrap();
    for _ in 0..QUEUE_SIZE {
        let used = raw.wait_used(TIMEOUT).unwrap().unwrap();
        assert_eq!((used.id.get(), used.len.get()), (0, 408));
    }
    bench.assert_works();
    bench.stop();
}

#[test]
fn a_ring_that_makes_no_sense_stops_its_queue_until_reset() {
    let mut bench = Hostile::start(ALL);
    bench.assert_works();
    let (request, response) = (bench.request(DESC_NEXT, 1), bench.response());
    for wild in [1025, 4096, 0x8000, 0xffff] {
        let mut raw = bench.gpu().control().queue().raw();
        let index = raw.avail_idx().wrapping_add(wild);
        raw.set_descriptor(0, request).unwrap();
        raw.set_descriptor(1, response).unwrap();
        raw.set_avail_idx(index).unwrap();
        raw.kick().unwrap();
        assert_eq!(raw.wait_used(Duration::from_millis(50)).unwrap(), None, "{wild}");
        bench.assert_idle();
        // The other queue is none the worse.
        bench.gpu().move_cursor(0, (3, 4)).unwrap();
        bench.reset();
        bench.assert_works();
    }
    for head in [QUEUE_SIZE, 0x8000, u16::MAX] {
        let mut raw = bench.gpu().control().queue().raw();
        raw.push_avail(head).unwrap();
        raw.kick().unwrap();
        assert_eq!(raw.wait_used(Duration::from_millis(50)).unwrap(), None, "{head}");
        for _ in 0..100 {
            raw.kick().unwrap();
        }
        bench.assert_idle();
        bench.gpu().move_cursor(0, (3, 4)).unwrap();
        bench.reset();
        bench.assert_works();
    }
    bench.stop();
}

#[test]
fn a_broken_cursor_queue_leaves_the_control_queue_alone() {
    let mut bench = Hostile::start(ALL);
    let mut raw = bench.gpu().cursor().queue().raw();
    raw.push_avail(64).unwrap();
    raw.kick().unwrap();
    assert_eq!(raw.wait_used(Duration::from_millis(50)).unwrap(), None);
    bench.assert_idle();
    bench.gpu().display_info().unwrap();
    bench.reset();
    bench.assert_works();
    bench.stop();
}

#[test]
fn ring_flags_and_events_of_any_value_do_no_harm() {
    let mut bench = Hostile::start(ALL);
    let (request, response) = (bench.request(DESC_NEXT, 1), bench.response());
    for value in [0, 1, 2, 0x7fff, 0x8000, 0xffff] {
        let mut raw = bench.gpu().control().queue().raw();
        raw.set_descriptor(0, request).unwrap();
        raw.set_descriptor(1, response).unwrap();
        raw.set_avail_flags(value).unwrap();
        raw.set_used_event(value).unwrap();
        let before = raw.used_idx().unwrap();
        raw.push_avail(0).unwrap();
        raw.kick().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while raw.used_idx().unwrap() == before {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(raw.take_used().unwrap().unwrap().len.get(), 408);
        raw.set_avail_flags(0).unwrap();
    }
    bench.assert_works();
    bench.stop();
}

/// The response to a request that ends in a bare header.
fn answer<R: IntoBytes + Immutable>(gpu: &mut GpuDriver, request: &R) -> RespType {
    match gpu.command::<R, CtrlHdr>(request, RespType::OkNodata) {
        Ok(_) => RespType::OkNodata,
        Err(DriverError::Response { response, .. }) => response,
        Err(error) => panic!("{error}"),
    }
}

fn create_2d(id: u32, format: u32, width: u32, height: u32) -> ResourceCreate2d {
    ResourceCreate2d {
        hdr: header(Command::ResourceCreate2d),
        resource_id: id.into(),
        format: format.into(),
        width: width.into(),
        height: height.into(),
    }
}

fn attach(id: u32, entries: u32) -> ResourceAttachBacking {
    ResourceAttachBacking {
        hdr: header(Command::ResourceAttachBacking),
        resource_id: id.into(),
        nr_entries: entries.into(),
    }
}

fn create_blob(id: u32, size: u64, entries: u32) -> ResourceCreateBlob {
    ResourceCreateBlob {
        hdr: header(Command::ResourceCreateBlob),
        resource_id: id.into(),
        blob_mem: BlobMem::Guest.into(),
        blob_flags: 0.into(),
        nr_entries: entries.into(),
        blob_id: 0.into(),
        size: size.into(),
    }
}

fn of_resource(command: Command, id: u32) -> ResourceRequest {
    ResourceRequest { hdr: header(command), resource_id: id.into(), padding: 0.into() }
}

fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect { x, y, width, height }
}

/// The response to a request that memory entries follow.
fn answer_with<R>(gpu: &mut GpuDriver, request: &R, entries: &[(u64, u32)]) -> RespType
where
    R: IntoBytes + Immutable,
{
    let entries: Vec<_> = entries
        .iter()
        .map(|&(addr, length)| MemEntry {
            addr: addr.into(),
            length: length.into(),
            padding: 0.into(),
        })
        .collect();
    let bytes = entries.as_bytes();
    let memory = gpu.driver().memory().allocate(bytes.len().max(1) as u64).unwrap();
    memory.write(0, bytes).unwrap();
    let payload = Some(Payload::Request(memory, bytes.len() as u32));
    let submission = Submission { payload, ..Submission::plain() };
    match gpu.control().call::<R, CtrlHdr>(request, submission, RespType::OkNodata, TIMEOUT) {
        Ok(_) => RespType::OkNodata,
        Err(DriverError::Response { response, .. }) => response,
        Err(error) => panic!("{error}"),
    }
}

const XRGB: u32 = 2;
const WILD: [u32; 4] = [0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];

#[test]
fn resources_at_every_limit_are_refused_as_the_specification_says() {
    use RespType::*;
    let mut bench = Hostile::start(ALL);
    let gpu = bench.gpu();
    for (id, format, width, height, wanted) in [
        (0, XRGB, 1, 1, ErrInvalidResourceId),
        (1, 0, 1, 1, ErrInvalidParameter),
        (1, 5, 1, 1, ErrInvalidParameter),
        (1, u32::MAX, 1, 1, ErrInvalidParameter),
        (1, XRGB, 0, 1, ErrInvalidParameter),
        (1, XRGB, 1, 0, ErrInvalidParameter),
        (1, XRGB, 16385, 1, ErrOutOfMemory),
        (1, XRGB, u32::MAX, u32::MAX, ErrOutOfMemory),
        (1, XRGB, 65536, 65536, ErrOutOfMemory),
        (1, XRGB, 16384, 16385, ErrOutOfMemory),
        (1, XRGB, 16384, 16384, OkNodata),
        (2, XRGB, 1, 1, ErrOutOfMemory),
        (1, XRGB, 1, 1, ErrInvalidResourceId),
    ] {
        let request = create_2d(id, format, width, height);
        assert_eq!(answer(gpu, &request), wanted, "{id} {format} {width}x{height}");
    }
    gpu.unref(1).unwrap();
    gpu.create_2d(u32::MAX, Format::B8g8r8x8, 64, 48).unwrap();
    for command in
        [Command::ResourceUnref, Command::ResourceDetachBacking, Command::ResourceAssignUuid]
    {
        for id in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1] {
            assert_eq!(answer(gpu, &of_resource(command, id)), ErrInvalidResourceId);
        }
    }
    for id in [0, 1, u32::MAX - 1] {
        let small = rect(0, 0, 1, 1);
        assert_eq!(answer_with(gpu, &attach(id, 1), &[(4096, 1)]), ErrInvalidResourceId);
        assert_eq!(answer(gpu, &transfer_to_host_2d(id, small, 0)), ErrInvalidResourceId);
        assert_eq!(answer(gpu, &resource_flush(id, small)), ErrInvalidResourceId);
        if id != 0 {
            assert_eq!(answer(gpu, &set_scanout(0, id, small)), ErrInvalidResourceId);
        }
    }
    assert_eq!(answer(gpu, &of_resource(Command::ResourceDetachBacking, u32::MAX)), ErrUnspec);
    bench.assert_works();
    bench.stop();
}

/// Entries announced, entries sent (address, length), and the answer.
type Case<'a> = (u32, &'a [(u64, u32)], RespType);

#[test]
fn backing_at_every_limit_is_refused_as_the_specification_says() {
    use RespType::*;
    let mut bench = Hostile::start(ALL);
    const MEMORY: u64 = virtio_loopback_gpu::driver::memory::PAGE_SIZE << 16;
    assert_eq!(bench.gpu().driver().memory().size(), MEMORY);
    let gpu = bench.gpu();
    gpu.create_2d(7, Format::B8g8r8x8, 64, 48).unwrap();
    let whole = rect(0, 0, 64, 48);
    assert_eq!(answer(gpu, &transfer_to_host_2d(7, whole, 0)), ErrUnspec, "no backing");
    let cases: &[Case] = &[
        (1, &[], ErrInvalidParameter),
        (2, &[(4096, 64)], ErrInvalidParameter),
        (0, &[], ErrInvalidParameter),
        (1 << 18, &[(4096, 64)], ErrInvalidParameter),
        ((1 << 18) + 1, &[(4096, 64)], ErrOutOfMemory),
        (u32::MAX, &[(4096, 64)], ErrOutOfMemory),
        (1, &[(4096, 0)], ErrInvalidParameter),
        (1, &[(MEMORY, 1)], ErrInvalidParameter),
        (1, &[(MEMORY - 1, 2)], ErrInvalidParameter),
        (1, &[(u64::MAX, 1)], ErrInvalidParameter),
        (1, &[(u64::MAX - 4095, 4096)], ErrInvalidParameter),
        (1, &[(4096, u32::MAX)], ErrInvalidParameter),
        (2, &[(4096, 64), (u64::MAX, u32::MAX)], ErrInvalidParameter),
    ];
    for (count, entries, wanted) in cases {
        assert_eq!(answer_with(gpu, &attach(7, *count), entries), *wanted, "{count} {entries:?}");
        let request = create_blob(8, 64, *count);
        assert_eq!(answer_with(gpu, &request, entries), *wanted, "blob, {count} {entries:?}");
    }
    for blob_size in [0, 65, 1 << 32, u64::MAX] {
        let request = create_blob(8, blob_size, 1);
        assert_eq!(answer_with(gpu, &request, &[(4096, 64)]), ErrInvalidParameter, "{blob_size}");
    }
    // Shorter than the resource, by one byte.
    let memory = gpu.driver().memory().allocate(64 * 48 * 4).unwrap();
    let entries = [(memory.address(), 64 * 48 * 4 - 1)];
    assert_eq!(answer_with(gpu, &attach(7, 1), &entries), OkNodata);
    assert_eq!(answer_with(gpu, &attach(7, 1), &entries), ErrUnspec, "twice");
    assert_eq!(answer(gpu, &transfer_to_host_2d(7, whole, 0)), ErrInvalidParameter);
    assert_eq!(answer(gpu, &transfer_to_host_2d(7, rect(0, 0, 64, 47), 0)), OkNodata);
    for offset in [1 << 10, 1 << 32, u64::MAX - 3, u64::MAX] {
        let request = transfer_to_host_2d(7, rect(0, 0, 64, 47), offset);
        assert_eq!(answer(gpu, &request), ErrInvalidParameter, "{offset}");
    }
    bench.assert_works();
    bench.stop();
}

#[test]
fn rectangles_at_every_limit_are_refused_as_the_specification_says() {
    use RespType::*;
    let mut bench = Hostile::start(ALL);
    let gpu = bench.gpu();
    let spec = BufferSpec::new(BufferKind::Classic, 64, 48, Format::B8g8r8x8);
    let buffer = gpu.create_buffer(spec).unwrap();
    let id = buffer.resource_id();
    let mut outside =
        vec![rect(0, 0, 65, 48), rect(0, 0, 64, 49), rect(64, 0, 1, 1), rect(0, 48, 1, 1)];
    for wild in WILD {
        outside.extend([
            rect(wild, 0, 1, 1),
            rect(0, wild, 1, 1),
            rect(0, 0, wild, 1),
            rect(0, 0, 1, wild),
            rect(1, 0, wild, 1),
            rect(0, 1, 1, wild),
            rect(wild, wild, wild, wild),
        ]);
    }
    for rect in outside {
        assert_eq!(answer(gpu, &transfer_to_host_2d(id, rect, 0)), ErrInvalidParameter, "{rect:?}");
        assert_eq!(answer(gpu, &set_scanout(0, id, rect)), ErrInvalidParameter, "{rect:?}");
        assert_eq!(answer(gpu, &resource_flush(id, rect)), ErrInvalidParameter, "{rect:?}");
    }
    for empty in [rect(0, 0, 0, 0), rect(64, 48, 0, 0), rect(3, 3, 0, 3)] {
        assert_eq!(answer(gpu, &set_scanout(0, id, empty)), ErrInvalidParameter, "{empty:?}");
        assert_eq!(answer(gpu, &transfer_to_host_2d(id, empty, 0)), OkNodata, "{empty:?}");
        assert_eq!(answer(gpu, &resource_flush(id, empty)), OkNodata, "{empty:?}");
    }
    for scanout in [16, 17, 0x8000_0000, u32::MAX] {
        let whole = rect(0, 0, 64, 48);
        assert_eq!(answer(gpu, &set_scanout(scanout, id, whole)), ErrInvalidScanoutId);
        assert_eq!(answer(gpu, &set_scanout(scanout, 0, whole)), ErrInvalidScanoutId);
        let edid = GetEdid {
            hdr: header(Command::GetEdid),
            scanout: scanout.into(),
            ..GetEdid::default()
        };
        assert_eq!(answer(gpu, &edid), ErrInvalidScanoutId);
    }
    bench.assert_works();
    bench.stop();
}

#[test]
fn blob_frames_at_every_limit_are_refused_as_the_specification_says() {
    use RespType::*;
    let mut bench = Hostile::start(ALL);
    let gpu = bench.gpu();
    let spec = BufferSpec::new(BufferKind::Blob, 64, 48, Format::B8g8r8x8);
    let buffer = gpu.create_buffer(spec).unwrap();
    let good = virtio_loopback_gpu::driver::set_scanout_blob(
        0,
        &virtio_loopback_gpu::driver::blob_frame(&buffer),
        buffer.rect(),
    );
    let mut wrong = Vec::new();
    for wild in [0, 65, 1 << 30].into_iter().chain(WILD) {
        wrong.push(SetScanoutBlob { width: wild.into(), ..good });
        wrong.push(SetScanoutBlob { height: wild.into(), ..good });
    }
    // A blob is whole pages.
    let pages = u32::try_from(buffer.size()).unwrap();
    for stride in [0, 1, 252, 255, 257, 258, pages].into_iter().chain(WILD) {
        wrong.push(SetScanoutBlob { strides: [stride, 0, 0, 0].map(Into::into), ..good });
    }
    for offset in [1, 2, 3, pages - 64 * 48 * 4 + 4, pages].into_iter().chain(WILD) {
        wrong.push(SetScanoutBlob { offsets: [offset, 0, 0, 0].map(Into::into), ..good });
    }
    for format in [0, 5, 0x3432_5258, u32::MAX] {
        wrong.push(SetScanoutBlob { format: format.into(), ..good });
    }
    for request in wrong {
        let got = answer(gpu, &request);
        assert!(matches!(got, ErrInvalidParameter | ErrOutOfMemory), "{got:?} to {request:?}");
    }
    for scanout in [16, u32::MAX] {
        let request = SetScanoutBlob { scanout_id: scanout.into(), ..good };
        assert_eq!(answer(gpu, &request), ErrInvalidScanoutId);
    }
    for id in [buffer.resource_id() + 1, u32::MAX] {
        let request = SetScanoutBlob { resource_id: id.into(), ..good };
        assert_eq!(answer(gpu, &request), ErrInvalidResourceId);
    }
    assert_eq!(answer(gpu, &good), OkNodata);
    bench.assert_works();
    bench.stop();
}

#[test]
fn commands_of_a_wrong_length_or_type_are_refused() {
    let mut bench = Hostile::start(ALL);
    let response = bench.response();
    for type_ in (0..=0x0120).chain([0x0200, 0x0300, 0x0301, 0x0400, 0x1100, 0x1200, u32::MAX]) {
        let hdr = CtrlHdr { type_: type_.into(), ..CtrlHdr::default() };
        bench.scratch.write(0, hdr.as_bytes()).unwrap();
        let request = bench.request(DESC_NEXT, 1);
        let used = bench.submit(&[request, response], 0);
        let type_of_response = bench.response_type();
        if type_ == Command::GetDisplayInfo.raw() {
            assert_eq!(type_of_response, RespType::OkDisplayInfo.raw());
            continue;
        }
        assert_eq!(used.len.get(), 24, "{type_:#x}");
        assert!((0x1200..=0x1205).contains(&type_of_response), "{type_:#x}: {type_of_response:#x}");
    }
    bench.assert_works();
    bench.stop();
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 8) % bound
    }

    /// Numbers that are often small or near a limit.
    fn word(&mut self) -> u32 {
        match self.below(8) {
            0..3 => self.below(6) as u32,
            3 => self.below(70) as u32,
            4 => u32::MAX - self.below(4) as u32,
            5 => 1 << self.below(32),
            6 => self.below(1 << 24) as u32,
            _ => self.next() as u32,
        }
    }
}

#[test]
fn random_commands_leave_a_device_that_works() {
    for seed in [1, 0xdead_beef] {
        let mut bench = Hostile::start(ALL);
        let mut random = Random(seed);
        for _ in 0..8 {
            for _ in 0..500 {
                let type_ = match random.below(8) {
                    0 => random.word(),
                    _ => Command::ALL[random.below(Command::ALL.len() as u64) as usize].raw(),
                };
                let mut words = [0; 64];
                words.fill_with(|| random.word());
                words[0] = type_;
                bench.scratch.write(0, words.as_bytes()).unwrap();
                let length = 24 + 8 * random.below(20) as u32;
                let request = bench.part(0, length, DESC_NEXT, 1);
                let response = bench.response();
                let used = bench.submit(&[request, response], 0);
                let (length, type_) = (used.len.get(), bench.response_type());
                assert!((24..=1024).contains(&length), "{length} bytes");
                assert!((0x1100..=0x1205).contains(&type_), "{type_:#x}");
            }
            bench.assert_works();
        }
        assert!(bench.status("RssAnon:") < 64 << 10, "{} KiB", bench.status("RssAnon:"));
        bench.stop();
    }
}

#[test]
fn random_descriptors_leave_a_device_that_works() {
    let mut bench = Hostile::start(ALL);
    let size = bench.gpu().driver().memory().size();
    let mut random = Random(3);
    for _ in 0..4 {
        for _ in 0..500 {
            let base = bench.scratch.address();
            // Never the rings: a device may write where it is told to.
            let mut any = |_: u16| {
                let addr = match random.below(8) {
                    0 => random.next(),
                    1 => size - random.below(64),
                    _ => base + random.below(1 << 16),
                };
                let len = match random.below(4) {
                    0 => random.word(),
                    _ => random.below(64) as u32 * 8,
                };
                let writable = (base..base + (1 << 19)).contains(&addr) && len < 1 << 19;
                let mask = if writable { 7 } else { 5 };
                let flags = random.below(16) as u16 & (mask | 8);
                descriptor(addr, len, flags, random.below(20) as u16)
            };
            let table: Vec<_> = (0..16).map(&mut any).collect();
            let inner: Vec<_> = (0..64).map(any).collect();
            let at = 8 * random.below(1 << 10);
            bench.scratch.write(at, inner.as_bytes()).unwrap();
            let head = random.below(16) as u16;
            bench.submit(&table, head);
        }
        bench.assert_works();
    }
    bench.assert_idle();
    bench.stop();
}

#[test]
fn a_driver_cannot_make_the_backend_grow() {
    let mut bench = Hostile::start(ALL);
    let gpu = bench.gpu();
    // As many resources as there may be, none of them freed.
    let mut refused = 0;
    for batch in 0..70 {
        for index in 0..1000 {
            let request = create_2d(1 + batch * 1000 + index, XRGB, 1, 1);
            gpu.control().submit(&request, Submission::plain()).unwrap();
        }
        gpu.control().kick().unwrap();
        gpu.control().wait_for(u16::MAX, TIMEOUT).unwrap();
        while let Some(completion) = gpu.control().reap().unwrap() {
            let type_ = completion.header.unwrap().type_.get();
            refused += u32::from(type_ == RespType::ErrOutOfMemory.raw());
        }
    }
    assert_eq!(refused, 70_000 - 65_536);
    let rss = bench.status("RssAnon:");
    assert!(rss < 64 << 10, "{rss} KiB for all resources");
    // Long lists of pieces, over and over. They do not touch, so each costs.
    let gpu = bench.gpu();
    let pieces: Vec<_> = (0..1_u64 << 18).map(|index| (4096 + 8 * (index % 1000), 4)).collect();
    for id in 1..=4 {
        assert_eq!(answer_with(gpu, &attach(id, 1 << 18), &pieces), RespType::OkNodata);
    }
    for id in 5..=8 {
        let wanted = RespType::ErrOutOfMemory;
        assert_eq!(answer_with(gpu, &attach(id, 1 << 18), &pieces), wanted);
    }
    let rss = bench.status("RssAnon:");
    assert!(rss < 96 << 10, "{rss} KiB with all pieces");
    // All is given back.
    bench.reset();
    bench.assert_works();
    bench.stop();
}

#[test]
fn a_driver_cannot_use_up_file_descriptors() {
    let mut bench = Hostile::start(ALL);
    let gpu = bench.gpu();
    let mut shown = 0;
    for id in 1..=600 {
        gpu.create_2d(id, Format::B8g8r8x8, 64, 48).unwrap();
        match answer(gpu, &set_scanout(0, id, rect(0, 0, 64, 48))) {
            RespType::OkNodata => {
                shown += 1;
                gpu.flush(id, rect(0, 0, 64, 48)).unwrap();
            }
            other => assert_eq!(other, RespType::ErrOutOfMemory),
        }
    }
    assert_eq!(shown, 512);
    assert!(bench.open_files().is_none_or(|files| files < 600));
    // The last of them is still what is shown, also on the adapter's side.
    let gpu = bench.gpu();
    let memory = gpu.driver().memory().allocate(64 * 48 * 4).unwrap();
    memory.write(0, &[0x77; 64 * 48 * 4]).unwrap();
    let entries = [(memory.address(), 64 * 48 * 4)];
    assert_eq!(answer_with(gpu, &attach(512, 1), &entries), RespType::OkNodata);
    gpu.transfer_to_host_2d(512, rect(0, 0, 64, 48), 0).unwrap();
    gpu.flush(512, rect(0, 0, 64, 48)).unwrap();
    assert_eq!(bench.device.picture().pixel(63, 47), Some([0x77; 3]));
    for id in 1..=600 {
        bench.gpu().unref(id).unwrap();
    }
    assert!(bench.open_files().is_none_or(|files| files < 40), "{:?} stay", bench.open_files());
    bench.assert_works();
    bench.stop();
}

#[test]
fn a_ring_full_of_long_copies_does_not_delay_a_reset() {
    let mut bench = Hostile::start(ALL);
    let gpu = bench.gpu();
    gpu.create_2d(1, Format::B8g8r8x8, 4096, 4096).unwrap();
    let memory = gpu.driver().memory().allocate(1 << 20).unwrap();
    let entries = [(memory.address(), 1 << 20); 64];
    assert_eq!(answer_with(gpu, &attach(1, 64), &entries), RespType::OkNodata);
    for _ in 0..1000 {
        gpu.submit_transfer(1, rect(0, 0, 4096, 4096), 0).unwrap();
    }
    gpu.control().kick().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let begun = Instant::now();
    bench.reset();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    bench.assert_works();
    bench.stop();
}
