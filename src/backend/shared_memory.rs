//! The front-end's shared memory region, and the socket over which it is asked to map files there:
//! vhost-user's `VHOST_USER_PROTOCOL_F_SHMEM`.
//!
//! The `vhost` crate waits for the front-end's acknowledgement without end. Commands wait for it here,
//! so there is a time limit, after which the socket is of no use: an answer that comes late would be
//! taken for that of the next request.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserShMemConfig};
use zerocopy::{FromBytes, IntoBytes};

use crate::gpu::wire::SHM_ID_HOST_VISIBLE;
use crate::gpu::{HostVisible, HostVisibleError};
use crate::one_line;
use crate::vhost_gpu::{Channel, ChannelError};
use crate::vhost_user::{
    FLAG_NEED_REPLY, FLAG_REPLY, FLAG_VERSION, MAP_WRITABLE, MemoryMap, SHMEM_MAP, SHMEM_UNMAP,
};

/// How long the front-end may take to map or unmap a file. Nothing else is served meanwhile.
const PATIENCE: Duration = Duration::from_millis(if cfg!(fuzzing) { 4 } else { 1000 });

/// What front-end and back-end have to agree on.
const NEEDED: VhostUserProtocolFeatures = VhostUserProtocolFeatures::SHMEM
    .union(VhostUserProtocolFeatures::BACKEND_REQ)
    .union(VhostUserProtocolFeatures::BACKEND_SEND_FD)
    .union(VhostUserProtocolFeatures::REPLY_ACK);

/// What is agreed on.
#[derive(Debug)]
pub struct SharedMemory {
    /// Bytes of the region that is asked for; 0 for none.
    size: u64,
    acked: VhostUserProtocolFeatures,
}

impl SharedMemory {
    /// A region of `size` bytes is asked for, if that is not 0.
    pub fn new(size: u64) -> Self {
        Self { size, acked: VhostUserProtocolFeatures::empty() }
    }

    /// Protocol features to offer, besides those of every backend.
    pub fn features(&self) -> VhostUserProtocolFeatures {
        match self.size {
            0 => VhostUserProtocolFeatures::empty(),
            _ => NEEDED,
        }
    }

    /// Protocol features that the front-end has chosen.
    pub fn set_features(&mut self, acked: u64) {
        self.acked = VhostUserProtocolFeatures::from_bits_truncate(acked);
    }

    /// Whether the front-end has such a region.
    pub fn is_agreed(&self) -> bool {
        self.size > 0 && self.acked.contains(NEEDED)
    }

    /// Bytes of the region.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The regions: GET_SHMEM_CONFIG.
    pub fn config(&self) -> VhostUserShMemConfig {
        let mut sizes = [0; SHM_ID_HOST_VISIBLE as usize + 1];
        if let Some(last) = sizes.last_mut() {
            *last = self.size;
        }
        VhostUserShMemConfig::new(u32::from(self.size > 0), &sizes)
    }
}

/// The region of a front-end, behind its socket for requests of the back-end.
#[derive(Debug)]
pub struct Region {
    /// Until it fails.
    channel: Option<Channel>,
}

impl Region {
    /// Requests go over `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self { channel: Some(Channel::new(stream)) }
    }

    fn request(
        &mut self,
        number: u32,
        map: MemoryMap,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), HostVisibleError> {
        let channel = self.channel.as_ref().ok_or(HostVisibleError::Lost)?;
        match exchange(channel, number, &map, fds) {
            Ok(0) => Ok(()),
            Ok(status) => {
                log::debug!("the front-end refuses request {number}: {status}");
                Err(HostVisibleError::Refused)
            }
            Err(error) => {
                log::warn!(
                    "the host-visible region of the front-end is lost: {}",
                    one_line(&error)
                );
                self.channel = None;
                Err(HostVisibleError::Lost)
            }
        }
    }
}

impl HostVisible for Region {
    fn map(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
    ) -> Result<(), HostVisibleError> {
        self.request(SHMEM_MAP, place(offset, length, MAP_WRITABLE), &[file])
    }

    fn unmap(&mut self, offset: u64, length: u64) -> Result<(), HostVisibleError> {
        self.request(SHMEM_UNMAP, place(offset, length, 0), &[])
    }
}

fn place(shm_offset: u64, len: u64, flags: u64) -> MemoryMap {
    MemoryMap { shmid: SHM_ID_HOST_VISIBLE, shm_offset, len, flags, ..MemoryMap::default() }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("it answers something else than it was asked")]
    Answer,
}

/// Asks, and waits for the status that is answered.
fn exchange(
    channel: &Channel,
    number: u32,
    map: &MemoryMap,
    fds: &[BorrowedFd<'_>],
) -> Result<u64, ExchangeError> {
    channel.send(number, FLAG_VERSION | FLAG_NEED_REPLY, &[map.as_bytes()], fds)?;
    let frame = channel.receive_within(PATIENCE, |_| size_of::<u64>() as u32)?;
    let is_reply = frame.header.request == number && frame.header.flags & FLAG_REPLY != 0;
    match u64::read_from_bytes(&frame.payload) {
        Ok(status) if is_reply => Ok(status),
        _ => Err(ExchangeError::Answer),
    }
}

#[cfg(test)]
mod tests;
