//! What the two ends of the loopback share: the state a kernel module would keep.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use loopback_driver_glue::{DeviceConfig, Event, QueueInfo};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;

use super::memory::{Memory, Region};
use super::queue::{Ledger, Queue, QueueError};
use super::signals::{Counters, QueueFds, Signals};
use crate::gpu::wire::Config;
use crate::input;
use crate::sync::lock;

/// Where the answer is in the configuration space of an input device, and how long that is
/// (`struct virtio_input_config`).
const INPUT_ANSWER: usize = 8;
const INPUT_SPACE: usize = INPUT_ANSWER + 128;

/// Shared by the transport and the driver.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) memory: Memory,
    pub(super) device: DeviceConfig,
    /// An eventfd that is readable while there are events.
    pub(super) readable: OwnedFd,
    /// Hangs up when nobody keeps the device any more.
    kept: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) events: VecDeque<Event>,
    pub(super) queues: Vec<QueueState>,
    pub(super) config: Vec<u8>,
    /// What the driver of an input device has asked: its configuration is a table of answers.
    question: Option<[u8; 2]>,
    /// Times the device side changed the configuration space.
    pub(super) config_changes: u64,
    /// Times the driver wrote to the configuration space.
    pub(super) config_writes: u64,
    /// The driver set DRIVER_OK.
    pub(super) running: bool,
    /// Times the driver did so.
    pub(super) starts: u64,
    /// What it accepted then.
    pub(super) features: Option<u64>,
    /// Resets so far, and the number of the last one.
    pub(super) resets: u32,
    /// Resets that went on without acknowledgement.
    pub(super) reset_timeouts: u64,
    /// The last reset the device side acknowledged.
    pub(super) acknowledged: u32,
    /// Somebody is the device side.
    pub(super) attached: bool,
    /// The transport was dropped, and nobody keeps the device.
    pub(super) gone: bool,
}

/// One queue.
#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) info: QueueInfo,
    pub(super) fds: Option<QueueFds>,
    /// Of the running queue.
    signals: Option<Arc<Signals>>,
    /// Of the last queue, until the device side has acknowledged its end.
    rings: Option<Arc<Region>>,
    /// Of the running queue.
    ledger: Option<Arc<Ledger>>,
    pub(super) counters: Arc<Counters>,
}

