//! `keeper`: holds what must outlive an adapter. Started by `run --keep`, never by hand.

use std::os::fd::RawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use virtio_loopback_gpu::fd_store::keeper;
use virtio_loopback_gpu::sandbox::{close_inherited, limit_keeper};

use super::fd;

/// Options of `keeper`.
#[derive(Debug, Args)]
pub struct Options {
    /// Its listening socket.
    #[arg(long)]
    fd: RawFd,
    /// Seconds to wait for an adapter.
    #[arg(long)]
    keep: u64,
}

/// Keeps until nothing is to be kept.
pub fn run(options: &Options) -> Result<()> {
    close_inherited(&[options.fd]).context("cannot close inherited descriptors")?;
    let listener = fd::inherited(options.fd)?;
    limit_keeper().context("cannot give up what is not needed")?;
    Ok(keeper::serve(&listener, Duration::from_secs(options.keep))?)
}
