//! `backend`: the GPU backend program.

use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use virtio_loopback_gpu::backend::{self, Socket};
use virtio_loopback_gpu::gpu;

use super::{Render, output, stop};

/// Options of `backend`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    socket: SocketOptions,
    /// What to render.
    #[arg(long, value_enum, default_value = "2d")]
    render: Render,
}

/// Those of every vhost-user back-end program.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SocketOptions {
    /// Listen on this socket and serve the first front-end that connects.
    #[arg(long, value_name = "PATH")]
    socket_path: Option<PathBuf>,
    /// Serve the front-end behind this open file descriptor.
    #[arg(long, value_name = "FD")]
    fd: Option<RawFd>,
    /// Print what the backend can do as JSON and end.
    #[arg(long)]
    print_capabilities: bool,
}

/// Serves one front-end.
pub fn run(options: Options) -> Result<()> {
    let Options { socket, render: Render::TwoD } = options;
    let socket = match (socket.socket_path, socket.fd) {
        (Some(path), _) => Socket::Listen(path),
        (None, Some(fd)) => Socket::Connected(inherited_socket(fd)?),
        (None, None) => {
            return output::print(&format_args!("{}\n", backend::CAPABILITIES));
        }
    };
    let (stop, _stopper) = stop::on_signals()?;
    Ok(backend::run(socket, gpu::Limits::default(), &stop)?)
}

/// The connection at this number, which must be one.
fn inherited_socket(number: RawFd) -> Result<OwnedFd> {
    let fd = super::fd::inherited(number)?;
    rustix::net::sockopt::socket_type(&fd)
        .with_context(|| format!("file descriptor {number} is not a connection to a front-end"))?;
    Ok(fd)
}
