//! Numbers of the vhost-user protocol (QEMU `docs/interop/vhost-user.rst`) that both ends here use
//! beside the `vhost` crate.

use vhost::vhost_user::message::VhostUserHeaderFlag;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Header flags: version 1 of the protocol.
pub const FLAG_VERSION: u32 = 1;
/// Header flags: where the version is.
pub const FLAG_VERSION_MASK: u32 = VhostUserHeaderFlag::VERSION.bits();
/// Header flag: this is a reply.
pub const FLAG_REPLY: u32 = VhostUserHeaderFlag::REPLY.bits();
/// Header flag: a reply is wanted.
pub const FLAG_NEED_REPLY: u32 = VhostUserHeaderFlag::NEED_REPLY.bits();

/// Front-end request: nothing, with the socket for requests of the back-end.
pub const SET_BACKEND_REQ_FD: u32 = 21;
/// Back-end request: [`MemoryMap`], with the file. Shows it in a shared memory region.
pub const SHMEM_MAP: u32 = 9;
/// Back-end request: [`MemoryMap`]. Takes it from there.
pub const SHMEM_UNMAP: u32 = 10;
/// Mask of [`MemoryMap::flags`]: who looks there may write, too.
pub const MAP_WRITABLE: u64 = 1 << 0;

/// Front-end request: nothing, with the display socket.
pub const GPU_SET_SOCKET: u32 = 33;

/// Front-end request, ours: nothing, with the state file ([`crate::gpu::StateFile`]) that an earlier
/// back-end may have left. Comes before the memory table.
pub const SET_STATE: u32 = 0x564c_0001;
/// Front-end request, ours: [`RestoreMemory`], with a file that an earlier back-end wanted kept
/// (`MEMORY_KEEP`). Comes before the memory table.
pub const RESTORE_MEMORY: u32 = 0x564c_0002;
/// Front-end request, ours: a ring and a number, `u32` each. So many of the buffers that come next
/// may have been used by an earlier back-end. Comes before the ring's kick eventfd.
pub const SET_REPEATED: u32 = 0x564c_0003;

/// A part of a file in a shared memory region: `VhostUserMMap`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct MemoryMap {
    /// The region.
    pub shmid: u8,
    /// Zero.
    pub padding: [u8; 7],
    /// First byte in the file.
    pub fd_offset: u64,
    /// First byte in the region.
    pub shm_offset: u64,
    /// Bytes.
    pub len: u64,
    /// [`MAP_WRITABLE`].
    pub flags: u64,
}

/// Names a file of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RestoreMemory {
    /// Its name, as in `MEMORY_KEEP`.
    pub buffer: u64,
}

/// What a number says about a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RingState {
    /// The ring.
    pub index: u32,
    /// The number.
    pub value: u32,
}
