//! Descriptors that outlive the process: whoever holds the control file of a device keeps the
//! device, and whoever comes after a process that died finds it here.
//!
//! Two places can hold them. Under a service manager it is systemd's FD store
//! (`FileDescriptorStoreMax=`), which gives them back as `LISTEN_FDS`. Elsewhere it is a small
//! process of ours, the keeper ([`keeper`]). Both are told in the same words, those of
//! `sd_notify(3)`: `FDSTORE=1`, `FDSTOREREMOVE=1`, `FDNAME=`, `BARRIER=1`.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod client;
pub mod keeper;
mod message;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use sd_notify::NotifyState;

use self::client::Keeper;

/// How long a store may take to do what it was told.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a device is kept, as the kernel module has it.
const MAX_KEEP: Duration = Duration::from_secs(60);

/// Where descriptors are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the FD store of the service manager.
    ServiceManager,
    /// In a process of ours.
    Keeper {
        /// The executable of `virtio-loopback-gpu`.
        program: PathBuf,
        /// Its socket.
        socket: PathBuf,
        /// How long it waits for another process.
        keep: Duration,
    },
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nobody has started this process who could keep something.
    #[error("NOTIFY_SOCKET is not set: no service manager keeps the device of this process")]
    NoServiceManager,
    /// The keeper cannot be started.
    #[error("cannot start the process that keeps the device ({})", program.display())]
    Start {
        /// Its executable.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The keeper's socket cannot be made or reached.
    #[error("cannot use the socket {} of the process that keeps the device", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The keeper said something else than it should.
    #[error("the process that keeps the device talks nonsense: {0:?}")]
    Nonsense(String),
    /// The store does not do as it is told.
    #[error("what keeps the device does not answer")]
    Silent,
    /// The store is not there any more.
    #[error("what keeps the device cannot be reached")]
    Unreachable(#[source] io::Error),
}

/// What an earlier process has left, by name.
#[derive(Debug, Default)]
pub struct Left(BTreeMap<String, OwnedFd>);

impl Left {
    /// Descriptors that somebody gave this process, with their names.
    pub fn new(descriptors: impl IntoIterator<Item = (String, OwnedFd)>) -> Self {
        Self(descriptors.into_iter().collect())
    }

    /// Takes one.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.0.remove(name)
    }

    /// What was not taken.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Only those of one device, by their names within it. Others belong to somebody else.
    fn of_device(self, device: &str) -> Self {
        let prefix = prefix(device);
        let own = self
            .0
            .into_iter()
            .filter_map(|(name, fd)| Some((name.strip_prefix(&prefix)?.to_owned(), fd)));
        Self(own.collect())
    }
}

/// Names of a device's descriptors: a service manager's store may have those of several.
fn prefix(device: &str) -> String {
    format!("{device}/")
}

/// The descriptors of one device.
#[derive(Debug)]
pub struct FdStore {
    device: String,
    place: Place,
    keeper: Option<Keeper>,
}

impl FdStore {
    /// Reaches the store, and takes what it has. `given` are the descriptors that a service manager
    /// gave this process when it started.
    pub fn open(device: &str, place: Place, given: Left) -> Result<(Self, Left), StoreError> {
        let (keeper, left) = match &place {
            Place::ServiceManager if std::env::var_os("NOTIFY_SOCKET").is_none() => {
                return Err(StoreError::NoServiceManager);
            }
            Place::ServiceManager => (None, given),
            Place::Keeper { program, socket, keep } => {
                let (keeper, left) = Keeper::find_or_start(program, socket, *keep)?;
                (Some(keeper), left)
            }
        };
        Ok((Self { device: device.to_owned(), place, keeper }, left.of_device(device)))
    }

    /// Reaches the keeper at `socket`, if there is one, and takes what it has. Where a new one is
    /// needed later on, it is `program`.
    pub fn find(
        device: &str,
        program: PathBuf,
        socket: PathBuf,
    ) -> Result<Option<(Self, Left)>, StoreError> {
        let Some((keeper, left)) = Keeper::find(&socket)? else { return Ok(None) };
        let place = Place::Keeper { program, socket, keep: MAX_KEEP };
        let store = Self { device: device.to_owned(), place, keeper: Some(keeper) };
        Ok(Some((store, left.of_device(device))))
    }

    /// Where the descriptors are.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Process id of the keeper, if there is one.
    #[must_use]
    pub fn keeper_id(&self) -> Option<u32> {
        self.keeper.as_ref().map(Keeper::id)
    }

    /// Keeps a copy of `fd`, instead of what had this name.
    pub fn put(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), StoreError> {
        let name = self.full_name(name);
        if self.place == Place::ServiceManager {
            // It would keep both.
            self.tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)], None)?;
        }
        self.tell(&[NotifyState::FdStore, NotifyState::FdName(&name)], Some(fd))
    }

    /// Lets go of what has this name.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let name = self.full_name(name);
        self.tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)], None)
    }

    /// Waits until the store has done all that it was told.
    pub fn wait(&self) -> Result<(), StoreError> {
        // Whoever has read the message closes the other end.
        let (ours, theirs) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(unreachable_store)?;
        self.tell(&[NotifyState::Custom("BARRIER=1")], Some(theirs.as_fd()))?;
        drop(theirs);
        let mut fds = [PollFd::new(&ours, PollFlags::IN)];
        let timeout = Timespec::try_from(BARRIER_TIMEOUT).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Err(StoreError::Silent),
            Ok(_) => Ok(()),
            Err(errno) => Err(unreachable_store(errno)),
        }
    }

    /// Hangs up when the store is gone, which a service manager never is.
    pub fn end(&self) -> io::Result<Option<OwnedFd>> {
        self.keeper.as_ref().map(Keeper::end).transpose()
    }

    /// Starts a keeper in place of one that is gone or hangs. Nothing is in it.
    pub fn start_again(&mut self) -> Result<(), StoreError> {
        let Place::Keeper { program, socket, keep } = &self.place else { return Ok(()) };
        if let Some(keeper) = self.keeper.take() {
            keeper.kill();
        }
        self.keeper = Some(Keeper::start(program, socket, *keep)?);
        Ok(())
    }

    /// Ends a store in which nothing is left.
    pub fn close(self) {
        if let (Some(keeper), Place::Keeper { socket, .. }) = (self.keeper, self.place) {
            keeper.dismiss();
            // Its name is this process's as long as the device's is.
            let _ = std::fs::remove_file(socket);
        }
    }

    /// Leaves everything to the next process.
    pub fn leave(self) {
        if let Some(keeper) = self.keeper {
            keeper.hang_up();
        }
    }

    /// Ends a store that does not do as it is told, with all that is in it, if that can be done.
    pub fn abandon(self) {
        if let Some(keeper) = self.keeper {
            keeper.kill();
        }
    }

    fn full_name(&self, name: &str) -> String {
        prefix(&self.device) + name
    }

    fn tell(
        &self,
        states: &[NotifyState<'_>],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), StoreError> {
        match &self.keeper {
            Some(keeper) => keeper.tell(states, fd),
            None => {
                sd_notify::notify_with_fds(states, fd.as_slice()).map_err(StoreError::Unreachable)
            }
        }
    }
}

fn unreachable_store(errno: rustix::io::Errno) -> StoreError {
    StoreError::Unreachable(errno.into())
}
