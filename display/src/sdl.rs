//! The display in SDL windows, one for each scanout.
//!
//! [`Shared`] is what other threads see: they note what changed and wake the presenter, which owns
//! everything of SDL's and stays on one thread. It sleeps in the kernel until there is an event or
//! something to show.
//!
//! When an X server goes away, Xlib ends the process by `exit(1)` (its I/O error handler must not
//! return, and SDL 2 leaves the default): destructors do not run, and nothing here can be said to
//! the user but Xlib's own line. What the process held must therefore be safe to lose at any time.

mod events;
mod ffi;
mod input;
mod keys;
mod options;
mod resize;
mod scale;
mod shortcut;
mod title;
mod window;

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sdl2::event::{Event, EventSender, EventType};
use sdl2::{EventPump, Sdl, VideoSubsystem, hint};

use self::events::Seat;
use self::title::window_name;
use self::window::{Drawing, Request, Window};
use crate::shared::{Reply, ScanoutWork, Shared, Wake, Work};
use crate::{DisplayError, DisplayEvent, FrameLayout, Options, Signal};

pub use self::options::{
    ClosePolicy, Filter, HostPointer, RendererChoice, Scaling, SdlOptions, ShortcutModifier,
};

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
    seat: Seat,
    shared: Arc<Shared>,
    failed_waits: u32,
    /// Last: SDL ends when everything above is gone.
    sdl: Sdl,
}

impl SdlPresenter {
    pub(crate) fn open(
        options: Options,
        on_event: EventSink,
    ) -> Result<SdlPresenter, DisplayError> {
        let no_window_system = |reason| DisplayError::NoWindowSystem {
            reason,
            advice: window_system_advice(|name| env::var(name).ok()),
        };
        set_hints(&options.sdl);
        let sdl = sdl2::init().map_err(no_window_system)?;
        let video = sdl.video().map_err(no_window_system)?;
        if video.current_video_driver() == "x11" {
            ffi::pass_over_lost_windows();
        }
        let mut pump = sdl.event_pump().map_err(no_window_system)?;
        // Nothing here takes text or files, and the binding panics on such events that are not
        // UTF-8.
        video.text_input().stop();
        for kind in
            [EventType::TextInput, EventType::TextEditing, EventType::DropFile, EventType::DropText]
        {
            pump.disable_event(kind);
        }
        let sender = sdl.event().map_err(no_window_system)?.event_sender();
        log::debug!("SDL {} on {}", sdl2::version::version(), video.current_video_driver());
        Ok(SdlPresenter {
            slots: BTreeMap::new(),
            drawing: Drawing::new(options.sdl.renderer, video.current_video_driver()),
            pump,
            video,
            name: options.name,
            seat: Seat::new(options.sdl.shortcut_modifier.clone()),
            options: options.sdl,
            on_event,
            shared: Shared::new(Box::new(sender)),
            failed_waits: 0,
            sdl,
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
        self.show_pointer();
        let now = Instant::now();
        for (&id, slot) in &mut self.slots {
            let Slot::Open(window) = slot else { continue };
            if window.present() {
                window.show_rates(self.shared.presented(id, now), now);
            }
            window.expire_rates(now);
            if let Some((width, height)) = window.take_resize(now) {
                (self.on_event)(DisplayEvent::Resized { scanout: id, width, height });
            }
        }
        for (id, reply) in work.screenshots {
            self.screenshot(id, &reply);
        }
    }

    /// Latches one scanout's changes. When this returns, its `done`s have run.
    fn update(&mut self, work: ScanoutWork) {
        if let (Some(frame), false) = (&work.frame, work.damage.is_empty())
            && let Some(window) = self.window(work.id, frame.layout())
        {
            match window.latch(frame, &work.damage) {
                Ok(bytes) => self.shared.copied(work.id, bytes),
                Err(error) => log::error!("scanout {}: {error}", work.id),
            }
        }
        drop(work.done);
        if work.signal == Signal::Unplugged {
            return self.remove_window(work.id);
        }
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
            let request = Request {
                scanout: id,
                name: window_name(&self.name, id),
                frame: (layout.width, layout.height),
                options: &self.options,
            };
            let slot = self.drawing.open(&self.video, request).map_or_else(
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
        let deadline = windows.clone().filter_map(|window| window.deadline()).min();
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
/// What to do when there is no window system, by what the environment says of it.
fn window_system_advice(variable: impl Fn(&str) -> Option<String>) -> String {
    let server = |name, access| {
        let value = variable(name).filter(|value| !value.is_empty())?;
        Some(format!("{name}={value} ({access})"))
    };
    let servers: Vec<String> = [
        server("DISPLAY", "XAUTHORITY and xhost say who may use it"),
        server("WAYLAND_DISPLAY", "a socket in XDG_RUNTIME_DIR"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if servers.is_empty() {
        return "set DISPLAY or WAYLAND_DISPLAY".to_owned();
    }
    format!("see that this runs and lets this user in: {}", servers.join(", "))
}

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
        // By EGL in place of GLX, GL takes dma-bufs.
        ("SDL_VIDEO_X11_FORCE_EGL", "1"),
        ("SDL_QUIT_ON_LAST_WINDOW_CLOSE", "0"),
        // A finger is a finger, a mouse a mouse, and its motion what it says.
        ("SDL_TOUCH_MOUSE_EVENTS", "0"),
        ("SDL_MOUSE_TOUCH_EVENTS", "0"),
        ("SDL_MOUSE_RELATIVE_SCALING", "0"),
        // The click that gives a window the focus is for the scanout, too.
        ("SDL_MOUSE_FOCUS_CLICKTHROUGH", "1"),
        ("SDL_ALLOW_ALT_TAB_WHILE_GRABBED", "0"),
        ("SDL_APP_NAME", NAME),
    ] {
        hint::set(hint, value);
    }
    if let Some(driver) = &options.video_driver {
        hint::set_with_priority("SDL_VIDEODRIVER", driver, &hint::Hint::Override);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_about_what_is_set() {
        let advice = |x11: &str, wayland: &str| {
            window_system_advice(|name| {
                let value = if name == "DISPLAY" { x11 } else { wayland };
                (!value.is_empty()).then(|| value.to_owned())
            })
        };
        assert_eq!(advice("", ""), "set DISPLAY or WAYLAND_DISPLAY");
        assert_eq!(
            advice(":99", ""),
            "see that this runs and lets this user in: \
             DISPLAY=:99 (XAUTHORITY and xhost say who may use it)"
        );
        assert_eq!(
            advice(":99", "wayland-7"),
            "see that this runs and lets this user in: \
             DISPLAY=:99 (XAUTHORITY and xhost say who may use it), \
             WAYLAND_DISPLAY=wayland-7 (a socket in XDG_RUNTIME_DIR)"
        );
    }
}
