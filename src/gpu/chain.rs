//! A descriptor chain as a request and the room for its response.
//!
//! A chain is walked once, into a list the device keeps: no allocation per command. The walk also
//! sees what an iterator over descriptors hides, a chain that ends before it says so: a loop, an
//! index beyond the table, more than 4 GiB.
//!
//! Everything in driver memory can change at any time, so each byte of a request is read once.

use std::ops::{Deref, Range};

use virtio_queue::DescriptorChain;
use vm_memory::{Address, GuestAddress, GuestMemory, Permissions};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::CommandError;
use super::wire::{CtrlHdr, RespType, SetScanoutBlob, flag};

/// Why a chain cannot be served at all: it is given back with nothing written.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenChain {
    #[error("the chain does not end as it says")]
    Unterminated,
    #[error("a readable descriptor follows a writable one")]
    Order,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    addr: GuestAddress,
    len: u32,
}

/// The buffers of a chain. Kept from chain to chain for its allocation.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

impl Buffers {
    /// Takes over the buffers of `chain`.
    pub(super) fn fill<T>(&mut self, chain: &mut DescriptorChain<T>) -> Result<(), BrokenChain>
    where
        T: Deref,
        T::Target: GuestMemory,
    {
        self.readable.clear();
        self.writable.clear();
        let mut more = true;
        for descriptor in chain {
            more = descriptor.has_next();
            let segment = Segment { addr: descriptor.addr(), len: descriptor.len() };
            if descriptor.is_write_only() {
                self.writable.push(segment);
            } else if self.writable.is_empty() {
                self.readable.push(segment);
            } else {
                return Err(BrokenChain::Order);
            }
        }
        if more { Err(BrokenChain::Unterminated) } else { Ok(()) }
    }

    /// Bytes of the request.
    pub(super) fn request_bytes(&self) -> u64 {
        self.readable.iter().map(|segment| u64::from(segment.len)).sum()
    }
}

/// Bytes of a request that are read at once: the longest struct that begins one.
const PREFIX: usize = size_of::<SetScanoutBlob>();

/// One request. Reading goes on where the last read ended.
pub(super) struct Request<'a, M> {
    memory: &'a M,
    header: CtrlHdr,
    prefix: [u8; PREFIX],
    /// The part of `prefix` that is read from memory, but not yet by the command.
    buffered: Range<usize>,
    unread: &'a [Segment],
    /// Bytes of the first of `unread` that are read already.
    consumed: u32,
    writable: &'a [Segment],
}

impl<'a, M: GuestMemory> Request<'a, M> {
    /// Reads the header. With too short a request the header is all zero.
    pub(super) fn new(memory: &'a M, buffers: &'a Buffers) -> Self {
        let mut request = Self {
            memory,
            header: CtrlHdr::default(),
            prefix: [0; PREFIX],
            buffered: 0..0,
            unread: &buffers.readable,
            consumed: 0,
            writable: &buffers.writable,
        };
        let mut prefix = [0; PREFIX];
        let length = request.fill(&mut prefix);
        request.prefix = prefix;
        request.buffered = 0..length;
        let mut header = CtrlHdr::default();
        if request.read_exact(header.as_mut_bytes()).is_ok() {
            request.header = header;
        }
        request
    }

