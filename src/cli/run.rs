//! `run`: a loopback GPU.

use std::fs::File;
use std::io::Write;
use std::os::fd::RawFd;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use loopback_driver_glue::{DeviceConfig, Transport, TransportError, VirtioLoopback};

use super::DeviceOptions;
use super::fd;
use super::input::InputOptions;
use super::keep::KeepOptions;
use super::output;
use super::serve::serve;

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    keep: KeepOptions,
    #[command(flatten)]
    input: InputOptions,
    #[command(flatten)]
    announce: Announce,
}

impl Options {
    /// What the device shall be.
    pub fn device(&self) -> &DeviceOptions {
        &self.device
    }
}

/// How to say that the device can be used.
#[derive(Debug, Args)]
pub struct Announce {
    /// Write one line to this file descriptor when the device can be used: `ready NAME NODE…`.
    #[arg(long, value_name = "FD", allow_negative_numbers = true)]
    ready_fd: Option<RawFd>,
}

impl Announce {
    /// What to call, once, when the device can be used.
    pub fn open(&self, device: &DeviceOptions) -> Result<impl FnMut(&[PathBuf]) + Send + use<>> {
        let mut ready = self.ready_fd.map(fd::inherited).transpose()?.map(File::from);
        let device = device.clone();
        Ok(move |nodes: &[PathBuf]| {
            // Only the kernel's driver makes nodes.
            if !nodes.is_empty() {
                output::tell_plainly(&device.summary(nodes));
            }
            // Where a service manager waits for it.
            if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
                log::warn!("the service manager cannot be told that the device is ready: {error}");
            }
            let name = &device.name;
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
    serve(
        &options.device,
        Some(&options.keep),
        Some(&options.input),
        create,
        Some(Box::new(create)),
        ready,
        |_, _| Ok(()),
    )
}
