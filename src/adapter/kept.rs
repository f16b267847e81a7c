//! What a backend leaves for the one that takes its place, and an adapter for the next one.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use loopback_driver_glue::{DeviceConfig, TransportError};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::record::Record;
use super::restarts::{RestartPolicy, Restarts};
use crate::fd_store::{FdStore, Place, StoreError};
use crate::gpu::{Counters, Limits, StateFile};
use crate::one_line;

/// Files of pixels that are kept: as many as one of our backends has.
pub(super) const MAX_FILES: usize = 512;

/// Names in the store of what keeps the device, of the record, of the state, and how those of pixels
/// begin.
pub(super) const DEVICE: &str = "device";
pub(super) const RECORD: &str = "record";
pub(super) const STATE: &str = "state";
pub(super) const PIXELS: &str = "pixels-";

/// How long a backend that is gone may have the state file. The kernel kills it with its adapter.
pub(super) const UNUSED_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a name may be taken by a device that was given up.
const NAME_TIMEOUT: Duration = Duration::from_secs(2);
/// How often to try again what another process is in the way of.
const INTERVAL: Duration = Duration::from_millis(5);

/// The state file and the pixels of classic resources. The adapter looks into neither.
///
/// With a store, copies of all of it are there, so that it outlives this process, and so does the
/// device.
#[derive(Debug)]
pub struct Kept {
    state: Arc<File>,
    limits: Limits,
    pixels: HashMap<u64, OwnedFd>,
    device: Option<KeptDevice>,
    store: Option<FdStore>,
    /// Stores so far.
    stores: u64,
    restarts: Restarts,
    /// A device that was kept is not gone on with.
    gave_up: bool,
}

#[derive(Debug)]
struct KeptDevice {
    keepsake: OwnedFd,
    record: Record,
}

impl Kept {
    /// Nothing is kept yet of a backend with these limits.
    pub fn new(limits: &Limits, store: Option<FdStore>) -> io::Result<Self> {
        let state = StateFile::create(limits)?;
        Ok(Self::with(state, limits, HashMap::new(), store))
    }

    /// What another adapter has left in `store`, which still has it.
    pub(super) fn with(
        state: File,
        limits: &Limits,
        pixels: HashMap<u64, OwnedFd>,
        store: Option<FdStore>,
    ) -> Self {
        let (state, limits) = (Arc::new(state), limits.clone());
        let restarts = Restarts::new(RestartPolicy::default());
        let (device, stores, gave_up) = (None, 0, false);
        Self { state, limits, pixels, device, store, stores, restarts, gave_up }
    }

    /// As [`Kept::new`], when a device in `store` was given up just now.
    pub(super) fn instead(limits: &Limits, store: FdStore) -> io::Result<Self> {
        Ok(Self { gave_up: true, ..Self::new(limits, Some(store))? })
    }

    /// Keeps a device: a copy of what keeps it, and what the next adapter must know of it.
    pub fn keep_device(&mut self, keepsake: OwnedFd, config: &DeviceConfig) -> io::Result<()> {
        let record = Record::create(config, &self.limits)?;
        self.device = Some(KeptDevice { keepsake, record });
        self.tell(Self::put_all);
        Ok(())
    }

    /// Whether the device stays when this process ends.
    pub fn keeps_device(&self) -> bool {
        self.device.is_some() && self.store.is_some()
    }

    /// Makes a device. If another one was given up, its name may be taken a moment longer: a service
    /// manager closes what it kept when it has time.
    pub fn while_name_is_given_free<T>(
        &self,
        mut create: impl FnMut() -> Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        let deadline = Instant::now() + NAME_TIMEOUT;
        loop {
            match create() {
                Err(TransportError::NameInUse { .. })
                    if self.gave_up && Instant::now() < deadline =>
                {
                    std::thread::sleep(INTERVAL);
                }
                other => return other,
            }
        }
    }

    /// Goes on keeping a device that the store has already.
    pub fn keep_same_device(&mut self, keepsake: OwnedFd, record: Record) {
        self.device = Some(KeptDevice { keepsake, record });
    }

    /// A driver has started, for the `count`th time. Called before the backend learns of it.
    pub fn driver_started(&self, count: u64) -> io::Result<()> {
        match &self.device {
            Some(device) => device.record.set_start(count),
            None => Ok(()),
        }
    }

    /// Forgets what backends have left, but for the counters. No backend may have the state file.
    pub fn clear(&mut self) -> io::Result<()> {
        let state = StateFile::create(&self.limits)?;
        Counters::read(&self.state)?.carry_over(&state)?;
        self.state = Arc::new(state);
        let buffers: Vec<u64> = self.pixels.drain().map(|(buffer, _)| buffer).collect();
        for buffer in buffers {
            self.tell(|_, store| store.remove(&pixels_name(buffer)));
        }
        self.tell(|kept, store| store.put(STATE, kept.state.as_fd()));
        Ok(())
    }

    /// The state file, for its counters.
    pub fn state_file(&self) -> Arc<File> {
        Arc::clone(&self.state)
    }

    /// Keeps a file under this name, for good measure only as many as a backend may have.
    pub fn keep(&mut self, buffer: u64, file: OwnedFd) {
        if self.pixels.len() < MAX_FILES || self.pixels.contains_key(&buffer) {
            self.pixels.insert(buffer, file);
            self.tell(|kept, store| match kept.pixels.get(&buffer) {
                Some(file) => store.put(&pixels_name(buffer), file.as_fd()),
                None => Ok(()),
            });
        }
    }

    /// Lets go of a file.
    pub fn release(&mut self, buffer: u64) {
        if self.pixels.remove(&buffer).is_some() {
            self.tell(|_, store| store.remove(&pixels_name(buffer)));
        }
    }

