//! Commands over a queue: each has a slot of memory for its request and response, so that sending
//! and reaping allocate nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::DriverError;
use super::memory::{Memory, Region};
use super::queue::{Part, Queue, QueueError, Token, Used};
use crate::gpu::wire::{CtrlHdr, RespEdid, RespType, flag};

/// Bytes of a slot for the request; the longest without its payload has 96.
const REQUEST_BYTES: u32 = 128;
/// Bytes of a slot for the response; the longest without its payload is an EDID's, 1056.
const RESPONSE_BYTES: u32 = 1152;
// Not a power of two, so that neighbours do not compete for the same cache lines.
const SLOT_BYTES: u32 = REQUEST_BYTES + RESPONSE_BYTES;

const HEADER: u32 = size_of::<CtrlHdr>() as u32;

const _: () = assert!(size_of::<RespEdid>() <= RESPONSE_BYTES as usize);

/// Names a command from [`Channel::submit`] to its [`Completion`]; they rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Memory that belongs to a command, besides its request and response.
#[derive(Debug)]
pub enum Payload {
    /// Follows the request: so many bytes of the region.
    Request(Region, u32),
    /// Follows the response: so many bytes of the region.
    Response(Region, u32),
}

/// How to send a request.
#[derive(Debug, Default)]
pub struct Submission {
    /// Bytes the device may write as its response, payload not counted.
    pub response: u32,
    /// Asks the device to answer when the work is done, and to repeat this number.
    pub fence: Option<u64>,
    /// Further memory; the channel keeps it until the device is done.
    pub payload: Option<Payload>,
}

impl Submission {
    /// A response that is a bare header.
    pub fn plain() -> Self {
        Self { response: HEADER, ..Self::default() }
    }

    /// A response that is a bare header, with a fence.
    pub fn fenced(fence: u64) -> Self {
        Self { fence: Some(fence), ..Self::plain() }
    }
}

/// A command the device is done with.
#[derive(Debug)]
pub struct Completion {
    /// Which one.
    pub ticket: Ticket,
    /// Type of the request.
    pub command: u32,
    /// Bytes the device wrote.
    pub length: u32,
    /// The beginning of the response, if it has one.
    pub header: Option<CtrlHdr>,
    /// The fence asked for.
    pub fence: Option<u64>,
    /// The payload, with the device's bytes if it is a [`Payload::Response`].
    pub payload: Option<Region>,
}

impl Completion {
    /// Checks that the response is of this type, carries the fence asked for, and has at least
    /// `needed` bytes.
    pub fn expect(&self, expected: RespType, needed: u32) -> Result<(), DriverError> {
        let (command, length) = (self.command, self.length);
        let too_short = |needed| DriverError::ResponseLength { command, length, needed };
        let header = self.header.ok_or_else(|| too_short(HEADER))?;
        match RespType::from_raw(header.type_.get()) {
            Some(response) if response == expected => {}
            Some(response) => return Err(DriverError::Response { command, response }),
            None => {
                let response = header.type_.get();
                return Err(DriverError::UnknownResponse { command, response });
            }
        }
        if let Some(fence) = self.fence
            && (header.flags.get() & flag::FENCE == 0 || header.fence_id.get() != fence)
        {
            return Err(DriverError::Fence { command, fence });
        }
        if length < needed { Err(too_short(needed)) } else { Ok(()) }
    }
}

/// A command the device has.
#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    slot: u16,
    command: u32,
    fence: Option<u64>,
    payload: Option<Region>,
}

/// Commands over one queue.
#[derive(Debug)]
pub struct Channel {
    queue: Queue,
    slots: Region,
    free_slots: Vec<u16>,
    /// By the index of the queue's token.
    in_flight: Box<[Option<InFlight>]>,
    /// Reaped while waiting for another.
    reaped: VecDeque<Completion>,
    submitted: u64,
}

impl Channel {
    /// Sends commands over `queue`.
    pub(super) fn new(memory: &Memory, queue: Queue) -> Result<Self, DriverError> {
        let size = queue.info().size;
        Ok(Self {
            queue,
            slots: memory.allocate(u64::from(size) * u64::from(SLOT_BYTES))?,
            free_slots: (0..size).rev().collect(),
            in_flight: (0..size).map(|_| None).collect(),
            reaped: VecDeque::with_capacity(usize::from(size)),
            submitted: 0,
        })
    }

    /// Commands the device has.
    pub fn outstanding(&self) -> u16 {
        self.queue.outstanding()
    }

    /// The queue itself, for tests of bad input. Chains added to it are not this channel's.
    pub fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Puts a request, a struct of [`crate::gpu::wire`] or any bytes, on the queue. The device need
    /// not look before [`Channel::kick`].
    pub fn submit<R>(&mut self, request: &R, submission: Submission) -> Result<Ticket, DriverError>
    where
        R: IntoBytes + Immutable + ?Sized,
    {
        let bytes = request.as_bytes();
        let Submission { response, fence, payload } = submission;
        if bytes.len() > REQUEST_BYTES as usize || response > RESPONSE_BYTES {
            return Err(DriverError::CommandLength { request: bytes.len(), response });
        }
        let full = QueueError::Full { wanted: 1, free: 0 };
        let slot = *self.free_slots.last().ok_or(full)?;
        let at = u64::from(slot) * u64::from(SLOT_BYTES);
        self.slots.write(at, bytes)?;
        if let Some(fence) = fence {
            self.slots.write(at + 4, &flag::FENCE.to_le_bytes())?;
            self.slots.write(at + 8, &fence.to_le_bytes())?;
        }
        let token = self.add(at, bytes.len() as u32, response, payload.as_ref())?;
        self.free_slots.pop();
        self.submitted += 1;
        let ticket = Ticket(self.submitted);
        let command = bytes.first_chunk().map_or(0, |type_| u32::from_le_bytes(*type_));
        let payload =
            payload.map(|(Payload::Request(memory, _) | Payload::Response(memory, _))| memory);
        if let Some(entry) = self.in_flight.get_mut(usize::from(token.index())) {
            *entry = Some(InFlight { ticket, slot, command, fence, payload });
        }
        Ok(ticket)
    }

