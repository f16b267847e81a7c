//! The device behind the vhost-user requests: memory, rings, the GPU and its display.

mod left;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Error as VhostUserError, GpuBackend, Result as VhostUserResult, VhostUserBackendReqHandlerMut,
};
use virtio_bindings::virtio_config::{VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use zerocopy::IntoBytes;

use super::Settings;
use super::display::{DisplayClient, DmaBufs};
use super::fences::Signals;
use super::held::{HeldChain, HeldChains};
use super::memory::Memory;
use super::poll::{Poll, Source, Trigger};
use super::shared_memory::{Region, SharedMemory};
use super::vring::{BATCH, Vring};
use super::watch::Watch;
use crate::features::Features;
use crate::gpu::{self, Gpu, MemoryKeeper, Renderer, Timeline, wire};
use left::Left;

/// How long a flush waits for the display. The kernel's driver waits for 50 ms at most, and fuzzing for
/// less.
const DISPLAY_PATIENCE: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 1000 });

/// Transport features of the rings.
const RING_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX;

/// Features of the transport that a front-end may name without having been offered them, and that
/// change nothing here: QEMU passes on all that its driver has accepted, and resets a ring with the
/// same requests as it stops it.
const TRANSPORT_FEATURES: u64 = 1 << VIRTIO_F_RING_RESET;

/// Batches of chains that are handled before the event loop looks at the other sources again, and
/// how long that may take: a driver's largest copies take long, and there can be a ring full of them.
const BATCHES_PER_TURN: usize = 16;
const TURN: Duration = Duration::from_millis(20);

/// Everything the backend owns.
#[derive(Debug)]
pub struct Device {
    gpu: Gpu,
    shared_memory: SharedMemory,
    watch: Option<Watch>,
    /// What the GPU has done.
    signals: Arc<Signals>,
    display: DisplayClient,
    memory: Arc<Memory>,
    vrings: [Vring; wire::QUEUE_COUNT],
    acked_features: u64,
    held: HeldChains,
    /// When the display last answered, or began to owe an answer.
    heard: Instant,
    poll: Arc<Poll>,
    limits: gpu::Limits,
    /// What an earlier backend has left, until there is memory to make sense of it.
    left: Option<Left>,
}

impl Device {
    /// A device nobody has set up yet. It adds its kick eventfds and display socket to `poll`.
    pub fn new(
        settings: Settings,
        renderer: Renderer,
        signals: Arc<Signals>,
        poll: Arc<Poll>,
    ) -> Result<Self, virtio_queue::Error> {
        let Settings { limits, host_visible, watch } = settings;
        let gpu = Gpu::new(limits.clone(), renderer);
        let size = if gpu.has_host_blobs() { host_visible } else { 0 };
        Ok(Self {
            gpu,
            shared_memory: SharedMemory::new(size),
            watch,
            signals,
            display: DisplayClient::new(Arc::clone(&poll)),
            memory: Arc::default(),
            vrings: [Vring::new()?, Vring::new()?],
            acked_features: 0,
            held: HeldChains::default(),
            heard: Instant::now(),
            poll,
            limits,
            left: None,
        })
    }

    /// Which scanouts of textures may be dma-bufs; from the beginning, those that [`DmaBufs::Auto`] allows.
    pub fn set_dma_bufs(&mut self, dma_bufs: DmaBufs) {
        self.display.set_dma_bufs(dma_bufs);
    }

    /// Talks to the display behind `stream` from now on; a second one replaces the first.
    pub fn connect_display(&mut self, stream: UnixStream) {
        self.display.connect(stream);
        // The old one answers no more, and the new one has seen nothing yet.
        let chains = self.held.abandon();
        self.return_chains(chains);
        self.gpu.show_again(&mut self.display);
        self.display.show_cursors();
        self.held.expect_orphans(self.display.take_updates());
    }

    /// Whether the front-end has a region for host-visible blobs.
    #[must_use]
    pub fn has_shared_memory(&self) -> bool {
        self.shared_memory.is_agreed()
    }

