//! The transport of our own module, `virtio_loopback` (`kernel/`, `docs/uapi.md`).

mod abi;
mod ioctl;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use vmm_sys_util::eventfd::EventFd;
use zerocopy::{FromZeros, IntoBytes};

use crate::transport::{
    DeviceConfig, DriverStarts, Event, MemoryWindow, QueueInfo, Transport, TransportError,
};

/// The module's control device.
const DEVICE_NODE: &str = "/dev/virtio-loopback";
/// Bytes of address space a device gets.
const WINDOW_SIZE: u64 = 64 << 30;
/// The least that the module gives.
const SMALL_WINDOW_SIZE: u64 = 1 << 30;
/// How long the driver's reset waits for the adapter.
const RESET_TIMEOUT_MS: u32 = 1000;

/// A device of the `virtio_loopback` module.
///
/// Fields are dropped in this order: the session before the control file, so that the module knows
/// that nobody serves the device before it is removed.
#[derive(Debug)]
pub struct VirtioLoopback {
    memory: OwnedFd,
    /// Bytes of it.
    window: u64,
    session: OwnedFd,
    control: OwnedFd,
    index: u32,
}

impl VirtioLoopback {
    /// Creates a device. The driver may start to use it at once; [`Transport::next_event`] says.
    pub fn create(config: &DeviceConfig) -> Result<Self, TransportError> {
        Self::create_with_window(config, WINDOW_SIZE)
    }

    /// As [`Self::create`], for a driver that shows little: with the smallest window there is.
    pub fn create_small(config: &DeviceConfig) -> Result<Self, TransportError> {
        Self::create_with_window(config, SMALL_WINDOW_SIZE)
    }

    fn create_with_window(config: &DeviceConfig, window: u64) -> Result<Self, TransportError> {
        let control = open_control()?;
        let found = ioctl::get_api_version(&control).map_err(io_error("asking for the version"))?;
        if found != abi::API_VERSION {
            return Err(TransportError::Version { found, expected: abi::API_VERSION });
        }
        let mut create = create_argument(config)?;
        create.window_size = window;
        ioctl::create(&control, &mut create, &config.config).map_err(|source| {
            match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::EXIST) => TransportError::NameInUse { name: config.name.clone() },
                _ => TransportError::Io { what: "creating the loopback device", source },
            }
        })?;
        Self::attach(control.into(), create.index)
    }

    /// Goes on with a device whose last session is gone and which is still kept, by its control file.
    ///
    /// # Errors
    ///
    /// [`TransportError::NotKept`] when it is too late, or when somebody serves the device.
    pub fn adopt(control: OwnedFd) -> Result<Self, TransportError> {
        let status = ioctl::status(&control).map_err(io_error("asking for the kept device"))?;
        if !matches!(status.state, abi::state::KEPT | abi::state::WAITING) {
            return Err(TransportError::NotKept);
        }
        Self::attach(control, status.index)
    }

    fn attach(control: OwnedFd, index: u32) -> Result<Self, TransportError> {
        let session = ioctl::attach(&control).map_err(|source| {
            match source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOTCONN | Errno::BUSY) => TransportError::NotKept,
                _ => TransportError::Io { what: "attaching to the device", source },
            }
        })?;
        rustix::fs::fcntl_setfl(&session, rustix::fs::OFlags::NONBLOCK)
            .map_err(|errno| io_error("setting up the session")(errno.into()))?;
        const WINDOW: &str = "getting the memory window";
        let memory = ioctl::get_mem_fd(&session).map_err(io_error(WINDOW))?;
        let stat = rustix::fs::fstat(&memory).map_err(|errno| io_error(WINDOW)(errno.into()))?;
        let window = u64::try_from(stat.st_size)
            .map_err(|_| io_error(WINDOW)(io::ErrorKind::InvalidData.into()))?;
        Ok(Self { memory, window, session, control, index })
    }
}

/// A dma-buf of `ranges` (address, bytes) of a memory window of this module. They must be whole
/// pages inside one buffer of the driver.
pub fn export_dmabuf(memory: impl AsFd, ranges: &[(u64, u64)]) -> Result<OwnedFd, TransportError> {
    let ranges: Vec<_> = ranges.iter().map(|&(iova, length)| abi::Range { iova, length }).collect();
    let flags = rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::RDWR;
    ioctl::export_dmabuf(memory, flags.bits(), &ranges).map_err(io_error("exporting a dma-buf"))
}

impl AsFd for VirtioLoopback {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }
}

