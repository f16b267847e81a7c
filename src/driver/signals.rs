//! What wakes either side of a queue: the kick and call eventfds the adapter hands over, and the
//! end of the queue's life.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::sync::lock;

/// Counts of one queue since the device was made.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Kicks the device asked for.
    pub(super) kicks: AtomicU64,
    /// Kicks the device did not want.
    pub(super) suppressed_kicks: AtomicU64,
    /// Times the driver slept for the device.
    pub(super) waits: AtomicU64,
}

impl Counters {
    /// Counts one more. Each counter has one writer, the thread that owns the queue.
    pub(super) fn count(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Signals of one queue, from one start of the driver to the next reset.
#[derive(Debug)]
pub(super) struct Signals {
    fds: Mutex<Option<QueueFds>>,
    /// Holds `wake` and the call eventfd, edge-triggered: every write is an edge, so the counters
    /// need no reading and a device that empties them cannot make the driver block.
    epoll: Epoll,
    wake: EventFd,
    stopped: AtomicBool,
    pub(super) counters: Arc<Counters>,
}

/// The eventfds of a queue.
#[derive(Debug)]
pub(super) struct QueueFds {
    kick: EventFd,
    call: EventFd,
}

impl QueueFds {
    /// Duplicates both.
    pub(super) fn new(kick: &EventFd, call: &EventFd) -> io::Result<Self> {
        Ok(Self { kick: kick.try_clone()?, call: call.try_clone()? })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Self::new(&self.kick, &self.call)
    }

    pub(super) fn kick(&self) -> io::Result<()> {
        signal(&self.kick)
    }
}

impl Signals {
    pub(super) fn new(counters: Arc<Counters>) -> io::Result<Self> {
        let signals = Self {
            fds: Mutex::new(None),
            epoll: Epoll::new()?,
            wake: EventFd::new(EFD_NONBLOCK)?,
            stopped: AtomicBool::new(false),
            counters,
        };
        signals.control(ControlOperation::Add, &signals.wake)?;
        Ok(signals)
    }

    fn control(&self, operation: ControlOperation, fd: &EventFd) -> io::Result<()> {
        let events = EventSet::IN | EventSet::EDGE_TRIGGERED;
        self.epoll.ctl(operation, fd.as_raw_fd(), EpollEvent::new(events, 0))
    }

    fn fds(&self) -> MutexGuard<'_, Option<QueueFds>> {
        // Nothing panics while the pair is half replaced.
        lock(&self.fds)
    }

    /// Replaces the eventfds, and kicks: a kick may have been wanted before there was an eventfd.
    pub(super) fn set_fds(&self, new: QueueFds) -> io::Result<()> {
        let mut fds = self.fds();
        // A closed eventfd would leave the epoll only with its last duplicate, which others hold.
        if let Some(old) = fds.take() {
            self.control(ControlOperation::Delete, &old.call)?;
        }
        self.control(ControlOperation::Add, &new.call)?;
        new.kick()?;
        *fds = Some(new);
        signal(&self.wake)
    }

    /// Tells the device side that there are buffers. Without eventfds [`Signals::set_fds`] will.
    pub(super) fn kick(&self) -> io::Result<()> {
        match &*self.fds() {
            Some(fds) => fds.kick(),
            None => Ok(()),
        }
    }

    /// Sleeps until the device side signals, the queue stops, or `deadline`, if any. May return
    /// early. False: the deadline has passed.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let timeout = match deadline {
            None => -1,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(false);
                }
                // Whole milliseconds, rounded up so as not to spin through the last one.
                i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX)
            }
        };
        Counters::count(&self.counters.waits);
        match self.epoll.wait(timeout, &mut [EpollEvent::default(); 2]) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Ends the queue: its owner gets an error instead of a wait.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Err(error) = signal(&self.wake) {
            log::warn!("driver queue: the waiter was not woken: {error}");
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Signals an eventfd. One whose counter is at its limit is signalled already.
fn signal(fd: &EventFd) -> io::Result<()> {
    match fd.write(1) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result,
    }
}