    /// Asks for mappings over `stream` from now on.
    pub fn connect_region(&mut self, stream: UnixStream) {
        let size = self.shared_memory.size();
        log::info!("blobs can be mapped: the front-end has a region of {size} bytes");
        self.gpu.set_host_visible(Box::new(Region::new(stream)), size);
    }

    /// The display's socket, to see whether it has answered.
    #[cfg(fuzzing)]
    pub fn display_socket(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.display.socket()
    }

    /// Handles what the driver has put on a queue. `true`: there is more, come again.
    pub fn process_queue(&mut self, index: u16) -> bool {
        let more = self.process_turn(index);
        self.display.release_files();
        let Some(vring) = self.vrings.get_mut(usize::from(index)) else { return false };
        // A queue whose entries all wait for the display goes on when the display answers.
        vring.is_running()
            && room(index, &self.held, vring, &self.display) > 0
            && (more || vring.wait_for_more(&self.memory, || self.signals.is_any()))
    }

    /// One turn's worth of chains. `true`: the turn ended before the chains did, as far as is known.
    fn process_turn(&mut self, index: u16) -> bool {
        // One that hung without owing anything says nothing when it is back.
        self.recover_display();
        if self.signals.is_any() {
            self.collect_signals();
        }
        let start = coarse_now();
        let more = (0..BATCHES_PER_TURN).all(|_| self.process_batch(index, start) == BATCH);
        // Once per turn: a driver that is woken for the first of many answers sleeps for the next.
        if let Some(vring) = self.vrings.get_mut(usize::from(index)) {
            vring.notify(&self.memory);
        }
        more
    }

    /// Handles the next chains of a queue. Returns how many: fewer than [`BATCH`] when there are no
    /// more, or the time of the turn that began at `start` is over.
    fn process_batch(&mut self, index: u16, start: Duration) -> usize {
        let Some(vring) = self.vrings.get_mut(usize::from(index)) else { return 0 };
        let memory = &*self.memory;
        let chains = vring.take_chains(memory, room(index, &self.held, vring, &self.display));
        let taken = chains.iter().flatten().count();
        let held = if index == wire::CONTROL_QUEUE { self.held.len() } else { 0 };
        let outstanding = u32::from(vring.seen) + held as u32;
        let mut handled = 0;
        let mut ended = Vec::new();
        for chain in chains.into_iter().flatten() {
            let late = handled > 0 && coarse_now().saturating_sub(start) >= TURN;
            let paused =
                index == wire::CONTROL_QUEUE && (self.display.is_full() || self.held.pauses());
            if late || paused || !vring.is_running() {
                vring.untake_chains(taken - handled);
                break;
            }
            let head = chain.head_index();
            let again = vring.repeated > 0;
            vring.repeated = vring.repeated.saturating_sub(1);
            let completion = watched(self.watch.as_ref(), || match (index, again) {
                (wire::CONTROL_QUEUE, false) => self.gpu.control(chain, &mut self.display),
                (wire::CONTROL_QUEUE, true) => self.gpu.control_again(chain, &mut self.display),
                _ => self.gpu.cursor(chain, &mut self.display),
            });
            let updates = self.display.take_updates();
            if index == wire::CONTROL_QUEUE && self.held.waits(updates, &completion) {
                if !self.held.awaits_display() {
                    self.heard = Instant::now();
                }
                self.gpu.hold_back(head, &completion);
                self.held.hold(HeldChain::new(head, &completion, updates));
            } else {
                if again && index == wire::CONTROL_QUEUE {
                    self.gpu.give_back(head);
                }
                vring.add_used(memory, head, completion.written);
            }
            if let Some(context) = completion.destroyed {
                ended.extend(self.held.context_ended(context));
            }
            handled += 1;
        }
        if taken > 0 {
            self.gpu.served(index, vring.queue.next_avail(), outstanding);
        }
        // The driver is told once per turn, not here.
        if !ended.is_empty() {
            self.return_chains(ended);
        }
        handled
    }

