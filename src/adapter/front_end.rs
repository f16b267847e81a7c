//! The vhost-user front-end: what the adapter says to the GPU backend.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use loopback_driver_glue::{MemoryWindow, QueueInfo};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use virtio_bindings::virtio_config::{VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::requests::{
    ConfigAccess, MemoryTable, Request, RequestError, Requests, RestoreMemory, RingAddresses,
    RingState,
};
use super::watch::{self, Step, Watch, Work};
use crate::gpu::wire::{self, feature};
use crate::vhost_gpu::ChannelError;

/// Ring features that the module's shadow virtqueues carry.
const RING_FEATURES: u64 =
    1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_F_VERSION_1;
/// Feature bits of the device itself that the adapter knows: VIRGL, EDID, RESOURCE_UUID,
/// RESOURCE_BLOB and CONTEXT_INIT. Later ones may come with config space fields.
const DEVICE_FEATURES: u64 = (1 << 5) - 1;

/// Why the backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontEndError {
    /// A vhost-user request failed.
    #[error("the GPU backend failed at {what}")]
    Request {
        /// What was asked of it.
        what: &'static str,
        /// What came instead of success.
        #[source]
        source: RequestError,
    },
    /// The backend lacks something every GPU backend has.
    #[error("the GPU backend does not offer {0}, which is needed")]
    Missing(&'static str),
    /// A driver comes after another, whose resources the backend cannot be made to forget.
    #[error(
        "the GPU backend cannot be reset (vhost-user RESET_DEVICE) and serves one driver only; \
         start the backend and the device again"
    )]
    OneDriverOnly,
    /// The system refused.
    #[error("cannot set up the connection to the GPU backend")]
    Io(#[from] io::Error),
}

impl FrontEndError {
    /// Whether the backend did not answer in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let Self::Request { source: RequestError::Channel(source), .. } = self else {
            return false;
        };
        matches!(source, ChannelError::Timeout)
    }

    /// Whether the backend did nothing wrong, but was no longer waited for.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        let Self::Request { source: RequestError::Channel(source), .. } = self else {
            return false;
        };
        matches!(source, ChannelError::Interrupted)
    }
}

/// A connected GPU backend.
#[derive(Debug)]
pub struct FrontEnd {
    requests: Requests,
    features: u64,
    protocol: VhostUserProtocolFeatures,
    started: Vec<Ring>,
    /// A driver has used the device since it was last reset.
    used: bool,
    watch: Option<Watch>,
}

/// A ring the backend serves. The eventfds live as long as it does.
#[derive(Debug)]
pub struct Ring {
    /// Its number.
    pub index: u16,
    /// Tells the backend of new buffers.
    pub kick: EventFd,
    /// Tells of used ones.
    pub call: EventFd,
}

impl FrontEnd {
    /// Agrees on features with the backend behind `stream`. No answer is waited for while `stop` is
    /// readable.
    pub fn connect(stream: UnixStream, stop: OwnedFd) -> Result<Self, FrontEndError> {
        Self::agree(Requests::new(stream, stop))
    }

    /// As [`Self::connect`], with a backend that was just started. It may have OpenGL to start before it
    /// answers.
    pub fn connect_started(stream: UnixStream, stop: OwnedFd) -> Result<Self, FrontEndError> {
        let mut requests = Requests::new(stream, stop);
        requests.begin_start();
        Self::agree(requests)
    }

