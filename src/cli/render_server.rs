//! `render-server`: confines itself and starts virglrenderer's render server. Started by `backend
//! --venus`, never by hand.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use virtio_loopback_gpu::backend::RenderServer;
use virtio_loopback_gpu::sandbox::{Mode, Needs, close_inherited, enter};

use super::sandbox::SandboxOptions;

/// Options of `render-server`.
#[derive(Debug, Args)]
pub struct Options {
    /// The server.
    program: PathBuf,
    /// The only GPU it may use.
    #[arg(long, value_name = "NODE")]
    render_node: Option<PathBuf>,
    #[command(flatten)]
    sandbox: SandboxOptions,
}

/// Starts the server, and ends it.
pub fn run(options: Options) -> Result<()> {
    let Options { program, render_node, sandbox } = options;
    let needs = Needs::RenderServer { render_node, program: program.clone() };
    let sandbox = sandbox.settings(needs);
    if sandbox.mode != Mode::Off {
        close_inherited(&[]).context("cannot close inherited descriptors")?;
    }
    enter(&sandbox)?;
    Ok(RenderServer::supervise(&program)?)
}
