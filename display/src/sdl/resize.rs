//! Sizes that a user gives a window: which of them are reported, and which frames follow from them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// From a first change to its report: a click on "maximise" passes through sizes.
const DELAY: Duration = Duration::from_millis(50);

/// Least time between two reports, for a mode set takes its time.
const PERIOD: Duration = Duration::from_millis(300);

/// How long after a report a frame of that size is taken for an answer to it.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Width and height, in pixels.
pub(super) type Size = (u32, u32);

/// The sizes a window had from its user lately.
#[derive(Debug, Default)]
pub(super) struct Resizes {
    /// To be reported at that time.
    pending: Option<(Size, Instant)>,
    /// What was reported lately, and when; the oldest first.
    reported: VecDeque<(Size, Instant)>,
    own: Option<OwnSize>,
}

/// A size that the window has given itself. Nobody knows when the window system will say so, and
/// till then it may say once more what the size was before.
#[derive(Debug, Clone, Copy)]
struct OwnSize {
    before: Size,
    wanted: Size,
    time: Instant,
}

/// How long after a size of the window's own the one before may still be heard of.
const STALE_TIME: Duration = Duration::from_secs(5);

impl Resizes {
    /// The user has made the window so large.
    pub(super) fn changed(&mut self, size: Size, now: Instant) {
        let due = match (self.pending, self.reported.back()) {
            (Some((_, due)), _) => due,
            (None, Some(&(_, last))) => (now + DELAY).max(last + PERIOD),
            (None, None) => now + DELAY,
        };
        self.pending = Some((size, due));
    }

    /// When there may be something to report.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.map(|(_, due)| due)
    }

    /// The size to report now, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> Option<Size> {
        let (size, _) = self.pending.take_if(|(_, due)| *due <= now)?;
        self.reported.retain(|&(_, time)| now.saturating_duration_since(time) < ANSWER_TIME);
        self.reported.push_back((size, now));
        Some(size)
    }

    /// The window gives itself another size; these are in the window system's units.
    pub(super) fn set(&mut self, before: Size, wanted: Size, now: Instant) {
        self.pending = None;
        self.own = Some(OwnSize { before, wanted, time: now });
    }

    /// True if the window has this size, in the window system's units, by itself and not by its user.
    pub(super) fn is_own(&mut self, size: Size, now: Instant) -> bool {
        let is_it = self.own.is_some_and(|own| {
            let is_recent = now.saturating_duration_since(own.time) < STALE_TIME;
            size == own.wanted || size == own.before && is_recent
        });
        if !is_it {
            self.own = None;
        }
        is_it
    }

    /// True if a frame of this size comes of the user's sizes, so that the window is to stay as it
    /// is: it has that size, or by now another one that a frame will follow.
    pub(super) fn is_answer(&self, size: Size, now: Instant) -> bool {
        let is_recent = |time| now.saturating_duration_since(time) < ANSWER_TIME;
        self.pending.is_some()
            || self.reported.iter().any(|&(known, time)| known == size && is_recent(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_drag_is_reported_a_few_times_a_second_and_to_its_end() {
        let mut resizes = Resizes::default();
        let start = Instant::now();
        let mut reports = Vec::new();
        // Two seconds, a size each 5 ms.
        for step in 0..400u32 {
            let now = start + millis(u64::from(step) * 5);
            resizes.changed((step, 100), now);
            reports.extend(resizes.take(now));
        }
        assert!((4..=8).contains(&reports.len()), "{reports:?}");
        let due = resizes.deadline().unwrap();
        assert!(due <= start + millis(2000) + PERIOD);
        assert_eq!(resizes.take(due), Some((399, 100)), "the last one always");
        assert_eq!((resizes.deadline(), resizes.take(due + PERIOD)), (None, None));
    }

    #[test]
    fn frames_answer_reports_for_a_while() {
        let mut resizes = Resizes::default();
        let start = Instant::now();
        assert!(!resizes.is_answer((10, 10), start));
        resizes.changed((10, 10), start);
        assert!(resizes.is_answer((1, 1), start), "whatever it is, a report will follow");
        let sent = start + DELAY;
        assert_eq!(resizes.take(sent), Some((10, 10)));
        assert!(resizes.is_answer((10, 10), sent + millis(4999)));
        assert!(!resizes.is_answer((11, 10), sent + millis(1)));
        assert!(!resizes.is_answer((10, 10), sent + ANSWER_TIME));
    }

    #[test]
    fn a_size_of_the_windows_own_is_no_report() {
        let mut resizes = Resizes::default();
        let start = Instant::now();
        resizes.changed((10, 10), start);
        resizes.set((10, 10), (20, 20), start);
        assert_eq!(resizes.take(start + PERIOD), None);
        // What the window system says of it, late and twice; before that, what was there before.
        for size in [(10, 10), (20, 20), (10, 10), (20, 20)] {
            assert!(resizes.is_own(size, start + millis(4000)), "{size:?}");
        }
        assert!(resizes.is_own((20, 20), start + millis(60_000)), "however late");
        assert!(!resizes.is_own((10, 10), start + millis(60_000)));
    }

    #[test]
    fn after_the_users_sizes_the_windows_own_is_the_users_too() {
        let mut resizes = Resizes::default();
        let start = Instant::now();
        resizes.set((10, 10), (20, 20), start);
        assert!(!resizes.is_own((30, 30), start + millis(1)));
        assert!(!resizes.is_own((20, 20), start + millis(2)));
        assert!(!resizes.is_own((10, 10), start + millis(3)));
    }
}
