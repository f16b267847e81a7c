//! Numbers of the wire that are one of a list.

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$variant_meta])* $variant = $value,)+
        }

        impl $name {
            /// All values, in rising order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value a number stands for, `None` for every other number.
            pub const fn from_raw(raw: u32) -> Option<Self> {
                match raw {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The number on the wire.
            pub const fn raw(self) -> u32 {
                self as u32
            }
        }

        impl From<$name> for zerocopy::little_endian::U32 {
            fn from(value: $name) -> Self {
                Self::new(value.raw())
            }
        }
    };
}

wire_enum! {
    /// Type of a request. 0x01xx are for all devices, 0x02xx need 3D, 0x03xx belong on the cursor
    /// queue.
    #[doc(alias = "virtio_gpu_ctrl_type")]
    Command {
        /// Which displays there are. Answer: [`RespType::OkDisplayInfo`].
        GetDisplayInfo = 0x0100,
        /// Makes a resource with pixels of its own.
        ResourceCreate2d = 0x0101,
        /// Destroys a resource.
        ResourceUnref = 0x0102,
        /// Shows a part of a resource on a scanout.
        SetScanout = 0x0103,
        /// Makes changed pixels visible.
        ResourceFlush = 0x0104,
        /// Copies from the backing to the resource.
        TransferToHost2d = 0x0105,
        /// Gives a resource memory of the driver.
        ResourceAttachBacking = 0x0106,
        /// Takes that memory back.
        ResourceDetachBacking = 0x0107,
        /// Which capsets there are. Answer: [`RespType::OkCapsetInfo`].
        GetCapsetInfo = 0x0108,
        /// One capset. Answer: [`RespType::OkCapset`].
        GetCapset = 0x0109,
        /// What the display of a scanout is. Answer: [`RespType::OkEdid`].
        GetEdid = 0x010a,
        /// A name of a resource for other devices. Answer: [`RespType::OkResourceUuid`].
        ResourceAssignUuid = 0x010b,
        /// Makes a resource that is just memory.
        ResourceCreateBlob = 0x010c,
        /// Shows a part of a blob on a scanout.
        SetScanoutBlob = 0x010d,
        /// Makes a 3D context.
        CtxCreate = 0x0200,
        /// Destroys a 3D context.
        CtxDestroy = 0x0201,
        /// Lets a context use a resource.
        CtxAttachResource = 0x0202,
        /// Takes a resource from a context.
        CtxDetachResource = 0x0203,
        /// Makes a 3D resource.
        ResourceCreate3d = 0x0204,
        /// Copies from the backing to the resource.
        TransferToHost3d = 0x0205,
        /// Copies from the resource to the backing.
        TransferFromHost3d = 0x0206,
        /// Commands for the renderer.
        Submit3d = 0x0207,
        /// Puts a blob into the host-visible region. Answer: [`RespType::OkMapInfo`].
        ResourceMapBlob = 0x0208,
        /// Takes it out again.
        ResourceUnmapBlob = 0x0209,
        /// New image and position.
        UpdateCursor = 0x0300,
        /// New position.
        MoveCursor = 0x0301,
    }
}

wire_enum! {
    /// Type of a response.
    #[doc(alias = "virtio_gpu_ctrl_type")]
    RespType {
        /// Done.
        OkNodata = 0x1100,
        /// See [`super::RespDisplayInfo`].
        OkDisplayInfo = 0x1101,
        /// See [`super::RespCapsetInfo`].
        OkCapsetInfo = 0x1102,
        /// See [`super::RespCapset`].
        OkCapset = 0x1103,
        /// See [`super::RespEdid`].
        OkEdid = 0x1104,
        /// See [`super::RespResourceUuid`].
        OkResourceUuid = 0x1105,
        /// See [`super::RespMapInfo`].
        OkMapInfo = 0x1106,
        /// Something else went wrong.
        ErrUnspec = 0x1200,
        /// No memory, or a limit of the device.
        ErrOutOfMemory = 0x1201,
        /// No such scanout.
        ErrInvalidScanoutId = 0x1202,
        /// No such resource, or a new id that is taken or 0.
        ErrInvalidResourceId = 0x1203,
        /// No such context, or a new id that is taken or 0.
        ErrInvalidContextId = 0x1204,
        /// A value out of its range.
        ErrInvalidParameter = 0x1205,
    }
}

