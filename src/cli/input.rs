//! Options that say where the container's input comes from, and how it gets there.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use loopback_driver_glue::{DeviceConfig, Transport, TransportError, VirtioLoopback};
use virtio_loopback_display::DisplayHandle;
use virtio_loopback_gpu::input::{
    self, Backing, Hooks, InputError, InputService, Router, SourceOptions,
};

/// Options of the input devices.
#[derive(Debug, Clone, Args)]
pub struct InputOptions {
    /// How the container gets the scanouts' input.
    #[arg(long, value_enum, default_value = "virtio")]
    input: InputChoice,
    /// Pass on the events of this input device, too; repeat it for more.
    ///
    /// With `scanout=N` they go to that scanout's devices, else to those of scanout 0; with `grab`
    /// nobody else gets them.
    #[arg(long = "input-device", value_name = "/dev/input/eventN[,scanout=N][,grab]")]
    sources: Vec<SourceOptions>,
    /// Pass on what windows get even if this desktop's own seat reads the devices that get it.
    #[arg(long)]
    input_any_seat: bool,
}

/// How long the names of an adapter that has just ended are waited for.
const NAME_TIME: Duration = Duration::from_secs(2);

/// Makes a device. One with its name may be about to go: that of an adapter which was killed.
fn create(config: &DeviceConfig) -> Result<Box<dyn Transport>, TransportError> {
    let end = Instant::now() + NAME_TIME;
    loop {
        match VirtioLoopback::create_small(config) {
            Err(TransportError::NameInUse { .. }) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            made => return Ok(Box::new(made?)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InputChoice {
    /// By virtio-input devices on the loopback module.
    Virtio,
    /// By devices of the kernel's uinput.
    Uinput,
    /// Not at all.
    None,
}

impl InputOptions {
    /// Makes the input devices of a GPU, unless it shall have none.
    pub fn start(
        &self,
        name: &str,
        scanouts: u32,
        router: &Router,
        display: &DisplayHandle,
    ) -> Result<Option<InputService>> {
        let mut create = create;
        let backing = match self.input {
            InputChoice::None => return Ok(None),
            InputChoice::Virtio => Backing::Virtio(&mut create),
            InputChoice::Uinput => Backing::Uinput,
        };
        let options = input::Options {
            name: name.to_owned(),
            scanouts,
            sources: self.sources.clone(),
            any_seat: self.input_any_seat,
        };
        let display = display.clone();
        let hooks = Hooks {
            frame_size: Box::new(move |scanout| {
                let figures = display.statistics(scanout)?;
                Some((figures.width, figures.height))
            }),
            status: Box::new(|scanout, kind, event| {
                log::debug!("input: the driver tells the {kind} of scanout {scanout}: {event:?}");
            }),
        };
        InputService::start(&options, router, backing, hooks)
            // An error of a device that was named says which.
            .map_err(|error| match error {
                InputError::Source { .. } | InputError::NoScanout { .. } => {
                    anyhow::Error::from(error)
                }
                error => anyhow::Error::from(error)
                    .context("cannot make the input devices (--input=none goes without)"),
            })
            .map(Some)
    }
}
