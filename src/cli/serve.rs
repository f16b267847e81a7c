//! A device's life in this process: its display, its control socket and its thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use loopback_driver_glue::{DeviceConfig, Transport, TransportError};
use rustix::param::page_size;
use virtio_loopback_display::{
    self as display, DisplayEvent, DisplayHandle, LossPolicy, Presenter, Signal,
};
use virtio_loopback_gpu::adapter::{
    self, Adapter, AdapterError, Cgroup, Monitors, OnResize, Replug, RestartPolicy, Shared,
    WindowSizes,
};
use virtio_loopback_gpu::control::{
    ControlServer, KeepStatus, LimitStatus, SandboxStatus, ScanoutStatus, Status,
};
use virtio_loopback_gpu::drm_lease::DrmLease;
use virtio_loopback_gpu::fd_store::Place;
use virtio_loopback_gpu::features::Features;
use virtio_loopback_gpu::gpu::Counters;
use virtio_loopback_gpu::input::Router;
use virtio_loopback_gpu::limits::{DeviceLimits, LimitKey};
use virtio_loopback_gpu::sandbox::{self, Confinement, Mode};
use virtio_loopback_gpu::sync::lock;

use super::DeviceOptions;
use super::input::InputOptions;
use super::keep::KeepOptions;
use super::stop::{self, Stopper};
use super::window;

mod connectors;
mod control;
mod input;

use self::connectors::Connectors;
use self::control::Control;

/// Runs a device on the transport that `create` makes, and `replug` once more whenever a backend that
/// is not ours has come back. When it exists, `started` is called with its display and the means to
/// end it.
pub fn serve(
    options: &DeviceOptions,
    keep: Option<&KeepOptions>,
    input: Option<&InputOptions>,
    create: impl FnMut(&DeviceConfig) -> Result<Box<dyn Transport>, TransportError>,
    replug: Option<Replug>,
    ready: impl FnMut(&[PathBuf]) + Send + 'static,
    started: impl FnOnce(&DisplayHandle, Stopper) -> Result<()>,
) -> Result<()> {
    let cgroup = options.cgroup()?;
    let loss = options.loss.policy()?;
    // Before there are threads, which would keep what they have.
    drop_capabilities(options)?;
    let control = ControlServer::bind(&options.name)?;
    let (stop, stopper) = stop::on_signals().context("cannot wait for signals")?;
    let router = Router::new().context("cannot pass on what windows get")?;
    let shared = Arc::new(Mutex::new(Shared::default()));
    let monitors = options.scanouts.monitors();
    let (sizes, follower) = adapter::window_sizes(options.scanouts.on_resize());
    // Given back after the display has ended.
    let lease = options.display.lease()?;
    let (presenter, display) =
        open_display(options, loss, lease.as_ref(), &router, &monitors, &shared, sizes.clone())?;
    // Before the backend is asked anything, which may take long.
    let quit = stopper.try_clone().context("cannot serve `ctl`")?;
    follower
        .start(monitors.clone(), Arc::clone(&shared), display.clone())
        .context("cannot follow the sizes of windows")?;
    let controlled = control::Parts {
        display: &display,
        shared: &shared,
        monitors: &monitors,
        router: &router,
        cgroup: cgroup.as_ref(),
        sizes,
    };
    control.serve(Control::new(options, controlled, quit)).context("cannot serve `ctl`")?;
    let adapter_options = adapter_options(options, keep, monitors, cgroup)?;
    let foreign = options.backend.is_some();
    let keep = keep.map(|keep| keep.open(&options.name, foreign)).transpose()?.flatten();
    let adapter = Adapter::start(&adapter_options, display.clone(), shared, stop, keep, create);
    let mut adapter = match adapter {
        Err(AdapterError::Stopped) => return Ok(()),
        started => started?,
    };
    replug.into_iter().for_each(|replug| adapter.replug_with(replug));
    // Removed when this returns, with the device.
    let scanouts = adapter_options.monitors.count();
    let _input =
        input.map(|input| input.start(&options.name, scanouts, &router, &display)).transpose()?;
    started(&display, stopper.try_clone().context("cannot start the device")?)?;
    let device = move || {
        let mut ready = ready;
        let result = adapter.run(&mut ready);
        drop(adapter);
        Ok(result?)
    };
    run_beside(&display, stopper, device, || Ok(presenter.run()?))
}

