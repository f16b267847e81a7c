//! Sees to it that no command waits for a process of Vulkan for good.
//!
//! virglrenderer waits for the process of a context, such as for the memory of a blob, and has no limit
//! for that; the process executes what a client has sent, which may never end. When a command takes too
//! long, the render server and all of its processes are ended: their contexts fail, and the command and
//! the device go on.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look at one that takes its time.
const INTERVAL: Duration = Duration::from_secs(1);

/// A thread that looks at the device's thread.
#[derive(Debug)]
pub struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Odd while a command is executed; rises with each beginning and end.
    step: AtomicU64,
    /// Whether the other thread looks; it sleeps when there is nothing to see.
    looking: Mutex<bool>,
    wake: Condvar,
}

impl Watch {
    /// Ends what is behind `lifeline` by closing it.
    pub fn start(lifeline: OwnedFd) -> io::Result<Self> {
        let (step, looking, wake) = (AtomicU64::new(0), Mutex::new(false), Condvar::new());
        let shared = Arc::new(Shared { step, looking, wake });
        let seen = Arc::clone(&shared);
        thread::Builder::new().name("vulkan-watch".into()).spawn(move || {
            seen.until_stuck();
            log::warn!("Vulkan keeps the device waiting: its processes are ended");
            drop(lifeline);
        })?;
        Ok(Self(shared))
    }

    /// Executes a command.
    pub fn over<T>(&self, execute: impl FnOnce() -> T) -> T {
        self.0.step.fetch_add(1, Ordering::AcqRel);
        let mut looking = lock(&self.0.looking);
        if !*looking {
            *looking = true;
            self.0.wake.notify_one();
        }
        drop(looking);
        let result = execute();
        self.0.step.fetch_add(1, Ordering::AcqRel);
        result
    }
}

impl Shared {
    /// Returns when a command has taken too long.
    fn until_stuck(&self) {
        loop {
            let mut looking = lock(&self.looking);
            while !*looking {
                looking = self.wake.wait(looking).unwrap_or_else(PoisonError::into_inner);
            }
            drop(looking);
            let Some(idle) = self.until_idle() else { return };
            let mut looking = lock(&self.looking);
            // A command that began meanwhile has not woken this thread.
            *looking = self.step.load(Ordering::Acquire) != idle;
        }
    }

    /// The step since which nothing was executed for a while; `None`: a command has taken too long.
    fn until_idle(&self) -> Option<u64> {
        let (mut seen, mut since) = (self.step.load(Ordering::Acquire), Instant::now());
        loop {
            thread::sleep(INTERVAL);
            let step = self.step.load(Ordering::Acquire);
            if step != seen {
                (seen, since) = (step, Instant::now());
            } else if step.is_multiple_of(2) {
                return Some(step);
            } else if since.elapsed() >= PATIENCE {
                return None;
            }
        }
    }
}
