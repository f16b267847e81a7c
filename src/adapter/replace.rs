//! What happens when a backend fails: a child is replaced by another one that goes on with what it
//! left; for one that is not ours, the device is unplugged until it is there again.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use loopback_driver_glue::{DeviceConfig, MemoryWindow, Transport, TransportError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::backend::Backend;
use super::device::{Adapter, AdapterError, State, device_config};
use super::event_loop::{self, EventLoopError};
use super::kept::Kept;
use crate::one_line;
use crate::sync::lock;

/// How long to wait for a backend that is not ours to come back.
const REPLUG_TIMEOUT: Duration = Duration::from_secs(60);
/// How often to look for it.
const REPLUG_INTERVAL: Duration = Duration::from_millis(200);

impl Adapter {
    /// Goes on after the backend failed. True: the device shall end instead.
    ///
    /// # Errors
    ///
    /// There is no way to go on.
    pub(super) fn go_on_after(&mut self, error: AdapterError) -> Result<bool, AdapterError> {
        if self.options.restarts.most == 0 || !error.is_of_backend() {
            return Err(error);
        }
        match (&self.kept, self.replug.is_some()) {
            (Some(_), _) => self.replace_backend(error),
            (None, true) => self.replug(error),
            (None, false) => Err(error),
        }
    }

    /// Has another child go on for one that failed. What is shown stays there meanwhile. True: the
    /// device shall end instead.
    fn replace_backend(&mut self, error: AdapterError) -> Result<bool, AdapterError> {
        let mut error = error;
        loop {
            if let Some(backend) = self.backend.take() {
                backend.abandon();
            }
            lock(&self.shared).backend_id = None;
            let Some(delay) = self.restarts.next(Instant::now()) else {
                return Err(AdapterError::GaveUp {
                    policy: self.options.restarts,
                    last: error.into(),
                });
            };
            log::warn!("{}; another one takes its place", one_line(&error));
            if event_loop::run_without(&self.shared, &self.stop, delay)? {
                return Ok(true);
            }
            match self.start_again() {
                Ok(()) => return Ok(false),
                Err(AdapterError::Stopped) => return Ok(true),
                Err(failed) if failed.is_of_backend() => error = failed,
                Err(failed) => return Err(failed),
            }
        }
    }

    /// Starts a child that goes on where the last one has ended.
    fn start_again(&mut self) -> Result<(), AdapterError> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let started = |id| lock(&self.shared).backend_id = id;
        let mut backend = Backend::connect(&self.options, &self.stop, started)?;
        let (running, stale) = {
            let mut shared = lock(&self.shared);
            shared.restarts += 1;
            (shared.state == State::Running, std::mem::take(&mut shared.stale))
        };
        if stale || !running {
            lock(kept).clear()?;
            if running {
                event_loop::record_driver(&self.shared)?;
            }
        }
        let state = lock(kept).state_file();
        lock(&self.shared).state_file = Some(state);
        let started = self.go_on_with(&mut backend, kept, running);
        // Also if it failed: what became of it is asked then.
        match started {
            Err(AdapterError::FrontEnd(error)) if error.is_interrupted() => {
                Err(AdapterError::Stopped)
            }
            Err(AdapterError::FrontEnd(error)) => Err(backend.why(error.into())),
            Err(error) => Err(error),
            Ok(()) => {
                self.backend = Some(backend);
                Ok(())
            }
        }
    }

    fn go_on_with(
        &self,
        backend: &mut Backend,
        kept: &Arc<Mutex<Kept>>,
        running: bool,
    ) -> Result<(), AdapterError> {
        backend.hand_over(kept)?;
        backend.front_end.watch()?;
        let (window, size) = {
            let mut shared = lock(&self.shared);
            let MemoryWindow { fd, size } = shared.transport()?.memory();
            (fd.try_clone_to_owned()?, size)
        };
        let window = MemoryWindow { fd: window.as_fd(), size };
        let display = self.display.clone();
        backend.serve_display(
            &self.options,
            display,
            window,
            Some(Arc::clone(kept)),
            &self.shared,
        )?;
        if running {
            match event_loop::start_backend(&self.shared, &mut backend.front_end, true) {
                Err(EventLoopError::FrontEnd(error)) => return Err(error.into()),
                other => other?,
            }
        }
        Ok(())
    }

    /// Takes the device from the driver, and gives it another one when there is a backend again.
    /// True: the device shall end instead.
    fn replug(&mut self, error: AdapterError) -> Result<bool, AdapterError> {
        let Some(delay) = self.restarts.next(Instant::now()) else {
            return Err(AdapterError::GaveUp { policy: self.options.restarts, last: error.into() });
        };
        log::warn!("{}; the device is unplugged until it is there again", one_line(&error));
        self.unplug();
        let deadline = Instant::now() + REPLUG_TIMEOUT;
        let mut wait = delay;
        loop {
            if self.is_stopped_within(wait)? {
                return Ok(true);
            }
            wait = REPLUG_INTERVAL;
            match self.plug_again() {
                Ok(()) => {
                    log::warn!("the GPU backend is there again, and the device is plugged in");
                    return Ok(false);
                }
                Err(AdapterError::Stopped) => return Ok(true),
                // Nobody listens yet, or the old device is still on its way out.
                Err(
                    failed @ (AdapterError::Process(_)
                    | AdapterError::Transport(TransportError::NameInUse { .. })),
                ) => {
                    if Instant::now() >= deadline {
                        return Err(failed);
                    }
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    fn unplug(&mut self) {
        if let Some(backend) = self.backend.take() {
            backend.abandon();
        }
        self.display.source_lost();
        let transport = {
            let mut shared = lock(&self.shared);
            shared.driver_left();
            shared.state = State::Starting;
            shared.transport.take()
        };
        // The lock is not held: removing the device may take a moment.
        drop(transport);
    }

    fn plug_again(&mut self) -> Result<(), AdapterError> {
        let Some(replug) = &mut self.replug else { return Err(AdapterError::Stopped) };
        let mut backend = Backend::connect(&self.options, &self.stop, |_| {})?;
        let config: DeviceConfig = device_config(&self.options, &backend)?;
        let transport: Box<dyn Transport> = replug(&config)?;
        let display = self.display.clone();
        backend.serve_display(&self.options, display, transport.memory(), None, &self.shared)?;
        let mut shared = lock(&self.shared);
        shared.transport = Some(transport);
        shared.state = State::Waiting;
        shared.restarts += 1;
        self.backend = Some(backend);
        Ok(())
    }

    /// Waits for so long. True: at once, because the device shall end.
    fn is_stopped_within(&self, time: Duration) -> Result<bool, AdapterError> {
        let mut fds = [PollFd::new(&self.stop, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(time).ok().as_ref()) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(AdapterError::Io(errno.into())),
        }
    }
}
