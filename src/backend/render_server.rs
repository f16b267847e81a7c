//! The process that renders Vulkan: virglrenderer's render server, which makes one more process for
//! each context.
//!
//! It is started before the backend confines itself, which may start nothing then, and is confined in
//! turn: a child that is this program enters the sandbox and starts the server there. Server and backend
//! talk over a socket that only they have. The child ends the server and all of its processes when a
//! pipe is closed: by the backend's [`Watch`](super::watch::Watch), or with the backend, however that
//! ends.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group};

/// Where Debian's package virgl-server has it.
pub const RENDER_SERVER: &str = "/usr/libexec/virgl_render_server";

/// Why there is no render server.
#[derive(Debug, thiserror::Error)]
pub enum RenderServerError {
    /// It is not installed.
    #[error(
        "there is no render server of virglrenderer at {}: install it (Debian: virgl-server), say where it is with --render-server, or leave out --venus", .0.display()
    )]
    Missing(PathBuf),
    /// It cannot be started.
    #[error("the render server cannot be started")]
    Start(#[source] io::Error),
}

/// A render server that was started.
#[derive(Debug)]
pub struct RenderServer {
    /// What virglrenderer talks to it with.
    pub(super) socket: OwnedFd,
    /// When this is closed, the server and all its processes end.
    pub(super) lifeline: OwnedFd,
}

impl RenderServer {
    /// Starts the server `program` by way of this executable with `arguments`, which are to end in
    /// [`supervise`](Self::supervise).
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self, RenderServerError> {
        if !program.is_file() {
            return Err(RenderServerError::Missing(program.to_owned()));
        }
        let failed = |errno: Errno| RenderServerError::Start(errno.into());
        // As virglrenderer makes it.
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, kind, flags, None).map_err(failed)?;
        let (their_end, lifeline) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        // Not by name, which may be another file's by now.
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments).stdin(Stdio::from(their_end)).stdout(Stdio::from(theirs));
        // It ends by itself, when its lifeline is cut.
        drop(command.spawn().map_err(RenderServerError::Start)?);
        Ok(Self { socket, lifeline })
    }

    /// Starts the server in this process, which is confined, whose standard output is the server's
    /// socket and whose standard input is its lifeline. Returns when that is cut and all has ended.
    pub fn supervise(program: &Path) -> Result<(), RenderServerError> {
        let failed = |errno: Errno| RenderServerError::Start(errno.into());
        let io_failed = RenderServerError::Start;
        let socket = rustix::stdio::stdout().try_clone_to_owned().map_err(io_failed)?;
        // Only the server is to have it: its end is to be seen at the other one.
        let null = File::options().write(true).open("/dev/null").map_err(io_failed)?;
        rustix::stdio::dup2_stdout(&null).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["--socket-fd", "0"]).stdin(Stdio::from(socket)).process_group(0);
        let mut server = command.spawn().map_err(io_failed)?;
        drop(command);
        while let Err(Errno::INTR) = rustix::io::read(rustix::stdio::stdin(), &mut [0; 1]) {}
        let group = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Whoever is left of it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        server.wait().map_err(io_failed).map(drop)
    }
}
