//! A vhost-user front-end that is not ours, as QEMU is one, with our backend program behind it. It
//! speaks through the `vhost` crate and has a display socket of its own.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loopback_driver_glue::{DeviceConfig, Event, Transport};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_loopback_gpu::driver::{self, GpuDriver, SoftwareTransport};
use virtio_loopback_gpu::gpu::wire;
use virtio_loopback_gpu::vhost_gpu::{Channel, Frame, Request, decode, payload_bound};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use zerocopy::{FromBytes, IntoBytes};

use super::region::{REGION_FEATURES, RegionServer};
use crate::common::{TIMEOUT, program};

/// Request `GPU_SET_SOCKET`.
const GPU_SET_SOCKET: u32 = 33;
/// Our own requests, with which a backend goes on for another.
const SET_STATE: u32 = 0x564c_0001;
const SET_REPEATED: u32 = 0x564c_0003;
/// Where the front-end's address space has the driver's memory; QEMU's differs from the driver's,
/// too.
const USER_BASE: u64 = 0x7f00_0000_0000;
/// Entries of each queue.
pub const QUEUE_SIZE: u16 = 16;

/// The backend program, and what waits for it.
pub struct BackendProcess(pub Child);

impl BackendProcess {
    /// Starts the program with its socket as standard input.
    pub fn start() -> (Self, UnixStream) {
        Self::start_with(&[])
    }

    /// As [`BackendProcess::start`], with more options.
    pub fn start_with(options: &[&str]) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(program());
        command.args(["backend", "--fd", "0"]).args(options);
        // In software, whatever GPUs there are.
        command.env("VK_LOADER_DRIVERS_SELECT", "*lvp*");
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs))).stderr(Stdio::piped());
        (Self(command.spawn().unwrap()), ours)
    }

    /// Waits for its end: the exit code, and what it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + TIMEOUT;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the backend does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
        }
        (self.0.wait().unwrap().code(), text)
    }

    /// Clock ticks the program has run, 10 ms each.
    pub fn ticks(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, fields) = text.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for BackendProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The front-end and the transport of its driver.
pub struct FrontEnd {
    pub backend: BackendProcess,
    requests: Frontend,
    raw: Channel,
    transport: SoftwareTransport,
    eventfds: Vec<EventFd>,
    /// What the driver accepted.
    features: u64,
}

impl FrontEnd {
    /// Connects to a new backend whose display is `display`, and gives the driver as started.
    pub fn start(display: &UnixStream) -> (Self, GpuDriver) {
        Self::start_keeping(display, None)
    }

    /// As [`FrontEnd::start`]; the backend keeps its state in this file.
    pub fn start_keeping(display: &UnixStream, state: Option<&File>) -> (Self, GpuDriver) {
        let connected = connect(&[], None);
        Self::start_connected(connected, display, state, 0)
    }

    /// As [`FrontEnd::start`], with options for the backend, and a region that it may map blobs to.
    pub fn start_with_region(
        display: &UnixStream,
        options: &[&str],
        region: Option<&RegionServer>,
        capsets: u32,
    ) -> (Self, GpuDriver) {
        Self::start_connected(connect(options, region), display, None, capsets)
    }

    fn start_connected(
        (backend, raw, mut requests, features): Connected,
        display: &UnixStream,
        state: Option<&File>,
        capsets: u32,
    ) -> (Self, GpuDriver) {
        let flags = VhostUserConfigFlags::WRITABLE;
        let (_, config) = requests.get_config(0, 16, flags, &[0; 16]).unwrap();
        let config = wire::Config::read_from_bytes(&config).unwrap();
        assert_eq!((config.num_scanouts.get(), config.num_capsets.get()), (16, capsets));
        let device = DeviceConfig {
            keep_ms: 0,
            name: "foreign".into(),
            device_id: wire::DEVICE_ID,
            vendor_id: 0,
            features: features & !(1 << 30) | 1 << 33,
            queue_sizes: vec![QUEUE_SIZE; 2],
            config: config.as_bytes().to_vec(),
            bounce_max: 0,
            export_max: 0,
        };
        let (transport, driver) = driver::connect(device).unwrap();
        let eventfds = Vec::new();
        let mut front_end = Self { backend, requests, raw, transport, eventfds, features: 0 };
        if let Some(state) = state {
            front_end.set_state(state);
        }
        front_end.set_display(display);
        let mut gpu = GpuDriver::start(driver, u64::MAX).unwrap();
        gpu.set_timeout(TIMEOUT);
        front_end.follow();
        (front_end, gpu)
    }

    /// Has the backend keep its state in this file, before there is a driver.
    fn set_state(&self, state: &File) {
        self.raw.send(SET_STATE, 1, &[], &[state.as_fd()]).unwrap();
    }

    /// Kills the backend. Another one goes on from the file and with the driver's commands, as our
    /// adapter has it do. Returns how many may have been executed.
    pub fn replace(&mut self, display: &UnixStream, state: &File) -> u16 {
        self.backend.0.kill().unwrap();
        self.backend.0.wait().unwrap();
        let (backend, raw, requests, _) = connect(&[], None);
        (self.backend, self.raw, self.requests) = (backend, raw, requests);
        self.set_state(state);
        self.set_display(display);
        let count = self.transport.reoffer(0).unwrap();
        let repeated = [0, u32::from(count)];
        self.raw.send(SET_REPEATED, 1, &[repeated.as_bytes()], &[]).unwrap();
        self.start_rings(self.features);
        count
    }