    fn agree(mut requests: Requests) -> Result<Self, FrontEndError> {
        requests.tell(Request::SetOwner, &[0_u8; 0], &[]).map_err(failed("SET_OWNER"))?;
        let offered: u64 =
            requests.ask(Request::GetFeatures, &[0_u8; 0]).map_err(failed("GET_FEATURES"))?;
        if offered & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
            return Err(FrontEndError::Missing("vhost-user protocol features"));
        }
        let wanted = VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE;
        let protocol: u64 = requests
            .ask(Request::GetProtocolFeatures, &[0_u8; 0])
            .map_err(failed("GET_PROTOCOL_FEATURES"))?;
        let protocol = VhostUserProtocolFeatures::from_bits_truncate(protocol) & wanted;
        requests
            .tell(Request::SetProtocolFeatures, &protocol.bits(), &[])
            .map_err(failed("SET_PROTOCOL_FEATURES"))?;
        if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            requests.expect_acknowledgements();
        }
        let features = offered & (DEVICE_FEATURES | RING_FEATURES);
        let started = Vec::new();
        Ok(Self { requests, features, protocol, started, used: false, watch: None })
    }

    /// Watches whether the backend still does something, from now on.
    pub fn watch(&mut self) -> Result<(), FrontEndError> {
        let renders = self.features & 1 << feature::VIRGL != 0;
        let patience = if renders { watch::RENDERING_PATIENCE } else { watch::PATIENCE };
        self.watch = Some(Watch::new(patience)?);
        Ok(())
    }

    /// What becomes readable when the backend has to be watched again.
    pub fn kicks(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().and_then(Watch::kicks)
    }

    /// How long until [`FrontEnd::check`] has something to do.
    pub fn check_timeout(&self, now: Instant) -> Option<Duration> {
        self.watch.as_ref().and_then(|watch| watch.timeout(now))
    }

    /// The driver kicked a backend that was not watched.
    pub fn kicked(&mut self, now: Instant) {
        if let Some(watch) = &mut self.watch {
            watch.kicked(now);
        }
    }

    /// Asks the backend, if it is time, whether it is still there. `work` tells what it has to do.
    /// Returns what was done, or is to be done about it.
    pub fn check(
        &mut self,
        now: Instant,
        work: impl FnOnce() -> Work,
    ) -> Result<Step, FrontEndError> {
        let step = self.watch.as_mut().map_or(Step::Wait, |watch| watch.step(now, work));
        if step == Step::Ask {
            self.requests.ping().map_err(failed("GET_FEATURES"))?;
        }
        Ok(step)
    }

    /// Takes the answer to a check when the socket is readable. False: none is expected, so the
    /// backend has hung up or speaks unasked.
    pub fn take_answer(&mut self) -> Result<bool, FrontEndError> {
        let expected = match self.requests.pong() {
            Err(RequestError::Channel(ChannelError::Closed)) => false,
            other => other.map_err(failed("GET_FEATURES"))?,
        };
        if let Some(watch) = self.watch.as_mut().filter(|_| expected) {
            watch.answered(Instant::now());
        }
        Ok(expected)
    }

    /// Gives the backend its end of the display socket, whose other end must be served already.
    pub fn set_display_socket(&self, display: &UnixStream) -> Result<(), FrontEndError> {
        self.requests
            .tell_unacknowledged(Request::GpuSetSocket, &[0_u8; 0], &[display.as_fd()])
            .map_err(failed("GPU_SET_SOCKET"))
    }

    /// Gives one of our own backends the state file, from which it goes on.
    pub fn set_state(&self, state: BorrowedFd<'_>) -> Result<(), FrontEndError> {
        self.requests.tell(Request::SetState, &[0_u8; 0], &[state]).map_err(failed("SET_STATE"))
    }

    /// Gives one of our own backends pixels that belong to the state.
    pub fn restore_memory(&self, buffer: u64, file: BorrowedFd<'_>) -> Result<(), FrontEndError> {
        self.requests
            .tell(Request::RestoreMemory, &RestoreMemory { buffer }, &[file])
            .map_err(failed("RESTORE_MEMORY"))
    }

    /// Of the buffers that come next on a ring, so many may have been used by an earlier backend.
    /// Only one of our own backends knows what that means.
    pub fn set_repeated(&self, index: u16, count: u16) -> Result<(), FrontEndError> {
        let state = RingState { index: index.into(), value: count.into() };
        self.requests.tell(Request::SetRepeated, &state, &[]).map_err(failed("SET_REPEATED"))
    }

    /// The backend's configuration space, `struct virtio_gpu_config`.
    pub fn config(&self) -> Result<wire::Config, FrontEndError> {
        /// Request and reply of `GET_CONFIG`.
        #[derive(FromBytes, IntoBytes, Immutable)]
        #[repr(C)]
        struct Message {
            access: ConfigAccess,
            config: wire::Config,
        }
        if !self.protocol.contains(VhostUserProtocolFeatures::CONFIG) {
            return Err(FrontEndError::Missing("its configuration space"));
        }
        let size = size_of::<wire::Config>() as u32;
        let access = ConfigAccess { offset: 0, size, flags: 0 };
        let message = Message { access, config: wire::Config::new_zeroed() };
        let reply: Message =
            self.requests.ask(Request::GetConfig, &message).map_err(failed("GET_CONFIG"))?;
        Ok(reply.config)
    }

    /// Device and ring features that the driver may be offered.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Starts those of the rings that are ready, in `memory`, for a driver that accepted `features`.
    pub fn start(
        &mut self,
        features: u64,
        memory: MemoryWindow<'_>,
        queues: &[(u16, QueueInfo)],
    ) -> Result<&[Ring], FrontEndError> {
        // What the driver before has left would collide with the numbers this one gives.
        if std::mem::replace(&mut self.used, true) {
            return Err(FrontEndError::OneDriverOnly);
        }
        self.requests.begin_step();
        // The window is all the memory there is: for the backend, its addresses are physical.
        let accepted = features & !(1 << VIRTIO_F_ACCESS_PLATFORM)
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        self.requests.tell(Request::SetFeatures, &accepted, &[]).map_err(failed("SET_FEATURES"))?;
        self.set_memory(memory)?;
        for (index, info) in queues.iter().filter(|(_, info)| info.ready) {
            let ring = self.start_ring(*index, info)?;
            if let Some(watch) = &self.watch {
                watch.add(sys::fd(&ring.kick))?;
            }
            self.started.push(ring);
        }
        Ok(&self.started)
    }

    /// Takes the rings back; afterwards the backend uses neither them nor the memory.
    pub fn stop(&mut self) -> Result<(), FrontEndError> {
        self.requests.begin_step();
        if let Some(watch) = &mut self.watch {
            watch.stopped();
        }
        for ring in std::mem::take(&mut self.started) {
            let state = RingState { index: ring.index.into(), value: 0 };
            let _: RingState = self
                .requests
                .ask(Request::GetVringBase, &state)
                .map_err(failed("GET_VRING_BASE"))?;
        }
        if self.protocol.contains(VhostUserProtocolFeatures::RESET_DEVICE) {
            self.requests
                .tell(Request::ResetDevice, &[0_u8; 0], &[])
                .map_err(failed("RESET_DEVICE"))?;
            self.used = false;
        }
        Ok(())
    }

    fn set_memory(&self, window: MemoryWindow<'_>) -> Result<(), FrontEndError> {
        // Address A of the driver is byte A of the file, and stands for itself in ring addresses.
        let table = MemoryTable {
            regions: 1,
            padding: 0,
            guest_address: 0,
            size: window.size,
            user_address: 0,
            offset: 0,
        };
        self.requests
            .tell(Request::SetMemTable, &table, &[window.fd])
            .map_err(failed("SET_MEM_TABLE"))
    }

    fn start_ring(&self, index: u16, info: &QueueInfo) -> Result<Ring, FrontEndError> {
        let (kick, call) = (EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?);
        let ring = u32::from(index);
        let state = |value| RingState { index: ring, value };
        let addresses = RingAddresses {
            index: ring,
            flags: 0,
            descriptors: info.desc,
            used: info.used,
            available: info.avail,
            log: 0,
        };
        let tell = &self.requests;
        tell.tell(Request::SetVringNum, &state(info.size.into()), &[])
            .map_err(failed("SET_VRING_NUM"))?;
        tell.tell(Request::SetVringBase, &state(info.next_avail.into()), &[])
            .map_err(failed("SET_VRING_BASE"))?;
        tell.tell(Request::SetVringAddr, &addresses, &[]).map_err(failed("SET_VRING_ADDR"))?;
        let number = u64::from(index);
        tell.tell(Request::SetVringCall, &number, &[sys::fd(&call)])
            .map_err(failed("SET_VRING_CALL"))?;
        tell.tell(Request::SetVringKick, &number, &[sys::fd(&kick)])
            .map_err(failed("SET_VRING_KICK"))?;
        // Enabled before the first kick: some backends forget one that comes earlier.
        tell.tell(Request::SetVringEnable, &state(1), &[]).map_err(failed("SET_VRING_ENABLE"))?;
        Ok(Ring { index, kick, call })
    }
}

fn failed(what: &'static str) -> impl Fn(RequestError) -> FrontEndError {
    move |source| FrontEndError::Request { what, source }
}

/// What [`EventFd`] does not offer.
mod sys {
    use std::os::fd::{AsRawFd, BorrowedFd};

    use vmm_sys_util::eventfd::EventFd;

    /// The descriptor of an eventfd.
    pub fn fd(eventfd: &EventFd) -> BorrowedFd<'_> {
        // SAFETY: the eventfd owns the descriptor and keeps it open as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(eventfd.as_raw_fd()) }
    }
}
