//! The monitors that the driver finds at its scanouts, which come, go and change while it runs.

use std::sync::{Arc, Mutex};

use zerocopy::FromZeros;

use super::edid::{self, Monitor};
use super::modes::{Mode, ModeError};
use super::monitor_spec::MonitorSpec;
use super::scanouts::MAX_PIXELS;
use crate::gpu::wire::{
    CtrlHdr, DisplayOne, MAX_EDID, MAX_SCANOUTS, RespDisplayInfo, RespEdid, RespType,
};
use crate::sync::lock;

/// The device's scanouts, each with a monitor or without. Clones are the same scanouts.
#[derive(Debug, Clone)]
pub struct Monitors(Arc<Mutex<Vec<Option<MonitorSpec>>>>);

/// Why monitors cannot be changed so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MonitorsError {
    /// There is no such scanout, and the driver makes none while it runs.
    #[error(
        "there is no scanout {scanout}: this device has {count} (`run --max-scanouts` gives it more)"
    )]
    NoScanout {
        /// Its index.
        scanout: u32,
        /// How many there are.
        count: u32,
    },
    /// All have a monitor.
    #[error("all {0} scanouts have a monitor (`run --max-scanouts` gives a device more)")]
    NoneFree(u32),
    /// It has none.
    #[error("scanout {0} has no monitor")]
    NoMonitor(u32),
    /// The driver or an EDID cannot have it.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// Nothing could show it.
    #[error("the scanouts of a device have at most {MAX_PIXELS} pixels together")]
    TooLarge,
}

/// A change of the monitors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorChange {
    /// One more, at the first scanout that has none.
    Add(MonitorSpec),
    /// The monitor of a scanout, whether or not it has one now.
    Set(u32, MonitorSpec),
    /// A real monitor, at its place if it has one.
    Connect {
        /// Its index.
        scanout: u32,
        /// Its preferred mode.
        mode: Mode,
        /// Its EDID; empty if it has none.
        edid: Vec<u8>,
    },
    /// Another size.
    Resize {
        /// Its index.
        scanout: u32,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// Another place on the desktop.
    Move {
        /// Its index.
        scanout: u32,
        /// Of its top left pixel.
        position: (u32, u32),
    },
    /// None any more.
    Remove(u32),
}

/// A change that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Where.
    pub scanout: u32,
    /// False: it was so before.
    pub is_news: bool,
}

impl Monitors {
    /// A monitor per scanout, at most [`MAX_SCANOUTS`], and as many scanouts without one as make
    /// `count`.
    #[must_use]
    pub fn new(monitors: Vec<MonitorSpec>, count: usize) -> Self {
        let count = count.max(monitors.len()).clamp(1, MAX_SCANOUTS);
        let mut slots: Vec<_> = monitors.into_iter().map(Some).collect();
        slots.resize(count, None);
        Self(Arc::new(Mutex::new(slots)))
    }

