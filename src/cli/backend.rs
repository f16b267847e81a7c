//! `backend`: the GPU backend program.

use std::os::fd::RawFd;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use virtio_loopback_gpu::backend::{self, Socket};
use virtio_loopback_gpu::gpu;

use super::{Render, fd, output, stop};

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
    #[arg(long, value_name = "FD", allow_negative_numbers = true)]
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
        (None, Some(number)) => Socket::Connected(fd::inherited_connection(number)?),
        (None, None) => {
            return output::print(&format_args!("{}\n", backend::CAPABILITIES));
        }
    };
    let (stop, _stopper) = stop::on_signals()?;
    Ok(backend::run(socket, gpu::Limits::default(), &stop)?)
}