    fn add(
        &mut self,
        slot: u64,
        request: u32,
        response: u32,
        payload: Option<&Payload>,
    ) -> Result<Token, DriverError> {
        let address = self.slots.address() + slot;
        let request = Part { address, length: request };
        let response = Part { address: address + u64::from(REQUEST_BYTES), length: response };
        let part = |memory: &Region, length| Part { address: memory.address(), length };
        // A part of no bytes is not allowed: section 2.7.5 has no meaning for it.
        let writable = [response];
        let writable = if response.length > 0 { writable.as_slice() } else { &[] };
        Ok(match payload {
            None => self.queue.add(&[request], writable),
            Some(Payload::Request(memory, length)) => {
                memory.locate(0, u64::from(*length))?;
                self.queue.add(&[request, part(memory, *length)], writable)
            }
            Some(Payload::Response(memory, length)) => {
                memory.locate(0, u64::from(*length))?;
                self.queue.add(&[request], &[response, part(memory, *length)])
            }
        }?)
    }

    /// Makes the device look at what was submitted, if it does not do so by itself.
    pub fn kick(&mut self) -> Result<bool, DriverError> {
        Ok(self.queue.kick()?)
    }

    /// Takes a command the device is done with, `None` when there is none now. No system call.
    pub fn reap(&mut self) -> Result<Option<Completion>, DriverError> {
        match self.reaped.pop_front() {
            Some(completion) => Ok(Some(completion)),
            None => Ok(self.take()?.map(|(completion, _)| completion)),
        }
    }

    /// As [`Channel::reap`], but sleeps up to `timeout` for it.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Completion>, DriverError> {
        if self.reaped.is_empty() {
            self.queue.wait_pending(1, timeout)?;
        }
        self.reap()
    }

    /// Sleeps until `count` commands can be reaped, or all the device has, at most for `timeout`.
    /// One interrupt is enough for that with EVENT_IDX.
    pub fn wait_for(&mut self, count: u16, timeout: Duration) -> Result<(), DriverError> {
        let reaped = u16::try_from(self.reaped.len()).unwrap_or(u16::MAX);
        self.queue.wait_pending(count.saturating_sub(reaped), timeout)?;
        Ok(())
    }

    /// Sends a request, kicks, and sleeps up to `timeout` for its response of this type. What else
    /// the device finishes meanwhile stays to be reaped.
    pub fn call<R, A>(
        &mut self,
        request: &R,
        submission: Submission,
        expected: RespType,
        timeout: Duration,
    ) -> Result<(A, Option<Region>), DriverError>
    where
        R: IntoBytes + Immutable + ?Sized,
        A: FromBytes + IntoBytes,
    {
        let payload = submission.payload.is_some();
        let ticket = self.submit(request, submission)?;
        self.kick()?;
        let (completion, slot) = self.wait_ticket(ticket, timeout)?;
        completion.expect(expected, if payload { HEADER } else { size_of::<A>() as u32 })?;
        // The slot is free, but nothing has been submitted since.
        let at = u64::from(slot) * u64::from(SLOT_BYTES) + u64::from(REQUEST_BYTES);
        Ok((self.slots.get(at)?, completion.payload))
    }

    /// Sleeps until this command is done. Returns the slot with its response, which is free.
    pub(super) fn wait_ticket(
        &mut self,
        ticket: Ticket,
        timeout: Duration,
    ) -> Result<(Completion, u16), DriverError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            while let Some((completion, slot)) = self.take()? {
                if completion.ticket == ticket {
                    return Ok((completion, slot));
                }
                self.reaped.push_back(completion);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                let sent = self.in_flight.iter().flatten().find(|sent| sent.ticket == ticket);
                let command = sent.map_or(0, |sent| sent.command);
                return Err(DriverError::Timeout { command, timeout });
            }
            self.queue.wait_pending(1, left)?;
        }
    }

    /// Takes a used chain with its command; its slot is free but untouched. Chains that were added
    /// to the queue past the channel are dropped.
    fn take(&mut self) -> Result<Option<(Completion, u16)>, DriverError> {
        loop {
            let Some(Used { token, length }) = self.take_used()? else {
                return Ok(None);
            };
            let Some(sent) = self.forget(token) else { continue };
            let InFlight { ticket, slot, command, fence, payload } = sent;
            let at = u64::from(slot) * u64::from(SLOT_BYTES) + u64::from(REQUEST_BYTES);
            let header = if length < HEADER { None } else { Some(self.slots.get(at)?) };
            let completion = Completion { ticket, command, length, header, fence, payload };
            return Ok(Some((completion, slot)));
        }
    }

    fn take_used(&mut self) -> Result<Option<Used>, DriverError> {
        let result = self.queue.take_used();
        if let Err(QueueError::UsedLength { token, .. }) = result {
            // The queue has taken the chain back, so its command is over.
            self.forget(token);
        }
        Ok(result?)
    }

    /// Ends the command of a chain and frees its slot.
    fn forget(&mut self, token: Token) -> Option<InFlight> {
        let sent = self.in_flight.get_mut(usize::from(token.index()))?.take()?;
        self.free_slots.push(sent.slot);
        Some(sent)
    }
}
