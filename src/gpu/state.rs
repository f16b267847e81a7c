//! The resource table in a file, so that another process can go on with it.
//!
//! A front-end that replaces a backend that died keeps this file and gives it to the next one. It
//! holds what commands have made of the device: resources with their backing, scanouts, and which
//! cursors are visible. Pixels are not in it: those of blobs are the driver's, and those of classic
//! resources are in memfds of their own ([`Display::keep_memory`](super::Display::keep_memory)).
//!
//! # Layout
//!
//! Native-endian records of fixed size, at places that follow from the [`Limits`]: a [`Header`], a
//! [`ScanoutRecord`] per scanout, [`Counters`], a response type per entry of the control queue, a
//! [`ResourceRecord`] per resource, and a pool of [`PieceRecord`]s, of which a backing is a list.
//!
//! # Changes
//!
//! The process may be killed between any two stores. A record counts when its one word that says so
//! is stored, last; it ends when that word is cleared, first. A command that was executed in part
//! was not returned to the driver, and is executed again. One that was executed and then held back
//! is not: those that came after it may have been returned already. Its response type is in the file
//! for as long.
//!
//! # Trust
//!
//! Who reads the file does not trust the process that wrote it: [`super::restore`].

mod figures;
mod reading;

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use rustix::fs::{SealFlags, fcntl_get_seals};
use vm_memory::{AtomicAccess, Bytes, FileOffset, MmapRegion, VolatileMemory};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::counters::Counters;
use super::limits::Limits;
use super::memfd;
use super::wire::MAX_SCANOUTS;

pub(super) use self::reading::Taken;

/// "vlbstate".
const MAGIC: u64 = u64::from_ne_bytes(*b"vlbstate");
/// Changes with the layout: the processes may be of different builds.
pub const STATE_VERSION: u32 = 4;

/// Where the scanouts are.
const SCANOUTS: u64 = 64;
/// Where the counters are.
pub(super) const COUNTERS: u64 = 1024;
/// Where the response types of commands are that were executed and not given back.
const ANSWERED: u64 = 2048;
/// How many there are: entries of the largest queue.
const MAX_HEADS: u64 = 1024;
/// Where the resources are.
const RESOURCES: u64 = 4096;

/// The beginning of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: u64,
    pub(super) version: u32,
    /// Resource records that may be valid; those behind them are not.
    pub(super) resources: u32,
    /// Above the serial number of every resource there ever was.
    pub(super) next_serial: u64,
    /// Mask of the scanouts whose cursor is visible.
    pub(super) cursors: u32,
    pub(super) reserved: u32,
}

/// What a scanout shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ScanoutRecord {
    /// 1: the record is valid.
    pub(super) on: u32,
    pub(super) resource_id: u32,
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1: the rest describes the frame in a blob. 0: it is 0.
    pub(super) blob: u32,
    pub(super) frame_width: u32,
    pub(super) frame_height: u32,
    /// As on the wire.
    pub(super) format: u32,
    pub(super) stride: u32,
    pub(super) offset: u32,
}

/// A resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ResourceRecord {
    /// 1: the record is valid.
    pub(super) live: u32,
    pub(super) id: u32,
    /// See [`super::ScanoutSource::buffer`].
    pub(super) serial: u64,
    /// First piece of the backing in the lower half, how many there are in the upper. 0: no backing.
    pub(super) backing: u64,
    /// Bytes of a blob. 0: it is an image.
    pub(super) size: u64,
    /// Width of an image or of a blob's cursor in the lower half, height in the upper.
    pub(super) dimensions: u64,
    /// Format of an image, as on the wire.
    pub(super) format: u32,
    /// [`HAS_UUID`] and so on.
    pub(super) flags: u32,
    pub(super) uuid: [u8; 16],
}

/// [`ResourceRecord::flags`]: `uuid` is valid.
pub(super) const HAS_UUID: u32 = 1;
/// [`ResourceRecord::flags`]: a blob has the size of a cursor in `dimensions`.
pub(super) const HAS_CURSOR_SIZE: u32 = 2;
/// [`ResourceRecord::flags`]: the pixels of an image are a renderer's, which ends with its process.
pub(super) const IS_TEXTURE: u32 = 4;

