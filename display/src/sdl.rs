//! The display in SDL windows, one for each scanout.
//!
//! [`Shared`] is what other threads see: they note what changed and wake the presenter, which owns
//! everything of SDL's and stays on one thread. It sleeps in the kernel until there is an event or
//! something to show.
//!
//! When an X server goes away, Xlib ends the process by `exit(1)` (its I/O error handler must not
//! return, and SDL 2 leaves the default): destructors do not run, and nothing here can be said to
//! the user but Xlib's own line. What the process held must therefore be safe to lose at any time.

mod ffi;
mod window;

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sdl2::event::{Event, EventSender, EventType, WindowEvent};
use sdl2::keyboard::Keycode;
use sdl2::{EventPump, Sdl, VideoSubsystem, hint};

use self::window::{Drawing, Window};
use crate::shared::{Reply, ScanoutWork, Shared, Wake, Work};
use crate::{ClosePolicy, DisplayError, DisplayEvent, FrameLayout, Options, SdlOptions, Signal};

/// Longest wait for an event; only there because SDL's wait without one cannot report a failure.
const FOREVER: Duration = Duration::from_millis(i32::MAX as u64);

/// A wait that ends at once without an event is a failure, if it does so this often.
const MAX_FAILED_WAITS: u32 = 100;

/// A scanout's window.
enum Slot {
    Open(Box<Window>),
    /// Could not be opened for this layout; tried again with the next one.
    Failed(FrameLayout),
}

/// Is told what the user does to the windows.
type EventSink = Box<dyn Fn(DisplayEvent) + Send>;

/// Owns everything of SDL's. Not `Send`.
pub(crate) struct SdlPresenter {
    slots: BTreeMap<u32, Slot>,
    pump: EventPump,
    video: VideoSubsystem,
    drawing: Drawing,
    name: String,
    options: SdlOptions,
    on_event: EventSink,
    shared: Arc<Shared>,
    failed_waits: u32,
    /// Last: SDL ends when everything above is gone.
    _sdl: Sdl,
}

