//! Whether a backend still does anything: it is asked from time to time while the driver wants
//! something of it. An idle device wakes nobody.
//!
//! The driver's kicks go past the adapter. It listens to them only to learn that there is work: the
//! first one starts a round of questions, and those that follow wake nobody. The last round ends
//! when nobody kicks and no buffer is with the backend.
//!
//! One that answers may still have stopped to take commands. So each round also looks at the command
//! that is next in turn on each queue: if it stays the same one round after the other, it is not being
//! started. Its own age is not looked at, for those before it may take long, and never that of one
//! that was started: a fence may wait as long as it likes. What makes our backend wait with commands,
//! a display that owes answers, ends within a second.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::gpu::wire;

/// How long after a kick, or the last answer, the backend is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a backend may take to answer that copies. A driver's largest copy is 1 GiB, which takes long
/// on an emulated processor.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long one may take that renders: a driver's program can be slow to compile or to draw, most of all
/// in software, and what it loses when its renderer is ended does not come back.
pub const RENDERING_PATIENCE: Duration = Duration::from_secs(30);
/// Rounds in a row without work that are the last. A command may be given without a kick to a
/// backend that looks for it at that moment.
const QUIET_ROUNDS: u32 = 2;

/// What the driver wants of the backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// The backend has buffers of it.
    pub buffers: bool,
    /// By queue, the index in the available ring of the first command that the backend has not started.
    pub next: [Option<u16>; wire::QUEUE_COUNT],
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Ask the backend.
    Ask,
    /// Give the backend up: it does not answer.
    GiveUp,
    /// Give the backend up: it answers, but starts no command of this queue.
    Stuck(u16),
}

/// Watches one backend.
#[derive(Debug)]
pub struct Watch {
    /// Holds the kick eventfds, edge-triggered: nobody may read them but the backend.
    kicks: OwnedFd,
    round: Option<Round>,
    /// How long an answer may take, and, in rounds of a second or more each, how long the same command may
    /// be next and not be started.
    patience: Duration,
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
    /// By queue, the command that is next, and for how many rounds it was before.
    next: [Option<(u16, u32)>; wire::QUEUE_COUNT],
}

impl Round {
    /// The first one.
    fn new(due: Instant) -> Self {
        Self { due, asked: false, extended: false, quiet: 0, next: [None; wire::QUEUE_COUNT] }
    }

    /// Follows the commands that are next. Returns a queue on which one has been that for too long.
    fn follow(&mut self, work: &Work, patience: Duration) -> Option<u16> {
        for (known, next) in self.next.iter_mut().zip(work.next) {
            *known = match (*known, next) {
                (Some((before, rounds)), Some(next)) if before == next => Some((next, rounds + 1)),
                (_, next) => next.map(|next| (next, 0)),
            };
        }
        let stuck = |known: &Option<(u16, u32)>| {
            known.is_some_and(|(_, rounds)| u64::from(rounds) >= patience.as_secs())
        };
        (0_u16..).zip(&self.next).find(|(_, known)| stuck(known)).map(|(queue, _)| queue)
    }
}

impl Watch {
    /// Watches nothing yet.
    pub fn new(patience: Duration) -> io::Result<Self> {
        Ok(Self { kicks: epoll::create(CreateFlags::CLOEXEC)?, round: None, patience })
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
        self.round.get_or_insert(Round::new(due));
    }

    /// The backend has answered.
    pub fn answered(&mut self, now: Instant) {
        if let Some(round) = &mut self.round {
            *round = Round { due: now + INTERVAL, asked: false, extended: false, ..*round };
        }
    }

    /// The rings were taken back: what was next on them says nothing of the next ones.
    pub fn stopped(&mut self) {
        if let Some(round) = &mut self.round {
            round.next = [None; wire::QUEUE_COUNT];
        }
    }