/// A piece of a backing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct PieceRecord {
    pub(super) address: u64,
    /// Bytes.
    pub(super) length: u64,
    /// The next piece of the same backing. The last one's does not matter.
    pub(super) next: u64,
}

const HEADER_SIZE: u64 = size_of::<Header>() as u64;
const SCANOUT_SIZE: u64 = size_of::<ScanoutRecord>() as u64;
const RESOURCE_SIZE: u64 = size_of::<ResourceRecord>() as u64;
const PIECE_SIZE: u64 = size_of::<PieceRecord>() as u64;

const _: () = assert!(HEADER_SIZE <= SCANOUTS && RESOURCE_SIZE == 64 && PIECE_SIZE == 24);
const _: () = assert!(SCANOUTS + SCANOUT_SIZE * MAX_SCANOUTS as u64 <= COUNTERS);
const _: () = assert!(COUNTERS + size_of::<Counters>() as u64 <= ANSWERED);
const _: () = assert!(ANSWERED + MAX_HEADS * size_of::<u16>() as u64 <= RESOURCES);

/// Why a file cannot hold the state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It could change its size under its users.
    #[error("the state file is not sealed against shrinking")]
    Unsealed,
    /// It was made for other limits.
    #[error("the state file has {found} bytes, {needed} are needed")]
    Size {
        /// Its bytes.
        found: u64,
        /// Bytes that the limits need.
        needed: u64,
    },
    /// The system refused.
    #[error("cannot use the state file")]
    Io(#[from] io::Error),
}

/// The places of one resource in the file.
#[derive(Debug)]
pub(super) struct Place {
    slot: u32,
    pieces: Box<[u32]>,
}

/// The state file, mapped.
#[derive(Debug)]
pub struct StateFile {
    mapping: MmapRegion<()>,
    slots: Pool,
    pieces: Pool,
    /// Where the pieces are.
    pieces_offset: u64,
}

impl StateFile {
    /// An empty file for devices with these limits. Its pages cost nothing until they are written.
    pub fn create(limits: &Limits) -> io::Result<File> {
        memfd::create_sealed(file_size(limits))
    }

