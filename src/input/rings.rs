//! The queues of an input device, in the driver's memory.
//!
//! Nothing there is believed: a chain that makes no sense is given back empty, and a ring that makes
//! none is served no more until the driver resets the device. Each call takes at most as many chains as
//! the ring has.

use std::sync::atomic::Ordering;

use loopback_driver_glue::QueueInfo;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use zerocopy::{FromZeros, IntoBytes};

use super::outbox::Outbox;
use super::wire::{Event, WireEvent};

/// Bytes of an event in a buffer.
const EVENT_BYTES: usize = size_of::<WireEvent>();

/// What became of a round through a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// The driver is to be told of buffers that it has back.
    pub call: bool,
    /// There may be more to do at once.
    pub more: bool,
}

/// One ring.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    broken: bool,
}

impl Ring {
    /// A ring as the driver has set it up.
    pub fn new(info: QueueInfo, event_idx: bool) -> Result<Self, virtio_queue::Error> {
        let mut queue = Queue::new(info.size)?;
        queue.try_set_size(info.size)?;
        queue.try_set_desc_table_address(GuestAddress(info.desc))?;
        queue.try_set_avail_ring_address(GuestAddress(info.avail))?;
        queue.try_set_used_ring_address(GuestAddress(info.used))?;
        queue.set_next_avail(info.next_avail);
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        Ok(Self { queue, broken: false })
    }

    /// Writes events to the driver's buffers, as far as there are any.
    pub fn deliver(&mut self, memory: &GuestMemoryMmap, outbox: &mut Outbox) -> Round {
        self.round(memory, |ring| {
            let Some(event) = outbox.front() else { return Step::Done };
            let Some(chain) = ring.next(memory) else { return Step::Empty };
            let head = chain.head_index();
            let written = write_event(memory, chain, event);
            if written > 0 {
                outbox.pop();
            }
            Step::Used { head, written }
        })
    }

    /// Takes what the driver says.
    pub fn receive(&mut self, memory: &GuestMemoryMmap, mut say: impl FnMut(Event)) -> Round {
        self.round(memory, |ring| {
            let Some(chain) = ring.next(memory) else { return Step::Empty };
            let head = chain.head_index();
            if let Some(event) = read_event(memory, chain) {
                say(event);
            }
            Step::Used { head, written: 0 }
        })
    }

    /// The next chain. A ring that should have one and has not is broken.
    fn next<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
    ) -> Option<DescriptorChain<&'m GuestMemoryMmap>> {
        // Looked at first: an iterator that has nothing does not say whether it should have had.
        let waiting = match self.queue.avail_idx(memory, Ordering::Acquire) {
            Ok(index) => index.0.wrapping_sub(self.queue.next_avail()),
            Err(error) => {
                self.give_up(&error);
                return None;
            }
        };
        match self.queue.iter(memory) {
            Err(error) => self.give_up(&error),
            Ok(mut available) => match available.next() {
                Some(chain) => return Some(chain),
                None if waiting > 0 => self.give_up(&"an entry of it cannot be read"),
                None => {}
            },
        }
        None
    }

    fn round(
        &mut self,
        memory: &GuestMemoryMmap,
        mut step: impl FnMut(&mut Self) -> Step,
    ) -> Round {
        let mut round = Round::default();
        // As many as the ring has are the most that can be there, empty looks included.
        for _ in 0..self.queue.size() {
            if self.broken {
                break;
            }
            round.more = false;
            match step(self) {
                Step::Done => break,
                // Asks for the next kick, and looks again if one has come meanwhile.
                Step::Empty => match self.queue.enable_notification(memory) {
                    Ok(true) => round.more = true,
                    Ok(false) => break,
                    Err(error) => self.give_up(&error),
                },
                Step::Used { head, written } => {
                    round.more = true;
                    round.call = true;
                    if let Err(error) = self.queue.add_used(memory, head, written) {
                        self.give_up(&error);
                    }
                }
            }
        }
        round.more &= !self.broken;
        if round.call {
            round.call = self.queue.needs_notification(memory).unwrap_or(true);
        }
        round
    }

    fn give_up(&mut self, error: &dyn std::fmt::Display) {
        log::warn!("an input queue is broken and stops until the driver resets it: {error}");
        self.broken = true;
    }
}

enum Step {
    /// There is nothing to do.
    Done,
    /// The driver has given nothing.
    Empty,
    /// A chain goes back.
    Used { head: u16, written: u32 },
}

/// Writes the event to the chain's first writable part; gives the bytes written. Linux's buffers are of
/// one part each, and of just this size (virtio 1.3, 5.8.6.1: at least).
fn write_event(
    memory: &GuestMemoryMmap,
    chain: DescriptorChain<&GuestMemoryMmap>,
    event: Event,
) -> u32 {
    let event = WireEvent::from(event);
    let part = chain.into_iter().find(|part| part.is_write_only());
    let Some(part) = part.filter(|part| part.len() as usize >= EVENT_BYTES) else { return 0 };
    match memory.write_slice(event.as_bytes(), part.addr()) {
        Ok(()) => EVENT_BYTES as u32,
        Err(_) => 0,
    }
}

/// The event in the readable parts of a chain, wherever it is divided.
fn read_event(memory: &GuestMemoryMmap, chain: DescriptorChain<&GuestMemoryMmap>) -> Option<Event> {
    let mut event = WireEvent::new_zeroed();
    let mut left = event.as_mut_bytes();
    for part in chain.into_iter().take_while(|part| !part.is_write_only()) {
        let length = left.len().min(part.len() as usize);
        let (now, later) = left.split_at_mut_checked(length)?;
        memory.read_slice(now, part.addr()).ok()?;
        left = later;
        if left.is_empty() {
            return Some(event.into());
        }
    }
    None
}