    /// What to do at `now`. `work` says what the backend has to do.
    pub fn step(&mut self, now: Instant, work: impl FnOnce() -> Work) -> Step {
        let Some(mut round) = self.round.filter(|round| round.due <= now) else {
            return Step::Wait;
        };
        if round.asked {
            // Whatever stopped the adapter for so long has stopped the backend, too.
            let late = now.saturating_duration_since(round.due) > self.patience / 2;
            if !late || round.extended {
                return Step::GiveUp;
            }
            self.round = Some(Round { due: now + self.patience, extended: true, ..round });
            return Step::Wait;
        }
        let (kicked, work) = (self.take_kicks(), work());
        if let Some(queue) = round.follow(&work, self.patience) {
            return Step::Stuck(queue);
        }
        round.quiet = if kicked || work.buffers { 0 } else { round.quiet + 1 };
        if round.quiet >= QUIET_ROUNDS {
            self.round = None;
            return Step::Wait;
        }
        self.round = Some(Round { due: now + self.patience, asked: true, ..round });
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

    const NOTHING: fn() -> Work = Work::default;
    const BUFFERS: fn() -> Work = || Work { buffers: true, ..Work::default() };

    fn kick(fd: &OwnedFd) {
        rustix::io::write(fd, &1_u64.to_ne_bytes()).unwrap();
    }

    #[test]
    fn a_backend_is_asked_while_there_is_work_and_given_up_when_silent() {
        let mut watch = Watch::new(PATIENCE).unwrap();
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        watch.add(fd.as_fd()).unwrap();
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(watch.timeout(begun), None);
        assert_eq!(watch.step(at(9000), BUFFERS), Step::Wait);
        kick(&fd);
        watch.kicked(begun);
        assert_eq!(watch.timeout(begun), Some(INTERVAL));
        assert_eq!(watch.step(at(999), BUFFERS), Step::Wait);
        assert_eq!(watch.step(at(1000), NOTHING), Step::Ask);
        watch.answered(at(1001));
        // Buffers are work, even if nobody kicks.
        assert_eq!(watch.step(at(2001), BUFFERS), Step::Ask);
        watch.answered(at(2002));
        kick(&fd);
        assert_eq!(watch.step(at(3002), NOTHING), Step::Ask);
        assert_eq!(watch.step(at(8001), NOTHING), Step::Wait);
        assert_eq!(watch.step(at(8002), NOTHING), Step::GiveUp);
    }

    #[test]
    fn a_backend_that_renders_may_take_longer() {
        let mut watch = Watch::new(RENDERING_PATIENCE).unwrap();
        let begun = Instant::now();
        let at = |second| begun + Duration::from_secs(second);
        watch.kicked(begun);
        assert_eq!(watch.step(at(1), BUFFERS), Step::Ask);
        assert_eq!(watch.step(at(30), BUFFERS), Step::Wait);
        assert_eq!(watch.step(at(31), BUFFERS), Step::GiveUp);
    }

    #[test]
    fn an_idle_device_is_left_alone_until_the_next_kick() {
        let mut watch = Watch::new(PATIENCE).unwrap();
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        watch.add(fd.as_fd()).unwrap();
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        kick(&fd);
        watch.kicked(begun);
        assert!(watch.kicks().is_none());
        assert_eq!(watch.step(at(1000), NOTHING), Step::Ask);
        watch.answered(at(1000));
        assert_eq!(watch.step(at(2000), NOTHING), Step::Ask);
        watch.answered(at(2000));
        assert_eq!(watch.step(at(3000), NOTHING), Step::Wait);
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

    /// Steps once a second, answered each time, until the backend is given up; at most for a minute.
    fn seconds_until_stuck(next: impl Fn(u64) -> [Option<u16>; 2]) -> Option<(u64, u16)> {
        let mut watch = Watch::new(PATIENCE).unwrap();
        let begun = Instant::now();
        watch.kicked(begun);
        (1..=60).find_map(|second| {
            let now = begun + Duration::from_secs(second);
            match watch.step(now, || Work { buffers: true, next: next(second) }) {
                Step::Ask => {
                    watch.answered(now);
                    None
                }
                Step::Stuck(queue) => Some((second, queue)),
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_command_that_is_not_started_is_waited_for_as_long_as_an_answer() {
        // Seen first after a second, and then five times more.
        assert_eq!(seconds_until_stuck(|_| [Some(7), None]), Some((6, 0)));
        assert_eq!(seconds_until_stuck(|_| [None, Some(u16::MAX)]), Some((6, 1)));
        // From when it is next on.
        assert_eq!(
            seconds_until_stuck(|second| [Some(second.min(10) as u16), None]),
            Some((15, 0))
        );
        let comes = |second| [(second > 20).then_some(9), None];
        assert_eq!(seconds_until_stuck(comes), Some((26, 0)));
    }

    #[test]
    fn commands_that_are_started_may_take_as_long_as_they_like() {
        // All are started, and none is returned.
        assert_eq!(seconds_until_stuck(|_| [None; 2]), None);
        // Each takes five seconds, and there are always more.
        assert_eq!(seconds_until_stuck(|second| [Some((second / 5) as u16), None]), None);
        // One queue's progress is not another's.
        let one = |second: u64| [Some(second as u16), (second > 3).then_some(1)];
        assert_eq!(seconds_until_stuck(one), Some((9, 1)));
    }

    #[test]
    fn an_adapter_that_was_stopped_itself_gives_the_backend_time() {
        let mut watch = Watch::new(PATIENCE).unwrap();
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        watch.kicked(begun);
        assert_eq!(watch.step(at(60_000), BUFFERS), Step::Ask);
        assert_eq!(watch.step(at(120_000), BUFFERS), Step::Wait);
        assert_eq!(watch.step(at(125_000), BUFFERS), Step::GiveUp);
    }
}
