//! The GPU backend: our own as a child process, or somebody else's behind a socket.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::cgroup::Cgroup;

/// Where the GPU backend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendChoice {
    /// The `backend` command of this program, as a child.
    Child {
        /// The executable of `virtio-loopback-gpu`.
        program: PathBuf,
        /// Its arguments after `backend --fd N`.
        arguments: Vec<String>,
    },
    /// Whoever listens on this socket.
    Socket(PathBuf),
}

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum BackendProcessError {
    /// The child cannot be started.
    #[error("cannot start the GPU backend {}", program.display())]
    Start {
        /// Its executable.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The child cannot be put where it is to be accounted for.
    #[error(
        "cannot start the GPU backend {} in --cgroup {} (a group of processes, without controllers for groups below \
         it, takes one; it must still be there)", program.display(), cgroup.display()
    )]
    StartIn {
        /// Its executable.
        program: PathBuf,
        /// The directory.
        cgroup: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Nobody listens.
    #[error("cannot connect to a GPU backend at {}{}", path.display(), connect_advice(source))]
    Connect {
        /// Socket asked for.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// What to do about a backend that cannot be reached, in brackets.
fn connect_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => " (nothing is there: is the backend running?)",
        io::ErrorKind::ConnectionRefused => {
            " (nobody listens: if it is left over from a backend that ended, remove it and start \
             another)"
        }
        io::ErrorKind::PermissionDenied => " (run as the user of the backend, or as root)",
        _ => "",
    }
}

/// How long a child may take to end when asked to. It holds nothing that a kill would lose, and a
/// user waits.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a child whose connection is lost may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// What a child finds of the adapter's environment, where people keep secrets: how to log, where
/// its libraries are, and what is set for OpenGL.
const KEPT_VARIABLES: [&str; 4] =
    ["RUST_LOG", "RUST_LOG_STYLE", "RUST_BACKTRACE", "LD_LIBRARY_PATH"];
const KEPT_PREFIXES: [&str; 8] =
    ["MESA_", "LIBGL_", "GALLIUM_", "LP_", "EGL_", "__EGL_", "VREND_", "VIRGL_"];

fn is_kept(name: &OsStr) -> bool {
    KEPT_VARIABLES.iter().any(|kept| name == *kept)
        || KEPT_PREFIXES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

/// A GPU backend and the connection to it. Dropping it ends a child.
#[derive(Debug)]
pub struct BackendProcess {
    child: Option<(Child, OwnedFd)>,
}

impl BackendProcess {
    /// Starts a backend, in a control group if one is given, or connects to one.
    pub fn start(
        choice: &BackendChoice,
        cgroup: Option<&Cgroup>,
    ) -> Result<(Self, UnixStream), BackendProcessError> {
        match choice {
            BackendChoice::Child { program, arguments } => spawn(program, arguments, cgroup)
                .map_err(|source| {
                    let program = program.clone();
                    match cgroup.map(|cgroup| cgroup.path().to_owned()) {
                        Some(cgroup) => BackendProcessError::StartIn { program, cgroup, source },
                        None => BackendProcessError::Start { program, source },
                    }
                }),
            BackendChoice::Socket(path) => {
                let stream = UnixStream::connect(path).map_err(|source| {
                    BackendProcessError::Connect { path: path.clone(), source }
                })?;
                Ok((Self { child: None }, stream))
            }
        }
    }

    /// Process id of a child.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(|(child, _)| child.id())
    }

    /// How a child ended by itself; waits for it for a moment.
    pub fn status(&mut self) -> Option<ExitStatus> {
        let (child, pidfd) = self.child.as_mut()?;
        wait_until_ended(pidfd, END_TIMEOUT);
        child.try_wait().ok().flatten()
    }

    /// Ends a child that failed, without asking, and waits for it.
    pub fn kill(&mut self) {
        let Some((mut child, _)) = self.child.take() else { return };
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            log::warn!("the GPU backend could not be killed: {error}");
        }
    }

    /// Ends a child and waits for it.
    pub fn end(&mut self) {
        if let Err(error) = self.stop() {
            log::warn!("the GPU backend could not be ended: {error}");
        }
    }

    fn stop(&mut self) -> io::Result<()> {
        let Some((mut child, pidfd)) = self.child.take() else { return Ok(()) };
        if child.try_wait()?.is_none() {
            rustix::process::pidfd_send_signal(&pidfd, Signal::TERM)?;
            if !wait_until_ended(&pidfd, STOP_TIMEOUT) {
                log::warn!("the GPU backend does not end and is killed");
                child.kill()?;
            }
        }
        child.wait()?;
        Ok(())
    }
}

impl Drop for BackendProcess {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(
    program: &Path,
    arguments: &[String],
    cgroup: Option<&Cgroup>,
) -> io::Result<(BackendProcess, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(program);
    // Its end of the socket is its standard input. Its messages are the adapter's; standard output
    // is where the adapter may have promised something to somebody.
    command.args(["backend", "--fd", "0"]).args(arguments).stdin(OwnedFd::from(theirs));
    command.stdout(Stdio::null());
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| is_kept(name)));
    sys::prepare(&mut command, cgroup.map(Cgroup::procs));
    // A signal for the terminal's foreground group is for the adapter, which ends the child.
    command.process_group(0);
    let mut child = command.spawn()?;
    let pidfd = match pid_of(&child).and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
    };
    Ok((BackendProcess { child: Some((child, pidfd)) }, ours))
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn wait_until_ended(pidfd: &OwnedFd, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec::try_from(left).ok();
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// What has to happen between fork and exec.
mod sys {
    use std::fs::File;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::Arc;

    use rustix::process::{Signal, set_parent_process_death_signal};

    /// Makes the child end with the thread that starts it, and puts it into a control group, whose
    /// `cgroup.procs` this is, before it allocates anything.
    pub fn prepare(command: &mut Command, procs: Option<Arc<File>>) {
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if let Some(procs) = &procs {
                // Whoever writes it.
                rustix::io::write(&**procs, b"0")?;
            }
            Ok(())
        };
        // SAFETY: the closure makes two system calls; it neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
    }
}
