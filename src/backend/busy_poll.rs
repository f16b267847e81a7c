//! Looking for more work for a moment before sleeping.
//!
//! Where driver and backend have a processor each, a driver that waits for its answers submits again
//! within microseconds of seeing them: who looks that long need not be woken, which takes longer
//! than most commands do. Where they share a processor, looking only keeps the driver from running.
//! Which it is changes all the time; so whoever looked in vain looks more and more rarely.

use std::time::{Duration, Instant};

/// How long to look: what it takes a driver to wake up, in a virtual machine too, and some more.
const TIME: Duration = Duration::from_micros(50);
/// Longer between two looks means that something else ran on this processor.
const GAP: Duration = Duration::from_micros(1);
/// Occasions that are let pass at most before looking again.
const MAX_PAUSE: u32 = 1024;

/// When to look, and when not to.
#[derive(Debug, Default)]
pub struct BusyPoll {
    /// Occasions still to be let pass.
    skip: u32,
    /// How many there were the last time.
    pause: u32,
}

impl BusyPoll {
    /// Looks, and if that is promising, for a moment. Whether `look` found something.
    pub fn run(&mut self, look: impl Fn() -> bool) -> bool {
        if look() {
            return true;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let start = Instant::now();
        let mut last = start;
        loop {
            std::hint::spin_loop();
            let found = look();
            let now = Instant::now();
            // What came while the driver ran here would have come as soon without looking for it.
            let in_vain = now - last > GAP || now - start > TIME;
            if in_vain {
                self.pause = (self.pause * 2).clamp(1, MAX_PAUSE);
                self.skip = self.pause;
            } else if found {
                self.pause = 0;
            }
            if in_vain || found {
                return found;
            }
            last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Whether the next occasion is one to look for a moment.
    fn looks_for_a_moment(poll: &mut BusyPoll) -> bool {
        let looks = Cell::new(0);
        let found = poll.run(|| {
            looks.set(looks.get() + 1);
            false
        });
        assert!(!found);
        looks.get() > 1
    }

    #[test]
    fn looking_in_vain_becomes_rare() {
        let mut poll = BusyPoll::default();
        let looked: Vec<_> = (0..9).filter(|_| looks_for_a_moment(&mut poll)).collect();
        assert_eq!(looked.len(), 3);
        for _ in 0..3 * MAX_PAUSE {
            looks_for_a_moment(&mut poll);
        }
        let occasions = 0..5 * (MAX_PAUSE + 1);
        assert_eq!(occasions.filter(|_| looks_for_a_moment(&mut poll)).count(), 5);
    }

    #[test]
    fn what_is_there_already_is_found_without_looking_twice() {
        let mut poll = BusyPoll::default();
        assert!(looks_for_a_moment(&mut poll));
        assert!(poll.run(|| true));
        assert!(!looks_for_a_moment(&mut poll));
        assert!(looks_for_a_moment(&mut poll));
    }

    #[test]
    fn what_comes_while_something_else_ran_was_not_worth_the_look() {
        let mut poll = BusyPoll::default();
        let first = Cell::new(true);
        let found = poll.run(|| {
            if first.replace(false) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
            true
        });
        assert!(found);
        assert!(!looks_for_a_moment(&mut poll));
    }
}
