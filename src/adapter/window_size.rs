//! Windows that users give another size: their monitors have that mode then, and clients follow. So
//! they do after `ctl scanout set`.
//!
//! A client learns of a new mode as it does of a monitor. Some take it, as GNOME does; others take no
//! notice of a monitor that they know, as weston does: for those it is unplugged for a moment.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{io, thread};

use virtio_loopback_display::{DisplayHandle, Signal};

use super::device::Shared;
use super::monitor_spec::MonitorSpec;
use super::monitors::{MonitorChange, Monitors};
use crate::one_line;

/// How long a window has to keep its size before its monitor has it.
const SETTLED: Duration = Duration::from_millis(100);
/// How long a client has to take the new mode before its monitor is unplugged.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a monitor is unplugged: clients have to notice.
const UNPLUGGED: Duration = Duration::from_millis(300);

/// What a window's size does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnResize {
    /// The monitor gets that mode, and is plugged in anew for a client that does not take it.
    #[default]
    Follow,
    /// The monitor gets that mode.
    Mode,
    /// Nothing.
    Ignore,
}

/// Takes the sizes of windows, and never blocks.
#[derive(Debug, Clone)]
pub struct WindowSizes(Sender<News>);

/// Lets monitors follow the windows.
#[derive(Debug)]
pub struct WindowFollower {
    receiver: Receiver<News>,
    on_resize: OnResize,
}

#[derive(Debug, Clone, Copy)]
enum News {
    /// A window has another size.
    Window(Resized),
    /// A monitor has: the driver was told.
    Monitor(Resized),
}

#[derive(Debug, Clone, Copy)]
struct Resized {
    scanout: u32,
    size: (u32, u32),
}

/// Both ends of what windows' sizes go through.
#[must_use]
pub fn window_sizes(on_resize: OnResize) -> (WindowSizes, WindowFollower) {
    let (sender, receiver) = mpsc::channel();
    (WindowSizes(sender), WindowFollower { receiver, on_resize })
}

impl WindowSizes {
    /// The window of a scanout has another size, in pixels, by its user's wish.
    pub fn resized(&self, scanout: u32, width: u32, height: u32) {
        // Nobody follows any more: the device ends.
        let _ = self.0.send(News::Window(Resized { scanout, size: (width, height) }));
    }

    /// The monitor of a scanout has another mode, and the driver was told: a client that does not take
    /// it sees that it is another monitor.
    pub fn monitor_set(&self, scanout: u32, width: u32, height: u32) {
        let _ = self.0.send(News::Monitor(Resized { scanout, size: (width, height) }));
    }
}

