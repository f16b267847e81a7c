//! The vhost-user front-end: what the adapter says to the GPU backend.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use loopback_driver_glue::{QueueInfo, Transport, TransportError};
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_config::VIRTIO_F_ACCESS_PLATFORM;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::gpu::wire;
use crate::vhost_gpu::{Channel, ChannelError};

/// How long the backend may take to answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Front-end request `GPU_SET_SOCKET`, for which the `vhost` crate has no call.
const GPU_SET_SOCKET: u32 = 33;
/// Header flags: protocol version 1.
const FLAG_VERSION: u32 = 1;
/// Ring features that the module's shadow virtqueues carry (bits 28, 29 and 32).
const RING_FEATURES: u64 = 1 << 28 | 1 << 29 | 1 << 32;
/// Feature bits of the device itself.
const DEVICE_FEATURES: u64 = (1 << 24) - 1;

/// Why the backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontEndError {
    /// A vhost-user request failed.
    #[error("the GPU backend failed at {what}")]
    Request {
        /// What was asked of it.
        what: &'static str,
        /// The library's answer.
        #[source]
        source: vhost::Error,
    },
    /// The display socket could not be handed over.
    #[error("the GPU backend did not take the display socket")]
    DisplaySocket(#[source] ChannelError),
    /// The backend lacks something every GPU backend has.
    #[error("the GPU backend does not offer {0}, which is needed")]
    Missing(&'static str),
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system refused.
    #[error("cannot set up the connection to the GPU backend")]
    Io(#[from] io::Error),
}

/// A connected GPU backend.
pub struct FrontEnd {
    connection: Frontend,
    /// The same socket, for the message the library does not know.
    raw: Channel,
    features: u64,
    protocol: VhostUserProtocolFeatures,
    started: Vec<Ring>,
}

/// A ring the backend serves. The eventfds live as long as it does.
#[derive(Debug)]
struct Ring {
    index: u16,
    _kick: EventFd,
    _call: EventFd,
}

impl FrontEnd {
    /// Agrees on features with the backend behind `stream`.
    pub fn connect(stream: UnixStream) -> Result<Self, FrontEndError> {
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        let raw = Channel::new(stream.try_clone()?);
        let mut connection = Frontend::from_stream(stream, wire::QUEUE_COUNT as u64);
        connection.set_owner().map_err(failed("SET_OWNER"))?;
        let offered = connection.get_features().map_err(failed("GET_FEATURES"))?;
        if offered & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
            return Err(FrontEndError::Missing("vhost-user protocol features"));
        }
        let wanted = VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE;
        let protocol = connection.get_protocol_features().map_err(failed("protocol features"))?;
        let protocol = protocol & wanted;
        connection.set_protocol_features(protocol).map_err(failed("protocol features"))?;
        if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            // Without it, a request that the backend refuses would go unnoticed.
            connection.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        let features = offered & (DEVICE_FEATURES | RING_FEATURES);
        Ok(Self { connection, raw, features, protocol, started: Vec::new() })
    }

    /// Gives the backend its end of the display socket, whose other end must be served already.
    pub fn set_display_socket(&self, display: &UnixStream) -> Result<(), FrontEndError> {
        self.raw
            .send(GPU_SET_SOCKET, FLAG_VERSION, &[], &[display.as_fd()])
            .map_err(FrontEndError::DisplaySocket)
    }

    /// The backend's configuration space, `struct virtio_gpu_config`.
    pub fn config(&mut self) -> Result<wire::Config, FrontEndError> {
        if !self.protocol.contains(VhostUserProtocolFeatures::CONFIG) {
            return Err(FrontEndError::Missing("its configuration space"));
        }
        let empty = wire::Config::new_zeroed();
        let (_, bytes) = self
            .connection
            .get_config(
                0,
                size_of::<wire::Config>() as u32,
                VhostUserConfigFlags::WRITABLE,
                empty.as_bytes(),
            )
            .map_err(|source| FrontEndError::Request { what: "GET_CONFIG", source })?;
        wire::Config::read_from_bytes(&bytes)
            .map_err(|_| FrontEndError::Missing("a whole configuration space"))
    }

    /// Device and ring features that the driver may be offered.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Starts the rings for a driver that accepted `features`.
    pub fn start(
        &mut self,
        transport: &mut dyn Transport,
        features: u64,
    ) -> Result<(), FrontEndError> {
        // The window is all the memory there is: for the backend, its addresses are physical.
        let accepted = features & !(1 << VIRTIO_F_ACCESS_PLATFORM)
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        self.connection.set_features(accepted).map_err(failed("SET_FEATURES"))?;
        self.set_memory(transport)?;
        for index in [wire::CONTROL_QUEUE, wire::CURSOR_QUEUE] {
            let info = transport.queue(index)?;
            if info.ready {
                let ring = self.start_ring(transport, index, &info)?;
                self.started.push(ring);
            }
        }
        Ok(())
    }

    /// Takes the rings back; afterwards the backend uses neither them nor the memory.
    pub fn stop(&mut self) -> Result<(), FrontEndError> {
        for ring in std::mem::take(&mut self.started) {
            self.connection.get_vring_base(ring.index.into()).map_err(failed("GET_VRING_BASE"))?;
        }
        if self.protocol.contains(VhostUserProtocolFeatures::RESET_DEVICE) {
            self.connection.reset_device().map_err(failed("RESET_DEVICE"))?;
        }
        Ok(())
    }

    fn set_memory(&self, transport: &dyn Transport) -> Result<(), FrontEndError> {
        let window = transport.memory();
        // Address A of the driver is byte A of the file, and stands for itself in ring addresses.
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: window.size,
            userspace_addr: 0,
            mmap_offset: 0,
            mmap_handle: window.fd.as_raw_fd(),
        };
        self.connection.set_mem_table(&[region]).map_err(failed("SET_MEM_TABLE"))?;
        Ok(())
    }

    fn start_ring(
        &mut self,
        transport: &mut dyn Transport,
        index: u16,
        info: &QueueInfo,
    ) -> Result<Ring, FrontEndError> {
        let (kick, call) = (EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?);
        let ring = usize::from(index);
        let backend = &mut self.connection;
        backend.set_vring_num(ring, info.size).map_err(failed("SET_VRING_NUM"))?;
        backend.set_vring_base(ring, info.next_avail).map_err(failed("SET_VRING_BASE"))?;
        let addresses = VringConfigData {
            queue_max_size: info.size,
            queue_size: info.size,
            flags: 0,
            desc_table_addr: info.desc,
            used_ring_addr: info.used,
            avail_ring_addr: info.avail,
            log_addr: None,
        };
        backend.set_vring_addr(ring, &addresses).map_err(failed("SET_VRING_ADDR"))?;
        backend.set_vring_call(ring, &call).map_err(failed("SET_VRING_CALL"))?;
        backend.set_vring_kick(ring, &kick).map_err(failed("SET_VRING_KICK"))?;
        // Enabled before the first kick: some backends forget one that comes earlier.
        backend.set_vring_enable(ring, true).map_err(failed("SET_VRING_ENABLE"))?;
        transport.set_queue_fds(index, &kick, &call)?;
        Ok(Ring { index, _kick: kick, _call: call })
    }
}

fn failed(what: &'static str) -> impl Fn(vhost::Error) -> FrontEndError {
    move |source| FrontEndError::Request { what, source }
}
