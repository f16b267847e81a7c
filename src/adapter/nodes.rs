//! The device nodes of the driver: where they are, and how long to wait for them without a word.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often to look for nodes at first, and at most; in between a tenth of the time that has
/// passed, so that the wait is hardly longer for it.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long to wait until the user is told.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What has to come before a device can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A driver that runs. An event tells of it.
    Driver,
    /// Its device nodes, which nothing tells of.
    Nodes,
}

/// The wait for a device that can be used.
#[derive(Debug)]
pub struct Wait {
    missing: Option<Missing>,
    since: Instant,
    /// What the user needs no more telling of.
    told: Option<Missing>,
    complete: bool,
}

impl Wait {
    /// A wait that begins now, for the driver.
    pub fn new(now: Instant) -> Self {
        Self { missing: Some(Missing::Driver), since: now, told: None, complete: false }
    }

    /// When to look again if nothing happens, `None` for never.
    pub fn timeout(&mut self, missing: Option<Missing>, now: Instant) -> Option<Duration> {
        if self.missing != missing {
            (self.missing, self.since) = (missing, now);
        }
        let waited = now.saturating_duration_since(self.since);
        match missing {
            None => {
                // Later on a device without a driver is nothing to tell of: it was let go.
                self.complete = true;
                None
            }
            Some(Missing::Driver) => {
                self.has_news().then(|| PATIENCE.saturating_sub(waited).max(INTERVALS.0))
            }
            Some(Missing::Nodes) => Some((waited / 10).clamp(INTERVALS.0, INTERVALS.1)),
        }
    }

    /// What the user should be told is missing, once.
    pub fn complaint(&mut self, now: Instant) -> Option<Missing> {
        let over = now.saturating_duration_since(self.since) >= PATIENCE;
        if !over || !self.has_news() {
            return None;
        }
        self.told = self.missing;
        self.told
    }

    fn has_news(&self) -> bool {
        !self.complete && self.told != self.missing
    }
}

/// What is missing, and what to do about it. `parent` is the transport's directory in sysfs.
pub fn advice(missing: Missing, parent: Option<&Path>) -> String {
    let seconds = PATIENCE.as_secs();
    match (missing, parent) {
        (Missing::Driver, None) => format!("no driver has started within {seconds} s"),
        (Missing::Driver, Some(_)) => {
            let why = why_no_driver(Path::new("/sys"));
            format!("no driver has taken the device within {seconds} s: {why}")
        }
        (Missing::Nodes, parent) => {
            let cards = parent.map_or(0, |parent| names_in(&parent.join("drm")).len());
            let why = if cards == 0 {
                "the kernel's log (dmesg) should say why"
            } else {
                "it is in sysfs, so /dev lacks it: is /dev a devtmpfs, or udev at work?"
            };
            format!("the driver has no card in /dev/dri after {seconds} s: {why}")
        }
    }
}

/// Why nothing has taken a device. `sys` is where sysfs is.
fn why_no_driver(sys: &Path) -> &'static str {
    // The kernel's kernel/module/main.c: `coming` as long as a module's init function runs.
    let state = std::fs::read_to_string(sys.join("module/virtio_gpu/initstate"));
    if sys.join("bus/virtio/drivers/virtio_gpu").exists() {
        "the driver virtio_gpu is loaded, so the kernel's log (dmesg) should say why if it does not come yet"
    } else if state.is_ok_and(|state| state.trim() == "coming") {
        "the driver virtio_gpu is just being loaded"
    } else {
        "the driver virtio_gpu is not loaded; unless it is on its way (udev loads it), do so \
         (modprobe virtio_gpu)"
    }
}

/// `/dev/dri/cardN` and `/dev/dri/renderDN` of the entries in a `drm` directory, once both exist and
/// can be opened. Other entries are names for the same nodes from older times.
pub fn nodes_in(directory: &Path) -> Option<Vec<PathBuf>> {
    let names = names_in(directory);
    let name = |prefix| names.iter().find(|name| name.starts_with(prefix));
    let (card, render) = (name("card")?, name("renderD")?);
    has_connectors(&directory.join(card), card).then_some(())?;
    let node = |name| Some(Path::new("/dev/dri").join(name)).filter(|node| node.exists());
    Some(vec![node(card)?, node(render)?])
}