fn drop_capabilities(options: &DeviceOptions) -> Result<()> {
    if options.sandbox.mode() == Mode::Off {
        return Ok(());
    }
    sandbox::limit_adapter().context("cannot drop capabilities")
}

/// What the adapter is told of the device.
fn adapter_options(
    options: &DeviceOptions,
    keep: Option<&KeepOptions>,
    monitors: Monitors,
    cgroup: Option<Cgroup>,
) -> Result<adapter::Options> {
    Ok(adapter::Options {
        name: options.name.clone(),
        monitors,
        program: options.backend_quirks.program(),
        backend: options.backend().context("cannot find the program's own file in /proc")?,
        restarts: RestartPolicy::default(),
        keep: keep.map_or(Duration::ZERO, KeepOptions::time),
        limits: options.limits.limits(),
        cgroup,
    })
}

/// Opens the display. What its users do goes to `router` and to `window_sizes`, what is plugged into its
/// connectors to `monitors` and the driver.
fn open_display(
    options: &DeviceOptions,
    loss: LossPolicy,
    lease: Option<&DrmLease>,
    router: &Router,
    monitors: &Monitors,
    shared: &Arc<Mutex<Shared>>,
    window_sizes: WindowSizes,
) -> Result<(Presenter, DisplayHandle)> {
    let windows = router.clone();
    let connectors = options
        .scanouts
        .follow_connectors()
        .then(|| Connectors::new(monitors.clone(), Arc::clone(shared)));
    // Closing the last window ends the presenter, and that the device.
    let on_event = move |event| {
        window::tell_of(&event);
        match event {
            DisplayEvent::Input(event) => windows.send(event),
            DisplayEvent::Resized { scanout, width, height } => {
                window_sizes.resized(scanout, width, height);
            }
            event => {
                if let Some(connectors) = &connectors {
                    connectors.follow(event);
                }
            }
        }
    };
    let mut display = display::Options { loss, ..options.display.options(&options.name, lease)? };
    display.sdl.report_resize = options.scanouts.on_resize() != OnResize::Ignore;
    Presenter::open(display, on_event).context("cannot start the display")
}

/// Runs `device` on a thread of its own while `present` runs on this one. However one of them
/// ends, it ends the other, and both have ended when this returns.
fn run_beside(
    display: &DisplayHandle,
    stopper: Stopper,
    device: impl FnOnce() -> Result<()> + Send + 'static,
    present: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let quit = QuitOnDrop(display.clone());
    let device = move || {
        let _quit = quit;
        device()
    };
    let thread = std::thread::Builder::new().name("device".into()).spawn(device)?;
    let presented = {
        let _stop = StopOnDrop(stopper);
        present()
    };
    let served =
        thread.join().unwrap_or_else(|_| Err(anyhow!("the device's thread failed; this is a bug")));
    presented.and(served)
}

/// Ends the presenter.
struct QuitOnDrop(DisplayHandle);

impl Drop for QuitOnDrop {
    fn drop(&mut self) {
        self.0.quit();
    }
}

