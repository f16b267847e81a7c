//! The adapter's end: a [`Transport`] without a kernel module.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use loopback_driver_glue::{Event, MemoryWindow, QueueInfo, Transport, TransportError};
use vmm_sys_util::eventfd::EventFd;

use super::link::Link;
use super::signals::QueueFds;

/// The device side of a software driver. Dropping it removes the device: the driver's waits end
/// with an error.
#[derive(Debug)]
pub struct SoftwareTransport(Arc<Link>);

impl SoftwareTransport {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }
}

fn io(what: &'static str) -> impl Fn(io::Error) -> TransportError {
    move |source| TransportError::Io { what, source }
}

/// What the kernel would answer to a bad argument.
fn invalid(what: &'static str) -> TransportError {
    io(what)(rustix::io::Errno::INVAL.into())
}

impl AsFd for SoftwareTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.readable.as_fd()
    }
}

impl Transport for SoftwareTransport {
    fn memory(&self) -> MemoryWindow<'_> {
        MemoryWindow { fd: self.0.memory.fd(), size: self.0.memory.size() }
    }

    fn queue(&self, index: u16) -> Result<QueueInfo, TransportError> {
        let info = self.0.state().queue_info(index);
        info.ok_or_else(|| invalid("reading a queue's state"))
    }

    fn set_queue_fds(
        &mut self,
        index: u16,
        kick: &EventFd,
        call: &EventFd,
    ) -> Result<(), TransportError> {
        const WHAT: &str = "setting a queue's eventfds";
        let fds = QueueFds::new(kick, call).map_err(io(WHAT))?;
        match self.0.state().set_fds(index, fds).map_err(io(WHAT))? {
            true => Ok(()),
            false => Err(invalid(WHAT)),
        }
    }

    fn reoffer(&mut self, index: u16) -> Result<u16, TransportError> {
        const WHAT: &str = "offering a queue's buffers again";
        match self.0.state().reoffer(index) {
            Some(count) => count.map_err(|error| io(WHAT)(io::Error::other(error))),
            None => Err(invalid(WHAT)),
        }
    }

    fn next_event(&mut self) -> Result<Option<Event>, TransportError> {
        self.0.pop().map_err(io("reading an event"))
    }

    fn acknowledge(&mut self, sequence: u32) -> Result<(), TransportError> {
        let mut state = self.0.state();
        if sequence == 0 || sequence > state.resets {
            return Err(invalid("acknowledging a reset"));
        }
        state.acknowledged = state.acknowledged.max(sequence);
        self.0.notify();
        Ok(())
    }

    fn set_config(&mut self, offset: u32, data: &[u8]) -> Result<(), TransportError> {
        let mut state = self.0.state();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(data.len());
        let Some(bytes) = state.config.get_mut(start..end) else {
            return Err(invalid("changing the configuration space"));
        };
        bytes.copy_from_slice(data);
        state.config_changes += 1;
        self.0.notify();
        Ok(())
    }

    fn sysfs_path(&self) -> Option<std::path::PathBuf> {
        None
    }

    fn figures(&self) -> Result<Vec<(&'static str, u64)>, TransportError> {
        let state = self.0.state();
        let sum = |counter: fn(&super::signals::Counters) -> u64| {
            state.queues.iter().map(|queue| counter(&queue.counters)).sum()
        };
        Ok(vec![
            ("kicks", sum(|counters| counters.kicks.load(Ordering::Relaxed))),
            ("suppressed_kicks", sum(|counters| counters.suppressed_kicks.load(Ordering::Relaxed))),
            ("waits", sum(|counters| counters.waits.load(Ordering::Relaxed))),
            ("outstanding", state.outstanding()),
            ("free_bytes", self.0.memory.free_bytes()),
            ("config_writes", state.config_writes),
            ("resets", u64::from(state.resets)),
            ("reset_timeouts", state.reset_timeouts),
        ])
    }
}

impl Drop for SoftwareTransport {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.gone = true;
        state.stop_queues();
        self.0.notify();
    }
}