impl WindowFollower {
    /// Follows on a thread of its own until the last of the [`WindowSizes`] is dropped.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub fn start(
        self,
        monitors: Monitors,
        shared: Arc<Mutex<Shared>>,
        display: DisplayHandle,
    ) -> io::Result<()> {
        let device = Device { monitors, shared, display };
        let mut windows =
            Windows { replug: self.on_resize == OnResize::Follow, ..Windows::default() };
        let follow = move || {
            loop {
                let due = windows.due().map(|due| due.saturating_duration_since(Instant::now()));
                let news = match due {
                    Some(due) => self.receiver.recv_timeout(due),
                    None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match news {
                    Ok(News::Window(_)) if self.on_resize == OnResize::Ignore => {}
                    Ok(News::Window(resized)) => windows.resized(resized, Instant::now()),
                    Ok(News::Monitor(resized)) => windows.set(resized, Instant::now()),
                    Err(RecvTimeoutError::Timeout) => windows.act(&device, Instant::now()),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        thread::Builder::new().name("window-sizes".into()).spawn(follow)?;
        Ok(())
    }
}

/// What is done to the device.
trait Target {
    /// Changes the monitors and tells the driver. False: it cannot be so, or is so already.
    fn change(&self, change: MonitorChange) -> bool;
    /// The monitor of a scanout.
    fn monitor(&self, scanout: u32) -> Option<MonitorSpec>;
    /// Size of what a client shows.
    fn shown(&self, scanout: u32) -> Option<(u32, u32)>;
}

struct Device {
    monitors: Monitors,
    shared: Arc<Mutex<Shared>>,
    display: DisplayHandle,
}

impl Target for Device {
    fn change(&self, change: MonitorChange) -> bool {
        match self.monitors.change(change) {
            Ok(changed) if changed.is_news => {
                if let Err(error) = Shared::monitors_changed(&self.shared) {
                    log::warn!("the driver is not told of a window's size: {}", one_line(&error));
                }
                true
            }
            Ok(_) => false,
            Err(error) => {
                log::info!("a window's size is no mode: {}", one_line(&error));
                false
            }
        }
    }

    fn monitor(&self, scanout: u32) -> Option<MonitorSpec> {
        self.monitors.all().into_iter().nth(scanout as usize).flatten()
    }

    fn shown(&self, scanout: u32) -> Option<(u32, u32)> {
        let figures = self.display.statistics(scanout)?;
        (figures.signal == Signal::Live).then_some((figures.width, figures.height))
    }
}

/// Windows that have another size than before, by scanout.
#[derive(Debug, Default)]
struct Windows {
    steps: BTreeMap<u32, (Instant, Step)>,
    /// For clients that take no notice of a new mode.
    replug: bool,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Tell the driver of this size.
    Tell { width: u32, height: u32 },
    /// See whether the client shows this size.
    See { width: u32, height: u32 },
    /// Plug this monitor in again.
    Plug(MonitorSpec),
}

impl Windows {
    fn resized(&mut self, resized: Resized, now: Instant) {
        let Resized { scanout, size: (width, height) } = resized;
        let step = match self.steps.remove(&scanout) {
            // It is plugged in with the newer size.
            Some((due, Step::Plug(mut monitor))) => {
                (monitor.mode.width, monitor.mode.height) = (width, height);
                (due, Step::Plug(monitor))
            }
            _ => (now + SETTLED, Step::Tell { width, height }),
        };
        self.steps.insert(scanout, step);
    }

    /// A monitor was set, whatever its window wanted before.
    fn set(&mut self, Resized { scanout, size: (width, height) }: Resized, now: Instant) {
        self.steps.insert(scanout, (now + PATIENCE, Step::See { width, height }));
    }

    /// When something is to be done.
    fn due(&self) -> Option<Instant> {
        self.steps.values().map(|(due, _)| *due).min()
    }

    /// Does what is due.
    fn act(&mut self, device: &impl Target, now: Instant) {
        let is_due =
            |(scanout, (due, _)): (&u32, &(Instant, Step))| (*due <= now).then_some(*scanout);
        let due: Vec<u32> = self.steps.iter().filter_map(is_due).collect();
        for scanout in due {
            let Some((_, step)) = self.steps.remove(&scanout) else { continue };
            if let Some((wait, next)) = self.step(scanout, step, device) {
                self.steps.insert(scanout, (now + wait, next));
            }
        }
    }

    fn step(&self, scanout: u32, step: Step, device: &impl Target) -> Option<(Duration, Step)> {
        match step {
            Step::Tell { width, height } => {
                let changed = device.change(MonitorChange::Resize { scanout, width, height });
                (changed && self.replug).then_some((PATIENCE, Step::See { width, height }))
            }
            Step::See { width, height } => {
                // Without a client there is nobody who has to follow.
                let shown = device.shown(scanout)?;
                let monitor = device.monitor(scanout)?;
                let is_wanted = (monitor.mode.width, monitor.mode.height) == (width, height);
                if shown == (width, height) || !is_wanted {
                    return None;
                }
                log::info!(
                    "scanout {scanout}: plugged in anew for a client that stays at its mode"
                );
                let removed = device.change(MonitorChange::Remove(scanout));
                removed.then_some((UNPLUGGED, Step::Plug(monitor)))
            }
            Step::Plug(monitor) => {
                // Unless somebody else has, meanwhile.
                if device.monitor(scanout).is_none() {
                    device.change(MonitorChange::Set(scanout, monitor));
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Monitors without a driver, and what was told of them.
    struct Fake {
        monitors: Monitors,
        told: RefCell<Vec<Option<(u32, u32)>>>,
        shown: Cell<Option<(u32, u32)>>,
    }

    impl Fake {
        fn new() -> Self {
            let monitors = Monitors::new(vec!["800x600".parse().unwrap()], 2);
            Self { monitors, told: RefCell::default(), shown: Cell::new(Some((800, 600))) }
        }
    }

    impl Target for Fake {
        fn change(&self, change: MonitorChange) -> bool {
            let Ok(changed) = self.monitors.change(change) else { return false };
            let monitor = self.monitor(changed.scanout);
            if changed.is_news {
                let size = monitor.map(|monitor| (monitor.mode.width, monitor.mode.height));
                self.told.borrow_mut().push(size);
            }
            changed.is_news
        }

        fn monitor(&self, scanout: u32) -> Option<MonitorSpec> {
            self.monitors.all()[scanout as usize].clone()
        }

        fn shown(&self, _: u32) -> Option<(u32, u32)> {
            self.shown.get()
        }
    }

    /// Does all there is to do, `until` then.
    fn run(windows: &mut Windows, device: &Fake, until: Instant) {
        while let Some(due) = windows.due().filter(|due| *due <= until) {
            windows.act(device, due);
        }
    }

    fn resized(width: u32, height: u32) -> Resized {
        Resized { scanout: 0, size: (width, height) }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_last_size_of_many_is_told() {
        let (device, start) = (Fake::new(), Instant::now());
        let mut windows = Windows::default();
        for step in 0..10 {
            windows.resized(resized(900 + step, 700), start + step * 20 * MS);
            run(&mut windows, &device, start + step * 20 * MS);
        }
        assert_eq!(*device.told.borrow(), []);
        run(&mut windows, &device, start + Duration::from_secs(10));
        assert_eq!(*device.told.borrow(), [Some((909, 700))]);
        // Without `replug` nobody looks whether it is followed.
        assert_eq!(windows.due(), None);
    }

    #[test]
    fn who_follows_keeps_the_monitor() {
        let (device, start) = (Fake::new(), Instant::now());
        let mut windows = Windows { replug: true, ..Windows::default() };
        windows.resized(resized(1024, 768), start);
        run(&mut windows, &device, start + SETTLED);
        device.shown.set(Some((1024, 768)));
        run(&mut windows, &device, start + Duration::from_secs(10));
        assert_eq!(*device.told.borrow(), [Some((1024, 768))]);
        // The size that it has is no news.
        windows.resized(resized(1024, 768), start);
        run(&mut windows, &device, start + Duration::from_secs(10));
        assert_eq!(device.told.borrow().len(), 1);
    }

    #[test]
    fn who_does_not_follow_sees_it_plugged_in_anew() {
        let (device, start) = (Fake::new(), Instant::now());
        let mut windows = Windows { replug: true, ..Windows::default() };
        windows.resized(resized(1024, 768), start);
        run(&mut windows, &device, start + SETTLED + PATIENCE - MS);
        assert_eq!(*device.told.borrow(), [Some((1024, 768))]);
        run(&mut windows, &device, start + SETTLED + PATIENCE);
        assert_eq!(*device.told.borrow(), [Some((1024, 768)), None]);
        // A newer size while it is unplugged is the one that it comes back with.
        windows.resized(resized(1280, 720), start + SETTLED + PATIENCE + MS);
        run(&mut windows, &device, start + Duration::from_secs(10));
        assert_eq!(*device.told.borrow(), [Some((1024, 768)), None, Some((1280, 720))]);
    }

    #[test]
    fn a_monitor_that_was_set_is_plugged_in_anew_for_who_does_not_follow() {
        let (device, start) = (Fake::new(), Instant::now());
        // Whatever windows do.
        let mut windows = Windows::default();
        let set = MonitorChange::Set(0, "1024x768@50,name=new".parse().unwrap());
        let wanted = resized(1024, 768);
        device.change(set.clone());
        windows.set(wanted, start);
        run(&mut windows, &device, start + PATIENCE - MS);
        assert_eq!(*device.told.borrow(), [Some((1024, 768))]);
        run(&mut windows, &device, start + PATIENCE + UNPLUGGED);
        assert_eq!(*device.told.borrow(), [Some((1024, 768)), None, Some((1024, 768))]);
        let Some(monitor) = device.monitor(0) else { panic!("it is not plugged in") };
        assert_eq!(monitor.to_string(), "1024x768@50,name=new");
        assert_eq!(windows.due(), None);
        // Who follows keeps it.
        device.shown.set(Some((1024, 768)));
        windows.set(wanted, start);
        run(&mut windows, &device, start + Duration::from_secs(10));
        assert_eq!(device.told.borrow().len(), 3);
    }

    #[test]
    fn nobody_is_bothered_who_is_not_there() {
        let (device, start) = (Fake::new(), Instant::now());
        let mut windows = Windows { replug: true, ..Windows::default() };
        device.shown.set(None);
        windows.resized(resized(1024, 768), start);
        run(&mut windows, &device, start + Duration::from_secs(10));
        assert_eq!(*device.told.borrow(), [Some((1024, 768))]);
        // Nor is there a monitor of such a scanout, or such a size.
        device.shown.set(Some((1024, 768)));
        windows.resized(Resized { scanout: 1, size: (800, 600) }, start);
        windows.resized(resized(20000, 768), start);
        run(&mut windows, &device, start + Duration::from_secs(10));
        assert_eq!(device.told.borrow().len(), 1);
    }
}