    /// Maps a file. One that holds no state of this version becomes empty.
    pub fn open(file: File, limits: &Limits) -> Result<Self, StateError> {
        let needed = file_size(limits);
        let seals = fcntl_get_seals(&file).map_err(|_| StateError::Unsealed)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(StateError::Unsealed);
        }
        let found = crate::file_size::file_size(&file)?;
        let (true, Ok(size)) = (found >= needed, usize::try_from(needed)) else {
            return Err(StateError::Size { found, needed });
        };
        let mapping = MmapRegion::from_file(FileOffset::from_arc(Arc::new(file), 0), size)
            .map_err(io::Error::other)?;
        let (slots, pieces) = capacities(limits);
        let state = Self {
            mapping,
            slots: Pool::new(slots),
            pieces: Pool::new(pieces),
            pieces_offset: RESOURCES + u64::from(slots) * RESOURCE_SIZE,
        };
        let header = state.header();
        if header.magic != MAGIC || header.version != STATE_VERSION {
            let fresh = Header {
                magic: MAGIC,
                version: STATE_VERSION,
                next_serial: 1,
                ..Header::new_zeroed()
            };
            state.put(0, &fresh);
            state.turn_scanouts_off();
        }
        Ok(state)
    }

    pub(super) fn header(&self) -> Header {
        self.get(0)
    }

    /// Nothing is left but the serial numbers.
    pub(super) fn clear(&mut self) {
        self.store(offset_of!(Header, resources) as u64, 0_u32);
        self.set_cursors(0);
        self.turn_scanouts_off();
        self.forget_answered();
        self.slots.clear();
        self.pieces.clear();
    }

    fn turn_scanouts_off(&self) {
        (0..MAX_SCANOUTS as u32).for_each(|scanout| self.set_scanout(scanout, None));
    }

    /// No resource that comes has a lower serial number than this.
    pub(super) fn set_next_serial(&self, serial: u64) {
        self.store(offset_of!(Header, next_serial) as u64, serial);
    }

    pub(super) fn set_cursors(&self, mask: u32) {
        self.store(offset_of!(Header, cursors) as u64, mask);
    }

    pub(super) fn scanout(&self, scanout: u32) -> ScanoutRecord {
        self.get(scanout_offset(scanout))
    }

    pub(super) fn set_scanout(&self, scanout: u32, record: Option<ScanoutRecord>) {
        let offset = scanout_offset(scanout);
        self.store(offset, 0_u32);
        if let Some(record) = record {
            self.put(offset, &ScanoutRecord { on: 0, ..record });
            self.store(offset, 1_u32);
        }
    }

    pub(super) fn resource(&self, slot: u32) -> ResourceRecord {
        self.get(resource_offset(slot))
    }

    /// Puts a resource into a free place. `None`: there is none, which the limits rule out.
    pub(super) fn insert(
        &mut self,
        record: ResourceRecord,
        backing: impl ExactSizeIterator<Item = (u64, u64)>,
    ) -> Option<Place> {
        let pieces = self.put_pieces(backing)?;
        let Some(slot) = self.slots.take() else {
            self.pieces.give(&pieces);
            return None;
        };
        let offset = resource_offset(slot);
        self.store(offset, 0_u32);
        self.put(offset, &ResourceRecord { live: 0, backing: backing_word(&pieces), ..record });
        self.store(offset, 1_u32);
        self.store(offset_of!(Header, resources) as u64, self.slots.used);
        Some(Place { slot, pieces })
    }

    pub(super) fn remove(&mut self, place: &Place) {
        self.store(resource_offset(place.slot), 0_u32);
        self.pieces.give(&place.pieces);
        self.slots.give(&[place.slot]);
    }

    /// Replaces the backing of a resource. False: there is no room.
    pub(super) fn set_backing(
        &mut self,
        place: &mut Place,
        backing: impl ExactSizeIterator<Item = (u64, u64)>,
    ) -> bool {
        let Some(pieces) = self.put_pieces(backing) else { return false };
        let offset = resource_offset(place.slot) + offset_of!(ResourceRecord, backing) as u64;
        self.store(offset, backing_word(&pieces));
        let old = std::mem::replace(&mut place.pieces, pieces);
        self.pieces.give(&old);
        true
    }

    pub(super) fn set_serial(&self, place: &Place, serial: u64) {
        let offset = resource_offset(place.slot) + offset_of!(ResourceRecord, serial) as u64;
        self.store(offset, serial);
    }

    pub(super) fn set_uuid(&self, place: &Place, uuid: [u8; 16]) {
        let offset = resource_offset(place.slot);
        self.put(offset + offset_of!(ResourceRecord, uuid) as u64, &uuid);
        self.add_flag(offset, HAS_UUID);
    }

    pub(super) fn set_cursor_size(&self, place: &Place, size: (u32, u32)) {
        let offset = resource_offset(place.slot);
        self.store(offset + offset_of!(ResourceRecord, dimensions) as u64, pair(size));
        self.add_flag(offset, HAS_CURSOR_SIZE);
    }

    pub(super) fn set_texture(&self, place: &Place) {
        self.add_flag(resource_offset(place.slot), IS_TEXTURE);
    }

    fn add_flag(&self, resource: u64, flag: u32) {
        let offset = resource + offset_of!(ResourceRecord, flags) as u64;
        self.store(offset, self.get::<u32>(offset) | flag);
    }

    /// Writes a list of pieces. `None`: there is no room for it.
    fn put_pieces(
        &mut self,
        backing: impl ExactSizeIterator<Item = (u64, u64)>,
    ) -> Option<Box<[u32]>> {
        let mut pieces = Vec::with_capacity(backing.len());
        for _ in 0..backing.len() {
            let Some(piece) = self.pieces.take() else {
                self.pieces.give(&pieces);
                return None;
            };
            pieces.push(piece);
        }
        let next = pieces.iter().skip(1).chain([&0]);
        for ((piece, next), (address, length)) in pieces.iter().zip(next).zip(backing) {
            let record = PieceRecord { address, length, next: u64::from(*next) };
            self.put(self.piece_offset(*piece), &record);
        }
        Some(pieces.into())
    }

    fn piece_offset(&self, piece: u32) -> u64 {
        self.pieces_offset + u64::from(piece) * PIECE_SIZE
    }

    fn get<T: FromBytes + IntoBytes>(&self, offset: u64) -> T {
        let mut value = T::new_zeroed();
        let slice = self.mapping.get_slice(offset as usize, size_of::<T>());
        if slice.is_ok_and(|slice| slice.read_slice(value.as_mut_bytes(), 0).is_err()) {
            value.zero();
        }
        value
    }

    /// Writes what does not count yet.
    fn put<T: IntoBytes + Immutable>(&self, offset: u64, value: &T) {
        let slice = self.mapping.get_slice(offset as usize, size_of::<T>());
        let written = slice.is_ok_and(|slice| slice.write_slice(value.as_bytes(), 0).is_ok());
        debug_assert!(written, "byte {offset} is not in the file");
    }

    /// Stores a word that nothing follows from.
    fn note<T: AtomicAccess>(&self, offset: u64, value: T) {
        let slice = self.mapping.as_volatile_slice();
        let stored = slice.store(value, offset as usize, Ordering::Relaxed).is_ok();
        debug_assert!(stored, "byte {offset} is not in the file");
    }

    /// Stores a word behind all that was written before, and before all that is written after.
    fn store<T: AtomicAccess>(&self, offset: u64, value: T) {
        fence(Ordering::SeqCst);
        let slice = self.mapping.as_volatile_slice();
        let stored = slice.store(value, offset as usize, Ordering::SeqCst).is_ok();
        debug_assert!(stored, "byte {offset} is not in the file");
    }
}

