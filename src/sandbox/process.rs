//! What belongs to the process itself: descriptors, limits, who ends it.

use std::io::{self, IsTerminal};
use std::os::fd::RawFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, getrlimit,
    parent_process_death_signal, set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
};

use super::{SandboxError, failed, sys};

/// Descriptors a backend may have: one per resource with pixels (`gpu::Limits`), and room.
const DESCRIPTORS: u64 = 4096;
const RENDERER_DESCRIPTORS: u64 = 1 << 16;

/// Closes the descriptors a process was started with, but for standard ones and `kept`.
///
/// Call it first thing: nothing in the process may own a descriptor yet.
pub fn close_inherited(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().filter(|fd| *fd > 2) {
        if fd > first {
            sys::close_range(first, fd - 1)?;
        }
        first = fd.saturating_add(1);
    }
    sys::close_range(first, u32::MAX)
}

/// Threads of this process.
pub(super) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Has rustix read what the kernel tells each process of itself: it does so when first asked for the
/// time, in a file or by a call that are out of reach then.
pub(super) fn prepare() {
    let _ = rustix::param::page_size();
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
}

/// Leaves the directory the process was started in, and can no longer read from a terminal that
/// shows its messages.
pub(super) fn let_go() -> io::Result<()> {
    std::env::set_current_dir("/")?;
    if io::stderr().is_terminal() {
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open("/proc/self/fd/2", flags, Mode::empty()) {
            Ok(terminal) => rustix::stdio::dup2_stderr(terminal)?,
            // It belongs to somebody else, as under `sudo -u`: only who has it open may use it.
            Err(errno) => log::info!("sandbox: the terminal stays readable ({errno})"),
        }
    }
    Ok(())
}

/// No core dumps, no debuggers, few descriptors, and no new processes or, unless `threads`, threads.
pub(super) fn limit(threads: bool) -> io::Result<()> {
    let exactly = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::Core, exactly(0))?;
    if !threads {
        setrlimit(Resource::Nproc, exactly(0))?;
    }
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    // A renderer with threads may have a dma-buf for each texture.
    let most = if threads { RENDERER_DESCRIPTORS } else { DESCRIPTORS };
    setrlimit(Resource::Nofile, exactly(most.min(allowed)))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Who started this process, and whether its end is to be this one's.
pub(super) struct Parent {
    pid: Option<Pid>,
    signal: Option<Signal>,
}

impl Parent {
    pub(super) fn of_this() -> Self {
        Self { pid: getppid(), signal: parent_process_death_signal().ok().flatten() }
    }

    /// Asks for the signal again, which the kernel forgets when a process becomes another user.
    pub(super) fn end_with_it(&self) -> Result<(), SandboxError> {
        if self.signal.is_none() {
            return Ok(());
        }
        set_parent_process_death_signal(self.signal).map_err(failed("ending with the adapter"))?;
        // It may have died in between; then somebody else is the parent.
        if getppid() == self.pid { Ok(()) } else { Err(SandboxError::Orphan) }
    }
}