impl Transport for VirtioLoopback {
    fn memory(&self) -> MemoryWindow<'_> {
        MemoryWindow { fd: self.memory.as_fd(), size: self.window }
    }

    fn queue(&self, index: u16) -> Result<QueueInfo, TransportError> {
        let mut info = abi::QueueInfo { queue: index.into(), ..abi::QueueInfo::new_zeroed() };
        ioctl::queue_info(&self.session, &mut info).map_err(io_error("asking for a queue"))?;
        let small = |number: u32| {
            u16::try_from(number)
                .map_err(|_| io_error("asking for a queue")(io::ErrorKind::InvalidData.into()))
        };
        Ok(QueueInfo {
            size: small(info.size)?,
            ready: info.ready != 0,
            next_avail: small(info.next_avail)?,
            avail_idx: small(info.avail_idx)?,
            outstanding: small(info.outstanding)?,
            desc: info.desc,
            avail: info.avail,
            used: info.used,
        })
    }

    fn set_queue_fds(
        &mut self,
        index: u16,
        kick: &EventFd,
        call: &EventFd,
    ) -> Result<(), TransportError> {
        let fds = abi::QueueFds {
            queue: index.into(),
            kick: kick.as_raw_fd(),
            call: call.as_raw_fd(),
            reserved: 0,
        };
        ioctl::set_queue_fds(&self.session, fds).map_err(io_error("setting a queue's eventfds"))
    }

    fn reoffer(&mut self, index: u16) -> Result<u16, TransportError> {
        const WHAT: &str = "offering a queue's buffers again";
        let again = abi::Outstanding { queue: index.into(), action: abi::REOFFER, reserved: 0 };
        let count = ioctl::outstanding(&self.session, again).map_err(io_error(WHAT))?;
        u16::try_from(count).map_err(|_| io_error(WHAT)(io::ErrorKind::InvalidData.into()))
    }

    fn next_event(&mut self) -> Result<Option<Event>, TransportError> {
        let mut raw = abi::RawEvent::new_zeroed();
        loop {
            match rustix::io::read(&self.session, raw.as_mut_bytes()) {
                Ok(length) if length == size_of::<abi::RawEvent>() => {}
                Ok(_) => {
                    return Err(io_error("reading an event")(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(io_error("reading an event")(errno.into())),
            }
            // An event of a later version of the module is passed over.
            if let Some(event) = event_of(&raw) {
                return Ok(Some(event));
            }
        }
    }

    fn acknowledge(&mut self, sequence: u32) -> Result<(), TransportError> {
        match ioctl::acknowledge(&self.session, sequence) {
            // The driver did not wait any longer: nothing is lost.
            Err(error) if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) => Ok(()),
            other => other.map_err(io_error("acknowledging the driver's reset")),
        }
    }

    fn set_config(&mut self, offset: u32, data: &[u8]) -> Result<(), TransportError> {
        ioctl::config_set(&self.session, offset, data)
            .map_err(io_error("changing the configuration space"))
    }

    fn sysfs_path(&self) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/sys/devices/platform/virtio-loopback.{}", self.index)))
    }

    fn keepsake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.control.as_fd())
    }

    fn driver_starts(&self) -> Result<DriverStarts, TransportError> {
        let status = ioctl::status(&self.session).map_err(io_error("asking for the status"))?;
        let runs = status.driver_status & abi::DRIVER_OK != 0;
        Ok(DriverStarts { count: status.driver_starts, runs })
    }

    fn figures(&self) -> Result<Vec<(&'static str, u64)>, TransportError> {
        let status = ioctl::status(&self.session).map_err(io_error("asking for the status"))?;
        Ok(vec![
            ("driver_status", status.driver_status.into()),
            ("state", status.state.into()),
            ("outstanding", status.outstanding.into()),
            ("bounce_used", status.bounce_used.into()),
            ("bounce_pages", status.bounce_pages.into()),
            ("bounce_max", status.bounce_max),
            ("objects", status.objects.into()),
            ("object_pages", status.object_pages),
            ("exported_pages", status.exported_pages),
            ("faults", status.faults),
            ("stale_faults", status.stale_faults),
            ("bad_used", status.bad_used),
            ("clamped_used", status.clamped_used),
            ("filtered_values", status.filtered_values),
            ("events_dropped", status.events_dropped),
            ("reset_timeouts", status.reset_timeouts),
            ("driver_starts", status.driver_starts),
        ])
    }
}

fn open_control() -> Result<File, TransportError> {
    OpenOptions::new().read(true).write(true).open(DEVICE_NODE).map_err(|source| {
        match source.kind() {
            io::ErrorKind::NotFound => TransportError::NoModule { path: DEVICE_NODE },
            io::ErrorKind::PermissionDenied => TransportError::Permission { path: DEVICE_NODE },
            _ => TransportError::Io { what: "opening /dev/virtio-loopback", source },
        }
    })
}

fn create_argument(config: &DeviceConfig) -> Result<abi::Create, TransportError> {
    let mut create = abi::Create::zeroed();
    create.device_id = config.device_id;
    create.vendor_id = config.vendor_id;
    create.features = config.features;
    create.reset_timeout_ms = RESET_TIMEOUT_MS;
    create.keep_ms = config.keep_ms;
    create.bounce_max = config.bounce_max;
    create.export_max = config.export_max;
    let invalid = || io_error("creating the loopback device")(io::ErrorKind::InvalidInput.into());
    let sizes = create.queue_size.get_mut(..config.queue_sizes.len()).ok_or_else(invalid)?;
    sizes.copy_from_slice(&config.queue_sizes);
    create.num_queues = u32::try_from(config.queue_sizes.len()).map_err(|_| invalid())?;
    let name = create.name.get_mut(..config.name.len()).ok_or_else(invalid)?;
    name.copy_from_slice(config.name.as_bytes());
    Ok(create)
}

fn event_of(raw: &abi::RawEvent) -> Option<Event> {
    Some(match raw.kind {
        abi::event::FEATURES_OK => Event::FeaturesOk { features: raw.value },
        abi::event::DRIVER_OK => Event::DriverOk { features: raw.value },
        abi::event::CONFIG_WRITTEN => Event::ConfigWritten {
            offset: raw.offset,
            length: raw.length,
            data: raw.value.to_ne_bytes(),
        },
        abi::event::RESET => Event::Reset { sequence: raw.sequence },
        abi::event::UNBOUND => Event::Unbound,
        _ => return None,
    })
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> TransportError {
    move |source| TransportError::Io { what, source }
}