    /// Whether chains could be returned without hearing from the display: it answered while
    /// another answer was awaited, or it is gone.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.held.awaits_display() && (self.display.has_latched() || !self.display.is_connected())
    }

    /// Returns the chains whose flush the display has latched. `readable`: the display has sent
    /// something.
    pub fn collect_updates(&mut self, readable: bool) {
        self.heard = Instant::now();
        let latched = self.display.collect(readable);
        let mut done = Vec::new();
        for _ in 0..latched {
            done.extend(self.held.answered());
        }
        if !self.display.is_connected() {
            done.extend(self.held.abandon());
        }
        self.return_chains(done);
        self.recover_display();
    }

    /// Lets the renderer do what only this thread can.
    pub fn poll_renderer(&mut self) {
        self.gpu.poll_renderer();
    }

    /// Returns the chains whose fence the GPU has reached.
    pub fn collect_signals(&mut self) {
        let mut done = Vec::new();
        for signal in self.signals.take() {
            if signal.timeline == Timeline::Global {
                self.show_drawn(signal.work);
            }
            done.extend(self.held.signalled(signal));
        }
        self.return_chains(done);
    }

    /// Tells the display of flushes that waited for the GPU.
    fn show_drawn(&mut self, work: u64) {
        self.gpu.drawn(work, &mut self.display);
        if !self.held.awaits_display() {
            self.heard = Instant::now();
        }
        let updates = self.display.take_updates();
        self.held.drawn(work, updates);
    }

    /// Shows everything again on a display that hung and does no more.
    fn recover_display(&mut self) {
        if self.display.recover() {
            self.gpu.show_again(&mut self.display);
            self.display.show_cursors();
            self.held.expect_orphans(self.display.take_updates());
        }
    }

    /// Whether the display is waited for: by chains, or by the control queue, even when those that it
    /// owes its answers for went back with the end of their ring.
    fn waits_for_display(&self) -> bool {
        self.held.awaits_display() || self.display.is_full()
    }

    /// How long to wait for the display before the driver goes on without it.
    #[must_use]
    pub fn display_patience(&self) -> Option<Duration> {
        self.waits_for_display().then(|| DISPLAY_PATIENCE.saturating_sub(self.heard.elapsed()))
    }

    /// Returns the chains that wait for a display that hangs, and no longer waits for it: the driver's
    /// tasks must not hang with it. `true`: it was waited for.
    pub fn give_up_waiting(&mut self) -> bool {
        let late = self.heard.elapsed() >= DISPLAY_PATIENCE || self.display.is_stalled();
        if !self.waits_for_display() || !late {
            return false;
        }
        self.display.stall();
        let chains = self.held.give_up_on_display();
        self.return_chains(chains);
        true
    }

    /// Gives chains of the control queue back to the driver.
    fn return_chains(&mut self, chains: impl IntoIterator<Item = HeldChain>) {
        let memory = &*self.memory;
        let [control, _] = &mut self.vrings;
        for chain in chains {
            self.gpu.give_back(chain.head);
            control.add_used(memory, chain.head, chain.written);
        }
        control.notify(memory);
    }

    fn stop_vring(&mut self, index: usize) {
        let Some(vring) = self.vrings.get_mut(index) else { return };
        vring.queue.set_ready(false);
        if let Some(kick) = vring.kick.take() {
            self.poll.remove(kick.as_fd());
        }
    }

    fn vring(&mut self, index: u32) -> VhostUserResult<&mut Vring> {
        let index = usize::try_from(index).map_err(|_| VhostUserError::InvalidParam)?;
        self.vrings.get_mut(index).ok_or(VhostUserError::InvalidParam)
    }
}

/// Executes something that may wait for processes of Vulkan.
fn watched<T>(watch: Option<&Watch>, execute: impl FnOnce() -> T) -> T {
    match watch {
        Some(watch) => watch.over(execute),
        None => execute(),
    }
}

