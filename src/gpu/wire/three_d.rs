//! Structs of the commands that need 3D: capsets, contexts, 3D resources, mapping of host blobs.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::CtrlHdr;

/// [`Command::GetCapsetInfo`](super::Command::GetCapsetInfo).
#[doc(alias = "virtio_gpu_get_capset_info")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GetCapsetInfo {
    /// Header.
    pub hdr: CtrlHdr,
    /// Below [`Config::num_capsets`](super::Config::num_capsets).
    pub capset_index: U32,
    /// Zero.
    pub padding: U32,
}

/// [`RespType::OkCapsetInfo`](super::RespType::OkCapsetInfo).
#[doc(alias = "virtio_gpu_resp_capset_info")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RespCapsetInfo {
    /// Header.
    pub hdr: CtrlHdr,
    /// [`CapsetId`](super::CapsetId).
    pub capset_id: U32,
    /// Highest version.
    pub capset_max_version: U32,
    /// Bytes of the longest version.
    pub capset_max_size: U32,
    /// Zero.
    pub padding: U32,
}

/// [`Command::GetCapset`](super::Command::GetCapset).
#[doc(alias = "virtio_gpu_get_capset")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct GetCapset {
    /// Header.
    pub hdr: CtrlHdr,
    /// [`CapsetId`](super::CapsetId).
    pub capset_id: U32,
    /// Version.
    pub capset_version: U32,
}

/// [`RespType::OkCapset`](super::RespType::OkCapset); the capset follows.
#[doc(alias = "virtio_gpu_resp_capset")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RespCapset {
    /// Header.
    pub hdr: CtrlHdr,
}

/// [`Command::CtxCreate`](super::Command::CtxCreate).
#[doc(alias = "virtio_gpu_ctx_create")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CtxCreate {
    /// Header; its `ctx_id` is the new context.
    pub hdr: CtrlHdr,
    /// Bytes of `debug_name`.
    pub nlen: U32,
    /// Capset in [`CONTEXT_INIT_CAPSET_ID_MASK`](super::CONTEXT_INIT_CAPSET_ID_MASK).
    pub context_init: U32,
    /// Name for people.
    pub debug_name: [u8; 64],
}

impl Default for CtxCreate {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// [`Command::CtxDestroy`](super::Command::CtxDestroy).
#[doc(alias = "virtio_gpu_ctx_destroy")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CtxDestroy {
    /// Header; its `ctx_id` is the context.
    pub hdr: CtrlHdr,
}

/// A box of texels.
#[doc(alias = "virtio_gpu_box")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct WireBox {
    /// Left.
    pub x: U32,
    /// Top.
    pub y: U32,
    /// Front.
    pub z: U32,
    /// Width.
    pub w: U32,
    /// Height.
    pub h: U32,
    /// Depth.
    pub d: U32,
}

/// [`Command::TransferToHost3d`](super::Command::TransferToHost3d) and
/// [`Command::TransferFromHost3d`](super::Command::TransferFromHost3d).
#[doc(alias = "virtio_gpu_transfer_host_3d")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TransferHost3d {
    /// Header.
    pub hdr: CtrlHdr,
    /// Part of the resource to copy.
    pub box_: WireBox,
    /// First byte of the backing.
    pub offset: U64,
    /// The resource.
    pub resource_id: U32,
    /// Mip level.
    pub level: U32,
    /// Bytes from a row to the next.
    pub stride: U32,
    /// Bytes from a layer to the next.
    pub layer_stride: U32,
}

/// [`Command::ResourceCreate3d`](super::Command::ResourceCreate3d).
#[doc(alias = "virtio_gpu_resource_create_3d")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ResourceCreate3d {
    /// Header.
    pub hdr: CtrlHdr,
    /// Id the driver chose, not 0.
    pub resource_id: U32,
    /// Gallium texture target.
    pub target: U32,
    /// Gallium format.
    pub format: U32,
    /// Gallium bind flags.
    pub bind: U32,
    /// Width.
    pub width: U32,
    /// Height.
    pub height: U32,
    /// Depth.
    pub depth: U32,
    /// Layers.
    pub array_size: U32,
    /// Highest mip level.
    pub last_level: U32,
    /// Samples per texel.
    pub nr_samples: U32,
    /// [`RESOURCE_FLAG_Y_0_TOP`](super::RESOURCE_FLAG_Y_0_TOP).
    pub flags: U32,
    /// Zero.
    pub padding: U32,
}

/// [`Command::Submit3d`](super::Command::Submit3d); `size` bytes of commands follow.
#[doc(alias = "virtio_gpu_cmd_submit")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CmdSubmit {
    /// Header.
    pub hdr: CtrlHdr,
    /// Bytes that follow.
    pub size: U32,
    /// Zero. Early texts of CONTEXT_INIT counted extra fences here; no driver does.
    pub padding: U32,
}

/// [`Command::ResourceMapBlob`](super::Command::ResourceMapBlob).
#[doc(alias = "virtio_gpu_resource_map_blob")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ResourceMapBlob {
    /// Header.
    pub hdr: CtrlHdr,
    /// The blob.
    pub resource_id: U32,
    /// Zero.
    pub padding: U32,
    /// Byte of the host-visible region where it shall appear.
    pub offset: U64,
}

/// [`RespType::OkMapInfo`](super::RespType::OkMapInfo).
#[doc(alias = "virtio_gpu_resp_map_info")]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RespMapInfo {
    /// Header.
    pub hdr: CtrlHdr,
    /// Value of [`map_cache`](super::map_cache).
    pub map_info: U32,
    /// Zero.
    pub padding: U32,
}
