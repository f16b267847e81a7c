//! The keeper: a process that holds the descriptors of a device while nobody serves it.
//!
//! It does nothing else, so that there is little that could end it. One adapter at a time is
//! connected to it, its owner. When the owner hangs up and something is left, the keeper waits for
//! another one, as long as the device is kept; then it ends, and the device is removed.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::message::{Message, greeting};
use super::socket::{receive, send};

/// Descriptors that one device has at most: pixels of resources, and a few more.
const MAX_DESCRIPTORS: usize = 1024;

/// Why a keeper had to end.
#[derive(Debug, thiserror::Error)]
#[error("the process that keeps a device cannot go on")]
pub struct KeeperError(#[source] io::Error);

impl From<Errno> for KeeperError {
    fn from(errno: Errno) -> Self {
        Self(errno.into())
    }
}

/// Serves the adapters that connect to `listener`, one after the other, until nothing is left to be
/// kept or nobody has come for `keep`.
pub fn serve(listener: &OwnedFd, keep: Duration) -> Result<(), KeeperError> {
    let mut kept = Kept::default();
    let mut owner = None;
    let mut deadline = Instant::now() + keep;
    loop {
        let left = owner.is_none().then(|| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        let (comes, speaks) = wait(listener, owner.as_ref(), left)?;
        if speaks && let Some(socket) = &owner {
            if !kept.listen_to(socket) {
                owner = None;
                deadline = Instant::now() + keep;
            }
            if owner.is_none() && kept.0.is_empty() {
                return Ok(());
            }
        }
        if comes {
            owner = accept(listener)?.filter(|owner| kept.greet(owner).is_ok()).or(owner);
        }
    }
}

/// Whether somebody wants to connect, and whether the owner has said something or hung up.
fn wait(
    listener: &OwnedFd,
    owner: Option<&OwnedFd>,
    timeout: Option<Duration>,
) -> Result<(bool, bool), KeeperError> {
    let mut fds = vec![PollFd::new(listener, PollFlags::IN)];
    fds.extend(owner.map(|owner| PollFd::new(owner, PollFlags::IN)));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut woken = fds.iter().map(|fd| !fd.revents().is_empty());
    let mut next = || woken.next().unwrap_or(false);
    Ok((next(), next()))
}

/// Whoever comes, unless they have left already.
fn accept(listener: &OwnedFd) -> Result<Option<OwnedFd>, KeeperError> {
    match accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::INTR | Errno::AGAIN | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[derive(Default)]
struct Kept(BTreeMap<String, OwnedFd>);

impl Kept {
    /// Gives a new owner a copy of everything.
    fn greet(&self, owner: &OwnedFd) -> Result<(), Errno> {
        send(owner, &greeting(self.0.len(), std::process::id()), None)?;
        self.0.iter().try_for_each(|(name, fd)| send(owner, name, Some(fd.as_fd())))
    }

    /// Does what the owner says. False: it has hung up.
    fn listen_to(&mut self, owner: &OwnedFd) -> bool {
        loop {
            match receive(owner) {
                Ok(Some((text, fd))) => self.act(&Message::parse(&text), fd),
                Err(Errno::AGAIN) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// A barrier's descriptor is closed by not being kept.
    fn act(&mut self, message: &Message, fd: Option<OwnedFd>) {
        match (message, fd) {
            (Message::Store(name), Some(fd)) => {
                if self.0.len() < MAX_DESCRIPTORS || self.0.contains_key(name) {
                    self.0.insert(name.clone(), fd);
                }
            }
            (Message::Remove(name), _) => drop(self.0.remove(name)),
            (Message::Store(_), None) | (Message::Barrier | Message::Other, _) => {}
        }
    }
}
