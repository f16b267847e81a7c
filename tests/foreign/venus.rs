//! Tests that need virglrenderer with Venus and its render server.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, getuid, kill_process};
use virtio_loopback_gpu::backend::RENDER_SERVER;
use virtio_loopback_gpu::driver::three_d::{create_3d, host_blob, in_context, map_blob};
use virtio_loopback_gpu::driver::{Driver, GpuDriver, Payload, Submission};
use virtio_loopback_gpu::gpu::wire::{
    CapsetId, CmdSubmit, Command, Format, ResourceRequest, RespType, flag, map_cache,
};
use virtio_loopback_gpu::sandbox::Confinement;
use zerocopy::IntoBytes;

use super::front_end::{Display, FrontEnd};
use super::region::{Manners, RegionServer};
use super::{answer, unmap};
use crate::common::TIMEOUT;

const PAGE: u64 = 4096;
/// The window, and the same as an option.
const SIZE: u64 = 1 << 20;
const OPTIONS: [&str; 3] = ["--render=virgl", "--host-visible=1M", "--venus"];

/// Numbers of commands of the Venus protocol, and its flag that asks for a reply.
const CREATE_INSTANCE: u32 = 0;
const ENUMERATE_PHYSICAL_DEVICES: u32 = 2;
const GET_PHYSICAL_DEVICE_PROPERTIES: u32 = 6;
const CREATE_DEVICE: u32 = 11;
const ALLOCATE_MEMORY: u32 = 21;
const ENUMERATE_INSTANCE_VERSION: u32 = 137;
const SET_REPLY_COMMAND_STREAM: u32 = 178;
const EXECUTE_COMMAND_STREAMS: u32 = 180;
const GENERATE_REPLY: u32 = 1;

fn words(values: &[u64]) -> Vec<u32> {
    values.iter().flat_map(|value| [*value as u32, (*value >> 32) as u32]).collect()
}

/// vkSetReplyCommandStreamMESA: replies go to this part of a resource.
fn replies_to(id: u32, offset: u64, size: u64) -> Vec<u32> {
    [&[SET_REPLY_COMMAND_STREAM, 0, 1, 0, id][..], &words(&[offset, size])].concat()
}

/// vkEnumerateInstanceVersion, with a reply.
fn version() -> Vec<u32> {
    vec![ENUMERATE_INSTANCE_VERSION, GENERATE_REPLY, 1, 0]
}

/// vkExecuteCommandStreamsMESA: the commands in this part of a resource.
fn execute(id: u32, offset: u64, size: u64) -> Vec<u32> {
    let stream = [&[id][..], &words(&[offset, size])].concat();
    // No reply positions, no dependencies, no flags.
    let rest = [0, 0, 0, 0, 0, 0];
    [&[EXECUTE_COMMAND_STREAMS, 0, 1, 1, 0][..], &stream, &rest].concat()
}

/// Values as the protocol has them: numbers of 32 bits, and of 64 bits those that are pointers (there
/// or not), lengths of arrays, handles and sizes.
#[derive(Default)]
struct Encoder(Vec<u32>);

impl Encoder {
    fn command(number: u32) -> Self {
        Self(vec![number, GENERATE_REPLY])
    }

    fn u32(mut self, values: &[u32]) -> Self {
        self.0.extend(values);
        self
    }

    fn u64(mut self, values: &[u64]) -> Self {
        self.0.extend(words(values));
        self
    }
}

/// Handles, which are the client's to choose.
const INSTANCE: u64 = 1;
const PHYSICAL_DEVICE: u64 = 2;
const DEVICE: u64 = 3;
const MEMORY: u64 = 4;

