//! The module's structures, as in `kernel/virtio_loopback.h`.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Version of the interface this file follows.
pub const API_VERSION: u32 = 1;
/// Queues a device may have.
pub const MAX_QUEUES: usize = 8;
/// Bytes of a name, with its final NUL.
pub const NAME_LEN: usize = 32;

/// `VIRTIO_LOOPBACK_EVENT_*`.
pub mod event {
    pub const FEATURES_OK: u32 = 1;
    pub const DRIVER_OK: u32 = 2;
    pub const CONFIG_WRITTEN: u32 = 3;
    pub const RESET: u32 = 4;
    pub const UNBOUND: u32 = 5;
}

/// `struct virtio_loopback_create`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Create {
    pub flags: u32,
    pub device_id: u32,
    pub vendor_id: u32,
    pub num_queues: u32,
    pub features: u64,
    pub window_size: u64,
    pub config: u64,
    pub config_len: u32,
    pub reset_timeout_ms: u32,
    pub keep_ms: u32,
    pub index: u32,
    pub queue_size: [u16; MAX_QUEUES],
    pub name: [u8; NAME_LEN],
    pub bounce_max: u64,
    pub export_max: u64,
    pub reserved: [u64; 4],
}

/// `struct virtio_loopback_queue_fds`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QueueFds {
    pub queue: u32,
    pub kick: i32,
    pub call: i32,
    pub reserved: u32,
}

/// `struct virtio_loopback_queue_info`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QueueInfo {
    pub queue: u32,
    pub size: u32,
    pub ready: u32,
    pub outstanding: u32,
    pub next_avail: u32,
    pub avail_idx: u32,
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub reserved: [u64; 2],
}

/// `struct virtio_loopback_config_set`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConfigSet {
    pub offset: u32,
    pub length: u32,
    pub data: u64,
}

/// `struct virtio_loopback_status`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Status {
    pub driver_status: u32,
    pub state: u32,
    pub driver_features: u64,
    pub outstanding: u32,
    pub bounce_used: u32,
    pub bounce_pages: u32,
    pub objects: u32,
    pub object_pages: u64,
    pub faults: u64,
    pub stale_faults: u64,
    pub bad_used: u64,
    pub clamped_used: u64,
    pub filtered_values: u64,
    pub events_dropped: u64,
    pub reset_timeouts: u64,
    pub index: u32,
    pub keep_ms: u32,
    pub bounce_max: u64,
    pub exported_pages: u64,
    pub driver_starts: u64,
}

/// `VIRTIO_LOOPBACK_STATE_*`.
pub mod state {
    pub const KEPT: u32 = 3;
    pub const WAITING: u32 = 4;
}

/// `VIRTIO_CONFIG_S_DRIVER_OK` of [`Status::driver_status`].
pub const DRIVER_OK: u32 = 4;

/// `VIRTIO_LOOPBACK_REOFFER`.
pub const REOFFER: u32 = 1;

/// `struct virtio_loopback_outstanding`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Outstanding {
    pub queue: u32,
    pub action: u32,
    pub reserved: u64,
}

/// `struct virtio_loopback_event`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawEvent {
    pub kind: u32,
    pub sequence: u32,
    pub offset: u32,
    pub length: u32,
    pub value: u64,
    pub reserved: u64,
}

/// `struct virtio_loopback_range`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Range {
    pub iova: u64,
    pub length: u64,
}

/// `struct virtio_loopback_export`.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Export {
    pub flags: u32,
    pub num_ranges: u32,
    pub ranges: u64,
    pub reserved: [u64; 2],
}

impl Create {
    /// All zero: what reserved fields must be.
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

const _: () = assert!(size_of::<Create>() == 152);
const _: () = assert!(size_of::<QueueFds>() == 16);
const _: () = assert!(size_of::<QueueInfo>() == 64);
const _: () = assert!(size_of::<ConfigSet>() == 16);
const _: () = assert!(size_of::<Status>() == 128);
const _: () = assert!(size_of::<Outstanding>() == 16);
const _: () = assert!(size_of::<RawEvent>() == 32);
const _: () = assert!(size_of::<Export>() == 32);
