//! A whole device without the kernel: the software driver, the real adapter, the real backend
//! process, the headless display.

#[cfg(feature = "virgl")]
#[allow(dead_code, reason = "not all of it is used by each test")]
pub mod three_d;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use loopback_driver_glue::{DeviceConfig, Transport, TransportError};
use virtio_loopback_display::{DisplayHandle, DisplayKind, Options, Picture, Presenter};
use virtio_loopback_gpu::adapter::{
    self, Adapter, AdapterError, BackendChoice, Keep, Monitors, Replug, RestartPolicy, Shared,
    State,
};
use virtio_loopback_gpu::driver::{self, Driver};
use virtio_loopback_gpu::limits::DeviceLimits;
use virtio_loopback_gpu::sync::lock;

/// How long anything here may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A running device and its driver.
pub struct Device {
    /// The driver's side.
    pub driver: Option<Driver>,
    /// What the scanouts show.
    pub display: DisplayHandle,
    /// Process id of the backend, if it is a child.
    pub backend_id: Option<u32>,
    /// What other threads see of the device.
    pub shared: Arc<Mutex<Shared>>,
    stop: UnixStream,
    thread: Option<JoinHandle<Result<(), AdapterError>>>,
    _presenter: Presenter,
}

/// The backend program of this build, or where it is on the machine that runs the test.
pub fn program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_virtio-loopback-gpu");
    std::env::var_os("CARGO_BIN_EXE_virtio-loopback-gpu").unwrap_or(built.into()).into()
}

impl Device {
    /// A device with one scanout per mode, on our own backend.
    pub fn start(modes: &[&str]) -> Self {
        let arguments = Vec::new();
        Self::with_backend(modes, BackendChoice::Child { program: program(), arguments })
    }

    /// A device on this backend, which is not replaced when it fails.
    pub fn with_backend(modes: &[&str], backend: BackendChoice) -> Self {
        let never = RestartPolicy { most: 0, ..RestartPolicy::default() };
        Self::with_restarts(modes, backend, never)
    }

    /// A device on this backend, which is replaced so often when it fails.
    pub fn with_restarts(modes: &[&str], backend: BackendChoice, restarts: RestartPolicy) -> Self {
        Self::with_replug(modes, backend, restarts, None)
    }

    /// As [`Device::with_restarts`]; `replug` makes the device again for a backend that came back.
    pub fn with_replug(
        modes: &[&str],
        backend: BackendChoice,
        restarts: RestartPolicy,
        replug: Option<Replug>,
    ) -> Self {
        Self::with_options(&Self::options(modes, backend, restarts), replug)
    }

    /// What an adapter is told of a device like those above.
    pub fn options(
        modes: &[&str],
        backend: BackendChoice,
        restarts: RestartPolicy,
    ) -> adapter::Options {
        let monitors = Monitors::new(modes.iter().map(|mode| mode.parse().unwrap()).collect(), 1);
        adapter::Options {
            name: "test".into(),
            monitors,
            backend,
            restarts,
            keep: Duration::ZERO,
            limits: DeviceLimits::default(),
            program: None,
            cgroup: None,
        }
    }

    /// A device as the adapter is told.
    pub fn with_options(options: &adapter::Options, replug: Option<Replug>) -> Self {
        Self::with_keep(options, replug, None)
    }

    /// As [`Device::with_options`], but one that `keep` keeps when the adapter ends, or kept before.
    pub fn with_keep(
        options: &adapter::Options,
        replug: Option<Replug>,
        keep: Option<Keep>,
    ) -> Self {
        let (presenter, display) =
            Presenter::open(Options::new(DisplayKind::Headless, "test"), |_| {}).unwrap();
        let mut made = None;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (stop, stopped) = UnixStream::pair().unwrap();
        let create = |config: &DeviceConfig| -> Result<Box<dyn Transport>, TransportError> {
            let (transport, driver) = driver::connect(config.clone()).unwrap();
            made = Some(driver);
            Ok(Box::new(transport))
        };
        let stopped = stopped.into();
        let mut adapter =
            Adapter::start(options, display.clone(), shared.clone(), stopped, keep, create)
                .unwrap();
        if let Some(replug) = replug {
            adapter.replug_with(replug);
        }
        let backend_id = lock(&shared).backend_id;
        let thread = std::thread::spawn(move || adapter.run(|_| {}));
        let thread = Some(thread);
        Self { driver: made, display, backend_id, shared, stop, thread, _presenter: presenter }
    }

    /// Ends the adapter, and says how it ended.
    pub fn stop(mut self) -> Result<(), AdapterError> {
        (&self.stop).write_all(&[0]).unwrap();
        self.join()
    }

    /// Waits for the adapter to end by itself.
    pub fn join(&mut self) -> Result<(), AdapterError> {
        let thread = self.thread.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(thread.join().unwrap()));
        receiver.recv_timeout(TIMEOUT).expect("the adapter ends")
    }

    /// What scanout 0 shows.
    pub fn picture(&self) -> Picture {
        self.display.screenshot(0).unwrap()
    }

    /// Waits until scanout 0 shows what `wanted` accepts.
    pub fn wait_for_picture(&self, wanted: impl Fn(&Picture) -> bool) -> Picture {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Ok(picture) = self.display.screenshot(0)
                && wanted(&picture)
            {
                return picture;
            }
            assert!(Instant::now() < deadline, "the picture does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the adapter is so far with the driver.
    pub fn wait_for_state(&self, state: State) {
        let deadline = Instant::now() + TIMEOUT;
        while lock(&self.shared).state != state {
            assert!(Instant::now() < deadline, "the adapter is not {state}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
