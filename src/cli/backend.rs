//! `backend`: the GPU backend program.

use std::os::fd::RawFd;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use virtio_loopback_gpu::backend::{self, Settings, Socket};
use virtio_loopback_gpu::sandbox::{Mode, close_inherited, enter};

use super::host_visible::HostVisibleOptions;
use super::limits::LimitOptions;
use super::render::{Render, RenderOptions};
use super::sandbox::SandboxOptions;
use super::{fd, output, stop};

/// Options of `backend`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    socket: SocketOptions,
    #[command(flatten)]
    render: RenderOptions,
    /// The same as --render=virgl, in the words of those who start any GPU backend.
    #[arg(long, conflicts_with = "render")]
    virgl: bool,
    #[command(flatten)]
    host_visible: HostVisibleOptions,
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
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
    let Options { socket, mut render, virgl, host_visible, sandbox, limits } = options;
    if virgl {
        render.set(Render::Virgl);
    }
    host_visible.check(render.render())?;
    let confinement = sandbox.settings(render.needs());
    if socket.print_capabilities {
        return output::print(&format_args!("{}\n", backend::CAPABILITIES));
    }
    if confinement.mode != Mode::Off {
        // Before there are descriptors of our own.
        close_inherited(socket.fd.as_slice()).context("cannot close inherited descriptors")?;
    }
    let socket = match (socket.socket_path, socket.fd) {
        (Some(path), _) => Socket::Listen(path),
        (None, Some(number)) => Socket::Connected(fd::inherited_connection(number)?),
        (None, None) => bail!("there is neither --socket-path nor --fd"),
    };
    let (stop, _stopper) = stop::on_signals()?;
    let Some(stream) = backend::connect(socket, &stop)? else { return Ok(()) };
    let vulkan = host_visible.start_server(render.node(), &sandbox)?;
    // All that is needed of the system is here, and nothing of the front-end has been read.
    enter(&confinement)?;
    let settings = Settings {
        limits: limits.limits().gpu,
        host_visible: host_visible.size(),
        ..Settings::default()
    };
    Ok(backend::serve(stream, render.rendering(vulkan), settings, &stop)?)
}