    /// Hands over a display socket, as QEMU does: no acknowledgement is asked for.
    pub fn set_display(&self, display: &UnixStream) {
        self.raw.send(GPU_SET_SOCKET, 1, &[], &[display.as_fd()]).unwrap();
    }

    /// Follows the driver's last steps.
    pub fn follow(&mut self) {
        while let Some(event) = self.transport.next_event().unwrap() {
            match event {
                Event::DriverOk { features } => self.start_rings(features),
                Event::Reset { sequence } => {
                    self.stop_rings();
                    self.requests.reset_device().unwrap();
                    self.transport.acknowledge(sequence).unwrap();
                }
                _ => {}
            }
        }
    }

    fn start_rings(&mut self, features: u64) {
        self.features = features;
        self.requests.set_features(features & !(1 << 33) | 1 << 30).unwrap();
        let window = self.transport.memory();
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: window.size,
            userspace_addr: USER_BASE,
            mmap_offset: 0,
            mmap_handle: window.fd.as_raw_fd(),
        };
        self.requests.set_mem_table(&[region]).unwrap();
        for index in 0..2 {
            let base = self.transport.queue(index).unwrap().next_avail;
            self.start_ring(index, base);
        }
    }

    /// Starts a ring at an index of its available ring.
    pub fn start_ring(&mut self, index: u16, base: u16) {
        let info = self.transport.queue(index).unwrap();
        let ring = usize::from(index);
        let addresses = VringConfigData {
            queue_max_size: info.size,
            queue_size: info.size,
            flags: 0,
            desc_table_addr: USER_BASE + info.desc,
            used_ring_addr: USER_BASE + info.used,
            avail_ring_addr: USER_BASE + info.avail,
            log_addr: None,
        };
        let (kick, call) = (eventfd(), eventfd());
        self.requests.set_vring_num(ring, info.size).unwrap();
        self.requests.set_vring_base(ring, base).unwrap();
        self.requests.set_vring_addr(ring, &addresses).unwrap();
        self.requests.set_vring_call(ring, &call).unwrap();
        self.requests.set_vring_kick(ring, &kick).unwrap();
        self.requests.set_vring_enable(ring, true).unwrap();
        self.transport.set_queue_fds(index, &kick, &call).unwrap();
        self.eventfds.extend([kick, call]);
    }

    /// Stops a ring, and says where.
    pub fn stop_ring(&mut self, index: u16) -> u16 {
        self.requests.get_vring_base(usize::from(index)).unwrap().try_into().unwrap()
    }

    fn stop_rings(&mut self) {
        for index in 0..2 {
            self.stop_ring(index);
        }
        self.eventfds.clear();
    }

    /// Hangs up and waits for the backend's end.
    pub fn close(self) -> (Option<i32>, String) {
        let Self { backend, requests, raw, .. } = self;
        drop((requests, raw));
        backend.end()
    }
}

/// A backend, the ways to talk to it, and the features it offers.
type Connected = (BackendProcess, Channel, Frontend, u64);

/// A new backend, which may map to a region if there is one.
fn connect(options: &[&str], region: Option<&RegionServer>) -> Connected {
    let (backend, stream) = BackendProcess::start_with(options);
    let raw = Channel::new(stream.try_clone().unwrap());
    let mut requests = Frontend::from_stream(stream, 2);
    requests.set_owner().unwrap();
    let features = requests.get_features().unwrap();
    let protocol = requests.get_protocol_features().unwrap();
    let mut wanted = VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::RESET_DEVICE;
    if region.is_some() {
        wanted |= REGION_FEATURES;
    }
    assert!(protocol.contains(wanted));
    requests.set_protocol_features(wanted).unwrap();
    if let Some(region) = region {
        let config = requests.get_shmem_config().unwrap();
        assert_eq!({ config.nregions }, 1);
        let sizes = config.memory_sizes;
        let others = sizes.iter().enumerate().filter(|(id, size)| *id != 1 && **size != 0);
        assert_eq!((sizes[1], others.count()), (region.size(), 0));
        requests.set_backend_request_fd(&region.socket()).unwrap();
    }
    (backend, raw, requests, features)
}

fn eventfd() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

/// The front-end's end of a display socket, read by the test itself.
pub struct Display(pub Channel);

impl Display {
    /// A display that offers these protocol features, and the backend's end of its socket. The
    /// backend asks for them when it is given the socket.
    pub fn new(features: u64) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let display = Self(Channel::new(ours));
        // The answer can wait in the socket.
        display.reply(1, &features.to_ne_bytes());
        (display, theirs)
    }

    /// Takes the question for the protocol features, whose answer was there before, and the choice.
    pub fn negotiated(&self) -> u64 {
        assert!(matches!(self.receive(), Request::GetProtocolFeatures));
        match self.receive() {
            Request::SetProtocolFeatures(features) => features,
            other => panic!("{other:?}"),
        }
    }

    /// The next request.
    pub fn receive(&self) -> Request {
        let bound = |header: &virtio_loopback_gpu::vhost_gpu::message::Header| {
            payload_bound(header.request)
        };
        let Frame { header, payload, fds } = self.0.receive_within(TIMEOUT, bound).unwrap();
        decode(header.request, &payload, fds).unwrap()
    }

    /// Whether the backend sends nothing more for a while.
    pub fn is_quiet(&self) -> bool {
        self.0.receive_within(Duration::from_millis(50), |_| u32::MAX).is_err()
    }

    /// Answers.
    pub fn reply(&self, number: u32, payload: &[u8]) {
        self.0.send(number, 4, &[payload], &[]).unwrap();
    }
}