    /// Scanouts, with a monitor or without.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(lock(&self.0).len()).unwrap_or(u32::MAX)
    }

    /// The monitor of each scanout.
    #[must_use]
    pub fn all(&self) -> Vec<Option<MonitorSpec>> {
        lock(&self.0).clone()
    }

    /// Whether a scanout has a monitor.
    #[must_use]
    pub fn has(&self, scanout: u32) -> bool {
        lock(&self.0).get(scanout as usize).is_some_and(Option::is_some)
    }

    /// Changes them. The driver is not told.
    ///
    /// # Errors
    ///
    /// They are as they were.
    pub fn change(&self, change: MonitorChange) -> Result<Changed, MonitorsError> {
        let mut slots = lock(&self.0);
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let slot = |scanout: u32| {
            let known = slots.get(scanout as usize);
            known.cloned().ok_or(MonitorsError::NoScanout { scanout, count })
        };
        let monitor = |scanout| slot(scanout)?.ok_or(MonitorsError::NoMonitor(scanout));
        let (scanout, new) = match change {
            MonitorChange::Add(spec) => {
                let free = (0..count).zip(&*slots).find(|(_, slot)| slot.is_none());
                (
                    free.map(|(scanout, _)| scanout).ok_or(MonitorsError::NoneFree(count))?,
                    Some(spec),
                )
            }
            MonitorChange::Set(scanout, spec) => slot(scanout).map(|_| (scanout, Some(spec)))?,
            MonitorChange::Connect { scanout, mode, edid } => {
                let known = slot(scanout)?.unwrap_or_default();
                let edid = is_edid(&edid).then(|| edid.into());
                (scanout, Some(MonitorSpec { mode: mode.checked()?, edid, ..known }))
            }
            MonitorChange::Resize { scanout, width, height } => {
                // It is not what a real monitor's EDID says.
                let mut spec = MonitorSpec { edid: None, ..monitor(scanout)? };
                spec.mode = Mode { width, height, ..spec.mode }.checked()?;
                (scanout, Some(spec))
            }
            MonitorChange::Move { scanout, position } => {
                (scanout, Some(MonitorSpec { position: Some(position), ..monitor(scanout)? }))
            }
            MonitorChange::Remove(scanout) => monitor(scanout).map(|_| (scanout, None))?,
        };
        let others = (0..).zip(&*slots).filter(|(other, _)| *other != scanout);
        let shown = others.filter_map(|(_, slot)| slot.as_ref()).chain(&new);
        if pixels(shown) > MAX_PIXELS {
            return Err(MonitorsError::TooLarge);
        }
        let is_news = slots.get_mut(scanout as usize).is_some_and(|slot| {
            let is_news = *slot != new;
            *slot = new;
            is_news
        });
        Ok(Changed { scanout, is_news })
    }

    /// The reply to `GET_DISPLAY_INFO`. Monitors without a place stand to the right of the one before.
    #[must_use]
    pub fn display_info(&self) -> RespDisplayInfo {
        let mut info = RespDisplayInfo {
            hdr: header(RespType::OkDisplayInfo),
            ..RespDisplayInfo::new_zeroed()
        };
        let mut next = (0, 0);
        for (entry, slot) in info.pmodes.iter_mut().zip(&*lock(&self.0)) {
            let Some(MonitorSpec { mode, position, .. }) = slot else { continue };
            let (x, y) = position.unwrap_or(next);
            let mut one = DisplayOne::new_zeroed();
            one.r.x = x.into();
            one.r.y = y.into();
            one.r.width = mode.width.into();
            one.r.height = mode.height.into();
            one.enabled = 1.into();
            *entry = one;
            next = (x + mode.width, y);
        }
        info
    }

    /// The reply to `GET_EDID`; without a monitor there is none (`size` 0).
    #[must_use]
    pub fn edid(&self, scanout: u32) -> RespEdid {
        let mut reply = RespEdid::new_zeroed();
        reply.hdr = header(RespType::OkEdid);
        let spec = lock(&self.0).get(scanout as usize).cloned().flatten();
        let Some(MonitorSpec { mode, dpi, name, edid: real, .. }) = spec else { return reply };
        let monitor = Monitor {
            width: mode.width,
            height: mode.height,
            refresh: mode.refresh,
            dpi,
            serial: scanout + 1,
            name: name.as_deref().unwrap_or(DEFAULT_NAME),
        };
        let made;
        let bytes = match &real {
            Some(real) => &**real,
            None => {
                made = edid::edid(&monitor);
                &made
            }
        };
        let mut size = 0;
        for (to, from) in reply.edid.iter_mut().zip(bytes) {
            *to = *from;
            size += 1;
        }
        reply.size = size.into();
        reply
    }
}

/// Whether the driver can be given these bytes: whole blocks, the first one an EDID's, no more than there
/// is room for.
fn is_edid(bytes: &[u8]) -> bool {
    let is_whole = bytes.len().is_multiple_of(edid::BLOCK_LENGTH);
    is_whole && bytes.starts_with(&[0, 255, 255, 255, 255, 255, 255, 0]) && bytes.len() <= MAX_EDID
}

/// What EDIDs call a monitor without a name.
const DEFAULT_NAME: &str = "loopback";

/// Pixels of these monitors together.
pub fn pixels<'a>(monitors: impl IntoIterator<Item = &'a MonitorSpec>) -> u64 {
    let pixels = |spec: &MonitorSpec| u64::from(spec.mode.width) * u64::from(spec.mode.height);
    monitors.into_iter().map(pixels).sum()
}

