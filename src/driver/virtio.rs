//! The driver's end: what every virtio driver does, whatever its device type (virtio 1.3,
//! section 3.1.1).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use loopback_driver_glue::{DeviceConfig, Event, TransportError};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::error::DriverError;
use super::link::Link;
use super::memory::Memory;
use super::queue::{Queue, QueueError, RingFeatures};
use super::signals::Signals;
use super::transport::SoftwareTransport;

/// Memory that [`connect`] gives a driver, bytes. It is sparse.
pub const DEFAULT_MEMORY: u64 = 256 << 20;

/// Makes a device and both its ends, with [`DEFAULT_MEMORY`].
pub fn connect(device: DeviceConfig) -> Result<(SoftwareTransport, Driver), DriverError> {
    connect_with_memory(device, DEFAULT_MEMORY)
}

/// As [`connect`] with `bytes` of memory, whole pages.
pub fn connect_with_memory(
    device: DeviceConfig,
    bytes: u64,
) -> Result<(SoftwareTransport, Driver), DriverError> {
    if let Some(&size) = device.queue_sizes.iter().find(|size| !Queue::size_allowed(**size)) {
        return Err(QueueError::Size { size }.into());
    }
    let memory = Memory::new(bytes)?;
    let (link, keepsake) = Link::new(memory, device).map_err(io("making an eventfd"))?;
    let link = Arc::new(link);
    let driver = Driver { link: Arc::clone(&link), queues: Vec::new(), features: None, seen: 0 };
    Ok((SoftwareTransport::new(link, keepsake), driver))
}

fn io(what: &'static str) -> impl Fn(io::Error) -> DriverError {
    move |source| DriverError::Io { what, source }
}

/// The driver's end of a device. Dropping it unbinds the driver without a reset, as nothing but a
/// driver that vanished would; [`Driver::unbind`] is the orderly way.
#[derive(Debug)]
pub struct Driver {
    link: Arc<Link>,
    queues: Vec<Option<Queue>>,
    features: Option<u64>,
    /// Configuration changes that [`Driver::wait_config_change`] has returned for.
    seen: u64,
}

impl Driver {
    /// What the device is and offers.
    pub fn device(&self) -> &DeviceConfig {
        &self.link.device
    }

    /// Another device side, in place of one that is gone, by a copy of what keeps the device. Call
    /// it once that is dropped.
    pub fn device_side(
        &self,
    ) -> impl Fn(OwnedFd) -> Result<SoftwareTransport, TransportError> + use<> {
        let link = Arc::clone(&self.link);
        move |keepsake| SoftwareTransport::again(Arc::clone(&link), keepsake)
    }

    /// The memory the device side sees.
    pub fn memory(&self) -> &Memory {
        &self.link.memory
    }

    /// The features in use, `None` before [`Driver::start`] and after a reset.
    pub fn features(&self) -> Option<u64> {
        self.features
    }

    /// Accepts the features that are offered and `wanted`, sets the queues up, and lets the device
    /// go. Returns the features in use. VERSION_1 is always wanted, and required.
    pub fn start(&mut self, wanted: u64) -> Result<u64, DriverError> {
        if self.features.is_some() {
            return Err(DriverError::Started);
        }
        let required = 1 << VIRTIO_F_VERSION_1;
        let offered = self.device().features;
        if offered & required != required {
            return Err(DriverError::Features { offered, required });
        }
        let features = offered & (wanted | required);
        self.push(Event::FeaturesOk { features })?;
        let ring_features = RingFeatures {
            indirect: features & (1 << VIRTIO_RING_F_INDIRECT_DESC) != 0,
            event_idx: features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0,
        };
        let sizes = self.device().queue_sizes.clone();
        let queues = sizes.iter().enumerate();
        self.queues = queues
            .map(|(index, &size)| self.set_up_queue(index, size, ring_features).map(Some))
            .collect::<Result<_, _>>()?;
        {
            let mut state = self.link.state();
            state.running = true;
            state.starts += 1;
            state.features = Some(features);
        }
        self.features = Some(features);
        self.push(Event::DriverOk { features })?;
        Ok(features)
    }

    fn set_up_queue(
        &self,
        index: usize,
        size: u16,
        features: RingFeatures,
    ) -> Result<Queue, DriverError> {
        const WHAT: &str = "setting up a queue";
        let mut state = self.link.state();
        let counters = state.queues.get(index).map(|queue| Arc::clone(&queue.counters));
        let signals = Arc::new(Signals::new(counters.unwrap_or_default()).map_err(io(WHAT))?);
        let queue = Queue::new(self.memory(), size, features, Arc::clone(&signals))?;
        state.queue_ready(index, &queue, signals).map_err(io(WHAT))?;
        Ok(queue)
    }

