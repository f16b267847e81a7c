//! The other side for the driver's tests: a device on the `virtio-queue` crate, over its own mapping
//! of the memory, in its own thread, woken by eventfds. It knows the driver by the
//! [`Transport`] only.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use loopback_driver_glue::{DeviceConfig, Event, QueueInfo, Transport};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;
use zerocopy::IntoBytes;

use super::{GpuDriver, SoftwareTransport, connect};
use crate::gpu::wire::{DisplayOne, MAX_SCANOUTS};
use crate::gpu::{
    CursorBitmap, CursorPosition, Display, DisplayQueryError, Gpu, Limits, Rect, Renderer,
    ScanoutSource,
};

pub(crate) const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
pub(crate) const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
pub(crate) const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

/// A device of two queues that offers `features` and VERSION_1.
pub(crate) fn device_config(features: u64, queue_size: u16) -> DeviceConfig {
    DeviceConfig {
        keep_ms: 0,
        name: "test".into(),
        device_id: 16,
        vendor_id: 0x1af4,
        features: features | VERSION_1,
        queue_sizes: vec![queue_size; 2],
        config: vec![0; 16],
        bounce_max: 0,
        export_max: 0,
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

/// What the device does with a chain. Returns the bytes written.
pub(crate) trait Model {
    fn serve(&mut self, queue: u16, chain: DescriptorChain<&GuestMemoryMmap>) -> u32;
}

/// From the queue and the readable bytes to the bytes written, as far as there is room.
impl<F: FnMut(u16, &[u8]) -> Vec<u8>> Model for F {
    fn serve(&mut self, queue: u16, chain: DescriptorChain<&GuestMemoryMmap>) -> u32 {
        let memory = chain.memory().clone();
        let (mut request, mut room) = (Vec::new(), Vec::new());
        for part in chain {
            if part.is_write_only() {
                room.push((part.addr(), part.len() as usize));
            } else {
                let start = request.len();
                request.resize(start + part.len() as usize, 0);
                memory.read_slice(&mut request[start..], part.addr()).unwrap();
            }
        }
        let response = self(queue, &request);
        let mut left = response.as_slice();
        for (address, length) in room {
            let (now, later) = left.split_at(length.min(left.len()));
            memory.write_slice(now, address).unwrap();
            left = later;
        }
        (response.len() - left.len()) as u32
    }
}

/// Counts of the device.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) chains: AtomicU64,
    pub(crate) interrupts: AtomicU64,
}

/// A running device. It ends when the driver unbinds.
pub(crate) struct TestDevice {
    thread: JoinHandle<()>,
    pub(crate) counts: Arc<Counts>,
    config: mpsc::Sender<(u32, Vec<u8>)>,
    poke: EventFd,
}

impl TestDevice {
    pub(crate) fn start(transport: SoftwareTransport, model: impl Model + Send + 'static) -> Self {
        Self::start_with(transport, move || model)
    }

    /// As [`Self::start`], with a model that is made in its thread.
    fn start_with<M: Model>(
        transport: SoftwareTransport,
        model: impl FnOnce() -> M + Send + 'static,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let (config, changes) = mpsc::channel();
        let poke = EventFd::new(0).unwrap();
        let (server_counts, server_poke) = (Arc::clone(&counts), poke.try_clone().unwrap());
        let thread = std::thread::spawn(move || {
            let server = Server {
                memory: map(&transport),
                transport,
                fds: Vec::new(),
                queues: Vec::new(),
                model: model(),
                counts: server_counts,
                changes,
                poke: server_poke,
            };
            server.run();
        });
        Self { thread, counts, config, poke }
    }

    /// Changes the configuration space.
    pub(crate) fn set_config(&self, offset: u32, bytes: &[u8]) {
        self.config.send((offset, bytes.to_vec())).unwrap();
        self.poke.write(1).unwrap();
    }

    /// Waits for the end; panics if the device did.
    pub(crate) fn join(self) -> Arc<Counts> {
        self.thread.join().unwrap();
        self.counts
    }
}

const TRANSPORT: u64 = 99;
const POKE: u64 = 98;

struct Server<M> {
    transport: SoftwareTransport,
    memory: GuestMemoryMmap,
    fds: Vec<(EventFd, EventFd)>,
    queues: Vec<Queue>,
    model: M,
    counts: Arc<Counts>,
    changes: mpsc::Receiver<(u32, Vec<u8>)>,
    poke: EventFd,
}

impl<M: Model> Server<M> {
    fn run(mut self) {
        let epoll = Epoll::new().unwrap();
        let listen = |fd: i32, data| {
            epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, data)).unwrap();
        };
        listen(self.transport.as_fd().as_raw_fd(), TRANSPORT);
        listen(self.poke.as_raw_fd(), POKE);
        for index in 0..2 {
            let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
            listen(kick.as_raw_fd(), u64::from(index));
            self.transport.set_queue_fds(index, &kick, &call).unwrap();
            self.fds.push((kick, call));
        }
        let mut ready = [EpollEvent::default(); 4];
        loop {
            let count = epoll.wait(-1, &mut ready).unwrap();
            for event in &ready[..count] {
                match event.data() {
                    TRANSPORT => {
                        if !self.follow_driver() {
                            return;
                        }
                    }
                    POKE => {
                        self.poke.read().unwrap();
                        for (offset, bytes) in self.changes.try_iter() {
                            self.transport.set_config(offset, &bytes).unwrap();
                        }
                    }
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
                    let event_idx = features & EVENT_IDX != 0;
                    self.queues = infos.map(|info| open_queue(info, event_idx)).collect();
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
                let written = self.model.serve(index as u16, chain);
                queue.add_used(&self.memory, head, written).unwrap();
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

/// The device model of this crate, with a display that keeps what it is shown.
pub(crate) struct GpuModel {
    gpu: Gpu,
    display: KeepingDisplay,
}

impl GpuModel {
    /// A driver that runs, the device, and what the device shows. The display has these modes.
    pub(crate) fn start(modes: &[(u32, u32)]) -> (GpuDriver, TestDevice, Arc<Mutex<Shown>>) {
        let gpu = Gpu::new(Limits::default(), Renderer::TwoD);
        let mut config = device_config(gpu.features() | INDIRECT | EVENT_IDX, 256);
        config.config = gpu.config().as_bytes().to_vec();
        let (transport, driver) = connect(config).unwrap();
        let shown = Arc::new(Mutex::new(Shown { modes: modes.to_vec(), ..Shown::default() }));
        let display = KeepingDisplay { shown: Arc::clone(&shown), memory: map(&transport) };
        let device = TestDevice::start_with(transport, || {
            let gpu = Gpu::new(Limits::default(), Renderer::TwoD);
            Self { gpu, display }
        });
        (GpuDriver::start(driver, u64::MAX).unwrap(), device, shown)
    }
}

impl Model for GpuModel {
    fn serve(&mut self, queue: u16, chain: DescriptorChain<&GuestMemoryMmap>) -> u32 {
        let completion = match queue {
            0 => self.gpu.control(chain, &mut self.display),
            _ => self.gpu.cursor(chain, &mut self.display),
        };
        completion.written
    }
}

/// What a display has been given.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// How often it does not say what it is.
    pub(crate) silent: u32,
    pub(crate) modes: Vec<(u32, u32)>,
    /// Pixels of each scanout at its last flush, as words of their bytes, and its width.
    pub(crate) frames: BTreeMap<u32, (u32, Vec<u32>)>,
    pub(crate) flushes: u64,
    pub(crate) set_scanouts: u64,
    pub(crate) cursor: Option<(u32, CursorPosition, CursorBitmap)>,
}

struct KeepingDisplay {
    shown: Arc<Mutex<Shown>>,
    memory: GuestMemoryMmap,
}

impl Display for KeepingDisplay {
    fn display_info(&mut self) -> Result<[DisplayOne; MAX_SCANOUTS], DisplayQueryError> {
        let mut displays = [DisplayOne::default(); MAX_SCANOUTS];
        let mut shown = self.shown.lock().unwrap();
        if let Some(left) = shown.silent.checked_sub(1) {
            shown.silent = left;
            return Err(DisplayQueryError::Unknown);
        }
        for (display, (width, height)) in displays.iter_mut().zip(&shown.modes) {
            display.enabled = 1.into();
            display.r.width = (*width).into();
            display.r.height = (*height).into();
        }
        Ok(displays)
    }

    fn edid(&mut self, scanout: u32) -> Result<Vec<u8>, DisplayQueryError> {
        Ok(vec![scanout as u8 + 1; 256])
    }

    fn set_scanout(&mut self, scanout: u32, source: Option<&ScanoutSource>) {
        let mut shown = self.shown.lock().unwrap();
        shown.set_scanouts += 1;
        if source.is_none() {
            shown.frames.remove(&scanout);
        }
    }

    fn flush(&mut self, scanout: u32, damage: Rect, source: &ScanoutSource) {
        let mut pixels = Vec::new();
        source.read_rect(&self.memory, damage, &mut pixels).unwrap();
        let mut shown = self.shown.lock().unwrap();
        shown.flushes += 1;
        let size = (source.width * source.height) as usize;
        let (width, frame) = shown.frames.entry(scanout).or_default();
        if *width != source.width || frame.len() != size {
            (*width, *frame) = (source.width, vec![0; size]);
        }
        let words = pixels.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        for (index, word) in (0u32..).zip(words) {
            let (x, y) = (damage.x + index % damage.width, damage.y + index / damage.width);
            frame[(y * source.width + x) as usize] = word;
        }
    }

    fn cursor_update(&mut self, scanout: u32, position: CursorPosition, image: &CursorBitmap) {
        self.shown.lock().unwrap().cursor = Some((scanout, position, image.clone()));
    }

    fn cursor_move(&mut self, _scanout: u32, position: CursorPosition) {
        self.shown.lock().unwrap().cursor.as_mut().unwrap().1 = position;
    }

    fn cursor_hide(&mut self, _scanout: u32, _position: CursorPosition) {
        self.shown.lock().unwrap().cursor = None;
    }
}
