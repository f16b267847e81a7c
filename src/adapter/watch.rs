//! Whether a backend still does anything: it is asked from time to time while the driver wants
//! something of it. An idle device wakes nobody.
//!
//! The driver's kicks go past the adapter. It listens to them only to learn that there is work: the
//! first one starts a round of questions, and those that follow wake nobody. The last round ends
//! when nobody kicks and no buffer is with the backend.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// How long after a kick, or the last answer, the backend is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take to answer. A driver's largest copy is 1 GiB, which takes long on an emulated
/// processor.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rounds in a row without work that are the last. A command may be given without a kick to a
/// backend that looks for it at that moment.
const QUIET_ROUNDS: u32 = 2;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Ask the backend.
    Ask,
    /// Give the backend up.
    GiveUp,
}

/// Watches one backend.
#[derive(Debug)]
pub struct Watch {
    /// Holds the kick eventfds, edge-triggered: nobody may read them but the backend.
    kicks: OwnedFd,
    round: Option<Round>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    /// When the next step is due.
    due: Instant,
    /// The backend was asked and has not answered.
    asked: bool,
    /// It was given more time, because the adapter itself was late.
    extended: bool,
    quiet: u32,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { kicks: epoll::create(CreateFlags::CLOEXEC)?, round: None })
    }

    /// Listens to the kicks of one more ring.
    pub fn add(&self, kick: BorrowedFd<'_>) -> io::Result<()> {
        let edge = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(&self.kicks, kick, EventData::new_u64(0), edge)?)
    }

    /// What becomes readable with the first kick, when one is waited for.
    pub fn kicks(&self) -> Option<BorrowedFd<'_>> {
        self.round.is_none().then(|| self.kicks.as_fd())
    }

    /// How long until there is something to do.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        self.round.map(|round| round.due.saturating_duration_since(now))
    }

    /// The driver kicked.
    pub fn kicked(&mut self, now: Instant) {
        let due = now + INTERVAL;
        self.round.get_or_insert(Round { due, asked: false, extended: false, quiet: 0 });
    }

    /// The backend has answered.
    pub fn answered(&mut self, now: Instant) {
        if let Some(round) = &mut self.round {
            *round = Round { due: now + INTERVAL, asked: false, extended: false, ..*round };
        }
    }

    /// What to do at `now`. `has_buffers` says whether the backend has buffers of the driver.
    pub fn step(&mut self, now: Instant, has_buffers: impl FnOnce() -> bool) -> Step {
        let Some(mut round) = self.round.filter(|round| round.due <= now) else {
            return Step::Wait;
        };
        if round.asked {
            // Whatever stopped the adapter for so long has stopped the backend, too.
            let late = now.saturating_duration_since(round.due) > PATIENCE / 2;
            if !late || round.extended {
                return Step::GiveUp;
            }
            self.round = Some(Round { due: now + PATIENCE, extended: true, ..round });
            return Step::Wait;
        }
        round.quiet = if self.take_kicks() || has_buffers() { 0 } else { round.quiet + 1 };
        if round.quiet >= QUIET_ROUNDS {
            self.round = None;
            return Step::Wait;
        }
        self.round = Some(Round { due: now + PATIENCE, asked: true, ..round });
        Step::Ask
    }

    /// Whether anybody has kicked since the last call.
    fn take_kicks(&self) -> bool {
        let mut events = Vec::with_capacity(4);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.kicks, spare, Some(&now)).is_ok_and(|count| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn kick(fd: &OwnedFd) {
        rustix::io::write(fd, &1_u64.to_ne_bytes()).unwrap();
    }

    #[test]
    fn a_backend_is_asked_while_there_is_work_and_given_up_when_silent() {
        let mut watch = Watch::new().unwrap();
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        watch.add(fd.as_fd()).unwrap();
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(watch.timeout(begun), None);
        assert_eq!(watch.step(at(9000), || true), Step::Wait);
        kick(&fd);
        watch.kicked(begun);
        assert_eq!(watch.timeout(begun), Some(INTERVAL));
        assert_eq!(watch.step(at(999), || true), Step::Wait);
        assert_eq!(watch.step(at(1000), || false), Step::Ask);
        watch.answered(at(1001));
        // Buffers are work, even if nobody kicks.
        assert_eq!(watch.step(at(2001), || true), Step::Ask);
        watch.answered(at(2002));
        kick(&fd);
        assert_eq!(watch.step(at(3002), || false), Step::Ask);
        assert_eq!(watch.step(at(8001), || false), Step::Wait);
        assert_eq!(watch.step(at(8002), || false), Step::GiveUp);
    }

    #[test]
    fn an_idle_device_is_left_alone_until_the_next_kick() {
        let mut watch = Watch::new().unwrap();
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        watch.add(fd.as_fd()).unwrap();
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        kick(&fd);
        watch.kicked(begun);
        assert!(watch.kicks().is_none());
        assert_eq!(watch.step(at(1000), || false), Step::Ask);
        watch.answered(at(1000));
        assert_eq!(watch.step(at(2000), || false), Step::Ask);
        watch.answered(at(2000));
        assert_eq!(watch.step(at(3000), || false), Step::Wait);
        assert_eq!(watch.timeout(at(3000)), None);
        let readable = |watch: &Watch| {
            let fd = watch.kicks().unwrap();
            let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
        };
        assert!(!readable(&watch), "the eventfd's old count is no kick");
        kick(&fd);
        assert!(readable(&watch));
    }

    #[test]
    fn an_adapter_that_was_stopped_itself_gives_the_backend_time() {
        let mut watch = Watch::new().unwrap();
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        watch.kicked(begun);
        assert_eq!(watch.step(at(60_000), || true), Step::Ask);
        assert_eq!(watch.step(at(120_000), || true), Step::Wait);
        assert_eq!(watch.step(at(125_000), || true), Step::GiveUp);
    }
}
