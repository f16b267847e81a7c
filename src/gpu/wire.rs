//! What the GPU device and its driver put on the rings: virtio 1.3, section 5.7, and Linux'
//! `include/uapi/linux/virtio_gpu.h`.
//!
//! Every struct is plain bytes: little-endian fields of alignment 1, padding named and counted, so
//! reading and writing them needs no `unsafe` and cannot show a byte nobody wrote. The names are the
//! specification's without `virtio_gpu_`; `#[doc(alias)]` finds them by the C name.
//!
//! Sizes are bytes, rectangles and positions pixels.

mod ids;
#[cfg(test)]
mod tests;
mod three_d;

pub use ids::{BlobMem, CapsetId, Command, Format, RespType};
pub use three_d::{
    CmdSubmit, CtxCreate, CtxDestroy, GetCapset, GetCapsetInfo, ResourceCreate3d, ResourceMapBlob,
    RespCapset, RespCapsetInfo, RespMapInfo, TransferHost3d, WireBox,
};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Virtio device id of a GPU.
pub const DEVICE_ID: u32 = 16;

/// Index of the queue for commands.
pub const CONTROL_QUEUE: u16 = 0;
/// Index of the queue for cursor updates.
pub const CURSOR_QUEUE: u16 = 1;
/// Queues a GPU has.
pub const QUEUE_COUNT: usize = 2;

/// Scanouts a GPU can have.
#[doc(alias = "VIRTIO_GPU_MAX_SCANOUTS")]
pub const MAX_SCANOUTS: usize = 16;
/// Bytes of EDID a response has room for.
pub const MAX_EDID: usize = 1024;
/// Width and height of a cursor image.
pub const CURSOR_SIZE: u32 = 64;

/// Feature bit numbers. A mask is `1 << bit`.
pub mod feature {
    /// 3D: contexts, capsets and the `*_3D` commands.
    pub const VIRGL: u32 = 0;
    /// GET_EDID.
    pub const EDID: u32 = 1;
    /// RESOURCE_ASSIGN_UUID.
    pub const RESOURCE_UUID: u32 = 2;
    /// RESOURCE_CREATE_BLOB and SET_SCANOUT_BLOB.
    pub const RESOURCE_BLOB: u32 = 3;
    /// Contexts name their capset, and have several timelines.
    pub const CONTEXT_INIT: u32 = 4;
}

/// Masks of [`CtrlHdr::flags`].
pub mod flag {
    /// The request carries a fence: the response comes when the work is done and echoes it.
    pub const FENCE: u32 = 1 << 0;
    /// `ring_idx` names the timeline of the fence.
    pub const INFO_RING_IDX: u32 = 1 << 1;
}

/// Masks of [`ResourceCreateBlob::blob_flags`].
pub mod blob_flag {
    /// The driver may map it.
    pub const USE_MAPPABLE: u32 = 1 << 0;
    /// It may be shared with other driver instances.
    pub const USE_SHAREABLE: u32 = 1 << 1;
    /// It may be shared with other virtio devices.
    pub const USE_CROSS_DEVICE: u32 = 1 << 2;
    /// All of the above.
    pub const ALL: u32 = USE_MAPPABLE | USE_SHAREABLE | USE_CROSS_DEVICE;
}

/// Values of [`RespMapInfo::map_info`].
pub mod map_cache {
    /// Bits of the caching type.
    pub const MASK: u32 = 0x0f;
    /// Unspecified.
    pub const NONE: u32 = 0;
    /// Cached.
    pub const CACHED: u32 = 1;
    /// Uncached.
    pub const UNCACHED: u32 = 2;
    /// Write-combining.
    pub const WC: u32 = 3;
}

/// Mask of [`Config::events_read`]: the displays changed.
pub const EVENT_DISPLAY: u32 = 1 << 0;
/// Shared memory region of host-visible blobs.
pub const SHM_ID_HOST_VISIBLE: u8 = 1;
/// Mask of [`ResourceCreate3d::flags`]: the first row is the top one.
pub const RESOURCE_FLAG_Y_0_TOP: u32 = 1 << 0;
/// Mask of [`CtxCreate::context_init`]: the capset of the context.
pub const CONTEXT_INIT_CAPSET_ID_MASK: u32 = 0xff;

/// Begins every request and every response.
#[doc(alias = "virtio_gpu_ctrl_hdr")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CtrlHdr {
    /// [`Command`] or [`RespType`].
    pub type_: U32,
    /// Masks of [`flag`].
    pub flags: U32,
    /// Number of the fence; completing it completes all earlier ones of its timeline.
    pub fence_id: U64,
    /// 3D context, 0 for none.
    pub ctx_id: U32,
    /// Timeline within the context; valid with [`flag::INFO_RING_IDX`].
    pub ring_idx: u8,
    /// Zero.
    pub padding: [u8; 3],
}