/// A clock that costs next to nothing to read and ticks every few milliseconds.
fn coarse_now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or_default()
}

/// How many chains may be taken from a queue. The control queue has to wait for the display when
/// that owes enough answers, or when every entry of the ring may be waiting for one: then the driver
/// gets no more in, whatever it writes there.
fn room(index: u16, held: &HeldChains, vring: &Vring, display: &DisplayClient) -> usize {
    let size = usize::from(vring.queue.size());
    match index {
        wire::CONTROL_QUEUE if display.is_full() || held.pauses() => 0,
        wire::CONTROL_QUEUE => size.saturating_sub(held.len()),
        _ => size,
    }
}

fn unsupported<T>(what: &'static str) -> VhostUserResult<T> {
    Err(VhostUserError::InvalidOperation(what))
}

impl VhostUserBackendReqHandlerMut for Device {
    fn set_owner(&mut self) -> VhostUserResult<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> VhostUserResult<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> VhostUserResult<()> {
        for index in 0..self.vrings.len() {
            self.stop_vring(index);
        }
        for vring in &mut self.vrings {
            vring.enabled = false;
            vring.repeated = 0;
        }
        // Their ring is gone.
        drop(self.held.release());
        watched(self.watch.as_ref(), || self.gpu.reset(&mut self.display));
        self.display.release_files();
        Ok(())
    }

    fn get_features(&mut self) -> VhostUserResult<u64> {
        let protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        Ok(self.gpu.features() | RING_FEATURES | protocol)
    }

