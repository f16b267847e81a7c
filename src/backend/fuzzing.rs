//! The device on rings in plain memory, for fuzzing: no front-end, no other process, and the driver
//! does nothing while the device works. And the event loop around it, a few turns at a time.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::EventfdFlags;
use rustix::event::epoll::Event;
use rustix::fs::MemfdFlags;
use vhost::vhost_user::VhostUserBackendReqHandlerMut;
use vhost::vhost_user::message::{VhostUserMemoryRegion, VhostUserVringAddrFlags};

use super::device::Device;
use super::event_loop::Server;
use super::fences::Signals;
use super::poll::Poll;
use super::{EventLoopError, Settings};
use crate::gpu::{Limits, Renderer, wire};

/// Bytes of the driver's memory.
pub const MEMORY: u64 = 4 << 20;
/// Entries of each queue.
pub const QUEUE_SIZE: u16 = 64;
/// The first byte behind the rings.
pub const FREE: u64 = 0x1_0000;

/// Turns after which a device that still wants another one goes round in circles: more than full
/// rings need, each time the display has answered.
const MAX_TURNS: usize = 64;

/// Where the driver has the parts of a queue: one page each.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The descriptor table.
    pub descriptors: u64,
    /// The available ring.
    pub available: u64,
    /// The used ring.
    pub used: u64,
}

impl Layout {
    /// That of a queue.
    pub fn of(queue: u16) -> Self {
        let base = 0x1000 + u64::from(queue) * 0x4000;
        Self { descriptors: base, available: base + 0x1000, used: base + 0x2000 }
    }
}

/// A device and the driver's memory.
pub struct Rings {
    device: Device,
    memory: File,
    /// Kept open for the device, which adds them to its poll.
    _eventfds: Vec<File>,
}

impl Rings {
    /// A device whose queues run.
    pub fn new(limits: Limits) -> Self {
        let poll = Arc::new(Poll::new().unwrap());
        let settings = Settings { limits, ..Settings::default() };
        let device = Device::new(settings, Renderer::TwoD, Signals::new().unwrap(), poll).unwrap();
        let memory = rustix::fs::memfd_create("driver", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, MEMORY).unwrap();
        let mut rings = Self { device, memory: memory.into(), _eventfds: Vec::new() };
        let region = VhostUserMemoryRegion::new(0, MEMORY, 0, 0);
        let file = rings.memory.try_clone().unwrap();
        rings.device.set_mem_table(&[region], vec![file], None).unwrap();
        rings.start();
        rings
    }

    /// Shows what the driver draws on the display behind `stream`.
    pub fn connect_display(&mut self, stream: UnixStream) {
        self.device.connect_display(stream);
    }

    fn start(&mut self) {
        let features = self.device.get_features().unwrap();
        self.device.set_features(features).unwrap();
        for queue in [wire::CONTROL_QUEUE, wire::CURSOR_QUEUE] {
            let index = u32::from(queue);
            let Layout { descriptors, available, used } = Layout::of(queue);
            let flags = VhostUserVringAddrFlags::empty();
            self.device.set_vring_num(index, QUEUE_SIZE.into()).unwrap();
            self.device.set_vring_base(index, 0).unwrap();
            self.device.set_vring_addr(index, flags, descriptors, used, available, 0).unwrap();
            self.device.set_vring_call(queue as u8, Some(eventfd())).unwrap();
            self.device.set_vring_kick(queue as u8, Some(eventfd())).unwrap();
            self.device.set_vring_enable(index, true).unwrap();
        }
    }

    /// Writes to the driver's memory; what is beyond it is left out.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let room = usize::try_from(MEMORY.saturating_sub(address)).unwrap();
        self.memory.write_all_at(&bytes[..bytes.len().min(room)], address).unwrap();
    }

    /// The driver's memory.
    pub fn memory(&self) -> &File {
        &self.memory
    }

    /// Lets the device work until it has nothing to do.
    ///
    /// # Panics
    ///
    /// If it never has.
    pub fn process(&mut self, queue: u16) {
        let mut turns = 0;
        while self.device.process_queue(queue) {
            turns += 1;
            assert!(turns < MAX_TURNS, "the device goes round in circles");
        }
        if self.device.has_answers() {
            self.device.collect_updates(false);
        }
    }

    /// Takes what the display has answered, if it has.
    pub fn collect(&mut self) {
        if let Some(socket) = self.device.display_socket() {
            let mut pending = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if rustix::event::poll(&mut pending, Some(&now)) == Ok(1) {
                self.device.collect_updates(true);
            }
        }
    }

    /// What a front-end does for the driver's reset; the driver starts again with empty rings.
    pub fn reset(&mut self) {
        for queue in [wire::CONTROL_QUEUE, wire::CURSOR_QUEUE] {
            self.device.get_vring_base(queue.into()).unwrap();
        }
        self.device.reset_device().unwrap();
        self.write(0, &[0; FREE as usize]);
        self.start();
    }
}

/// The backend's event loop, and nothing that ends it but the front-end.
pub struct EventLoop {
    server: Server,
    ready: Vec<Event>,
    _stop: OwnedFd,
}

impl EventLoop {
    /// A loop that serves the front-end behind `stream`.
    pub fn new(stream: UnixStream, limits: Limits) -> Self {
        let stop: OwnedFd = eventfd().into();
        let settings = Settings { limits, ..Settings::default() };
        let server =
            Server::new(stream, Renderer::TwoD, Signals::new().unwrap(), settings, &stop).unwrap();
        Self { server, ready: Vec::with_capacity(8), _stop: stop }
    }

    /// Lets it work until it has nothing to do. It is to have at most `messages` of others to serve.
    ///
    /// # Panics
    ///
    /// If it never has nothing to do.
    pub fn settle(&mut self, messages: usize) -> Result<(), EventLoopError> {
        let mut turns = 0;
        while self.server.is_busy() || self.server.has_events() {
            self.server.turn(&mut self.ready, Some(Duration::ZERO))?;
            turns += 1;
            assert!(turns < messages + MAX_TURNS, "the event loop goes round in circles");
        }
        Ok(())
    }
}

fn eventfd() -> File {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    File::from(rustix::event::eventfd(0, flags).unwrap())
}