/// A rectangle of pixels.
#[doc(alias = "virtio_gpu_rect")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct WireRect {
    /// Left.
    pub x: U32,
    /// Top.
    pub y: U32,
    /// Width.
    pub width: U32,
    /// Height.
    pub height: U32,
}

/// Where a cursor is.
#[doc(alias = "virtio_gpu_cursor_pos")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CursorPos {
    /// Scanout it is on.
    pub scanout_id: U32,
    /// Position of the hot spot.
    pub x: U32,
    /// Position of the hot spot.
    pub y: U32,
    /// Zero.
    pub padding: U32,
}

/// [`Command::UpdateCursor`] and [`Command::MoveCursor`]; a move uses `pos` only.
#[doc(alias = "virtio_gpu_update_cursor")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UpdateCursor {
    /// Header.
    pub hdr: CtrlHdr,
    /// New position.
    pub pos: CursorPos,
    /// Image, 0 hides the cursor.
    pub resource_id: U32,
    /// Hot spot within the image.
    pub hot_x: U32,
    /// Hot spot within the image.
    pub hot_y: U32,
    /// Zero.
    pub padding: U32,
}

/// Requests that name a resource and nothing else: [`Command::ResourceUnref`],
/// [`Command::ResourceDetachBacking`], [`Command::ResourceAssignUuid`],
/// [`Command::CtxAttachResource`], [`Command::CtxDetachResource`],
/// [`Command::ResourceUnmapBlob`].
#[doc(alias = "virtio_gpu_resource_unref")]
#[doc(alias = "virtio_gpu_resource_detach_backing")]
#[doc(alias = "virtio_gpu_resource_assign_uuid")]
#[doc(alias = "virtio_gpu_ctx_resource")]
#[doc(alias = "virtio_gpu_resource_unmap_blob")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ResourceRequest {
    /// Header.
    pub hdr: CtrlHdr,
    /// The resource.
    pub resource_id: U32,
    /// Zero.
    pub padding: U32,
}

/// [`Command::ResourceCreate2d`].
#[doc(alias = "virtio_gpu_resource_create_2d")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ResourceCreate2d {
    /// Header.
    pub hdr: CtrlHdr,
    /// Id the driver chose, not 0.
    pub resource_id: U32,
    /// [`Format`].
    pub format: U32,
    /// Width.
    pub width: U32,
    /// Height.
    pub height: U32,
}

/// [`Command::SetScanout`].
#[doc(alias = "virtio_gpu_set_scanout")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SetScanout {
    /// Header.
    pub hdr: CtrlHdr,
    /// Part of the resource that is shown.
    pub r: WireRect,
    /// The scanout.
    pub scanout_id: U32,
    /// The resource, 0 turns the scanout off.
    pub resource_id: U32,
}

/// [`Command::ResourceFlush`].
#[doc(alias = "virtio_gpu_resource_flush")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ResourceFlush {
    /// Header.
    pub hdr: CtrlHdr,
    /// Damaged part of the resource.
    pub r: WireRect,
    /// The resource.
    pub resource_id: U32,
    /// Zero.
    pub padding: U32,
}

/// [`Command::TransferToHost2d`].
#[doc(alias = "virtio_gpu_transfer_to_host_2d")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TransferToHost2d {
    /// Header.
    pub hdr: CtrlHdr,
    /// Part of the resource to copy.
    pub r: WireRect,
    /// Byte of the backing where the part's first pixel is; rows are the resource's width apart.
    pub offset: U64,
    /// The resource.
    pub resource_id: U32,
    /// Zero.
    pub padding: U32,
}

/// One piece of the driver's memory.
#[doc(alias = "virtio_gpu_mem_entry")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct MemEntry {
    /// Address, as the driver's addresses on the rings.
    pub addr: U64,
    /// Bytes.
    pub length: U32,
    /// Zero.
    pub padding: U32,
}

/// [`Command::ResourceAttachBacking`]; `nr_entries` [`MemEntry`]s follow.
#[doc(alias = "virtio_gpu_resource_attach_backing")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ResourceAttachBacking {
    /// Header.
    pub hdr: CtrlHdr,
    /// The resource.
    pub resource_id: U32,
    /// Entries that follow.
    pub nr_entries: U32,
}