impl Link {
    /// Also returns what keeps the device, of which others may have copies.
    pub(super) fn new(memory: Memory, device: DeviceConfig) -> io::Result<(Self, OwnedFd)> {
        let queue = |&size: &u16| QueueState {
            info: QueueInfo { size, ..QueueInfo::default() },
            fds: None,
            signals: None,
            rings: None,
            ledger: None,
            counters: Arc::default(),
        };
        let state = State {
            events: VecDeque::new(),
            queues: device.queue_sizes.iter().map(queue).collect(),
            config: device.config.clone(),
            question: (device.device_id == input::wire::DEVICE_ID).then_some([0; 2]),
            config_changes: 0,
            config_writes: 0,
            running: false,
            starts: 0,
            features: None,
            resets: 0,
            reset_timeouts: 0,
            acknowledged: 0,
            attached: true,
            gone: false,
        };
        let readable = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let state = Mutex::new(state);
        let (kept, keepsake) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self { memory, device, readable, kept, state, changed: Condvar::new() }, keepsake))
    }

    /// The device side is gone. The device stays if somebody keeps it.
    pub(super) fn detach(&self) {
        let mut state = self.state();
        // Nobody reads what is kicked from now on, nor the events there are.
        state.queues.iter_mut().for_each(|queue| queue.fds = None);
        state.events.clear();
        state.attached = false;
        drop(state);
        // Nobody may keep the device any more.
        drop(self.state());
        self.notify();
    }

    /// Another device side takes the place of the last one.
    pub(super) fn attach_again(&self) -> io::Result<()> {
        let mut state = self.state();
        state.attached = true;
        match (state.running, state.features) {
            (true, Some(features)) => self.push(&mut state, Event::DriverOk { features }),
            _ => Ok(()),
        }
    }

    fn is_kept(&self) -> bool {
        let mut fds = [PollFd::new(&self.kept, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|count| count == 0)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before anything could panic.
        let mut state = lock(&self.state);
        if !state.attached && !state.gone && !self.is_kept() {
            state.gone = true;
            state.stop_queues();
        }
        state
    }

    /// Gives the device side an event, if there is one. Who comes later begins with DRIVER_OK.
    pub(super) fn push(&self, state: &mut State, event: Event) -> io::Result<()> {
        if !state.attached {
            return Ok(());
        }
        state.events.push_back(event);
        rustix::io::write(&self.readable, &1u64.to_ne_bytes())?;
        Ok(())
    }

    /// Takes the oldest event.
    pub(super) fn pop(&self) -> io::Result<Option<Event>> {
        let mut state = self.state();
        let event = state.events.pop_front();
        if state.events.is_empty() {
            match rustix::io::read(&self.readable, &mut [0; 8]) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(event)
    }

    /// Wakes whoever waits in [`Link::wait_until`].
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until `done` is true, at most for `timeout`.
    pub(super) fn wait_until(
        &self,
        timeout: Duration,
        done: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state();
        while !done(&state) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            let left = left.unwrap_or(Duration::MAX);
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl State {
    /// The queue is set up: the device side can see it.
    pub(super) fn queue_ready(
        &mut self,
        index: usize,
        queue: &Queue,
        signals: Arc<Signals>,
    ) -> io::Result<()> {
        if let Some(state) = self.queues.get_mut(index) {
            state.info = queue.info();
            state.rings = Some(queue.rings());
            state.ledger = Some(queue.ledger());
            if let Some(fds) = &state.fds {
                signals.set_fds(fds.try_clone()?)?;
            }
            state.signals = Some(signals);
        }
        Ok(())
    }

    /// The device side has new eventfds for the queue. False: there is no such queue.
    pub(super) fn set_fds(&mut self, index: u16, fds: QueueFds) -> io::Result<bool> {
        let Some(state) = self.queues.get_mut(usize::from(index)) else {
            return Ok(false);
        };
        match &state.signals {
            Some(signals) => signals.set_fds(fds.try_clone()?)?,
            None => fds.kick()?,
        }
        state.fds = Some(fds);
        Ok(true)
    }

    /// What the device side may know of a queue. `None`: there is no such queue.
    pub(super) fn queue_info(&self, index: u16) -> Option<QueueInfo> {
        let queue = self.queues.get(usize::from(index))?;
        let mut info = queue.info;
        if let Some(ledger) = &queue.ledger {
            info.avail_idx = ledger.avail_idx();
            // A device that scribbles over its index has them all.
            info.outstanding = ledger.outstanding().min(info.size);
        }
        Some(info)
    }

    /// Chains the device side has, all queues.
    pub(super) fn outstanding(&self) -> u64 {
        let ledgers = self.queues.iter().filter_map(|queue| queue.ledger.as_ref());
        ledgers.map(|ledger| u64::from(ledger.outstanding())).sum()
    }

    /// Offers the outstanding chains of a queue to a new device. `None`: there is no such queue.
    pub(super) fn reoffer(&mut self, index: u16) -> Option<Result<u16, QueueError>> {
        let queue = self.queues.get_mut(usize::from(index))?;
        let Some(ledger) = &queue.ledger else { return Some(Ok(0)) };
        Some(ledger.reoffer().map(|(next_avail, count)| {
            queue.info.next_avail = next_avail;
            count
        }))
    }

    /// The configuration space as the driver reads it.
    pub(super) fn config_space(&self) -> Cow<'_, [u8]> {
        let Some([select, subsel]) = self.question else { return Cow::Borrowed(&self.config) };
        let answer = input::answer(&self.config, select, subsel);
        let mut space = vec![select, subsel, u8::try_from(answer.len()).unwrap_or(0)];
        space.resize(INPUT_ANSWER, 0);
        space.extend(answer);
        space.resize(INPUT_SPACE, 0);
        Cow::Owned(space)
    }

    /// The driver writes to the configuration space, within its bounds. True: the device side is told.
    pub(super) fn driver_wrote(&mut self, offset: u32, bytes: &[u8]) -> bool {
        self.config_writes += 1;
        if let Some(question) = &mut self.question {
            for (at, byte) in (offset as usize..).zip(bytes) {
                if let Some(part) = question.get_mut(at) {
                    *part = *byte;
                }
            }
            return false;
        }
        let events_clear = offset_of!(Config, events_clear);
        for (at, bits) in (offset as usize..).zip(bytes) {
            let is_clear = (events_clear..events_clear + size_of::<u32>()).contains(&at);
            let read = (at + offset_of!(Config, events_read)).wrapping_sub(events_clear);
            if is_clear && let Some(byte) = self.config.get_mut(read) {
                *byte &= !bits;
            }
        }
        true
    }

    /// Ends all queues: their owners get an error instead of a wait.
    pub(super) fn stop_queues(&mut self) {
        self.running = false;
        for queue in &mut self.queues {
            queue.info = QueueInfo { size: queue.info.size, ..QueueInfo::default() };
            queue.ledger = None;
            if let Some(signals) = queue.signals.take() {
                signals.stop();
            }
        }
    }

    /// The device side is done with the rings.
    pub(super) fn free_rings(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.rings = None);
    }
}