    pub(super) fn memory(&self) -> &'a M {
        self.memory
    }

    pub(super) fn header(&self) -> &CtrlHdr {
        &self.header
    }

    /// The request as `T`, which begins with the header.
    pub(super) fn body<T: FromBytes + IntoBytes>(&mut self) -> Result<T, CommandError> {
        let mut body = T::new_zeroed();
        let (header, rest) = body
            .as_mut_bytes()
            .split_at_mut_checked(size_of::<CtrlHdr>())
            .ok_or(CommandError::Truncated)?;
        header.copy_from_slice(self.header.as_bytes());
        self.read_exact(rest)?;
        Ok(body)
    }

    /// Fills `target` with the next bytes.
    pub(super) fn read_exact(&mut self, target: &mut [u8]) -> Result<(), CommandError> {
        let buffered = self.prefix.get(self.buffered.clone()).unwrap_or_default();
        let count = target.len().min(buffered.len());
        let (now, rest) = target.split_at_mut_checked(count).ok_or(CommandError::Truncated)?;
        now.copy_from_slice(buffered.get(..count).ok_or(CommandError::Truncated)?);
        self.buffered.start += count;
        if self.fill(rest) < rest.len() {
            return Err(CommandError::Truncated);
        }
        Ok(())
    }

    /// Reads from memory as much of `target` as there is. Returns how much that is.
    fn fill(&mut self, target: &mut [u8]) -> usize {
        let mut done = 0;
        while let (Some((segment, later)), Some(target)) =
            (self.unread.split_first(), target.get_mut(done..).filter(|target| !target.is_empty()))
        {
            let left = segment.len - self.consumed;
            let count = target.len().min(left as usize);
            let addr = segment.addr.checked_add(u64::from(self.consumed));
            let target = target.get_mut(..count);
            let read = addr.zip(target).and_then(|(addr, target)| read(self.memory, addr, target));
            if read.is_none() {
                break;
            }
            done += count;
            if count == left as usize {
                self.unread = later;
                self.consumed = 0;
            } else {
                // Less than `left`, which is 32 bits.
                self.consumed += count as u32;
            }
        }
        done
    }

    /// Bytes that were not read yet, at most.
    pub(super) fn bytes(&self) -> u64 {
        let unread: u64 = self.unread.iter().map(|segment| u64::from(segment.len)).sum();
        (unread + self.buffered.len() as u64).saturating_sub(self.consumed.into())
    }

    /// Whether the driver waits for a fence.
    pub(super) fn is_fenced(&self) -> bool {
        self.header.flags.get() & flag::FENCE != 0
    }

    /// Begin of a response: what virtio 1.3, 5.7, "Request header", says to take from a fenced
    /// request.
    pub(super) fn reply(&self, type_: RespType) -> CtrlHdr {
        let mut reply = CtrlHdr { type_: type_.into(), ..CtrlHdr::default() };
        let flags = self.header.flags.get();
        if self.is_fenced() {
            reply.flags.set(flags & (flag::FENCE | flag::INFO_RING_IDX));
            reply.fence_id = self.header.fence_id;
            reply.ctx_id = self.header.ctx_id;
            if flags & flag::INFO_RING_IDX != 0 {
                reply.ring_idx = self.header.ring_idx;
            }
        }
        reply
    }

    /// Writes a response, all of it or nothing. Returns its bytes.
    pub(super) fn respond<T: IntoBytes + Immutable + ?Sized>(
        &self,
        response: &T,
    ) -> Result<u32, CommandError> {
        let room: u64 = self.writable.iter().map(|segment| u64::from(segment.len)).sum();
        let response = response.as_bytes();
        if room < response.len() as u64 {
            return Err(CommandError::NoRoom);
        }
        let mut left = response;
        for segment in self.writable {
            let count = left.len().min(segment.len as usize);
            let (now, rest) = left.split_at_checked(count).ok_or(CommandError::NoRoom)?;
            write(self.memory, segment.addr, now).ok_or(CommandError::NoRoom)?;
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        u32::try_from(response.len()).map_err(|_| CommandError::NoRoom)
    }
}

/// Reads all of `target`. On the path of every command, and leaner than
/// [`vm_memory::Bytes::read_slice`], which first looks how much of a range can be read.
fn read<M: GuestMemory>(memory: &M, addr: GuestAddress, target: &mut [u8]) -> Option<()> {
    let mut done = 0;
    for slice in memory.get_slices(addr, target.len(), Permissions::Read).ok()? {
        done += slice.ok()?.copy_to(target.get_mut(done..)?);
    }
    Some(())
}

/// Writes all of `bytes`.
fn write<M: GuestMemory>(memory: &M, addr: GuestAddress, bytes: &[u8]) -> Option<()> {
    let mut done = 0;
    for slice in memory.get_slices(addr, bytes.len(), Permissions::Write).ok()? {
        let slice = slice.ok()?;
        slice.copy_from(bytes.get(done..)?);
        done += slice.len();
    }
    Some(())
}
