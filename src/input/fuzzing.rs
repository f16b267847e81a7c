//! The rings as a hostile driver has them, for fuzz targets.

use loopback_driver_glue::QueueInfo;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::contacts::Contacts;
use super::kind::DeviceKind;
use super::outbox::Outbox;
use super::rings::Ring;
use super::sorter::{Positions, Sorter};
use super::wire::Event;

/// Bytes of the driver's memory.
pub const MEMORY: u64 = 0x1_0000;
/// Entries of both rings.
pub const SIZE: u16 = 16;
/// Bytes between the rings' beginnings; see [`layout`].
const STRIDE: u64 = 0x1000;

/// Where a ring is: its descriptor table, available ring and used ring.
#[must_use]
pub fn layout(status: bool) -> [u64; 3] {
    let base = if status { STRIDE } else { 0 };
    [base, base + 0x400, base + 0x800]
}

/// A device's rings.
#[derive(Debug)]
pub struct Rings {
    memory: GuestMemoryMmap,
    event_idx: bool,
    events: Ring,
    status: Ring,
    outbox: Outbox,
}

fn ring(status: bool, event_idx: bool) -> Ring {
    let [desc, avail, used] = layout(status);
    let info = QueueInfo { size: SIZE, ready: true, desc, avail, used, ..QueueInfo::default() };
    Ring::new(info, event_idx).unwrap()
}

impl Rings {
    /// Rings in memory of zeros.
    #[must_use]
    pub fn new(event_idx: bool) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).unwrap();
        let (events, status) = (ring(false, event_idx), ring(true, event_idx));
        Self { memory, event_idx, events, status, outbox: Outbox::default() }
    }

    /// Writes as the driver; what is outside of the memory is not written.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write(bytes, GuestAddress(address % MEMORY));
    }

    /// Reads as the driver.
    #[must_use]
    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// The device has something to say.
    pub fn push(&mut self, frame: &[Event]) {
        self.outbox.push(frame);
    }

    /// The device looks at both rings. Gives what it was told.
    pub fn serve(&mut self) -> Vec<Event> {
        let mut said = Vec::new();
        let _ = self.events.deliver(&self.memory, &mut self.outbox);
        let _ = self.status.receive(&self.memory, |event| said.push(event));
        said
    }

    /// The driver resets the device, and sets the rings up anew.
    pub fn reset(&mut self) {
        for status in [false, true] {
            self.write(layout(status)[0], &[0; STRIDE as usize]);
        }
        self.events = ring(false, self.event_idx);
        self.status = ring(true, self.event_idx);
        self.outbox.forget();
    }
}

/// A source.
#[derive(Debug, Default)]
pub struct Source(Sorter, Contacts);

impl Source {
    /// It says something, with positions in pixels of such a frame; 0: of no frame.
    pub fn push(&mut self, event: Event, width: u32, height: u32) -> Vec<(DeviceKind, Vec<Event>)> {
        let positions = match (width, height) {
            (0, _) => Positions::Unknown,
            _ => Positions::Pixels { width, height },
        };
        self.0.push(event, positions, &mut self.1).into_iter().collect()
    }

    /// It lets go of everything.
    pub fn release(&mut self) -> Vec<(DeviceKind, Vec<Event>)> {
        self.0.release(&mut self.1).into_iter().collect()
    }
}