/// vkCreateInstance, for Vulkan 1.2.
fn create_instance() -> Vec<u32> {
    Encoder::command(CREATE_INSTANCE)
        // pCreateInfo: sType, pNext, flags.
        .u64(&[1])
        .u32(&[1])
        .u64(&[0])
        .u32(&[0])
        // pApplicationInfo: sType, pNext, name, version, engine, version, Vulkan's version.
        .u64(&[1])
        .u32(&[0])
        .u64(&[0, 0])
        .u32(&[0])
        .u64(&[0])
        .u32(&[0, 1 << 22 | 2 << 12])
        // Layers and extensions.
        .u32(&[0])
        .u64(&[0])
        .u32(&[0])
        .u64(&[0])
        // pAllocator, pInstance.
        .u64(&[0, 1, INSTANCE])
        .0
}

/// vkEnumeratePhysicalDevices: the first one.
fn enumerate_physical_devices() -> Vec<u32> {
    Encoder::command(ENUMERATE_PHYSICAL_DEVICES)
        .u64(&[INSTANCE, 1])
        .u32(&[1])
        .u64(&[1, PHYSICAL_DEVICE])
        .0
}

/// vkGetPhysicalDeviceProperties.
fn get_physical_device_properties() -> Vec<u32> {
    Encoder::command(GET_PHYSICAL_DEVICE_PROPERTIES).u64(&[PHYSICAL_DEVICE, 1]).0
}

/// vkCreateDevice, with a queue of the first family.
fn create_device() -> Vec<u32> {
    Encoder::command(CREATE_DEVICE)
        // pCreateInfo: sType, pNext, flags.
        .u64(&[PHYSICAL_DEVICE, 1])
        .u32(&[3])
        .u64(&[0])
        .u32(&[0])
        // One VkDeviceQueueCreateInfo: sType, pNext, flags, family, queues, priorities.
        .u32(&[1])
        .u64(&[1])
        .u32(&[2])
        .u64(&[0])
        .u32(&[0, 0, 1])
        .u64(&[1])
        .u32(&[1.0_f32.to_bits()])
        // Layers, extensions, features.
        .u32(&[0])
        .u64(&[0])
        .u32(&[0])
        .u64(&[0, 0])
        // pAllocator, pDevice.
        .u64(&[0, 1, DEVICE])
        .0
}

/// vkAllocateMemory, of the first type.
fn allocate_memory(bytes: u64) -> Vec<u32> {
    Encoder::command(ALLOCATE_MEMORY)
        .u64(&[DEVICE, 1])
        .u32(&[5])
        .u64(&[0, bytes])
        .u32(&[0])
        .u64(&[0, 1, MEMORY])
        .0
}

struct Fixture {
    window: RegionServer,
    front_end: FrontEnd,
    gpu: GpuDriver,
    _display: Display,
}

impl Fixture {
    fn new() -> Self {
        let (display, socket) = Display::new(0);
        let window = RegionServer::start(SIZE);
        let (front_end, gpu) = FrontEnd::start_with_region(&socket, &OPTIONS, Some(&window), 3);
        display.negotiated();
        Self { window, front_end, gpu, _display: display }
    }

    /// With a context 1 of Vulkan.
    fn with_context() -> Self {
        let mut fixture = Self::new();
        fixture.gpu.create_context_of(CapsetId::Venus, 1, "test").unwrap();
        fixture
    }

    /// A blob of the context's plain memory, not mapped.
    fn blob(&mut self, id: u32, size: u64) {
        self.gpu.create_host_blob(1, id, 0, size).unwrap();
        self.gpu.attach_to_context(1, id).unwrap();
    }

    fn submit(&mut self, commands: &[u32]) {
        self.gpu.submit_3d(1, commands, Some(1)).unwrap();
        self.gpu.finish().unwrap();
    }

    fn mapped(&self) -> Vec<(u64, u64)> {
        self.window.region().mapped()
    }

    fn requests(&self) -> usize {
        self.window.region().requests
    }

    fn set_manners(&self, manners: Manners) {
        self.window.region().manners = manners;
    }

    fn close(self) {
        let Self { window, front_end, gpu, _display } = self;
        drop(gpu);
        let (code, text) = front_end.close();
        assert_eq!(code, Some(0), "{text}");
        drop(window);
    }