    fn set_features(&mut self, features: u64) -> VhostUserResult<()> {
        let unknown = features & !(self.get_features()? | TRANSPORT_FEATURES);
        if unknown != 0 {
            log::warn!("the front-end accepts what was not offered: {}", Features(unknown));
            return Err(VhostUserError::InvalidParam);
        }
        self.acked_features = features;
        let event_idx = features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let starts_enabled = features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        for vring in &mut self.vrings {
            vring.queue.set_event_idx(event_idx);
            vring.enabled |= starts_enabled;
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _: Option<bool>,
    ) -> VhostUserResult<Option<Vec<VhostUserMemoryRegionBase>>> {
        self.memory = Arc::new(Memory::map(table, files)?);
        self.display.set_memory(Arc::clone(&self.memory));
        self.gpu.set_memory(MemoryKeeper::new(Arc::clone(&self.memory) as _));
        self.restore();
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> VhostUserResult<()> {
        let size = u16::try_from(num).map_err(|_| VhostUserError::InvalidParam)?;
        let vring = self.vring(index)?;
        vring.queue.try_set_size(size).map_err(|_| VhostUserError::InvalidParam)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _: u64,
    ) -> VhostUserResult<()> {
        let translate = |address| {
            self.memory.guest_address(address).map(vm_memory::GuestAddress).ok_or_else(|| {
                let text = "a ring lies outside the memory table";
                VhostUserError::ReqHandlerError(io::Error::new(io::ErrorKind::InvalidInput, text))
            })
        };
        let (descriptor, used) = (translate(descriptor)?, translate(used)?);
        let available = translate(available)?;
        let queue = &mut self.vring(index)?.queue;
        queue.try_set_desc_table_address(descriptor).map_err(|_| VhostUserError::InvalidParam)?;
        queue.try_set_avail_ring_address(available).map_err(|_| VhostUserError::InvalidParam)?;
        queue.try_set_used_ring_address(used).map_err(|_| VhostUserError::InvalidParam)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> VhostUserResult<()> {
        let base = u16::try_from(base).map_err(|_| VhostUserError::InvalidParam)?;
        let vring = self.vring(index)?;
        vring.queue.set_next_avail(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> VhostUserResult<VhostUserVringState> {
        if index == u32::from(wire::CONTROL_QUEUE) {
            let chains = self.held.release();
            self.return_chains(chains);
        }
        self.stop_vring(index as usize);
        let vring = self.vring(index)?;
        Ok(VhostUserVringState::new(index, vring.queue.next_avail().into()))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> VhostUserResult<()> {
        self.stop_vring(usize::from(index));
        let memory = &*self.memory;
        let vring = self.vrings.get_mut(usize::from(index)).ok_or(VhostUserError::InvalidParam)?;
        let Some(kick) = fd else { return Ok(()) };
        // A ring starts with its kick eventfd; its used index tells how far it was served.
        vring.queue.set_ready(true);
        let used = vring.queue.used_idx(memory, Ordering::Acquire);
        let (true, Ok(used)) = (vring.queue.is_valid(memory), used) else {
            vring.queue.set_ready(false);
            return Err(VhostUserError::InvalidParam);
        };
        vring.queue.set_next_used(used.0);
        self.gpu.served(index.into(), vring.queue.next_avail(), 0);
        self.poll
            .add(kick.as_fd(), Source::Queue(index.into()), Trigger::Edge)
            .map_err(VhostUserError::ReqHandlerError)?;
        vring.kick = Some(kick);
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> VhostUserResult<()> {
        self.vring(index.into())?.call = fd;
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, _: Option<File>) -> VhostUserResult<()> {
        self.vring(index.into()).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> VhostUserResult<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE
            | self.shared_memory.features())
    }

    fn set_protocol_features(&mut self, features: u64) -> VhostUserResult<()> {
        self.shared_memory.set_features(features);
        Ok(())
    }

    fn get_queue_num(&mut self) -> VhostUserResult<u64> {
        Ok(wire::QUEUE_COUNT as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> VhostUserResult<()> {
        self.vring(index)?.enabled = enable;
        Ok(())
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _: VhostUserConfigFlags,
    ) -> VhostUserResult<Vec<u8>> {
        let config = self.gpu.config();
        let start = usize::try_from(offset).map_err(|_| VhostUserError::InvalidParam)?;
        let length = usize::try_from(size).map_err(|_| VhostUserError::InvalidParam)?;
        let end = start.checked_add(length).ok_or(VhostUserError::InvalidParam)?;
        let bytes = config.as_bytes().get(start..end).ok_or(VhostUserError::InvalidParam)?;
        Ok(bytes.to_vec())
    }

    /// The configuration belongs to the front-end, which owns events and scanouts.
    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> VhostUserResult<()> {
        Ok(())
    }

    /// Never reached: `connection` takes the request first.
    fn set_gpu_socket(&mut self, _: GpuBackend) -> VhostUserResult<()> {
        unsupported("the display socket is taken before the request gets here")
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> VhostUserResult<File> {
        unsupported("shared objects")
    }

    fn get_inflight_fd(
        &mut self,
        _: &VhostUserInflight,
    ) -> VhostUserResult<(VhostUserInflight, File)> {
        unsupported("inflight tracking")
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> VhostUserResult<()> {
        unsupported("inflight tracking")
    }

    fn get_max_mem_slots(&mut self) -> VhostUserResult<u64> {
        unsupported("memory slots")
    }

    fn add_mem_region(
        &mut self,
        _: &VhostUserSingleMemoryRegion,
        _: File,
        _: Option<bool>,
    ) -> VhostUserResult<Option<VhostUserMemoryRegionBase>> {
        unsupported("memory slots")
    }

    fn remove_mem_region(&mut self, _: &VhostUserSingleMemoryRegion) -> VhostUserResult<()> {
        unsupported("memory slots")
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> VhostUserResult<Option<File>> {
        unsupported("device state transfer")
    }

    fn check_device_state(&mut self) -> VhostUserResult<()> {
        unsupported("device state transfer")
    }

    fn get_shmem_config(&mut self) -> VhostUserResult<VhostUserShMemConfig> {
        Ok(self.shared_memory.config())
    }

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> VhostUserResult<()> {
        unsupported("dirty logging")
    }
}
