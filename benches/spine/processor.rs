//! Where threads run.
//!
//! What it costs to wake a thread differs a lot between the waker's processor and another, most of
//! all in a virtual machine, and where the scheduler puts threads is chance. Besides, what else the
//! machine does costs threads that wait for each other as much as a single one only where they are
//! on one processor.

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// A processor that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor(usize);

impl Processor {
    /// The first one.
    pub fn first() -> Self {
        Self::all().next().expect("this thread runs somewhere")
    }

    /// One that is not the first, if there is one.
    pub fn other() -> Option<Self> {
        Self::all().skip(1).last()
    }

    fn all() -> impl Iterator<Item = Self> {
        let set = sched_getaffinity(None).expect("the thread's processors");
        (0..CpuSet::MAX_CPU).filter(move |&number| set.is_set(number)).map(Self)
    }

    /// Keeps a thread here.
    pub fn pin(self, thread: Option<Pid>) {
        let mut set = CpuSet::new();
        set.set(self.0);
        sched_setaffinity(thread, &set).expect("the thread may run there");
    }

    /// Calls `run` with this thread, and all threads and processes that it starts, kept here.
    pub fn run<T>(self, run: impl FnOnce() -> T) -> T {
        let before = sched_getaffinity(None).expect("the thread's processors");
        self.pin(None);
        let result = run();
        sched_setaffinity(None, &before).expect("the thread may move again");
        result
    }
}
