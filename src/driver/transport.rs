//! The adapter's end: a [`Transport`] without a kernel module.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use loopback_driver_glue::{
    DriverStarts, Event, MemoryWindow, QueueInfo, Transport, TransportError,
};
use vmm_sys_util::eventfd::EventFd;

use super::link::Link;
use super::signals::QueueFds;

/// The device side of a software driver. Dropping it removes the device, unless somebody has a copy
/// of what keeps it ([`Transport::keepsake`]): the driver's waits end with an error.
#[derive(Debug)]
pub struct SoftwareTransport {
    link: Arc<Link>,
    /// Writing end of the link's pipe.
    keepsake: Option<OwnedFd>,
}

impl SoftwareTransport {
    pub(super) fn new(link: Arc<Link>, keepsake: OwnedFd) -> Self {
        Self { link, keepsake: Some(keepsake) }
    }

    /// Goes on with a kept device, by a copy of its keepsake.
    pub(super) fn again(link: Arc<Link>, keepsake: OwnedFd) -> Result<Self, TransportError> {
        link.attach_again().map_err(io("taking over a device"))?;
        Ok(Self::new(link, keepsake))
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
        self.link.readable.as_fd()
    }
}

impl Transport for SoftwareTransport {
    fn memory(&self) -> MemoryWindow<'_> {
        MemoryWindow { fd: self.link.memory.fd(), size: self.link.memory.size() }
    }

    fn queue(&self, index: u16) -> Result<QueueInfo, TransportError> {
        let info = self.link.state().queue_info(index);
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
        match self.link.state().set_fds(index, fds).map_err(io(WHAT))? {
            true => Ok(()),
            false => Err(invalid(WHAT)),
        }
    }

    fn reoffer(&mut self, index: u16) -> Result<u16, TransportError> {
        const WHAT: &str = "offering a queue's buffers again";
        match self.link.state().reoffer(index) {
            Some(count) => count.map_err(|error| io(WHAT)(io::Error::other(error))),
            None => Err(invalid(WHAT)),
        }
    }

    fn next_event(&mut self) -> Result<Option<Event>, TransportError> {
        self.link.pop().map_err(io("reading an event"))
    }

    fn acknowledge(&mut self, sequence: u32) -> Result<(), TransportError> {
        let mut state = self.link.state();
        if sequence == 0 || sequence > state.resets {
            return Err(invalid("acknowledging a reset"));
        }
        state.acknowledged = state.acknowledged.max(sequence);
        self.link.notify();
        Ok(())
    }

    fn set_config(&mut self, offset: u32, data: &[u8]) -> Result<(), TransportError> {
        let mut state = self.link.state();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(data.len());
        let Some(bytes) = state.config.get_mut(start..end) else {
            return Err(invalid("changing the configuration space"));
        };
        bytes.copy_from_slice(data);
        state.config_changes += 1;
        self.link.notify();
        Ok(())
    }

    fn sysfs_path(&self) -> Option<std::path::PathBuf> {
        None
    }

    fn keepsake(&self) -> Option<BorrowedFd<'_>> {
        self.keepsake.as_ref().map(AsFd::as_fd)
    }

    fn driver_starts(&self) -> Result<DriverStarts, TransportError> {
        let state = self.link.state();
        Ok(DriverStarts { count: state.starts, runs: state.running })
    }

    fn figures(&self) -> Result<Vec<(&'static str, u64)>, TransportError> {
        let state = self.link.state();
        let sum = |counter: fn(&super::signals::Counters) -> u64| {
            state.queues.iter().map(|queue| counter(&queue.counters)).sum()
        };
        Ok(vec![
            ("kicks", sum(|counters| counters.kicks.load(Ordering::Relaxed))),
            ("suppressed_kicks", sum(|counters| counters.suppressed_kicks.load(Ordering::Relaxed))),
            ("waits", sum(|counters| counters.waits.load(Ordering::Relaxed))),
            ("outstanding", state.outstanding()),
            ("free_bytes", self.link.memory.free_bytes()),
            ("config_writes", state.config_writes),
            ("resets", u64::from(state.resets)),
            ("reset_timeouts", state.reset_timeouts),
        ])
    }
}

impl Drop for SoftwareTransport {
    fn drop(&mut self) {
        drop(self.keepsake.take());
        self.link.detach();
    }
}
