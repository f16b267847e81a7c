//! What a scanout has shown, how often and how lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Frame, FrameLayout, PixelFormat, Rect};

/// Whether a scanout is being drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It has a frame.
    Live,
    /// It was switched off; the last picture stays.
    Off,
    /// It was switched off, and has no monitor any more: nothing shows it.
    Unplugged,
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
    /// Presents at the first vblank after their flush, at the second, and later. Counted where outputs
    /// have vblanks and frames need no copy.
    pub vblanks: [u64; 3],
    /// Presents a second, over the last two seconds, or since the first if that is a second at least.
    pub frames_per_second: f64,
    /// Updates a second, over the last two seconds.
    pub updates_per_second: f64,
    /// Bytes of the pixels that the updates said have changed.
    pub damaged_bytes: u64,
    /// Bytes that the presenter has copied out of frames' memory to show them.
    pub copied_bytes: u64,
    /// Time since the last present.
    pub last_present_age: Option<Duration>,
}

/// How often something happens, a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) presents: f64,
    pub(crate) updates: f64,
}

/// Times of something that happens again and again.
#[derive(Debug, Default)]
struct Rate {
    /// Oldest first: since when, and how often. What comes within [`Rate::GRAIN`] is counted together.
    recent: VecDeque<(Instant, u64)>,
    last: Option<Instant>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(2);
    /// A rate is about at least so long: what comes at once after a pause is no rate.
    const SHORTEST: Duration = Duration::from_secs(1);
    const GRAIN: Duration = Duration::from_millis(8);
    /// Enough for the window.
    const RECENT: usize = 256;

    fn add(&mut self, now: Instant) {
        self.last = Some(now);
        match self.recent.back_mut() {
            Some((since, count)) if now.saturating_duration_since(*since) < Self::GRAIN => {
                *count += 1;
            }
            _ => {
                if self.recent.len() == Self::RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back((now, 1));
            }
        }
    }

    /// 0 if fewer than two times fall into the window.
    fn per_second(&self, now: Instant) -> f64 {
        let is_recent = |since| now.saturating_duration_since(since) <= Self::WINDOW;
        let mut recent = self.recent.iter().filter(|(since, _)| is_recent(*since)).peekable();
        let (Some(&&(first, _)), Some(last)) = (recent.peek(), self.last) else { return 0.0 };
        let times: u64 = recent.map(|(_, count)| count).sum();
        let span = last.saturating_duration_since(first).max(Self::SHORTEST);
        times.saturating_sub(1) as f64 / span.as_secs_f64()
    }
}

/// Counts one scanout's updates and presents.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    updates: u64,
    presents: u64,
    damaged_bytes: u64,
    copied_bytes: u64,
    update_rate: Rate,
    present_rate: Rate,
    vblanks: [u64; 3],
}

impl Counters {
    /// A picture was shown at this vblank after its flush, the first being 1.
    pub(crate) fn presented_at(&mut self, vblanks: u32) {
        let [first, second, later] = &mut self.vblanks;
        match vblanks {
            ..=1 => *first += 1,
            2 => *second += 1,
            _ => *later += 1,
        }
    }

    /// A flush was accepted, of these pixels of the frame.
    pub(crate) fn updated(&mut self, damage: Rect, now: Instant) {
        self.updates += 1;
        self.damaged_bytes += damage.bytes();
        self.update_rate.add(now);
    }

    pub(crate) fn presented(&mut self, now: Instant) {
        self.presents += 1;
        self.present_rate.add(now);
    }

    /// So much was copied to show it.
    pub(crate) fn copied(&mut self, bytes: u64) {
        self.copied_bytes += bytes;
    }

    pub(crate) fn rates(&self, now: Instant) -> Rates {
        let (presents, updates) =
            (self.present_rate.per_second(now), self.update_rate.per_second(now));
        Rates { presents, updates }
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
            frames_per_second: self.present_rate.per_second(now),
            updates_per_second: self.update_rate.per_second(now),
            damaged_bytes: self.damaged_bytes,
            copied_bytes: self.copied_bytes,
            vblanks: self.vblanks,
            last_present_age: self
                .present_rate
                .last
                .map(|time| now.saturating_duration_since(time)),
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
        assert_eq!(counters.rates(start).presents, 0.0);
        counters.presented(start);
        assert_eq!(counters.rates(start).presents, 0.0);
        for i in 1..=60 {
            counters.presented(start + Duration::from_millis(i * 20));
        }
        let end = start + Duration::from_millis(1200);
        assert!((counters.rates(end).presents - 50.0).abs() < 0.01);
        assert_eq!(counters.rates(end).updates, 0.0);
        assert_eq!(counters.rates(end + Duration::from_secs(3)).presents, 0.0);
    }

    #[test]
    fn rate_of_a_very_fast_source_is_right_and_bounded() {
        let mut counters = Counters::default();
        let start = Instant::now();
        for i in 0..50_000 {
            counters.presented(start + Duration::from_micros(i * 100));
        }
        let rate = counters.rates(start + Duration::from_secs(5)).presents;
        assert!((rate - 10_000.0).abs() < 1.0, "{rate}");
        assert!(counters.present_rate.recent.len() <= Rate::RECENT);
        assert_eq!(counters.presents, 50_000);
    }

    #[test]
    fn what_comes_at_once_is_no_rate() {
        let mut counters = Counters::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // The first two frames, 1 ms apart, are no 1000 a second.
        counters.presented(at(0));
        counters.presented(at(10));
        assert_eq!(counters.rates(at(11)).presents, 1.0);
        // Ten a second, a pause, and then what has waited, all within 20 ms.
        (1..=20).for_each(|i| counters.presented(at(i * 100)));
        assert!((counters.rates(at(2000)).presents - 10.5).abs() < 0.1);
        (0..20).for_each(|i| counters.presented(at(6000 + i)));
        let rate = counters.rates(at(6020)).presents;
        assert!(rate > 10.0 && rate <= 20.0, "{rate}");
    }

    #[test]
    fn bytes_are_those_of_the_damage() {
        let mut counters = Counters::default();
        counters.updated(Rect::new(5, 5, 10, 3), Instant::now());
        counters.updated(Rect::new(0, 0, 1, 1), Instant::now());
        counters.copied(124);
        let layout = FrameLayout::packed(16, 16, PixelFormat::Xrgb8888);
        let statistics = counters.statistics(Signal::Live, &layout);
        assert_eq!((statistics.damaged_bytes, statistics.copied_bytes), (124, 124));
        assert_eq!(statistics.updates, 2);
    }
}
