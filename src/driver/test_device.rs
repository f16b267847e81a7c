//! The other side for the driver's tests: a device on the `virtio-queue` crate, over its own mapping
//! of the memory, in its own thread, woken by eventfds. It knows the driver by the
//! [`Transport`] only.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use loopback_driver_glue::{DeviceConfig, Event, QueueInfo, Transport};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::SoftwareTransport;

pub(crate) const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
pub(crate) const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
pub(crate) const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

/// A device of two queues that offers `features` and VERSION_1.
pub(crate) fn device_config(features: u64, queue_size: u16) -> DeviceConfig {
    DeviceConfig {
        name: "test".into(),
        device_id: 16,
        vendor_id: 0x1af4,
        features: features | VERSION_1,
        queue_sizes: vec![queue_size; 2],
        config: vec![0; 16],
    }
}

/// Maps the memory of a transport as a device would.
pub(crate) fn map(transport: &SoftwareTransport) -> GuestMemoryMmap {
    let window = transport.memory();
    let file = window.fd.try_clone_to_owned().unwrap().into();
    let offset = Some(FileOffset::new(file, 0));
    let size = usize::try_from(window.size).unwrap();
    let region = GuestRegionMmap::from_range(GuestAddress(0), size, offset).unwrap();
    GuestMemoryMmap::from_regions(vec![region]).unwrap()
}

/// The device's queue as the driver set it up.
pub(crate) fn open_queue(info: QueueInfo, event_idx: bool) -> Queue {
    let mut queue = Queue::new(info.size).unwrap();
    queue.try_set_desc_table_address(GuestAddress(info.desc)).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(info.avail)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(info.used)).unwrap();
    queue.set_next_avail(info.next_avail);
    queue.set_event_idx(event_idx);
    queue.set_ready(true);
    queue
}

/// What the device does with a chain of queue `.0`: readable bytes to bytes written.
pub(crate) trait Handler: FnMut(u16, &[u8]) -> Vec<u8> + Send + 'static {}
impl<T: FnMut(u16, &[u8]) -> Vec<u8> + Send + 'static> Handler for T {}

/// Counts of the device.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) chains: AtomicU64,
    pub(crate) interrupts: AtomicU64,
    pub(crate) wake_ups: AtomicU64,
}

/// A running device. It ends when the driver unbinds.
pub(crate) struct TestDevice {
    thread: JoinHandle<()>,
    pub(crate) counts: Arc<Counts>,
}

impl TestDevice {
    pub(crate) fn start(transport: SoftwareTransport, handler: impl Handler) -> Self {
        let counts = Arc::new(Counts::default());
        let server = Server::new(transport, handler, Arc::clone(&counts));
        Self { thread: std::thread::spawn(move || server.run()), counts }
    }

    /// Waits for the end; panics if the device did.
    pub(crate) fn join(self) -> Arc<Counts> {
        self.thread.join().unwrap();
        self.counts
    }
}

struct Server<H> {
    transport: SoftwareTransport,
    memory: GuestMemoryMmap,
    fds: Vec<(EventFd, EventFd)>,
    queues: Vec<Queue>,
    handler: H,
    counts: Arc<Counts>,
}

impl<H: Handler> Server<H> {
    fn new(transport: SoftwareTransport, handler: H, counts: Arc<Counts>) -> Self {
        let memory = map(&transport);
        Self { transport, memory, fds: Vec::new(), queues: Vec::new(), handler, counts }
    }

    fn run(mut self) {
        let epoll = Epoll::new().unwrap();
        let listen = |fd: i32, data| {
            epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, data)).unwrap();
        };
        listen(self.transport.as_fd().as_raw_fd(), 99);
        for index in 0..2 {
            let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
            listen(kick.as_raw_fd(), u64::from(index));
            self.transport.set_queue_fds(index, &kick, &call).unwrap();
            self.fds.push((kick, call));
        }
        let mut ready = [EpollEvent::default(); 4];
        loop {
            let count = epoll.wait(-1, &mut ready).unwrap();
            self.counts.wake_ups.fetch_add(1, Ordering::Relaxed);
            for event in &ready[..count] {
                match event.data() {
                    99 => match self.follow_driver() {
                        true => {}
                        false => return,
                    },
                    index => {
                        self.fds[index as usize].0.read().unwrap();
                        self.serve(index as usize);
                    }
                }
            }
        }
    }

    /// False: the driver has let go.
    fn follow_driver(&mut self) -> bool {
        while let Some(event) = self.transport.next_event().unwrap() {
            match event {
                Event::DriverOk { features } => {
                    let infos = (0..2).map(|index| self.transport.queue(index).unwrap());
                    self.queues =
                        infos.map(|info| open_queue(info, features & EVENT_IDX != 0)).collect();
                    (0..2).for_each(|index| self.serve(index));
                }
                Event::Reset { sequence } => {
                    self.queues.clear();
                    self.transport.acknowledge(sequence).unwrap();
                }
                Event::Unbound => return false,
                Event::FeaturesOk { .. } | Event::ConfigWritten { .. } => {}
            }
        }
        true
    }

    fn serve(&mut self, index: usize) {
        let Some(queue) = self.queues.get_mut(index) else { return };
        loop {
            queue.disable_notification(&self.memory).unwrap();
            while let Some(chain) = queue.pop_descriptor_chain(&self.memory) {
                let head = chain.head_index();
                let mut request = Vec::new();
                let mut room = Vec::new();
                for part in chain {
                    if part.is_write_only() {
                        room.push((part.addr(), part.len() as usize));
                    } else {
                        let start = request.len();
                        request.resize(start + part.len() as usize, 0);
                        self.memory.read_slice(&mut request[start..], part.addr()).unwrap();
                    }
                }
                let response = (self.handler)(index as u16, &request);
                let mut left = response.as_slice();
                for (address, length) in room {
                    let (now, later) = left.split_at(length.min(left.len()));
                    self.memory.write_slice(now, address).unwrap();
                    left = later;
                }
                let written = response.len() - left.len();
                queue.add_used(&self.memory, head, written as u32).unwrap();
                self.counts.chains.fetch_add(1, Ordering::Relaxed);
                if queue.needs_notification(&self.memory).unwrap() {
                    self.counts.interrupts.fetch_add(1, Ordering::Relaxed);
                    self.fds[index].1.write(1).unwrap();
                }
            }
            if !queue.enable_notification(&self.memory).unwrap() {
                return;
            }
        }
    }
}
