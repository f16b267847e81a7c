//! `ctl`: asks or tells a running device something.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use virtio_loopback_gpu::control;

use super::output;

/// Options of `ctl`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which device.
    #[arg(long, default_value = "gpu0", value_parser = super::name, allow_hyphen_values = true)]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the device is doing.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Save what a scanout shows (with a window: what the window shows) as PNG.
    Screenshot {
        /// File to write.
        path: PathBuf,
        /// Which scanout.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..16))]
        scanout: u32,
    },
    /// Remove the device and end its adapter.
    Quit,
    /// End the adapter of a device made with `run --keep`. The card stays, and the next `run` with
    /// its name goes on with it.
    Detach,
}

/// Runs one request.
pub fn run(options: &Options) -> Result<()> {
    let name = &options.name;
    match &options.command {
        Command::Status { json: false } => output::print(&control::status(name)?)?,
        Command::Status { json: true } => {
            let json = serde_json::to_string_pretty(&control::status(name)?)?;
            output::print(&format_args!("{json}\n"))?;
        }
        Command::Screenshot { path, scanout } => control::screenshot(name, *scanout, path)?,
        Command::Quit => control::quit(name)?,
        Command::Detach => control::detach(name)?,
    }
    Ok(())
}