/// Ends the device.
struct StopOnDrop(Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What the kernel says of the backend, if it is ours.
fn sandbox_status(mode: Mode, backend: Option<u32>) -> Option<SandboxStatus> {
    let kernel = Confinement::of(backend?)?;
    let ours = mode != Mode::Off;
    Some(SandboxStatus {
        mode: mode.to_string(),
        uid: kernel.uid,
        no_new_privs: kernel.no_new_privs,
        seccomp: kernel.seccomp,
        capabilities: format!("{:#x}", kernel.capabilities),
        landlock_abi: kernel.landlock_abi.filter(|_| ours),
    })
}

/// How the device outlives this process.
fn keep_status(shared: &Mutex<Shared>) -> Option<KeepStatus> {
    let (kept, seconds) = {
        let shared = lock(shared);
        (shared.kept.clone()?, shared.keep.as_secs())
    };
    // It is locked while a keeper is started, for which nobody shall wait.
    let (by, keeper_pid) = match kept.try_lock() {
        Ok(kept) => match kept.keeper()? {
            (Place::ServiceManager, _) => ("service-manager", None),
            (Place::Keeper { .. }, pid) => ("keeper", pid),
        },
        Err(_) if seconds == 0 => return None,
        Err(_) => ("keeper", None),
    };
    Some(KeepStatus { seconds, by: by.to_owned(), keeper_pid })
}

fn status(
    name: &str,
    mode: Option<Mode>,
    scanouts: Vec<ScanoutStatus>,
    shared: &Mutex<Shared>,
) -> Status {
    let keep = keep_status(shared);
    let shared = lock(shared);
    let figures = shared.transport.as_ref().and_then(|transport| transport.figures().ok());
    Status {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        backend_pid: shared.backend_id,
        backend_restarts: shared.restarts,
        sandbox: mode.and_then(|mode| sandbox_status(mode, shared.backend_id)),
        keep,
        cgroup: None,
        monitors: Vec::new(),
        state: shared.state.to_string(),
        driver_features: format!("{:#x}", shared.driver_features),
        driver_feature_names: Features(shared.driver_features).names(),
        nodes: shared.nodes.iter().flatten().map(|node| node.display().to_string()).collect(),
        scanouts,
        input: None,
        limits: BTreeMap::new(),
        transport: figures
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// What became of each limit. Those of a backend that is not ours are its own affair.
fn limit_status(
    limits: &DeviceLimits,
    foreign: bool,
    shared: &Shared,
) -> BTreeMap<String, LimitStatus> {
    let counters = shared.counters();
    let figures = shared.transport.as_ref().and_then(|transport| transport.figures().ok());
    let figure = |wanted: &str| {
        let mut figures = figures.iter().flatten();
        figures.find(|(name, _)| *name == wanted).map(|(_, value)| *value)
    };
    let pages = |wanted| figure(wanted).map(|pages| pages.saturating_mul(page_size() as u64));
    let keys = LimitKey::ALL.into_iter().filter(|key| !foreign || !key.is_of_backend());
    let status = keys.filter_map(|key| {
        let limit = limits.get(key);
        let status = match key {
            LimitKey::Gpu(kind) => {
                let counter = counters.map(|counters| counters.of(kind));
                LimitStatus {
                    limit,
                    used: counter.filter(|_| kind.is_held()).map(|counter| counter.used),
                    peak: counter.map(|counter| counter.peak),
                    refused: counter.map(|counter| counter.refused),
                }
            }
            LimitKey::Outstanding => LimitStatus {
                limit,
                used: shared.commands().map(u64::from),
                peak: counters.map(|Counters { queues: [control, ..], .. }| control.peak.into()),
                refused: None,
            },
            // The module's; the software driver's transport makes neither copies nor dma-bufs.
            LimitKey::Bounce => LimitStatus {
                limit: figure("bounce_max")?,
                used: pages("bounce_pages"),
                ..LimitStatus::default()
            },
            LimitKey::Export => LimitStatus {
                limit,
                used: Some(pages("exported_pages")?),
                ..LimitStatus::default()
            },
        };
        Some((key.to_string(), status))
    });
    status.collect()
}

fn scanout_status(display: &DisplayHandle, scanout: u32) -> Option<ScanoutStatus> {
    let figures = display.statistics(scanout)?;
    Some(ScanoutStatus {
        scanout,
        signal: match figures.signal {
            Signal::Live => "live",
            Signal::Off => "off",
            Signal::Unplugged => "unplugged",
            Signal::Lost => "lost",
        }
        .to_owned(),
        width: figures.width,
        height: figures.height,
        format: String::from_utf8_lossy(&figures.format.fourcc().to_le_bytes()).into_owned(),
        updates: figures.updates,
        presents: figures.presents,
        damaged_bytes: figures.damaged_bytes,
        copied_bytes: figures.copied_bytes,
        vblanks: figures.vblanks,
        frames_per_second: figures.frames_per_second,
        updates_per_second: figures.updates_per_second,
        last_present_ms: figures
            .last_present_age
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    })
}

#[cfg(test)]
mod tests;
