//! Bytes of the vhost-user-gpu socket (QEMU `docs/interop/vhost-user-gpu.rst`).
//!
//! Both ends are processes of one machine: numbers are native-endian.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `VHOST_USER_GPU_*` request numbers.
pub mod request {
    /// Which protocol features the front-end has.
    pub const GET_PROTOCOL_FEATURES: u32 = 1;
    /// Which of them the back-end uses.
    pub const SET_PROTOCOL_FEATURES: u32 = 2;
    /// The modes of the scanouts.
    pub const GET_DISPLAY_INFO: u32 = 3;
    /// Cursor moved and is visible.
    pub const CURSOR_POS: u32 = 4;
    /// Cursor moved and is hidden.
    pub const CURSOR_POS_HIDE: u32 = 5;
    /// New cursor picture.
    pub const CURSOR_UPDATE: u32 = 6;
    /// New scanout size; pixels follow by `UPDATE`.
    pub const SCANOUT: u32 = 7;
    /// Pixels of a rectangle.
    pub const UPDATE: u32 = 8;
    /// The scanout is a dma-buf.
    pub const DMABUF_SCANOUT: u32 = 9;
    /// The dma-buf changed; answered when the front-end is done with it.
    pub const DMABUF_UPDATE: u32 = 10;
    /// The EDID of a scanout.
    pub const GET_EDID: u32 = 11;
    /// As `DMABUF_SCANOUT`, with a format modifier.
    pub const DMABUF_SCANOUT2: u32 = 12;
    /// Ours: the scanout is a piece of a mappable file.
    pub const MEMORY_SCANOUT: u32 = 0x564c_0001;
    /// Ours: let go of a file named by `MEMORY_SCANOUT`.
    pub const MEMORY_RELEASE: u32 = 0x564c_0002;
    /// Ours: keep a file of pixels for the back-end that takes this one's place.
    pub const MEMORY_KEEP: u32 = 0x564c_0003;
}

/// Protocol feature mask: `GET_EDID`.
///
/// The protocol's 0 and 1 are bit *numbers*; the `vhost` crate 0.18 has them as masks, so its
/// constants are not used here.
pub const F_EDID: u64 = 1 << 0;
/// Protocol feature mask: `DMABUF_SCANOUT2`.
pub const F_DMABUF2: u64 = 1 << 1;
/// Protocol feature mask, ours: `MEMORY_SCANOUT`, `MEMORY_RELEASE`, and `DMABUF_UPDATE` for both
/// kinds of scanout.
pub const F_MEMORY_SCANOUT: u64 = 1 << 48;

/// Protocol feature mask, ours: `MEMORY_KEEP`.
pub const F_MEMORY_KEEP: u64 = 1 << 49;

/// Header flag: this is a reply.
pub const FLAG_REPLY: u32 = 1 << 2;

/// Largest payload of an `UPDATE`: a frame of the driver's largest mode, 8192 × 8192.
pub const MAX_UPDATE: u32 = size_of::<Update>() as u32 + 4 * 8192 * 8192;
/// Most pixel bytes that we put into one `UPDATE`: a 4096 × 4096 frame.
pub const MAX_SENT_PIXELS: u32 = 4 * 4096 * 4096;

/// Largest number of scanouts, `VIRTIO_GPU_MAX_SCANOUTS`.
pub const MAX_SCANOUTS: u32 = 16;

/// First bytes of each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`request`].
    pub request: u32,
    /// [`FLAG_REPLY`] or 0.
    pub flags: u32,
    /// Bytes that follow.
    pub size: u32,
}

/// `CURSOR_POS`, `CURSOR_POS_HIDE`: pixels from the scanout's top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CursorPos {
    /// Scanout index.
    pub scanout_id: u32,
    /// Column.
    pub x: u32,
    /// Row.
    pub y: u32,
}

/// `CURSOR_UPDATE` without its pixels, which are 64 × 64 `u32` a8r8g8b8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CursorUpdate {
    /// Where the cursor is.
    pub pos: CursorPos,
    /// Column of the hot spot.
    pub hot_x: u32,
    /// Row of the hot spot.
    pub hot_y: u32,
}

/// Pixels of a cursor picture.
pub const CURSOR_PIXELS: usize = 64 * 64;

/// `SCANOUT`: 0 × 0 turns it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Scanout {
    /// Scanout index.
    pub scanout_id: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// `UPDATE` (x8r8g8b8 rows without gaps follow) and `DMABUF_UPDATE` (nothing follows).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Update {
    /// Scanout index.
    pub scanout_id: u32,
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// `DMABUF_SCANOUT`; without a file descriptor it turns the scanout off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmabufScanout {
    /// Scanout index.
    pub scanout_id: u32,
    /// Left edge of the scanout in the buffer.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Pixels of the scanout.
    pub width: u32,
    /// Pixels of the scanout.
    pub height: u32,
    /// Pixels of the buffer.
    pub fd_width: u32,
    /// Pixels of the buffer.
    pub fd_height: u32,
    /// Bytes from row to row.
    pub fd_stride: u32,
    /// Bit 0, `Y_0_TOP`: the first row in memory is the lower one, that of OpenGL's y 0.
    pub fd_flags: u32,
    /// DRM fourcc.
    pub fd_drm_fourcc: i32,
}

/// `MEMORY_SCANOUT`. `width` 0 turns the scanout off, and then it has an empty reply: after it the
/// front-end reads the old pixels no more.
///
/// With `buffer` 0 the pixels lie in the driver's memory, which the front-end has itself, and no
/// file descriptor comes along. Otherwise there is one, a memfd sealed against shrinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryScanout {
    /// First byte of the first row: in the file, or the driver's address.
    pub offset: u64,
    /// Bytes from `offset` on that belong to the buffer.
    pub size: u64,
    /// Names the file: the same number means the same file as before. 0: the driver's memory.
    pub buffer: u64,
    /// Scanout index.
    pub scanout_id: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from row to row.
    pub stride: u32,
    /// DRM fourcc.
    pub fourcc: u32,
    /// Of the driver's memory: another number for each buffer that is or was there, as far as 32 bits go;
    /// 0 if that is not known. Else 0.
    pub generation: u32,
}

/// `MEMORY_KEEP`, with the file, a memfd sealed against any change of its size. `MEMORY_RELEASE`
/// ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryKeep {
    /// Names the file, as in [`MemoryScanout`]; not 0.
    pub buffer: u64,
    /// Its bytes.
    pub size: u64,
}

const _: () = assert!(size_of::<MemoryKeep>() == 16);
const _: () = assert!(size_of::<Header>() == 12);
const _: () = assert!(size_of::<CursorPos>() == 12);
const _: () = assert!(size_of::<CursorUpdate>() + 4 * CURSOR_PIXELS == 16404);
const _: () = assert!(size_of::<Update>() == 20);
const _: () = assert!(size_of::<DmabufScanout>() == 40);
const _: () = assert!(size_of::<MemoryScanout>() == 48);
/// Bytes of the `GET_DISPLAY_INFO` reply, `struct virtio_gpu_resp_display_info`.
pub const DISPLAY_INFO_SIZE: usize = 408;
/// Bytes of the `GET_EDID` reply, `struct virtio_gpu_resp_edid`.
pub const EDID_SIZE: usize = 1056;
