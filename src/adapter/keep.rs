//! A device that outlives its adapter: what the next one finds of it, and whether it can go on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loopback_driver_glue::{DeviceConfig, Transport, TransportError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::kept::{DEVICE, Kept, MAX_FILES, PIXELS, RECORD, STATE, UNUSED_TIMEOUT, lock_within};
use super::record::{About, Record};
use crate::fd_store::{FdStore, Left};
use crate::gpu::{Limits, STATE_VERSION};
use crate::one_line;
use crate::sync::lock;

/// Goes on with a device by what kept it.
pub type Adopt = Box<dyn FnOnce(OwnedFd) -> Result<Box<dyn Transport>, TransportError> + Send>;

/// How a device outlives this process, and what an earlier one has left.
pub struct Keep {
    /// Where it is kept.
    pub store: FdStore,
    /// What was in there.
    pub left: Left,
    /// Takes over a device that was in there.
    pub adopt: Adopt,
}

/// Why a device that was kept cannot be gone on with.
#[derive(Debug, thiserror::Error)]
enum TakeOverError {
    /// The device itself is there no more.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The store lost something.
    #[error(
        "{0} is missing in what was kept of it (a service manager keeps FileDescriptorStoreMax= descriptors)"
    )]
    Missing(&'static str),
    /// Its record makes no sense.
    #[error("what was kept of it cannot be read")]
    Record(#[source] io::Error),
    /// Somebody may still write to the state.
    #[error("the GPU backend of the last process is still there")]
    InUse(#[source] io::Error),
}

/// A device that another adapter has left.
pub(super) struct Inherited {
    pub transport: Box<dyn Transport>,
    pub keepsake: OwnedFd,
    /// What it is.
    pub config: DeviceConfig,
    /// Of its backends.
    pub limits: Limits,
    /// How they wrote the state down.
    pub state_version: u32,
    pub record: Record,
    /// Its driver is the one that the state is about.
    pub continues: bool,
}

impl Inherited {
    /// For how long it stays without an adapter.
    pub fn keep(&self) -> Duration {
        Duration::from_millis(self.config.keep_ms.into())
    }

    /// Whether it is what a device with `config` and `limits` would be.
    pub fn is(&self, config: &DeviceConfig, limits: &Limits) -> bool {
        let config = DeviceConfig { keep_ms: self.config.keep_ms, ..config.clone() };
        self.config == config && self.limits == *limits && self.state_version == STATE_VERSION
    }
}

impl Keep {
    /// Takes over what was left, if that can be gone on with. Otherwise nothing of it is kept.
    pub(super) fn open(self, limits: &Limits) -> io::Result<(Kept, Option<Inherited>)> {
        let Self { store, mut left, adopt } = self;
        let names: Vec<String> = left.names().map(str::to_owned).collect();
        match take_over(&mut left, adopt) {
            Ok(Some((inherited, state, pixels))) => {
                log::info!("device: goes on with one that was kept");
                remove(&store, left.names())?;
                Ok((Kept::with(state, limits, pixels, Some(store)), Some(inherited)))
            }
            Ok(None) => {
                // A process that died while it gave all of it up has left the rest.
                remove(&store, names.iter().map(String::as_str))?;
                Ok((Kept::new(limits, Some(store))?, None))
            }
            Err(error) => {
                let error = one_line(&error);
                log::warn!("the device that was kept is given up: {error}");
                drop(left);
                remove(&store, names.iter().map(String::as_str))?;
                Ok((Kept::instead(limits, store)?, None))
            }
        }
    }
}

/// Removes what nobody goes on with.
fn remove<'a>(store: &FdStore, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let mut names = names.peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    let removed = names.try_for_each(|name| store.remove(name));
    removed.and_then(|()| store.wait()).map_err(io::Error::other)
}

type TakenOver = (Inherited, File, HashMap<u64, OwnedFd>);

fn take_over(left: &mut Left, adopt: Adopt) -> Result<Option<TakenOver>, TakeOverError> {
    let Some(keepsake) = left.take(DEVICE) else { return Ok(None) };
    let mut take = |name| left.take(name).ok_or(TakeOverError::Missing(name));
    let (record, state) = (take(RECORD)?, File::from(take(STATE)?));
    let (record, about) = Record::open(record).map_err(TakeOverError::Record)?;
    let transport = adopt(keepsake.try_clone().map_err(TakeOverError::Record)?)?;
    let starts = transport.driver_starts()?;
    let start = record.start().map_err(TakeOverError::Record)?;
    wait_until_unused(&state).map_err(TakeOverError::InUse)?;
    let continues = starts.runs && starts.count == start;
    let About { config, limits, state_version } = about;
    let inherited =
        Inherited { transport, keepsake, config, limits, state_version, record, continues };
    Ok(Some((inherited, state, pixels(left))))
}

fn pixels(left: &mut Left) -> HashMap<u64, OwnedFd> {
    let names: Vec<String> = left.names().map(str::to_owned).collect();
    let files = names.iter().filter_map(|name| {
        let buffer = name.strip_prefix(PIXELS)?.parse().ok()?;
        Some((buffer, left.take(name)?))
    });
    files.take(MAX_FILES).collect()
}

/// Waits until nobody has what [`Kept::state_for_backend`] gave away.
fn wait_until_unused(state: &File) -> io::Result<()> {
    lock_within(state, UNUSED_TIMEOUT)?;
    Ok(flock(state, FlockOperation::Unlock)?)
}

/// Watches, on a thread of its own, that there is somebody who keeps the device. Ends when nobody is
/// to keep it any more.
pub(super) fn watch(kept: &Arc<Mutex<Kept>>) -> io::Result<()> {
    let mut end = lock(kept).store_end();
    if end.is_none() {
        return Ok(());
    }
    let kept = Arc::clone(kept);
    let watch = move || {
        while let Some((number, socket)) = end {
            // A keeper says nothing that is not asked for.
            let mut fds = [PollFd::new(&socket, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return log::warn!("the keeper cannot be watched: {errno}"),
            }
            if fds.iter().all(|fd| fd.revents().is_empty()) {
                end = Some((number, socket));
                continue;
            }
            let mut kept = lock(&kept);
            kept.mend_store(number);
            end = kept.store_end();
        }
    };
    std::thread::Builder::new().name("keeper".into()).spawn(watch)?;
    Ok(())
}
