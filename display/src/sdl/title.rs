//! A window's title.

use std::time::{Duration, Instant};

use crate::Signal;
use crate::statistics::Rates;

/// Least time between two changes of a title's rates.
const PERIOD: Duration = Duration::from_secs(1);

/// After this long without a present there are no rates.
const LIFETIME: Duration = Duration::from_secs(2);

/// The rates of a window, as shown.
#[derive(Debug, Default)]
pub(super) struct ShownRates {
    rates: Option<Rates>,
    changed: Option<Instant>,
    expiry: Option<Instant>,
}

impl ShownRates {
    pub(super) fn get(&self) -> Option<Rates> {
        self.rates
    }

    /// There was a present; true if the rates are others now.
    pub(super) fn presented(&mut self, rates: Rates, now: Instant) -> bool {
        let is_due = self.changed.is_none_or(|time| now.saturating_duration_since(time) >= PERIOD);
        let changes = is_due && rates.presents > 0.0;
        if changes {
            self.rates = Some(rates);
            self.changed = Some(now);
        }
        if self.rates.is_some() {
            self.expiry = Some(now + LIFETIME);
        }
        changes
    }

    /// When they stop being true.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.expiry
    }

    /// True if nothing is presented any more, for the first time.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let expires = self.expiry.is_some_and(|expiry| now >= expiry);
        if expires {
            self.clear();
        }
        expires
    }

    pub(super) fn clear(&mut self) {
        self.rates = None;
        self.expiry = None;
    }
}

/// What a title says.
pub(super) struct Title<'a> {
    pub(super) name: &'a str,
    pub(super) signal: Signal,
    /// The frame's size.
    pub(super) size: (u32, u32),
    pub(super) rates: Option<Rates>,
    /// How to release keyboard and pointer, while they are grabbed.
    pub(super) release: Option<&'a str>,
}

impl Title<'_> {
    /// In ASCII: with any other character SDL can set titles on X11 only if the program has set a
    /// UTF-8 locale.
    pub(super) fn text(&self) -> String {
        let Title { name, signal, size: (width, height), rates, release } = self;
        let mut text = match signal {
            Signal::Off | Signal::Unplugged => format!("{name} - no signal"),
            Signal::Lost => format!("{name} - {width}x{height} - last frame"),
            Signal::Live => format!("{name} - {width}x{height}"),
        };
        if let (Signal::Live, Some(rates)) = (signal, rates) {
            text += &format!(" - {:.0} FPS, {:.0} UPS", rates.presents, rates.updates);
        }
        if let Some(release) = release {
            text += &format!(" - grabbed, {release} releases");
        }
        text
    }
}

/// A scanout's name for people.
pub(super) fn window_name(name: &str, scanout: u32) -> String {
    // Titles end at a NUL, and control characters have no place in them.
    let name: String = name.chars().filter(|char| !char.is_control()).collect();
    if scanout == 0 { name } else { format!("{name}:{scanout}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_say_name_mode_rates_and_grab() {
        let rates = Some(Rates { presents: 59.7, updates: 120.2 });
        let text = |signal, rates, release| {
            Title { name: "cluster", signal, size: (1280, 720), rates, release }.text()
        };
        assert_eq!(text(Signal::Live, rates, None), "cluster - 1280x720 - 60 FPS, 120 UPS");
        assert_eq!(text(Signal::Live, None, None), "cluster - 1280x720");
        assert_eq!(text(Signal::Off, rates, None), "cluster - no signal");
        assert_eq!(text(Signal::Lost, rates, None), "cluster - 1280x720 - last frame");
        assert_eq!(
            text(Signal::Live, None, Some("Ctrl+Alt+G")),
            "cluster - 1280x720 - grabbed, Ctrl+Alt+G releases"
        );
        assert_eq!(window_name("clu\0ster\n", 0), "cluster");
        assert_eq!(window_name("cluster", 3), "cluster:3");
    }

    #[test]
    fn rates_change_each_second_and_expire() {
        let mut shown = ShownRates::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let rates = |presents| Rates { presents, updates: presents };
        assert!(!shown.presented(rates(0.0), at(0)), "one present is no rate");
        assert_eq!(shown.deadline(), None);
        assert!(shown.presented(rates(60.0), at(10)));
        assert!(!shown.presented(rates(61.0), at(900)));
        assert_eq!(shown.get(), Some(rates(60.0)));
        assert!(shown.presented(rates(61.0), at(1010)));
        assert!(!shown.expire(at(3000)));
        assert!(shown.expire(at(3010)));
        assert_eq!((shown.get(), shown.deadline()), (None, None));
        assert!(!shown.expire(at(9999)));
    }
}
