//! `demo`: a test card by the software driver.

use anyhow::{Result, bail};
use clap::Args;

use super::DeviceOptions;

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    device: DeviceOptions,
}

/// Draws the test card.
pub fn run(_: &Options) -> Result<()> {
    bail!("not there yet")
}
