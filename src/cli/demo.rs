//! `demo`: a test card by the software driver, through the real backend.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use loopback_driver_glue::{DeviceConfig, Transport, TransportError};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_loopback_display::DisplayHandle;
use virtio_loopback_gpu::driver::card::{CardPlayer, Played, PlayerOptions};
use virtio_loopback_gpu::driver::queue::QueueError;
use virtio_loopback_gpu::driver::{self, BufferKind, Driver, DriverError, GpuDriver};
use virtio_loopback_gpu::gpu::wire::feature;

use super::DeviceOptions;
use super::output;
use super::run::Announce;
use super::serve::serve;
use super::stop::Stopper;

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    device: DeviceOptions,
    /// Draw so many frames and end [default: go on until the window is closed].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Frames per second; 0 for as many as possible.
    #[arg(long, default_value_t = 60)]
    rate: u32,
    /// What the driver draws into [default: what the kernel's driver would use].
    #[arg(long, value_enum)]
    buffers: Option<Buffers>,
    /// Save what scanout 0 shows at the end as PNG.
    #[arg(long, value_name = "PNG", requires = "frames")]
    screenshot: Option<PathBuf>,
    /// After the last frame, keep it until the demo is told to quit.
    #[arg(long, requires = "frames")]
    keep: bool,
    #[command(flatten)]
    announce: Announce,
}

impl Options {
    /// What the device shall be.
    pub fn device(&self) -> &DeviceOptions {
        &self.device
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Buffers {
    /// Guest blobs: shown without a copy.
    Blob,
    /// Classic 2D resources: one copy.
    Classic,
}

/// Feature bits the software driver accepts: those the kernel's driver would.
const WANTED: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << feature::VIRGL
    | 1 << feature::EDID
    | 1 << feature::RESOURCE_UUID
    | 1 << feature::RESOURCE_BLOB
    | 1 << feature::CONTEXT_INIT;

/// Draws the test card.
pub fn run(options: &Options) -> Result<()> {
    let ready = options.announce.open(&options.device)?;
    let made = RefCell::new(None);
    let create = |config: &DeviceConfig| -> Result<Box<dyn Transport>, TransportError> {
        let connected = driver::connect_with_memory(config.clone(), memory_size(&options.device));
        let (transport, driver) = connected.map_err(|error| TransportError::Io {
            what: "making the software driver",
            source: std::io::Error::other(error),
        })?;
        made.replace(Some(driver));
        Ok(Box::new(transport))
    };
    let ending = Arc::new(AtomicBool::new(false));
    let mut player = None;
    let served = serve(&options.device, None, None, create, None, ready, |display, stopper| {
        let driver = made.take().context("there is no device")?;
        player = Some(start_player(driver, options, display.clone(), stopper, &ending)?);
        Ok(())
    });
    ending.store(true, Ordering::Relaxed);
    let played = player.map_or(Ok(None), |player| {
        player.join().unwrap_or_else(|_| Err(anyhow!("the driver's thread failed; this is a bug")))
    });
    served?;
    let played = played?;
    let drawn = played.as_ref().map(|(played, _)| played.frames);
    if let (Some(path), Some(frames)) = (&options.screenshot, options.frames)
        && drawn != Some(frames)
    {
        bail!("the demo was ended before its last frame: {} is not saved", path.display());
    }
    if let Some((played, _)) = played {
        let rate = played.frames as f64 / played.elapsed.as_secs_f64();
        output::print(&format_args!("{} frames, {rate:.1} frames/s\n", played.frames))?;
    }
    Ok(())
}

/// What the driver's thread gives: `None` when it was cut short.
type Player = JoinHandle<Result<Option<(Played, CardPlayer)>>>;

/// Starts the driver on a thread.
fn start_player(
    driver: Driver,
    options: &Options,
    display: DisplayHandle,
    stopper: Stopper,
    ending: &Arc<AtomicBool>,
) -> Result<Player> {
    let kind = options.buffers.map(|buffers| match buffers {
        Buffers::Blob => BufferKind::Blob,
        Buffers::Classic => BufferKind::Classic,
    });
    let rate = Some(options.rate);
    let (frames, screenshot, keep) = (options.frames, options.screenshot.clone(), options.keep);
    let ending = Arc::clone(ending);
    let play = move || {
        let result = play(driver, kind, rate, frames, &ending).and_then(|(played, gpu)| {
            if let Some(path) = &screenshot
                && frames == Some(played.frames)
            {
                display.screenshot(0)?.write_png(path)?;
            }
            Ok((played, gpu))
        });
        if result.is_err() || !keep {
            stopper.stop();
        }
        match result {
            // The driver goes to whoever joins, so that its last frame stays until then.
            Ok(played) => Ok(Some(played)),
            Err(error) if is_device_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    };
    Ok(std::thread::Builder::new().name("driver".into()).spawn(play)?)
}

/// The device was removed while the driver drew: somebody ended the demo.
fn is_device_gone(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(DriverError::Gone | DriverError::Queue(QueueError::Stopped))
    )
}

fn play(
    driver: Driver,
    kind: Option<BufferKind>,
    rate: Option<u32>,
    frames: Option<u64>,
    ending: &AtomicBool,
) -> Result<(Played, CardPlayer)> {
    let gpu = GpuDriver::start(driver, WANTED)?;
    let kind = kind.unwrap_or_else(|| gpu.preferred_kind());
    let mut player = CardPlayer::new(gpu, PlayerOptions { kind, rate, cursor: true })?;
    let played = player.play(frames, || ending.load(Ordering::Relaxed))?;
    // Its answer comes behind all that was sent to the display, the cursor's last move too.
    player.gpu().display_info()?;
    Ok((played, player))
}

/// Memory for two frames per scanout, and some more.
fn memory_size(options: &DeviceOptions) -> u64 {
    (options.scanouts.pixels() * 8 + (64 << 20)).next_multiple_of(1 << 20)
}