    /// Waits until the renderer has written a version of Vulkan at this byte of the window, as the
    /// reply to [`version`].
    fn assert_version_at(&self, offset: u64) {
        let deadline = Instant::now() + TIMEOUT;
        let reply = || self.window.region().read::<20>(offset);
        while reply()[16..] == [0xaa; 4] && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let reply = reply();
        let (reply, []) = reply.as_chunks::<4>() else { panic!("half a word") };
        let reply: Vec<_> = reply.iter().map(|word| u32::from_le_bytes(*word)).collect();
        // The command, VK_SUCCESS, a pointer that is not null, and where it points.
        assert_eq!(reply[..4], [ENUMERATE_INSTANCE_VERSION, 0, 1, 0], "{reply:#x?}");
        let (variant, major) = (reply[4] >> 29, reply[4] >> 22 & 0x7f);
        assert_eq!((variant, major), (0, 1), "{reply:#x?}");
    }
}

#[test]
fn the_renderer_and_the_driver_see_each_others_bytes() {
    let mut fixture = Fixture::with_context();
    fixture.blob(1, 2 * PAGE);
    let at = 16 * PAGE;
    assert_eq!(fixture.gpu.map_blob(1, at).unwrap(), map_cache::CACHED);
    assert_eq!(fixture.mapped(), [(at, 2 * PAGE)]);
    fixture.window.region().write(at, &[0xaa; 2 * PAGE as usize]);
    // The reply to a command of SUBMIT_3D, in the second page.
    fixture.submit(&[replies_to(1, PAGE, PAGE), version()].concat());
    fixture.assert_version_at(at + PAGE);
    let around = fixture.window.region().read::<20>(at + PAGE - 20);
    assert_eq!(around, [0xaa; 20]);
    assert_eq!(fixture.window.region().read::<4>(at + PAGE + 20), [0xaa; 4]);

    // A command that the renderer reads from the window.
    fixture.window.region().write(at + PAGE, &[0xaa; 64]);
    let commands = version();
    let bytes: Vec<_> = commands.iter().flat_map(|word| word.to_le_bytes()).collect();
    fixture.window.region().write(at + 64, &bytes);
    let execute = execute(1, 64, bytes.len() as u64);
    fixture.submit(&[replies_to(1, PAGE + 1024, PAGE - 1024), execute].concat());
    fixture.assert_version_at(at + PAGE + 1024);
    assert_eq!(fixture.window.region().read::<64>(at + PAGE), [0xaa; 64]);

    // Elsewhere there are the same bytes.
    fixture.gpu.unmap_blob(1).unwrap();
    assert_eq!(fixture.mapped(), []);
    fixture.gpu.map_blob(1, 0).unwrap();
    assert_eq!(fixture.mapped(), [(0, 2 * PAGE)]);
    assert_eq!(fixture.window.region().read::<16>(64), *bytes);
    fixture.assert_version_at(PAGE + 1024);
    fixture.close();
}

/// Whether the backend can open what makes dma-bufs of memory: if this is root it is nobody then, but
/// in the group that the file has. In the box it has to.
fn has_udmabuf() -> bool {
    let path = Path::new("/dev/udmabuf");
    if std::env::var_os("EXPECT_DMA_BUFS").is_some() {
        return true;
    }
    if !getuid().is_root() {
        return access(path, Access::READ_OK | Access::WRITE_OK).is_ok();
    }
    path.metadata().is_ok_and(|file| {
        let may = |bits: u32| file.mode() & bits == bits;
        may(0o006) || file.gid() != 0 && may(0o060)
    })
}

