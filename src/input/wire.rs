//! What a virtio-input device says, in bytes: `linux/virtio_input.h` and virtio 1.3, section 5.8.

use zerocopy::little_endian::{I32, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Virtio device id of an input device.
pub const DEVICE_ID: u32 = 18;
/// The queue of events, all of whose buffers the device writes.
pub const EVENT_QUEUE: u16 = 0;
/// The queue on which the driver tells of lights, sounds and repetition.
pub const STATUS_QUEUE: u16 = 1;
/// Queues of an input device.
pub const QUEUE_COUNT: usize = 2;

/// `VIRTIO_INPUT_CFG_*`: what the driver asks for.
pub mod select {
    /// Name, a string without a final NUL.
    pub const ID_NAME: u8 = 0x01;
    /// Serial number, likewise; the kernel's `uniq`.
    pub const ID_SERIAL: u8 = 0x02;
    /// [`DevIds`](super::DevIds).
    pub const ID_DEVIDS: u8 = 0x03;
    /// Bits of `INPUT_PROP_*`.
    pub const PROP_BITS: u8 = 0x10;
    /// Bits of the codes that events of a type can have; the type is the second part of the question.
    pub const EV_BITS: u8 = 0x11;
    /// [`AbsInfo`](super::AbsInfo); the axis is the second part of the question.
    pub const ABS_INFO: u8 = 0x12;
}

/// An event in the terms of Linux's `struct input_event`, without the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// `EV_*`.
    pub kind: u16,
    /// `KEY_*`, `BTN_*`, `REL_*`, `ABS_*`, `LED_*` or `SYN_*`.
    pub code: u16,
    /// State, distance or position.
    pub value: i32,
}

impl Event {
    /// An event.
    #[must_use]
    pub const fn new(kind: u16, code: u16, value: i32) -> Self {
        Self { kind, code, value }
    }
}

/// `struct virtio_input_event`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WireEvent {
    /// `EV_*`.
    pub kind: U16,
    /// Code.
    pub code: U16,
    /// Value; the specification has it without a sign, the driver with one.
    pub value: I32,
}

impl From<Event> for WireEvent {
    fn from(event: Event) -> Self {
        Self { kind: event.kind.into(), code: event.code.into(), value: event.value.into() }
    }
}

impl From<WireEvent> for Event {
    fn from(event: WireEvent) -> Self {
        Self::new(event.kind.get(), event.code.get(), event.value.get())
    }
}

/// `struct virtio_input_devids`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DevIds {
    /// `BUS_*`.
    pub bus: U16,
    /// Vendor.
    pub vendor: U16,
    /// Product.
    pub product: U16,
    /// Version.
    pub version: U16,
}

/// `struct virtio_input_absinfo`: an axis.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AbsInfo {
    /// Least value.
    pub min: I32,
    /// Greatest value.
    pub max: I32,
    /// Changes below it are noise.
    pub fuzz: I32,
    /// Values below it are rest.
    pub flat: I32,
    /// Units per millimetre; 0: not known.
    pub resolution: I32,
}

/// `struct virtio_loopback_input_entry` of the kernel module: what stands before each answer.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EntryHeader {
    /// [`select`].
    pub select: u8,
    /// Second part of the question.
    pub subsel: u8,
    /// Bytes of the answer, from 1 on.
    pub size: u8,
    /// 0.
    pub reserved: u8,
}

const _: () = assert!(size_of::<WireEvent>() == 8);
const _: () = assert!(size_of::<DevIds>() == 8);
const _: () = assert!(size_of::<AbsInfo>() == 20);
const _: () = assert!(size_of::<EntryHeader>() == 4);