/// One display of [`RespDisplayInfo`].
#[doc(alias = "virtio_gpu_display_one")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DisplayOne {
    /// Preferred position and size.
    pub r: WireRect,
    /// 1 when a display is connected.
    pub enabled: U32,
    /// Zero.
    pub flags: U32,
}

/// [`RespType::OkDisplayInfo`].
#[doc(alias = "virtio_gpu_resp_display_info")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RespDisplayInfo {
    /// Header.
    pub hdr: CtrlHdr,
    /// The displays, by scanout.
    pub pmodes: [DisplayOne; MAX_SCANOUTS],
}

/// [`Command::GetEdid`].
#[doc(alias = "virtio_gpu_cmd_get_edid")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GetEdid {
    /// Header.
    pub hdr: CtrlHdr,
    /// The scanout.
    pub scanout: U32,
    /// Zero.
    pub padding: U32,
}

/// [`RespType::OkEdid`].
#[doc(alias = "virtio_gpu_resp_edid")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RespEdid {
    /// Header.
    pub hdr: CtrlHdr,
    /// Bytes of `edid` that are used.
    pub size: U32,
    /// Zero.
    pub padding: U32,
    /// The EDID, zero beyond `size`.
    pub edid: [u8; MAX_EDID],
}

impl Default for RespEdid {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// [`RespType::OkResourceUuid`].
#[doc(alias = "virtio_gpu_resp_resource_uuid")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RespResourceUuid {
    /// Header.
    pub hdr: CtrlHdr,
    /// The UUID, in the order of its text form.
    pub uuid: [u8; 16],
}

/// [`Command::ResourceCreateBlob`]; `nr_entries` [`MemEntry`]s follow.
#[doc(alias = "virtio_gpu_resource_create_blob")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ResourceCreateBlob {
    /// Header.
    pub hdr: CtrlHdr,
    /// Id the driver chose, not 0.
    pub resource_id: U32,
    /// [`BlobMem`].
    pub blob_mem: U32,
    /// Masks of [`blob_flag`].
    pub blob_flags: U32,
    /// Entries that follow.
    pub nr_entries: U32,
    /// The renderer's name of the memory; 0 for [`BlobMem::Guest`].
    pub blob_id: U64,
    /// Bytes of the blob.
    pub size: U64,
}

/// [`Command::SetScanoutBlob`].
#[doc(alias = "virtio_gpu_set_scanout_blob")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SetScanoutBlob {
    /// Header.
    pub hdr: CtrlHdr,
    /// Part of the frame that is shown.
    pub r: WireRect,
    /// The scanout.
    pub scanout_id: U32,
    /// The blob, 0 turns the scanout off.
    pub resource_id: U32,
    /// Width of the frame in the blob.
    pub width: U32,
    /// Height of the frame in the blob.
    pub height: U32,
    /// [`Format`].
    pub format: U32,
    /// Zero.
    pub padding: U32,
    /// Bytes from a row to the next, by plane.
    pub strides: [U32; 4],
    /// First byte, by plane.
    pub offsets: [U32; 4],
}

/// The configuration space.
#[doc(alias = "virtio_gpu_config")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Config {
    /// Pending events, [`EVENT_DISPLAY`].
    pub events_read: U32,
    /// The driver writes the events it has seen; they leave `events_read`.
    pub events_clear: U32,
    /// Scanouts, 1 to [`MAX_SCANOUTS`].
    pub num_scanouts: U32,
    /// Capsets.
    pub num_capsets: U32,
}

macro_rules! sizes {
    ($($name:ty = $bytes:literal),+ $(,)?) => {
        $(const _: () = assert!(size_of::<$name>() == $bytes && align_of::<$name>() == 1);)+
    };
}

sizes! {
    CtrlHdr = 24,
    WireRect = 16,
    CursorPos = 16,
    UpdateCursor = 56,
    ResourceRequest = 32,
    ResourceCreate2d = 40,
    SetScanout = 48,
    ResourceFlush = 48,
    TransferToHost2d = 56,
    MemEntry = 16,
    ResourceAttachBacking = 32,
    DisplayOne = 24,
    RespDisplayInfo = 408,
    GetCapsetInfo = 32,
    RespCapsetInfo = 40,
    GetCapset = 32,
    RespCapset = 24,
    GetEdid = 32,
    RespEdid = 1056,
    RespResourceUuid = 40,
    ResourceCreateBlob = 56,
    SetScanoutBlob = 96,
    CtxCreate = 96,
    CtxDestroy = 24,
    WireBox = 24,
    TransferHost3d = 72,
    ResourceCreate3d = 72,
    CmdSubmit = 32,
    ResourceMapBlob = 40,
    RespMapInfo = 32,
    Config = 16,
}