#[test]
fn memory_of_a_vulkan_device_is_mapped() {
    let mut fixture = Fixture::with_context();
    fixture.blob(1, 2 * PAGE);
    fixture.gpu.map_blob(1, 0).unwrap();
    // What a command is answered with: its number, and a result unless it has none.
    let mut reply_of = |commands: &[u32], result: Option<u32>| -> [u32; 128] {
        fixture.window.region().write(0, &[0xaa; 2 * PAGE as usize]);
        let then = [replies_to(1, PAGE, PAGE), version()].concat();
        fixture.submit(&[&replies_to(1, 0, PAGE), commands, &then].concat());
        // When that has come, the other is there.
        fixture.assert_version_at(PAGE);
        let bytes = fixture.window.region().read::<512>(0);
        let (reply, _) = bytes.as_chunks::<4>();
        let reply: Vec<_> = reply.iter().map(|word| u32::from_le_bytes(*word)).collect();
        assert_eq!(reply[0], commands[0], "{reply:#x?}");
        if let Some(result) = result {
            assert_eq!(reply[1], result, "{reply:#x?}");
        }
        reply.try_into().unwrap()
    };
    const SUCCESS: u32 = 0;
    reply_of(&create_instance(), Some(SUCCESS));
    let devices = reply_of(&enumerate_physical_devices(), Some(SUCCESS));
    assert_eq!(devices[4], 1);
    let properties = reply_of(&get_physical_device_properties(), None);
    let name: Vec<u8> = properties[10..74].iter().flat_map(|word| word.to_le_bytes()).collect();
    println!("{}", String::from_utf8_lossy(&name).trim_end_matches('\0'));
    reply_of(&create_device(), Some(SUCCESS));
    reply_of(&allocate_memory(4 * PAGE), Some(SUCCESS));
    fixture.gpu.create_host_blob(1, 2, MEMORY, 4 * PAGE).unwrap();
    let mapped = answer(&mut fixture.gpu, &map_blob(2, 8 * PAGE));
    if !has_udmabuf() {
        // lavapipe has no dma-bufs then, and what else it has only Vulkan can map.
        assert_eq!(mapped, RespType::ErrUnspec.raw());
        assert_eq!(fixture.mapped(), [(0, 2 * PAGE)]);
        fixture.close();
        return;
    }
    assert_eq!(mapped, RespType::OkMapInfo.raw());
    assert_eq!(fixture.mapped(), [(0, 2 * PAGE), (8 * PAGE, 4 * PAGE)]);
    fixture.window.region().write(11 * PAGE, &[0x77; 64]);
    fixture.gpu.unmap_blob(2).unwrap();
    fixture.gpu.map_blob(2, 32 * PAGE).unwrap();
    assert_eq!(fixture.window.region().read::<64>(35 * PAGE), [0x77; 64]);
    fixture.close();
}

