//! `backend`: the GPU backend program.

use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use virtio_loopback_gpu::backend::{self, Socket};
use virtio_loopback_gpu::gpu;

use super::Render;
use super::stop;

/// Options of `backend`, those of every vhost-user back-end program first.
#[derive(Debug, Args)]
#[group(id = "socket", required = true, multiple = false)]
pub struct Options {
    /// Listen on this socket and serve the first front-end that connects.
    #[arg(long, value_name = "PATH", group = "socket")]
    socket_path: Option<PathBuf>,
    /// Serve the front-end behind this open file descriptor.
    #[arg(long, value_name = "FD", group = "socket")]
    fd: Option<RawFd>,
    /// Print what the backend can do as JSON and end.
    #[arg(long, group = "socket")]
    print_capabilities: bool,
    /// What to render.
    #[arg(long, value_enum, default_value = "2d")]
    render: Render,
}

/// Serves one front-end.
pub fn run(options: Options) -> Result<()> {
    let Render::TwoD = options.render;
    let socket = match (options.socket_path, options.fd) {
        (Some(path), _) => Socket::Listen(path),
        (None, Some(fd)) => Socket::Connected(OwnedFd::from(super::run::inherited_fd(fd)?)),
        (None, None) => {
            println!("{}", backend::CAPABILITIES);
            return Ok(());
        }
    };
    let (stop, _stopper) = stop::on_signals()?;
    Ok(backend::run(socket, gpu::Limits::default(), &stop)?)
}