/// Whether the card has connectors, such as `card0-Virtual-1`. They come after the nodes, one by one; the rest is
/// [`Bound`](super::bound::Bound)'s to tell. Trying the node here would make us the card's master.
fn has_connectors(directory: &Path, card: &str) -> bool {
    names_in(directory)
        .iter()
        .any(|name| name.strip_prefix(card).is_some_and(|connector| connector.starts_with('-')))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_driver_is_missed_once() {
        let start = Instant::now();
        let mut wait = Wait::new(start);
        assert_eq!(wait.timeout(Some(Missing::Driver), start), Some(PATIENCE));
        assert_eq!(wait.complaint(start + 4 * SECOND), None);
        assert_eq!(wait.timeout(Some(Missing::Driver), start + 4 * SECOND), Some(SECOND));
        assert_eq!(wait.complaint(start + 5 * SECOND), Some(Missing::Driver));
        // From now on only an event wakes.
        assert_eq!(wait.timeout(Some(Missing::Driver), start + 5 * SECOND), None);
        assert_eq!(wait.complaint(start + 60 * SECOND), None);
    }

    #[test]
    fn nodes_are_looked_for_ever_more_rarely() {
        let start = Instant::now();
        let mut wait = Wait::new(start);
        let running = start + 3 * SECOND;
        let missing = Some(Missing::Nodes);
        for (after, interval) in [(0, 10), (50, 10), (1000, 100), (5000, 500), (60_000, 1000)] {
            let now = running + Duration::from_millis(after);
            assert_eq!(wait.timeout(missing, now), Some(Duration::from_millis(interval)));
        }
        // Counted from when the driver came.
        assert_eq!(wait.complaint(running + 4 * SECOND), None);
        assert_eq!(wait.complaint(running + 5 * SECOND), missing);
        assert_eq!(wait.complaint(running + 6 * SECOND), None);
    }

    #[test]
    fn what_was_there_is_not_missed() {
        let start = Instant::now();
        let mut wait = Wait::new(start);
        assert_eq!(wait.timeout(None, start), None);
        assert_eq!(wait.complaint(start + 60 * SECOND), None);
        // The driver lets go, and another comes: its nodes are looked for at the first pace.
        assert_eq!(wait.timeout(Some(Missing::Driver), start + 60 * SECOND), None);
        let later = start + 120 * SECOND;
        assert_eq!(wait.timeout(Some(Missing::Nodes), later), Some(INTERVALS.0));
        assert_eq!(wait.complaint(later + 60 * SECOND), None);
    }

    #[test]
    fn advice_fits_what_is_there() {
        let parent = tempfile::tempdir().unwrap();
        let advice = |missing| advice(missing, Some(parent.path()));
        assert!(advice(Missing::Driver).contains("virtio_gpu"));
        assert!(advice(Missing::Nodes).contains("dmesg"));
        std::fs::create_dir_all(parent.path().join("drm/card77")).unwrap();
        assert!(advice(Missing::Nodes).contains("devtmpfs"));
        assert_eq!(nodes_in(&parent.path().join("drm")), None);
    }

    #[test]
    fn a_driver_that_is_being_loaded_is_not_missing() {
        let sys = tempfile::tempdir().unwrap();
        assert!(why_no_driver(sys.path()).contains("unless it is on its way"));
        let module = sys.path().join("module/virtio_gpu");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(module.join("initstate"), "coming\n").unwrap();
        assert_eq!(why_no_driver(sys.path()), "the driver virtio_gpu is just being loaded");
        std::fs::create_dir_all(sys.path().join("bus/virtio/drivers/virtio_gpu")).unwrap();
        assert!(why_no_driver(sys.path()).contains("is loaded"));
    }

    #[test]
    fn a_card_can_be_opened_when_its_connectors_are_there() {
        let drm = tempfile::tempdir().unwrap();
        let card = drm.path().join("card7");
        for name in ["device", "power", "card70-Virtual-1"] {
            std::fs::create_dir_all(card.join(name)).unwrap();
            assert!(!has_connectors(&card, "card7"), "{name}");
        }
        std::fs::create_dir_all(card.join("card7-Virtual-1")).unwrap();
        assert!(has_connectors(&card, "card7"));
    }
}
