//! The process that renders Vulkan: virglrenderer's render server, which makes one more process for
//! each context.
//!
//! It is started before the backend confines itself, which may start nothing then, and confines itself
//! in turn: the child is this program, which enters the sandbox and then becomes the server. The two
//! talk over a socket that only they have; the server ends when the backend does.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, set_parent_process_death_signal};

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
pub struct RenderServer(OwnedFd);

impl RenderServer {
    /// Starts the server `program`: this executable with `arguments`, which are to end in
    /// [`become_server`](Self::become_server), with the server's socket as standard input.
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self, RenderServerError> {
        if !program.is_file() {
            return Err(RenderServerError::Missing(program.to_owned()));
        }
        let failed = RenderServerError::Start;
        // As virglrenderer makes it.
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)
            .map_err(|errno| failed(errno.into()))?;
        // Not by name, which may be another file's by now.
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        // It ends by itself, when its socket is closed.
        drop(command.spawn().map_err(failed)?);
        Ok(Self(ours))
    }

    /// Its socket.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.0
    }

    /// Has the kernel end this process with the backend, however that ends.
    pub fn end_with_backend() -> Result<(), RenderServerError> {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|errno| RenderServerError::Start(errno.into()))
    }

    /// Becomes the server, whose socket is standard input. Returns only what went wrong.
    pub fn become_server(program: &Path) -> RenderServerError {
        RenderServerError::Start(Command::new(program).args(["--socket-fd", "0"]).exec())
    }
}