/// Resource records and pieces that a file has for these limits.
fn capacities(limits: &Limits) -> (u32, u32) {
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
    (count(limits.resources), count(limits.total_backing_entries))
}

fn file_size(limits: &Limits) -> u64 {
    let (slots, pieces) = capacities(limits);
    RESOURCES + u64::from(slots) * RESOURCE_SIZE + u64::from(pieces) * PIECE_SIZE
}

fn scanout_offset(scanout: u32) -> u64 {
    SCANOUTS + u64::from(scanout) * SCANOUT_SIZE
}

fn resource_offset(slot: u32) -> u64 {
    RESOURCES + u64::from(slot) * RESOURCE_SIZE
}

fn backing_word(pieces: &[u32]) -> u64 {
    pieces.first().map_or(0, |first| pair((*first, pieces.len() as u32)))
}

/// Two numbers in a word that is stored at once.
pub(super) fn pair((low, high): (u32, u32)) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// What [`pair`] put together.
pub(super) fn unpair(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Numbers of records that are free.
#[derive(Debug)]
struct Pool {
    free: Vec<u32>,
    /// From here on, none was ever used.
    used: u32,
    capacity: u32,
}

impl Pool {
    fn new(capacity: u32) -> Self {
        Self { free: Vec::new(), used: 0, capacity }
    }

    fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = self.used;
        (number < self.capacity).then(|| self.used += 1)?;
        Some(number)
    }

    fn give(&mut self, numbers: &[u32]) {
        self.free.extend(numbers);
    }

    /// Those for which `is_taken` does not hold are free, up to `used`.
    fn rebuild(&mut self, used: u32, is_taken: impl Fn(u32) -> bool) {
        self.used = used.min(self.capacity);
        // The lowest comes out first.
        self.free = (0..self.used).rev().filter(|number| !is_taken(*number)).collect();
    }
}