impl SdlPresenter {
    pub(crate) fn open(
        options: Options,
        on_event: EventSink,
    ) -> Result<SdlPresenter, DisplayError> {
        let no_window_system = |reason| DisplayError::NoWindowSystem { reason };
        set_hints(&options.sdl);
        let sdl = sdl2::init().map_err(no_window_system)?;
        let video = sdl.video().map_err(no_window_system)?;
        let mut pump = sdl.event_pump().map_err(no_window_system)?;
        // Nothing here takes text or files, and the binding panics on such events that are not
        // UTF-8.
        video.text_input().stop();
        for kind in
            [EventType::TextInput, EventType::TextEditing, EventType::DropFile, EventType::DropText]
        {
            pump.disable_event(kind);
        }
        // The pointer over a window is the scanout's.
        sdl.mouse().show_cursor(false);
        let sender = sdl.event().map_err(no_window_system)?.event_sender();
        log::debug!("SDL {} on {}", sdl2::version::version(), video.current_video_driver());
        Ok(SdlPresenter {
            slots: BTreeMap::new(),
            drawing: Drawing::new(options.sdl.renderer, video.current_video_driver()),
            pump,
            video,
            name: options.name,
            options: options.sdl,
            on_event,
            shared: Shared::new(Box::new(sender)),
            failed_waits: 0,
            _sdl: sdl,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Until quit.
    pub(crate) fn run(&mut self) -> Result<(), DisplayError> {
        loop {
            let work = self.shared.take_work();
            if work.quit {
                return Ok(());
            }
            self.process(work);
            self.wait()?;
            if self.options.on_close == ClosePolicy::Quit && self.is_closed_by_user() {
                return Ok(());
            }
        }
    }

    fn process(&mut self, work: Work) {
        // All pixels are latched before anything is presented, which may take long: whoever waits
        // for one scanout's pixels does not wait for another's window.
        for scanout in work.scanouts {
            self.update(scanout);
        }
        self.shared.have_read();
        let now = Instant::now();
        for (&id, slot) in &mut self.slots {
            let Slot::Open(window) = slot else { continue };
            if window.present() {
                let rate = self.shared.presented(id, now);
                window.show_rate(rate, now);
            }
            window.expire_rate(now);
        }
        for (id, reply) in work.screenshots {
            self.screenshot(id, &reply);
        }
    }

    /// Latches one scanout's changes. When this returns, its `done`s have run.
    fn update(&mut self, work: ScanoutWork) {
        if let (Some(frame), false) = (&work.frame, work.damage.is_empty())
            && let Some(window) = self.window(work.id, frame.layout())
            && let Err(error) = window.latch(frame, &work.damage)
        {
            log::error!("scanout {}: {error}", work.id);
        }
        drop(work.done);
        if let Some(Slot::Open(window)) = self.slots.get_mut(&work.id) {
            window.set_cursor(work.cursor);
            window.set_signal(work.signal);
        }
    }

    /// The scanout's window, opened if there is none.
    fn window(&mut self, id: u32, layout: &FrameLayout) -> Option<&mut Window> {
        let is_known = match self.slots.get(&id) {
            Some(Slot::Open(_)) => true,
            Some(Slot::Failed(known)) => known == layout,
            None => false,
        };
        if !is_known {
            let name = window_name(&self.name, id);
            let size = (layout.width, layout.height);
            let opened = self.drawing.open(&self.video, name, size, self.options.fullscreen);
            let slot = opened.map_or_else(
                |error| {
                    log::error!("scanout {id}: {error}");
                    Slot::Failed(*layout)
                },
                |window| Slot::Open(Box::new(window)),
            );
            self.slots.insert(id, slot);
        }
        match self.slots.get_mut(&id)? {
            Slot::Open(window) => Some(window),
            Slot::Failed(_) => None,
        }
    }

    fn screenshot(&mut self, id: u32, reply: &Reply) {
        let picture = match self.slots.get_mut(&id) {
            Some(Slot::Open(window)) => window.screenshot(),
            Some(Slot::Failed(_)) | None => Err(DisplayError::NoPicture(id)),
        };
        // Whoever asked may have stopped waiting.
        let _ = reply.send(picture);
    }

    /// Blocks until there is something to do, and handles all events there are.
    fn wait(&mut self) -> Result<(), DisplayError> {
        let windows = self.slots.values().filter_map(|slot| match slot {
            Slot::Open(window) => Some(window),
            Slot::Failed(_) => None,
        });
        let needs_present = windows.clone().any(|window| window.needs_present());
        let deadline = windows.clone().filter_map(|window| window.rate_expiry()).min();
        let has_windows = windows.count() > 0;
        if !needs_present {
            let timeout = deadline.map_or(FOREVER, |deadline| {
                deadline.saturating_duration_since(Instant::now()).min(FOREVER)
            });
            if has_windows && self.driver_can_wait() {
                self.wait_for_event(timeout)?;
            } else {
                self.shared.wait(timeout);
            }
        }
        while let Some(event) = self.pump.poll_event() {
            self.handle(&event);
        }
        Ok(())
    }

    /// True if SDL blocks in the kernel for events of this video driver. For others it looks every
    /// millisecond, but those have no events anyway.
    fn driver_can_wait(&self) -> bool {
        !matches!(self.video.current_video_driver(), "dummy" | "offscreen" | "evdev")
    }

    fn wait_for_event(&mut self, timeout: Duration) -> Result<(), DisplayError> {
        let start = Instant::now();
        // Rounded up, or the last millisecond before a deadline would be spent spinning.
        let millis = u32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX as u32);
        if let Some(event) = self.pump.wait_event_timeout(millis) {
            self.failed_waits = 0;
            self.handle(&event);
        } else if start.elapsed() < timeout / 2 {
            self.failed_waits += 1;
            if self.failed_waits > MAX_FAILED_WAITS {
                let reason = sdl2::get_error();
                return Err(DisplayError::Sdl { what: "wait for window events", reason });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn handle(&mut self, event: &Event) {
        match *event {
            Event::Window { window_id, ref win_event, .. } => {
                self.handle_window(window_id, win_event);
            }
            Event::KeyDown { window_id, keycode: Some(Keycode::F11), repeat: false, .. } => {
                if let Some((_, window)) = self.find(window_id) {
                    window.toggle_fullscreen();
                }
            }
            // From the session, or the display server going away.
            Event::Quit { .. } => {
                let ids: Vec<u32> = self.slots.keys().copied().collect();
                for id in ids {
                    self.close_requested(id);
                }
            }
            Event::RenderTargetsReset { .. } | Event::RenderDeviceReset { .. } => {
                self.shared.redraw_all();
            }
            _ => {}
        }
    }

    fn handle_window(&mut self, window_id: u32, event: &WindowEvent) {
        let Some((scanout, window)) = self.find(window_id) else { return };
        match *event {
            WindowEvent::Close => self.close_requested(scanout),
            WindowEvent::Exposed | WindowEvent::SizeChanged(..) | WindowEvent::Shown => {
                window.redraw();
            }
            WindowEvent::Resized(width, height) => {
                window.redraw();
                if let (Ok(width), Ok(height)) = (width.try_into(), height.try_into()) {
                    (self.on_event)(DisplayEvent::Resized { scanout, width, height });
                }
            }
            _ => {}
        }
    }

    fn close_requested(&mut self, scanout: u32) {
        let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) else { return };
        if window.is_closed() {
            return;
        }
        match self.options.on_close {
            ClosePolicy::Quit => window.close(),
            ClosePolicy::Report => {}
        }
        (self.on_event)(DisplayEvent::CloseRequested { scanout });
    }

    /// True if there were windows and the user has closed all of them.
    fn is_closed_by_user(&self) -> bool {
        let mut windows = self.slots.values().filter_map(|slot| match slot {
            Slot::Open(window) => Some(window.is_closed()),
            Slot::Failed(_) => None,
        });
        windows.next().is_some_and(|first| first && windows.all(|closed| closed))
    }

    fn find(&mut self, window_id: u32) -> Option<(u32, &mut Window)> {
        self.slots.iter_mut().find_map(|(&id, slot)| match slot {
            Slot::Open(window) if window.id() == window_id => Some((id, &mut **window)),
            Slot::Open(_) | Slot::Failed(_) => None,
        })
    }
}

impl Drop for SdlPresenter {
    /// Before SDL ends: from here on no other thread calls it.
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Wake for EventSender {
    fn wake(&self) {
        let event = Event::User {
            timestamp: 0,
            window_id: 0,
            type_: EventType::User as u32,
            code: 0,
            data1: std::ptr::null_mut(),
            data2: std::ptr::null_mut(),
        };
        if let Err(error) = self.push_event(event) {
            log::error!("cannot wake the display: {error}");
        }
    }
}

/// Only what the user's environment does not set itself: SDL lets that win.
fn set_hints(options: &SdlOptions) {
    const NAME: &str = "virtio-loopback-gpu";
    // By itself SDL would go on to kmsdrm, and so take over a card (possibly the very one that is
    // shown here) when there is no window system. libwayland prints a line of its own when it is
    // asked without this directory.
    let has_wayland = env::var_os("XDG_RUNTIME_DIR").is_some();
    let window_systems = if has_wayland { "x11,wayland" } else { "x11" };
    for (hint, value) in [
        // SIGINT and SIGTERM belong to the program.
        ("SDL_NO_SIGNAL_HANDLERS", "1"),
        ("SDL_VIDEODRIVER", window_systems),
        ("SDL_VIDEO_ALLOW_SCREENSAVER", "1"),
        ("SDL_VIDEO_MINIMIZE_ON_FOCUS_LOSS", "0"),
        ("SDL_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR", "0"),
        ("SDL_QUIT_ON_LAST_WINDOW_CLOSE", "0"),
        ("SDL_APP_NAME", NAME),
    ] {
        hint::set(hint, value);
    }
    if let Some(driver) = &options.video_driver {
        hint::set_with_priority("SDL_VIDEODRIVER", driver, &hint::Hint::Override);
    }
}

fn window_name(name: &str, scanout: u32) -> String {
    // Titles end at a NUL, and control characters have no place in them.
    let name: String = name.chars().filter(|char| !char.is_control()).collect();
    if scanout == 0 { name } else { format!("{name}:{scanout}") }
}

/// The part of a window's title after the name. ASCII: with any other character SDL can set titles
/// on X11 only if the program has set a UTF-8 locale.
fn title_state(signal: Signal, size: (u32, u32), rate: Option<f64>) -> String {
    let (width, height) = size;
    match (signal, rate) {
        (Signal::Off, _) => "no signal".into(),
        (Signal::Lost, _) => format!("{width}x{height} - last frame"),
        (Signal::Live, Some(rate)) => format!("{width}x{height} - {rate:.0} fps"),
        (Signal::Live, None) => format!("{width}x{height}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_say_name_mode_and_rate() {
        let size = (1280, 720);
        assert_eq!(title_state(Signal::Live, size, Some(59.7)), "1280x720 - 60 fps");
        assert_eq!(title_state(Signal::Live, size, None), "1280x720");
        assert_eq!(title_state(Signal::Off, size, None), "no signal");
        assert_eq!(title_state(Signal::Lost, size, None), "1280x720 - last frame");
        assert_eq!(window_name("clu\0ster\n", 0), "cluster");
        assert_eq!(window_name("cluster", 3), "cluster:3");
    }
}
