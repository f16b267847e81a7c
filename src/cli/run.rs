//! `run`: a loopback GPU.

use std::fs::File;
use std::io::Write;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use clap::Args;
use loopback_driver_glue::{DeviceConfig, Transport, TransportError, VirtioLoopback};
use virtio_loopback_display::{DisplayEvent, DisplayHandle, Presenter, Signal};
use virtio_loopback_gpu::adapter::{self, Adapter, Shared};
use virtio_loopback_gpu::control::{ControlServer, ScanoutStatus, Status};

use super::DeviceOptions;
use super::stop::{self, Stopper};

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    announce: Announce,
}

/// How to say that the device can be used.
#[derive(Debug, Args)]
pub struct Announce {
    /// Write one line to this file descriptor when the device can be used: `ready NAME NODE…`.
    #[arg(long, value_name = "FD")]
    ready_fd: Option<RawFd>,
}

impl Announce {
    /// What to call, once, when the device can be used.
    pub fn open(&self, device: &DeviceOptions) -> Result<impl FnMut(&[PathBuf]) + Send + use<>> {
        let mut ready = self.ready_fd.map(inherited_fd).transpose()?;
        let name = device.name.clone();
        Ok(move |nodes: &[PathBuf]| {
            let mut line = format!("ready {name}");
            for node in nodes {
                line += &format!(" {}", node.display());
            }
            line.push('\n');
            if let Some(fd) = &mut ready
                && let Err(error) = fd.write_all(line.as_bytes())
            {
                log::warn!("--ready-fd cannot be written: {error}");
            }
            ready = None;
        })
    }
}

/// Runs a device on the loopback module.
pub fn run(options: &Options) -> Result<()> {
    let ready = options.announce.open(&options.device)?;
    let create = |config: &DeviceConfig| -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(VirtioLoopback::create(config)?))
    };
    serve(&options.device, create, ready, |_, _| Ok(()))
}

/// Runs a device on the transport that `create` makes. When it exists, `started` is called with its
/// display and the means to end it.
pub fn serve(
    options: &DeviceOptions,
    create: impl FnOnce(&DeviceConfig) -> Result<Box<dyn Transport>, TransportError>,
    ready: impl FnMut(&[PathBuf]) + Send + 'static,
    started: impl FnOnce(&DisplayHandle, Stopper) -> Result<()>,
) -> Result<()> {
    let control = ControlServer::bind(&options.name)?;
    let (stop, stopper) = stop::on_signals()?;
    let closed = stopper.try_clone()?;
    let on_event = move |event| {
        if let DisplayEvent::CloseRequested { .. } = event {
            closed.stop();
        }
    };
    let (presenter, display) = Presenter::open(options.display(), on_event)?;
    let adapter_options = adapter::Options {
        name: options.name.clone(),
        modes: options.modes(),
        backend: options.backend()?,
    };
    let mut adapter = Adapter::start(adapter_options, display.clone(), create)?;
    serve_control(&control, &adapter, stopper.try_clone()?)?;
    started(&display, stopper)?;
    let device = std::thread::Builder::new().name("device".into()).spawn(move || {
        let mut ready = ready;
        let result = adapter.run(&stop, &mut ready);
        drop(adapter);
        display.quit();
        result
    })?;
    presenter.run()?;
    match device.join() {
        Ok(result) => Ok(result?),
        Err(_) => bail!("the device's thread failed; this is a bug"),
    }
}

fn serve_control(control: &ControlServer, adapter: &Adapter, stopper: Stopper) -> Result<()> {
    let display = adapter.display().clone();
    let shared = adapter.shared();
    let name = adapter.options().name.clone();
    let count = adapter.options().modes.count();
    let backend_pid = adapter.backend_id();
    let status_display = display.clone();
    let status = move || {
        let scanouts =
            (0..count).filter_map(|scanout| scanout_status(&status_display, scanout)).collect();
        status(&name, backend_pid, scanouts, &shared)
    };
    control.serve(display, status, move || stopper.stop()).context("cannot serve `ctl`")
}

fn status(
    name: &str,
    backend_pid: Option<u32>,
    scanouts: Vec<ScanoutStatus>,
    shared: &Arc<Mutex<Shared>>,
) -> Status {
    let shared = adapter::lock(shared);
    let figures = shared.transport.as_ref().and_then(|transport| transport.figures().ok());
    Status {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        backend_pid,
        state: shared.state.to_string(),
        driver_features: format!("{:#x}", shared.driver_features),
        nodes: shared.nodes.iter().map(|node| node.display().to_string()).collect(),
        scanouts,
        transport: figures
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn scanout_status(display: &DisplayHandle, scanout: u32) -> Option<ScanoutStatus> {
    let figures = display.statistics(scanout)?;
    Some(ScanoutStatus {
        scanout,
        signal: match figures.signal {
            Signal::Live => "live",
            Signal::Off => "off",
            Signal::Lost => "lost",
        }
        .to_owned(),
        width: figures.width,
        height: figures.height,
        format: String::from_utf8_lossy(&figures.format.fourcc().to_le_bytes()).into_owned(),
        updates: figures.updates,
        presents: figures.presents,
        frames_per_second: figures.frames_per_second,
        last_present_ms: figures
            .last_present_age
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// A descriptor that whoever started us left open for us.
pub fn inherited_fd(number: RawFd) -> Result<File> {
    if number < 0 {
        bail!("{number} is not a file descriptor");
    }
    // SAFETY: the number is only borrowed to look whether it is open, and duplicated; it may be
    // standard output, which stays as it is.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let owned = borrowed
        .try_clone_to_owned()
        .with_context(|| format!("file descriptor {number} is not open"))?;
    Ok(File::from(owned))
}