    /// The state file, for a backend. It is locked as long as that backend has it, mapped or open: so
    /// another adapter knows when the backend is gone.
    pub fn state_for_backend(&self) -> io::Result<OwnedFd> {
        if self.store.is_none() {
            return self.state.as_fd().try_clone_to_owned();
        }
        let own = reopen(&self.state)?;
        // The last backend is gone, but somebody may be looking at its process still.
        lock_within(&own, UNUSED_TIMEOUT)?;
        Ok(own)
    }

    /// The files of pixels by name.
    pub fn pixels(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.pixels.iter().map(|(&buffer, file)| (buffer, file.as_fd()))
    }

    /// Who keeps the device: the place, and the keeper's process id.
    pub fn keeper(&self) -> Option<(&Place, Option<u32>)> {
        self.store.as_ref().map(|store| (store.place(), store.keeper_id()))
    }

    /// What hangs up when the present store is gone, if that can be said of it, and which one it is.
    pub fn store_end(&self) -> Option<(u64, OwnedFd)> {
        let end = self.store.as_ref()?.end().ok().flatten()?;
        Some((self.stores, end))
    }

    /// The store numbered `number` is gone: another one takes its place, unless that has happened.
    pub fn mend_store(&mut self, number: u64) {
        if self.store.is_some() && self.stores == number {
            log::warn!("the process that keeps the device is gone; another one takes its place");
            self.store_again();
        }
    }

    /// The device is about to be removed for good: nothing of it is kept any longer.
    pub fn forget(&mut self) {
        self.forget_device();
        if let Some(store) = self.store.take() {
            store.close();
        }
    }

    /// Leaves everything in the store.
    pub fn leave(&mut self) {
        self.device = None;
        if let Some(store) = self.store.take() {
            store.leave();
        }
    }

    /// The device is about to be removed. There may be another one.
    pub fn forget_device(&mut self) {
        self.device = None;
        self.gave_up = true;
        let Some(store) = &self.store else { return };
        let buffers = self.pixels.keys().map(|buffer| pixels_name(*buffer));
        let names = [DEVICE, RECORD, STATE].map(str::to_owned);
        let forgotten = names.into_iter().chain(buffers).try_for_each(|name| store.remove(&name));
        // Only then the device is gone when its transport is dropped.
        if let Err(error) = forgotten.and_then(|()| store.wait()) {
            log::warn!("{}; it is not waited for", one_line(&error));
            if let Some(store) = self.store.take() {
                store.abandon();
            }
        }
    }

    /// Puts everything into the store.
    fn put_all(&self, store: &FdStore) -> Result<(), StoreError> {
        if let Some(KeptDevice { keepsake, record }) = &self.device {
            store.put(DEVICE, keepsake.as_fd())?;
            store.put(RECORD, record.as_file())?;
        }
        store.put(STATE, self.state.as_fd())?;
        self.pixels().try_for_each(|(buffer, file)| store.put(&pixels_name(buffer), file))
    }

    /// Tells the store something. In place of one that cannot be told there will be another.
    fn tell(&mut self, tell: impl Fn(&Self, &FdStore) -> Result<(), StoreError>) {
        let Some(store) = &self.store else { return };
        if let Err(error) = tell(self, store) {
            log::warn!("{}; another one takes its place", one_line(&error));
            self.store_again();
        }
    }

    /// Puts everything into another store in place of one that is gone, unless that happens too
    /// often.
    fn store_again(&mut self) {
        let Some(mut store) = self.store.take() else { return };
        self.stores += 1;
        while self.restarts.next(Instant::now()).is_some() {
            match store.start_again().and_then(|()| self.put_all(&store)) {
                Ok(()) => {
                    self.store = Some(store);
                    return;
                }
                Err(error) => log::warn!("{}", one_line(&error)),
            }
        }
        log::warn!("nobody keeps the device: if this process dies, it is removed");
    }
}

/// Locks a file for this copy of it alone. `ETIMEDOUT`: somebody else has it.
pub(super) fn lock_within(file: impl AsFd, time: Duration) -> io::Result<()> {
    let deadline = Instant::now() + time;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(INTERVAL),
            Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT.into()),
            other => return Ok(other?),
        }
    }
}

fn pixels_name(buffer: u64) -> String {
    format!("{PIXELS}{buffer}")
}

/// The same file as somebody else would open it, with locks of its own.
fn reopen(file: &File) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64) -> OwnedFd {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create("pixels", flags).unwrap();
        rustix::fs::ftruncate(&file, bytes).unwrap();
        file
    }

    fn size(kept: &Kept, wanted: u64) -> Option<i64> {
        let (_, file) = kept.pixels().find(|(buffer, _)| *buffer == wanted)?;
        Some(rustix::fs::fstat(file).unwrap().st_size)
    }

    #[test]
    fn a_backend_has_only_so_many_files_kept() {
        let mut kept = Kept::new(&Limits::default(), None).unwrap();
        for buffer in 1..=600 {
            kept.keep(buffer, file(buffer));
        }
        assert_eq!(kept.pixels().count(), 512);
        assert_eq!((size(&kept, 512), size(&kept, 513)), (Some(512), None));
        // One that is there already is replaced, and one that is released makes room.
        kept.keep(7, file(70));
        assert_eq!(size(&kept, 7), Some(70));
        kept.release(7);
        kept.release(7);
        kept.keep(513, file(513));
        assert_eq!((size(&kept, 7), size(&kept, 513)), (None, Some(513)));
        kept.clear().unwrap();
        assert_eq!(kept.pixels().count(), 0);
    }
}