    fn push(&self, event: Event) -> Result<(), DriverError> {
        let mut state = self.link.state();
        if state.gone {
            return Err(DriverError::Gone);
        }
        self.link.push(&mut state, event).map_err(io("sending an event"))
    }

    /// Hands out a queue; it may go to another thread. Each start makes new ones.
    pub fn take_queue(&mut self, index: u16) -> Result<Queue, DriverError> {
        let queue = self.queues.get_mut(usize::from(index)).and_then(Option::take);
        queue.ok_or(DriverError::NoQueue { index })
    }

    /// Copies from the configuration space.
    pub fn read_config(&self, offset: u32, bytes: &mut [u8]) -> Result<(), DriverError> {
        let state = self.link.state();
        let length = bytes.len();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let space = state.config_space();
        let config = space.get(start..start.saturating_add(length));
        bytes.copy_from_slice(config.ok_or(DriverError::Config { offset, length })?);
        Ok(())
    }

    /// Writes 1 to 8 bytes to the configuration space. As the kernel module does for a GPU, bits
    /// written to `events_clear` leave `events_read`, and nothing else is writable; the device side
    /// is told in any case. For an input device it answers what is asked itself.
    pub fn write_config(&mut self, offset: u32, bytes: &[u8]) -> Result<(), DriverError> {
        let error = DriverError::Config { offset, length: bytes.len() };
        let mut data = [0; 8];
        let Some(written) = data.get_mut(..bytes.len()) else {
            return Err(error);
        };
        written.copy_from_slice(bytes);
        let mut state = self.link.state();
        let end = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(bytes.len());
        if bytes.is_empty() || end > state.config_space().len() {
            return Err(error);
        }
        if !state.driver_wrote(offset, bytes) {
            return Ok(());
        }
        drop(state);
        self.push(Event::ConfigWritten { offset, length: bytes.len() as u32, data })
    }

    /// Waits until the device side changes the configuration space, at most for `timeout`. Several
    /// changes since the last call count as one. False: time ran out.
    pub fn wait_config_change(&mut self, timeout: Duration) -> Result<bool, DriverError> {
        let seen = self.seen;
        let changed = |changes: u64| changes != seen;
        let state =
            self.link.wait_until(timeout, |state| changed(state.config_changes) || state.gone);
        match (changed(state.config_changes), state.gone) {
            (true, _) => {
                self.seen = state.config_changes;
                Ok(true)
            }
            (false, true) => Err(DriverError::Gone),
            (false, false) => Ok(false),
        }
    }

    /// Resets the device: queues that were handed out stop, and the device side has `timeout` to
    /// acknowledge. The driver can be started again afterwards, even after a timeout.
    ///
    /// Keep the memory that the device may still write until this returns.
    pub fn reset(&mut self, timeout: Duration) -> Result<(), DriverError> {
        self.features = None;
        self.queues.clear();
        let mut state = self.link.state();
        let running = state.running;
        state.stop_queues();
        if !running {
            return if state.gone { Err(DriverError::Gone) } else { Ok(()) };
        }
        if !state.attached {
            // There is nobody to wait for.
            state.free_rings();
            return Ok(());
        }
        state.resets += 1;
        let sequence = state.resets;
        self.link.push(&mut state, Event::Reset { sequence }).map_err(io("sending an event"))?;
        drop(state);
        let done = |acknowledged: u32| acknowledged >= sequence;
        let mut state =
            self.link.wait_until(timeout, |state| done(state.acknowledged) || state.gone);
        match (done(state.acknowledged), state.gone) {
            (true, _) => {
                state.free_rings();
                Ok(())
            }
            (false, true) => Err(DriverError::Gone),
            (false, false) => {
                state.reset_timeouts += 1;
                Err(DriverError::ResetTimeout { timeout })
            }
        }
    }

    /// Resets the device and lets go of it.
    pub fn unbind(mut self, timeout: Duration) -> Result<(), DriverError> {
        self.reset(timeout)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.link.state().stop_queues();
        match self.push(Event::Unbound) {
            Ok(()) | Err(DriverError::Gone) => {}
            Err(error) => log::warn!("driver: {error}"),
        }
    }
}
