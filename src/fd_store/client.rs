//! The adapter's side of the keeper: finds one that is there, or starts one.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sd_notify::NotifyState;

use super::message::{parse_greeting, text_of};
use super::socket::{PATIENCE, receive_within, send};
use super::{Left, StoreError};

/// How long a keeper may take to start, on a machine that is busy.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A keeper, and the connection to it.
#[derive(Debug)]
pub struct Keeper {
    socket: OwnedFd,
    id: u32,
    process: OwnedFd,
    /// To be waited for, if this process started it.
    child: Option<Child>,
}

impl Keeper {
    /// Connects to the keeper at `path`, with what is left there; if there is none, starts one.
    pub fn find_or_start(
        program: &Path,
        path: &Path,
        keep: Duration,
    ) -> Result<(Self, Left), StoreError> {
        match Self::find(path)? {
            Some(found) => Ok(found),
            None => Ok((Self::start(program, path, keep)?, Left::default())),
        }
    }

    /// Connects to the keeper at `path`, with what is left there, if there is one.
    pub fn find(path: &Path) -> Result<Option<(Self, Left)>, StoreError> {
        let Some(socket) = connect_to(path)? else { return Ok(None) };
        match greeted(socket, PATIENCE) {
            // It was just ending.
            Err(StoreError::Unreachable(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Starts a keeper at `path`.
    pub fn start(program: &Path, path: &Path, keep: Duration) -> Result<Self, StoreError> {
        let listener = listen_at(path)?;
        let mut command = Command::new(program);
        // Its messages would keep a reader of ours waiting after our end.
        command.stdin(listener).stdout(Stdio::null()).stderr(Stdio::null()).env_clear();
        command.args(["keeper", "--fd", "0", "--keep", &keep.as_secs().to_string()]);
        sys::lead_a_session(&mut command);
        let mut child = command
            .spawn()
            .map_err(|source| StoreError::Start { program: program.to_owned(), source })?;
        // Then a keeper that ends at once leaves nobody who could be waited for.
        drop(command);
        let greeting = connect_to(path).and_then(|socket| {
            let refused = || StoreError::Unreachable(io::ErrorKind::ConnectionRefused.into());
            greeted(socket.ok_or_else(refused)?, START_TIMEOUT)
        });
        match greeting {
            Ok((keeper, _)) => Ok(Self { child: Some(child), ..keeper }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Tells it something.
    pub fn tell(
        &self,
        states: &[NotifyState<'_>],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), StoreError> {
        send(&self.socket, &text_of(states), fd).map_err(|errno| match errno {
            Errno::TIMEDOUT => StoreError::Silent,
            errno => StoreError::Unreachable(errno.into()),
        })
    }

    /// Hangs up when it ends.
    pub fn end(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Ends it at once, whatever it has.
    pub fn kill(mut self) {
        // It may be gone already.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        self.wait();
    }

    /// Leaves it. It ends at once if nothing is in it.
    pub fn hang_up(&self) {
        // There may be copies of the socket.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Leaves it with nothing in it, and waits for its end.
    pub fn dismiss(mut self) {
        self.hang_up();
        if !self.wait() {
            self.kill();
        }
    }

    /// False: it does not end.
    fn wait(&mut self) -> bool {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN)];
        let timeout = Timespec::try_from(PATIENCE).ok();
        let ended = poll(&mut fds, timeout.as_ref()).is_ok_and(|count| count > 0);
        if let Some(child) = self.child.as_mut().filter(|_| ended) {
            let _ = child.wait();
        }
        ended
    }
}

/// Takes the greeting of a keeper, and what comes with it.
fn greeted(socket: OwnedFd, time: Duration) -> Result<(Keeper, Left), StoreError> {
    let next = || match receive_within(&socket, time) {
        Ok(Some(received)) => Ok(received),
        Ok(None) => Err(StoreError::Unreachable(io::ErrorKind::ConnectionReset.into())),
        Err(Errno::TIMEDOUT) => Err(StoreError::Silent),
        Err(errno) => Err(StoreError::Unreachable(errno.into())),
    };
    let (text, _) = next()?;
    let (count, id) = parse_greeting(&text).ok_or_else(|| StoreError::Nonsense(text.clone()))?;
    // It lives, so the number is its own.
    let process = i32::try_from(id).ok().and_then(Pid::from_raw);
    let process = process.ok_or(StoreError::Nonsense(text))?;
    let process = pidfd_open(process, PidfdFlags::empty())
        .map_err(|errno| StoreError::Unreachable(errno.into()))?;
    let mut left = Vec::new();
    for _ in 0..count {
        match next()? {
            (name, Some(fd)) => left.push((name, fd)),
            (name, None) => return Err(StoreError::Nonsense(name)),
        }
    }
    Ok((Keeper { socket, id, process, child: None }, Left::new(left)))
}

/// A connection to whoever listens at `path`; `None` if nobody does.
fn connect_to(path: &Path) -> Result<Option<OwnedFd>, StoreError> {
    let failed = |errno| socket_error(path, errno);
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let socket = new_socket().map_err(failed)?;
    match connect(&socket, &address) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

/// Listens at `path`, which the caller has locked: what is there is left over.
fn listen_at(path: &Path) -> Result<OwnedFd, StoreError> {
    let failed = |errno| socket_error(path, errno);
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let socket = new_socket().map_err(failed)?;
    bind(&socket, &address).map_err(failed)?;
    listen(&socket, 4).map_err(failed)?;
    Ok(socket)
}

fn new_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn socket_error(path: &Path, errno: Errno) -> StoreError {
    StoreError::Socket { path: path.to_owned(), source: errno.into() }
}

/// What has to happen between fork and exec.
mod sys {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// A session of its own: neither the terminal nor its foreground group reach it.
    pub fn lead_a_session(command: &mut Command) {
        let prepare = || {
            rustix::process::setsid()?;
            Ok(())
        };
        // SAFETY: the closure makes one system call; it neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
    }
}
