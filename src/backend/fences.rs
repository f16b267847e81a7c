//! Where the renderer's threads put what the GPU has done, for the event loop.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};

use crate::gpu::{Signal, SignalHandler};
use crate::sync::lock;

/// Signals that nobody has looked at yet, and an eventfd that tells of each.
#[derive(Debug)]
pub struct Signals {
    waiting: Mutex<Vec<Signal>>,
    /// Whether there is any; costs less to look at.
    any: AtomicBool,
    eventfd: OwnedFd,
}

impl Signals {
    /// None yet.
    pub fn new() -> io::Result<Arc<Self>> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let (waiting, any) = (Mutex::default(), AtomicBool::new(false));
        Ok(Arc::new(Self { waiting, any, eventfd: eventfd(0, flags)? }))
    }

    /// What the renderer calls. It takes no lock that is held while the renderer is called.
    #[must_use]
    pub fn handler(self: &Arc<Self>) -> SignalHandler {
        let signals = Arc::clone(self);
        Arc::new(move |signal| signals.add(signal))
    }

    fn add(&self, signal: Signal) {
        lock(&self.waiting).push(signal);
        self.any.store(true, Ordering::Release);
        if let Err(errno) = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes()) {
            log::error!("the event loop is not told of a fence: {errno}");
        }
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes them.
    pub fn take(&self) -> Vec<Signal> {
        // Before they are taken: one that comes in between is looked for again.
        self.any.store(false, Ordering::Release);
        mem::take(&mut lock(&self.waiting))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