#[test]
fn capsets_have_venus_with_a_window_only() {
    let mut fixture = Fixture::new();
    let info = fixture.gpu.capset_info(2).unwrap();
    assert_eq!(info.capset_id.get(), CapsetId::Venus.raw());
    let size = info.capset_max_size.get();
    let capset = fixture.gpu.capset(CapsetId::Venus.raw(), 0, size).unwrap();
    // Begins with the version of the wire format, and Vulkan's header version is not 0.
    assert_eq!(capset[..4], 1_u32.to_le_bytes());
    assert_ne!(capset[4..8], [0; 4]);
    fixture.close();

    let (display, socket) = Display::new(0);
    let (front_end, mut gpu) = FrontEnd::start_with_region(&socket, &OPTIONS, None, 2);
    display.negotiated();
    assert!(gpu.capset_info(2).is_err());
    assert!(gpu.capset(CapsetId::Venus.raw(), 0, 160).is_err());
    assert!(gpu.create_context_of(CapsetId::Venus, 1, "test").is_err());
    assert_eq!(answer(&mut gpu, &map_blob(1, 0)), RespType::ErrUnspec.raw());
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

#[test]
fn bad_requests_are_refused_before_the_front_end_sees_them() {
    let mut fixture = Fixture::with_context();
    fixture.blob(1, 2 * PAGE);
    fixture.blob(2, PAGE);
    fixture.blob(3, SIZE);
    fixture.gpu.map_blob(1, 4 * PAGE).unwrap();
    let [no_resource, parameter, unspec] =
        [RespType::ErrInvalidResourceId, RespType::ErrInvalidParameter, RespType::ErrUnspec]
            .map(RespType::raw);
    let (image, texture) = (50, 51);
    fixture.gpu.create_2d(image, Format::B8g8r8x8, 8, 8).unwrap();
    fixture.gpu.create_3d(&create_3d(texture, Format::B8g8r8x8, 8, 8)).unwrap();
    let requests = fixture.requests();
    for (id, offset, wanted) in [
        // Not there, and others than blobs.
        (9, 0, no_resource),
        (0, 0, no_resource),
        (texture, 0, no_resource),
        (image, 0, no_resource),
        // Overlaps: the first page, the second, and all.
        (2, 4 * PAGE, parameter),
        (2, 5 * PAGE, parameter),
        (3, 0, parameter),
        // Outside.
        (2, SIZE, parameter),
        (2, SIZE - PAGE + 1, parameter),
        (2, u64::MAX - PAGE + 1, parameter),
        (2, u64::MAX, parameter),
        // Within a page.
        (2, 1, parameter),
        (2, PAGE / 2, parameter),
        // Twice.
        (1, 8 * PAGE, unspec),
    ] {
        assert_eq!(answer(&mut fixture.gpu, &map_blob(id, offset)), wanted, "{id} at {offset:#x}");
    }
    // Not mapped, not there, and others.
    for (id, wanted) in
        [(2, unspec), (9, no_resource), (texture, no_resource), (image, no_resource)]
    {
        assert_eq!(answer(&mut fixture.gpu, &unmap(id)), wanted, "{id}");
    }
    // A request that is cut off.
    let short = map_blob(2, 0);
    let short: [u8; 32] = short.as_bytes()[..32].try_into().unwrap();
    assert_eq!(answer(&mut fixture.gpu, &short), parameter);
    assert_eq!(fixture.requests(), requests);
    // Without room for the answer the driver would not know.
    fixture.gpu.control().submit(&map_blob(2, 0), Submission::plain()).unwrap();
    fixture.gpu.control().kick().unwrap();
    let completion = fixture.gpu.control().wait(TIMEOUT).unwrap().unwrap();
    assert_eq!(completion.header.unwrap().type_.get(), unspec);
    assert_eq!(fixture.mapped(), [(4 * PAGE, 2 * PAGE)]);
    // And next to it there is room.
    fixture.gpu.map_blob(2, 6 * PAGE).unwrap();
    fixture.gpu.unmap_blob(2).unwrap();
    assert_eq!(answer(&mut fixture.gpu, &unmap(2)), unspec);
    fixture.close();
}

#[test]
fn blobs_that_are_not_to_be_mapped_are_not() {
    let mut fixture = Fixture::with_context();
    // Venus makes plain memory only for blobs that can be mapped.
    let mut request = host_blob(1, 1, 0, PAGE);
    request.blob_flags.set(0);
    assert_ne!(answer(&mut fixture.gpu, &request), RespType::OkNodata.raw());
    assert_eq!(answer(&mut fixture.gpu, &map_blob(1, 0)), RespType::ErrInvalidResourceId.raw());
    // A context of OpenGL has no blob 0.
    fixture.gpu.create_context(2, "gl").unwrap();
    assert_ne!(answer(&mut fixture.gpu, &host_blob(2, 2, 0, PAGE)), RespType::OkNodata.raw());
    assert_eq!(fixture.requests(), 0);
    fixture.close();
}

#[test]
fn what_is_destroyed_or_reset_leaves_the_window() {
    let mut fixture = Fixture::with_context();
    for id in 1..=3 {
        fixture.blob(id, PAGE);
        fixture.gpu.map_blob(id, u64::from(id) * PAGE).unwrap();
    }
    assert_eq!(fixture.mapped().len(), 3);
    fixture.gpu.unref(2).unwrap();
    assert_eq!(fixture.mapped(), [(PAGE, PAGE), (3 * PAGE, PAGE)]);
    // Memory outlives the context that made it.
    fixture.window.region().write(PAGE, &[0x5a; 4096]);
    fixture.gpu.destroy_context(1).unwrap();
    assert_eq!(fixture.window.region().read::<4096>(PAGE), [0x5a; 4096]);
    fixture.gpu.unmap_blob(1).unwrap();
    assert_eq!(fixture.mapped(), [(3 * PAGE, PAGE)]);
    let mut fixture = reset(fixture);
    // Nobody has waited for the reset.
    let deadline = Instant::now() + TIMEOUT;
    while !fixture.mapped().is_empty() {
        assert!(Instant::now() < deadline, "{:?} is mapped", fixture.mapped());
        std::thread::sleep(Duration::from_millis(1));
    }
    // Once more, with the driver that comes next.
    fixture.gpu.create_context_of(CapsetId::Venus, 1, "again").unwrap();
    fixture.blob(1, PAGE);
    fixture.gpu.map_blob(1, 3 * PAGE).unwrap();
    assert_eq!(fixture.mapped(), [(3 * PAGE, PAGE)]);
    fixture.close();
}

/// The driver resets the device and starts again.
fn reset(fixture: Fixture) -> Fixture {
    let Fixture { window, mut front_end, gpu, _display } = fixture;
    let (driver, result): (Driver, _) = std::thread::scope(|scope| {
        let reset = scope.spawn(|| gpu.reset(TIMEOUT));
        while !reset.is_finished() {
            front_end.follow();
            std::thread::sleep(Duration::from_millis(1));
        }
        reset.join().unwrap()
    });
    result.unwrap();
    let gpu = GpuDriver::start(driver, u64::MAX).unwrap();
    front_end.follow();
    Fixture { window, front_end, gpu, _display }
}

#[test]
fn a_front_end_that_refuses_is_an_error_and_no_more() {
    let mut fixture = Fixture::with_context();
    let unspec = RespType::ErrUnspec.raw();
    fixture.blob(1, PAGE);
    fixture.set_manners(Manners::Refuse);
    assert_eq!(answer(&mut fixture.gpu, &map_blob(1, 0)), unspec);
    fixture.set_manners(Manners::Serve);
    fixture.gpu.map_blob(1, 0).unwrap();
    // What it does not take out is there still: nothing else gets there.
    fixture.set_manners(Manners::Refuse);
    assert_eq!(answer(&mut fixture.gpu, &unmap(1)), unspec);
    fixture.set_manners(Manners::Serve);
    assert_eq!(fixture.mapped(), [(0, PAGE)]);
    fixture.blob(2, PAGE);
    assert_eq!(answer(&mut fixture.gpu, &map_blob(2, 0)), RespType::ErrInvalidParameter.raw());
    fixture.gpu.map_blob(2, PAGE).unwrap();
    fixture.close();
}

#[test]
fn a_front_end_that_never_answers_holds_the_driver_up_once() {
    let mut fixture = Fixture::with_context();
    let unspec = RespType::ErrUnspec.raw();
    fixture.blob(1, PAGE);
    fixture.blob(2, PAGE);
    fixture.gpu.map_blob(1, 0).unwrap();
    fixture.set_manners(Manners::Silent);
    // The server waits for one request more than it was told to answer.
    let start = Instant::now();
    let first = answer(&mut fixture.gpu, &map_blob(2, PAGE));
    let second = answer(&mut fixture.gpu, &unmap(1));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(first == unspec || second == unspec, "{first:#x} {second:#x}");
    // From then on at once, whatever it does, and other commands as ever.
    fixture.set_manners(Manners::Serve);
    let start = Instant::now();
    fixture.blob(3, PAGE);
    assert_eq!(answer(&mut fixture.gpu, &map_blob(3, 8 * PAGE)), unspec);
    fixture.gpu.unref(3).unwrap();
    fixture.gpu.unref(1).unwrap();
    fixture.gpu.create_2d(9, Format::B8g8r8x8, 8, 8).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    fixture.close();
}

#[test]
fn commands_are_executed_in_their_order() {
    let mut fixture = Fixture::with_context();
    fixture.blob(1, PAGE);
    // All on the queue at once: mapped and unmapped each time, or one of them failed.
    for round in 0..5 {
        let submission = || Submission { response: 32, ..Submission::plain() };
        fixture.gpu.control().submit(&map_blob(1, round * PAGE), submission()).unwrap();
        fixture.gpu.control().submit(&unmap(1), submission()).unwrap();
    }
    fixture.gpu.control().kick().unwrap();
    for round in 0..10 {
        let completion = fixture.gpu.control().wait(TIMEOUT).unwrap().unwrap();
        let wanted = [RespType::OkMapInfo, RespType::OkNodata][round % 2];
        assert_eq!(completion.header.unwrap().type_.get(), wanted.raw(), "{round}");
    }
    assert_eq!((fixture.mapped(), fixture.requests()), (vec![], 10));
    fixture.close();
}

#[test]
fn blobs_that_are_mapped_count_as_files() {
    let options = [&OPTIONS[..], &["--limit=files=2"]].concat();
    let (display, socket) = Display::new(0);
    let window = RegionServer::start(SIZE);
    let (front_end, mut gpu) = FrontEnd::start_with_region(&socket, &options, Some(&window), 3);
    display.negotiated();
    gpu.create_context_of(CapsetId::Venus, 1, "test").unwrap();
    gpu.create_host_blob(1, 1, 0, PAGE).unwrap();
    gpu.create_host_blob(1, 2, 0, PAGE).unwrap();
    assert_eq!(answer(&mut gpu, &host_blob(1, 3, 0, PAGE)), RespType::ErrOutOfMemory.raw());
    gpu.unref(1).unwrap();
    gpu.create_host_blob(1, 3, 0, PAGE).unwrap();
    gpu.map_blob(3, 0).unwrap();
    let hdr = in_context(Command::CtxDetachResource, 1);
    let detach = ResourceRequest { hdr, resource_id: 3.into(), padding: 0.into() };
    assert_eq!(answer(&mut gpu, &detach), RespType::OkNodata.raw());
    drop(gpu);
    assert_eq!(front_end.close().0, Some(0));
}

/// Processes that a process has started, and theirs.
fn descendants(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children = text.split_whitespace().map(|child| child.parse().unwrap());
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_for_the_end_of(pids: &[u32]) {
    let deadline = Instant::now() + TIMEOUT;
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < deadline, "{pids:?} live");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_render_server_is_confined_and_ends_with_the_backend() {
    let backend_gone = |kill: bool| {
        let fixture = Fixture::with_context();
        let backend = fixture.front_end.backend.0.id();
        let own = Confinement::of(backend).unwrap();
        let processes = descendants(backend);
        // Who started the server, the server, and the process of the context.
        assert_eq!(processes.len(), 3);
        let own_program = std::fs::read_link(format!("/proc/{backend}/exe")).unwrap();
        for pid in &processes {
            let confinement = Confinement::of(*pid).unwrap();
            assert_eq!(confinement, own);
            assert!(confinement.no_new_privs && confinement.seccomp);
            assert_eq!(confinement.capabilities, 0);
            let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
            let wanted =
                if *pid == processes[0] { &*own_program } else { Path::new(RENDER_SERVER) };
            assert_eq!(program, wanted);
        }
        if kill {
            let Fixture { window, front_end, gpu, _display } = fixture;
            let pid = Pid::from_raw(backend as i32).unwrap();
            kill_process(pid, Signal::KILL).unwrap();
            wait_for_the_end_of(&processes);
            drop((gpu, front_end, window));
        } else {
            fixture.close();
            wait_for_the_end_of(&processes);
        }
    };
    backend_gone(false);
    backend_gone(true);
}

#[test]
fn when_the_render_server_dies_vulkan_does_and_nothing_else() {
    let mut fixture = Fixture::with_context();
    fixture.blob(1, PAGE);
    fixture.gpu.map_blob(1, 0).unwrap();
    fixture.window.region().write(0, &[0x11; 64]);
    let processes = descendants(fixture.front_end.backend.0.id());
    for pid in &processes {
        kill_process(Pid::from_raw(*pid as i32).unwrap(), Signal::KILL).unwrap();
    }
    wait_for_the_end_of(&processes);
    // Commands of Vulkan fail or do nothing, and fences signal.
    let _ = answer(&mut fixture.gpu, &host_blob(1, 2, 0, PAGE));
    fixture.gpu.submit_3d(1, &version(), Some(1)).unwrap();
    fixture.gpu.control().kick().unwrap();
    let completion = fixture.gpu.control().wait(TIMEOUT).unwrap().expect("the fence is lost");
    assert_eq!(completion.fence, Some(1));
    let other = fixture.gpu.create_context_of(CapsetId::Venus, 2, "late");
    assert!(other.is_err());
    // What is mapped stays, and OpenGL and 2D go on.
    assert_eq!(fixture.window.region().read::<64>(0), [0x11; 64]);
    fixture.gpu.unmap_blob(1).unwrap();
    fixture.gpu.create_context(3, "gl").unwrap();
    fixture.gpu.create_2d(9, Format::B8g8r8x8, 8, 8).unwrap();
    fixture.gpu.destroy_context(1).unwrap();
    fixture.close();
}

#[test]
fn a_context_that_hangs_does_not_take_the_device_with_it() {
    let mut fixture = Fixture::with_context();
    let processes = descendants(fixture.front_end.backend.0.id());
    let context = Pid::from_raw(*processes.last().unwrap() as i32).unwrap();
    kill_process(context, Signal::STOP).unwrap();
    // Its commands are only sent to it; for a blob's memory the device waits.
    fixture.submit(&version());
    fixture.gpu.set_timeout(Duration::from_secs(20));
    let start = Instant::now();
    fixture.gpu.control().submit(&host_blob(1, 1, 0, PAGE), Submission::plain()).unwrap();
    fixture.gpu.control().kick().unwrap();
    assert!(fixture.gpu.control().wait(Duration::from_secs(2)).unwrap().is_none());
    let completion = fixture.gpu.control().wait(Duration::from_secs(20)).unwrap();
    let response = completion.expect("the device hangs").header.unwrap().type_.get();
    assert_eq!(response, RespType::ErrUnspec.raw());
    assert!(start.elapsed() >= Duration::from_secs(8), "{:?}", start.elapsed());
    wait_for_the_end_of(&processes);
    // All of Vulkan has ended, and nothing else.
    assert!(fixture.gpu.create_context_of(CapsetId::Venus, 2, "late").is_err());
    fixture.gpu.create_context(3, "gl").unwrap();
    fixture.gpu.create_2d(9, Format::B8g8r8x8, 8, 8).unwrap();
    fixture.close();
}

#[test]
fn fences_of_a_contexts_ring_signal() {
    let mut fixture = Fixture::with_context();
    fixture.blob(1, PAGE);
    let commands = [replies_to(1, 0, PAGE), version()].concat();
    let size = commands.len() as u32 * 4;
    for fence in 1..=4_u64 {
        let memory = fixture.gpu.driver().memory().allocate(u64::from(size)).unwrap();
        memory.write(0, commands.as_bytes()).unwrap();
        let mut hdr = in_context(Command::Submit3d, 1);
        // The first ring is the processor's.
        hdr.flags.set(flag::FENCE | flag::INFO_RING_IDX);
        hdr.fence_id.set(fence);
        let request = CmdSubmit { hdr, size: size.into(), padding: 0.into() };
        let payload = Some(Payload::Request(memory, size));
        fixture
            .gpu
            .control()
            .submit(&request, Submission { payload, ..Submission::plain() })
            .unwrap();
    }
    fixture.gpu.control().kick().unwrap();
    for fence in 1..=4 {
        let completion = fixture.gpu.control().wait(TIMEOUT).unwrap().expect("a fence is lost");
        let header = completion.header.unwrap();
        assert_eq!((header.type_.get(), header.fence_id.get()), (RespType::OkNodata.raw(), fence));
        assert_eq!(header.flags.get() & flag::FENCE, flag::FENCE);
    }
    fixture.close();
}