wire_enum! {
    /// Where the memory of a blob is.
    #[doc(alias = "VIRTIO_GPU_BLOB_MEM")]
    BlobMem {
        /// The driver's pages.
        Guest = 1,
        /// The renderer's memory.
        Host3d = 2,
        /// The driver's pages, known to the renderer by `blob_id`.
        Host3dGuest = 3,
    }
}

wire_enum! {
    /// Capability sets: protocols of 3D contexts.
    #[doc(alias = "VIRTIO_GPU_CAPSET")]
    CapsetId {
        /// OpenGL by virgl, first version.
        Virgl = 1,
        /// OpenGL by virgl.
        Virgl2 = 2,
        /// Vulkan by gfxstream.
        GfxstreamVulkan = 3,
        /// Vulkan by venus.
        Venus = 4,
        /// Wayland and other sockets.
        CrossDomain = 5,
        /// Native contexts.
        Drm = 6,
    }
}

wire_enum! {
    /// Pixel formats of 2D resources, 32 bits each. A name lists the bytes in memory order.
    #[doc(alias = "virtio_gpu_formats")]
    Format {
        /// Blue, green, red, alpha.
        B8g8r8a8 = 1,
        /// Blue, green, red, unused.
        B8g8r8x8 = 2,
        /// Alpha, red, green, blue.
        A8r8g8b8 = 3,
        /// Unused, red, green, blue.
        X8r8g8b8 = 4,
        /// Red, green, blue, alpha.
        R8g8b8a8 = 67,
        /// Unused, blue, green, red.
        X8b8g8r8 = 68,
        /// Alpha, blue, green, red.
        A8b8g8r8 = 121,
        /// Red, green, blue, unused.
        R8g8b8x8 = 134,
    }
}

impl Format {
    /// Bytes of a pixel, in every format.
    pub const BYTES_PER_PIXEL: u32 = 4;

    /// The DRM format of the same bytes. DRM names the bits of a little-endian word, so its order
    /// is the reverse of the bytes in memory.
    pub const fn drm_fourcc(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::B8g8r8a8 => *b"AR24",
            Self::B8g8r8x8 => *b"XR24",
            Self::A8r8g8b8 => *b"BA24",
            Self::X8r8g8b8 => *b"BX24",
            Self::R8g8b8a8 => *b"AB24",
            Self::X8b8g8r8 => *b"RX24",
            Self::A8b8g8r8 => *b"RA24",
            Self::R8g8b8x8 => *b"XB24",
        })
    }

    /// The format of a DRM one.
    pub fn from_drm_fourcc(fourcc: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.drm_fourcc() == fourcc)
    }

    /// The same format without a meaning for alpha: what a scanout shows.
    pub const fn opaque(self) -> Self {
        match self {
            Self::B8g8r8a8 => Self::B8g8r8x8,
            Self::A8r8g8b8 => Self::X8r8g8b8,
            Self::R8g8b8a8 => Self::R8g8b8x8,
            Self::A8b8g8r8 => Self::X8b8g8r8,
            same => same,
        }
    }

    /// The same format with alpha: what a cursor shows.
    pub const fn with_alpha(self) -> Self {
        match self {
            Self::B8g8r8x8 => Self::B8g8r8a8,
            Self::X8r8g8b8 => Self::A8r8g8b8,
            Self::R8g8b8x8 => Self::R8g8b8a8,
            Self::X8b8g8r8 => Self::A8b8g8r8,
            same => same,
        }
    }
}
