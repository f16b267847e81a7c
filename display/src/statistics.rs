//! What a scanout has shown, how often and how lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Frame, FrameLayout, PixelFormat};

/// Whether a scanout is being drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It has a frame.
    Live,
    /// It was switched off; the last picture stays.
    Off,
    /// Its source is gone; the last picture stays.
    Lost,
}

/// Figures of one scanout.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Whether it is being drawn.
    pub signal: Signal,
    /// Width of the last frame, in pixels.
    pub width: u32,
    /// Height of the last frame, in pixels.
    pub height: u32,
    /// Format of the last frame.
    pub format: PixelFormat,
    /// Flushes that were accepted.
    pub updates: u64,
    /// Times a new picture was shown; several updates may share one. Headless: the updates.
    pub presents: u64,
    /// Bytes that the processor has copied to show them. Counted where outputs can do without.
    pub copied_bytes: u64,
    /// Presents at the first vblank after their flush, at the second, and later. Counted where outputs
    /// have vblanks and frames need no copy.
    pub vblanks: [u64; 3],
    /// Presents a second, over the last two seconds.
    pub frames_per_second: f64,
    /// Time since the last present.
    pub last_present_age: Option<Duration>,
}

/// Counts one scanout's updates and presents.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) updates: u64,
    pub(crate) copied_bytes: u64,
    vblanks: [u64; 3],
    presents: u64,
    /// Times of the last presents, oldest first.
    recent: VecDeque<Instant>,
}

impl Counters {
    /// Enough for the window below at 120 frames a second; faster sources get a shorter window.
    const RECENT: usize = 256;
    const WINDOW: Duration = Duration::from_secs(2);

    pub(crate) fn presented(&mut self, now: Instant) {
        self.presents += 1;
        if self.recent.len() == Self::RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    /// A picture was shown at this vblank after its flush, the first being 1.
    pub(crate) fn presented_at(&mut self, vblanks: u32) {
        let [first, second, later] = &mut self.vblanks;
        match vblanks {
            ..=1 => *first += 1,
            2 => *second += 1,
            _ => *later += 1,
        }
    }

    /// 0 if fewer than two presents fall into the window.
    pub(crate) fn frames_per_second(&self, now: Instant) -> f64 {
        let mut times =
            self.recent.iter().filter(|&&time| now.saturating_duration_since(time) <= Self::WINDOW);
        let (Some(first), Some(last)) = (times.next(), times.next_back()) else {
            return 0.0;
        };
        let intervals = times.count() + 1;
        let span = last.saturating_duration_since(*first).as_secs_f64();
        if span > 0.0 { intervals as f64 / span } else { 0.0 }
    }

    pub(crate) fn statistics(&self, signal: Signal, layout: &FrameLayout) -> Statistics {
        let now = Instant::now();
        Statistics {
            signal,
            width: layout.width,
            height: layout.height,
            format: layout.format,
            updates: self.updates,
            presents: self.presents,
            copied_bytes: self.copied_bytes,
            vblanks: self.vblanks,
            frames_per_second: self.frames_per_second(now),
            last_present_age: self.recent.back().map(|&time| now.saturating_duration_since(time)),
        }
    }
}

/// A scanout's picture source.
#[derive(Debug)]
pub(crate) enum Source<Kept> {
    /// Being drawn.
    Live(Frame),
    /// No longer being drawn; `Kept` is what remains of the last picture.
    Ended { signal: Signal, layout: FrameLayout, kept: Kept },
}

impl<Kept> Source<Kept> {
    pub(crate) fn signal(&self) -> Signal {
        match self {
            Source::Live(_) => Signal::Live,
            Source::Ended { signal, .. } => *signal,
        }
    }

    pub(crate) fn layout(&self) -> &FrameLayout {
        match self {
            Source::Live(frame) => frame.layout(),
            Source::Ended { layout, .. } => layout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_counts_intervals_in_the_window() {
        let mut counters = Counters::default();
        let start = Instant::now();
        assert_eq!(counters.frames_per_second(start), 0.0);
        counters.presented(start);
        assert_eq!(counters.frames_per_second(start), 0.0);
        for i in 1..=60 {
            counters.presented(start + Duration::from_millis(i * 20));
        }
        let end = start + Duration::from_millis(1200);
        assert!((counters.frames_per_second(end) - 50.0).abs() < 0.01);
        assert_eq!(counters.frames_per_second(end + Duration::from_secs(3)), 0.0);
    }

    #[test]
    fn rate_of_a_very_fast_source_is_right_and_bounded() {
        let mut counters = Counters::default();
        let start = Instant::now();
        for i in 0..10_000 {
            counters.presented(start + Duration::from_micros(i * 100));
        }
        let rate = counters.frames_per_second(start + Duration::from_secs(1));
        assert!((rate - 10_000.0).abs() < 1.0, "{rate}");
        assert_eq!(counters.recent.len(), Counters::RECENT);
        assert_eq!(counters.presents, 10_000);
    }
}
