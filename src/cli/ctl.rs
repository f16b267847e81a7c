//! `ctl`: asks or tells a running device something.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use virtio_loopback_gpu::adapter::{MonitorSpec, parse_position};
use virtio_loopback_gpu::control::{self, Address, ScanoutRequest};
use virtio_loopback_gpu::gpu::wire::MAX_SCANOUTS;

use super::output;

/// Options of `ctl`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which device.
    #[arg(long, default_value = "gpu0", value_parser = super::name, allow_hyphen_values = true, global = true)]
    name: String,
    /// The control socket of the device, wherever that is, instead of its name. Whoever made the socket
    /// is believed.
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "name")]
    socket: Option<PathBuf>,
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
        #[arg(long, default_value_t = 0, value_parser = index)]
        scanout: u32,
    },
    /// Save what a scanout shows over a time, as video.
    Record(super::record::Options),
    /// Change what the driver finds at its scanouts; its clients are told.
    #[command(subcommand)]
    Scanout(ScanoutCommand),
    /// Remove the device and end its adapter.
    Quit,
    /// End the adapter of a device made with `run --keep`. The card stays, and the next `run` with
    /// its name goes on with it.
    Detach,
}

#[derive(Debug, Subcommand)]
enum ScanoutCommand {
    /// Plug a monitor into the first free connector, and print its index.
    Add {
        /// As after `run --scanout`.
        #[arg(value_name = MONITOR)]
        monitor: MonitorSpec,
    },
    /// Plug another monitor into a connector, or its first one.
    Set {
        #[arg(value_parser = index)]
        scanout: u32,
        /// As after `run --scanout`.
        #[arg(value_name = MONITOR)]
        monitor: MonitorSpec,
    },
    /// Put a monitor at another place on the desktop.
    Move {
        #[arg(value_parser = index)]
        scanout: u32,
        /// Of its top left pixel.
        #[arg(value_name = "X,Y", value_parser = parse_position)]
        position: (u32, u32),
    },
    /// Unplug a monitor.
    Remove {
        #[arg(value_parser = index)]
        scanout: u32,
    },
}

/// A monitor on the command line.
const MONITOR: &str = "WxH[@RATE|@X,Y][,KEY=VALUE]";

/// Takes an index of a scanout.
pub fn index(text: &str) -> Result<u32, String> {
    let last = MAX_SCANOUTS as u32 - 1;
    let index = text.parse().ok().filter(|index| *index <= last);
    index.ok_or_else(|| format!("scanouts are numbered from 0 to {last}"))
}

impl ScanoutCommand {
    fn request(&self) -> ScanoutRequest {
        match *self {
            Self::Add { ref monitor } => ScanoutRequest::Add { monitor: monitor.to_string() },
            Self::Set { scanout, ref monitor } => {
                ScanoutRequest::Set { scanout, monitor: monitor.to_string() }
            }
            Self::Move { scanout, position: (x, y) } => ScanoutRequest::Move { scanout, x, y },
            Self::Remove { scanout } => ScanoutRequest::Remove { scanout },
        }
    }
}

/// Runs one request.
pub fn run(options: &Options) -> Result<()> {
    let address = &match &options.socket {
        Some(path) => Address::Socket(path.clone()),
        None => Address::Name(options.name.clone()),
    };
    match &options.command {
        Command::Status { json: false } => output::print(&control::status(address)?)?,
        Command::Status { json: true } => {
            let json = serde_json::to_string_pretty(&control::status(address)?)?;
            output::print(&format_args!("{json}\n"))?;
        }
        Command::Record(options) => super::record::run(address, options)?,
        Command::Screenshot { path, scanout } => control::screenshot(address, *scanout, path)?,
        Command::Scanout(command) => {
            let scanout = control::change_scanout(address, command.request())?;
            if matches!(command, ScanoutCommand::Add { .. }) {
                output::print(&format_args!("{scanout}\n"))?;
            }
        }
        Command::Quit => control::quit(address)?,
        Command::Detach => control::detach(address)?,
    }
    Ok(())
}
