//! The set of file descriptors the backend waits for.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Who can wake the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The program shall end.
    Stop,
    /// The vhost-user socket.
    FrontEnd,
    /// The display socket.
    Display,
    /// The eventfd of the renderer's signals.
    Fences,
    /// The renderer, which wants to be polled.
    Renderer,
    /// The kick eventfd of a queue.
    Queue(u16),
}

impl Source {
    const fn token(self) -> u64 {
        match self {
            Self::Stop => 0,
            Self::FrontEnd => 1,
            Self::Display => 2,
            Self::Fences => 3,
            Self::Renderer => 4,
            Self::Queue(index) => 16 + index as u64,
        }
    }

    /// Who is behind an event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        match event.data.u64() {
            0 => Self::Stop,
            1 => Self::FrontEnd,
            2 => Self::Display,
            3 => Self::Fences,
            4 => Self::Renderer,
            queue => Self::Queue(u16::try_from(queue.saturating_sub(16)).unwrap_or(u16::MAX)),
        }
    }
}

/// When a descriptor reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// As long as it is readable.
    Level,
    /// Each time it becomes readable or is written again. An eventfd need not be read then, which
    /// saves a system call per kick; one that was signalled before it is added reports at once.
    Edge,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poll(OwnedFd);

impl Poll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Waits for `fd` to become readable, too.
    pub fn add(&self, fd: BorrowedFd<'_>, source: Source, trigger: Trigger) -> io::Result<()> {
        let edge = if trigger == Trigger::Edge { EventFlags::ET } else { EventFlags::empty() };
        Ok(epoll::add(&self.0, fd, EventData::new_u64(source.token()), EventFlags::IN | edge)?)
    }

    /// Waits for `fd` no more. Needed before it is closed: others hold the same eventfd, so
    /// closing does not take it out.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        if let Err(error) = epoll::delete(&self.0, fd) {
            log::debug!("a descriptor was not waited for: {error}");
        }
    }

    /// Whether anything is ready.
    #[cfg(fuzzing)]
    pub fn has_events(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)) == Ok(1)
    }

    /// Appends what is ready to `ready`; waits for something, at most for `timeout`.
    pub fn wait(&self, ready: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.0, spare_capacity(ready), timeout.as_ref()) {
            Err(Errno::INTR) | Ok(_) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