fn header(kind: RespType) -> CtrlHdr {
    CtrlHdr { type_: kind.raw().into(), ..CtrlHdr::new_zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitors(specs: &[&str], count: usize) -> Monitors {
        Monitors::new(specs.iter().map(|spec| spec.parse().unwrap()).collect(), count)
    }

    /// Enabled, x, y, width, height of the first ones.
    fn info<const N: usize>(monitors: &Monitors) -> [(u32, u32, u32, u32, u32); N] {
        let info = monitors.display_info();
        assert_eq!(info.hdr.type_.get(), 0x1101);
        let rects = info.pmodes.map(|one| {
            let rect = (one.r.x.get(), one.r.y.get(), one.r.width.get(), one.r.height.get());
            (one.enabled.get(), rect.0, rect.1, rect.2, rect.3)
        });
        rects[..N].try_into().unwrap()
    }

    #[test]
    fn monitors_lie_side_by_side_or_where_they_are_put() {
        let side_by_side = monitors(&["800x600", "1024x768"], 0);
        assert_eq!(
            info(&side_by_side),
            [(1, 0, 0, 800, 600), (1, 800, 0, 1024, 768), (0, 0, 0, 0, 0)]
        );
        let placed = monitors(&["800x600@100,50", "640x480", "640x480@0,650"], 0);
        assert_eq!(
            info(&placed),
            [(1, 100, 50, 800, 600), (1, 900, 50, 640, 480), (1, 0, 650, 640, 480)]
        );
    }

    #[test]
    fn a_scanout_without_a_monitor_has_no_edid() {
        let monitors = monitors(&["8192x8192@240", "800x600,name=left"], 3);
        let large = monitors.edid(0);
        assert_eq!((large.size.get(), large.edid[126], large.edid[128]), (256, 1, 0x70));
        let named = monitors.edid(1);
        assert_eq!(&named.edid[72..90], b"\0\0\0\xfc\0left\n        ");
        assert_eq!(
            [2, 3].map(|scanout| monitors.edid(scanout)).map(|edid| edid.size.get()),
            [0, 0]
        );
        assert_eq!(monitors.edid(2).hdr.type_.get(), 0x1104);
    }

    #[test]
    fn monitors_come_go_and_change() {
        let all = monitors(&["800x600"], 3);
        let changed = |change| all.change(change).map(|changed| (changed.scanout, changed.is_news));
        assert_eq!(changed(MonitorChange::Add("640x480".parse().unwrap())), Ok((1, true)));
        assert_eq!(changed(MonitorChange::Remove(0)), Ok((0, true)));
        assert_eq!(info(&all), [(0, 0, 0, 0, 0), (1, 0, 0, 640, 480), (0, 0, 0, 0, 0)]);
        assert_eq!(changed(MonitorChange::Add("1280x720".parse().unwrap())), Ok((0, true)));
        let resize = MonitorChange::Resize { scanout: 1, width: 1024, height: 768 };
        assert_eq!(changed(resize.clone()), Ok((1, true)));
        assert_eq!(changed(resize), Ok((1, false)));
        let moved = MonitorChange::Move { scanout: 1, position: (5, 6) };
        assert_eq!(changed(moved), Ok((1, true)));
        assert_eq!(info(&all), [(1, 0, 0, 1280, 720), (1, 5, 6, 1024, 768), (0, 0, 0, 0, 0)]);
    }

    #[test]
    fn a_real_monitor_is_shown_as_it_is() {
        let all = monitors(&["800x600,name=left"], 2);
        let mode = Mode { width: 1920, height: 1080, refresh: 50 };
        let real = monitors(&["1920x1080@50"], 1).edid(0).edid[..128].to_vec();
        let connect = |scanout, edid| MonitorChange::Connect { scanout, mode, edid };
        let said = |scanout| {
            let reply = all.edid(scanout);
            reply.edid[..reply.size.get() as usize].to_vec()
        };
        assert!(all.change(connect(0, real.clone())).unwrap().is_news);
        assert_eq!(said(0), real);
        assert_eq!(info(&all), [(1, 0, 0, 1920, 1080), (0, 0, 0, 0, 0)]);
        // The same one again is no news; what is no EDID is replaced by one of ours.
        assert!(!all.change(connect(0, real.clone())).unwrap().is_news);
        for wrong in [&real[..127], &[0; 128], &real.repeat(9), &[]] {
            all.change(connect(1, wrong.to_vec())).unwrap();
            assert_eq!((said(1).len(), said(1)[12]), (128, 2));
        }
        // Another size is not what it says.
        all.change(MonitorChange::Resize { scanout: 0, width: 640, height: 480 }).unwrap();
        assert_ne!(said(0), real);
    }

    #[test]
    fn what_cannot_be_changes_nothing() {
        let all = monitors(&["8192x8192"], 2);
        let before = all.all();
        let small: MonitorSpec = "640x480".parse().unwrap();
        let large: MonitorSpec = "8192x8192".parse().unwrap();
        for (change, error) in [
            (
                MonitorChange::Set(2, small.clone()),
                MonitorsError::NoScanout { scanout: 2, count: 2 },
            ),
            (MonitorChange::Remove(1), MonitorsError::NoMonitor(1)),
            (MonitorChange::Move { scanout: 1, position: (0, 0) }, MonitorsError::NoMonitor(1)),
        ] {
            assert_eq!(all.change(change), Err(error));
        }
        // Two of the largest are as much as can be shown.
        all.change(MonitorChange::Add(large)).unwrap();
        assert_eq!(all.change(MonitorChange::Add(small)), Err(MonitorsError::NoneFree(2)));
        all.change(MonitorChange::Remove(1)).unwrap();
        assert_eq!(all.all(), before);
        let full = monitors(&["8192x8192", "8192x8192"], 3);
        assert_eq!(
            full.change(MonitorChange::Add("32x32".parse().unwrap())),
            Err(MonitorsError::TooLarge)
        );
    }
}
