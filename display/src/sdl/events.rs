//! What the window system says, and what follows from it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use sdl2::event::{Event, WindowEvent};
use sdl2::keyboard::{Keycode, Scancode};
use sdl2::mouse::{MouseButton, MouseWheelDirection};

use super::input::{Finger, linux_button};
use super::keys::linux_key;
use super::options::{HostPointer, ShortcutModifier};
use super::scale::Position;
use super::shortcut::{Action, Keyboard};
use super::title::window_name;
use super::window::Window;
use super::{SdlPresenter, Slot};
use crate::error::one_line;
use crate::{ClosePolicy, DisplayError, DisplayEvent};

/// Pictures of one second that are told apart.
const MAX_SAME_NAME: u32 = 1000;

/// The keyboard and the pointer, of which there is one for all windows.
pub(super) struct Seat {
    keyboard: Keyboard,
    /// The scanout whose window has both for itself.
    grabbed: Option<u32>,
    /// The scanout over whose window the pointer is, and where, in the window system's units.
    pointer: Option<(u32, i32, i32)>,
    /// Whether the window system draws a pointer.
    has_pointer: bool,
}

impl Seat {
    pub(super) fn new(modifier: ShortcutModifier) -> Seat {
        Seat { keyboard: Keyboard::new(modifier), grabbed: None, pointer: None, has_pointer: true }
    }
}

impl SdlPresenter {
    pub(super) fn handle(&mut self, event: &Event) {
        match *event {
            Event::Window { window_id, ref win_event, .. } => {
                self.handle_window(window_id, win_event);
            }
            // Whoever has the key decides how it repeats.
            Event::KeyDown { window_id, keycode, scancode: Some(key), repeat: false, .. } => {
                self.key_down(window_id, key, keycode);
            }
            Event::KeyUp { window_id, scancode: Some(key), .. } => self.key_up(window_id, key),
            Event::MouseMotion { .. }
            | Event::MouseButtonDown { .. }
            | Event::MouseButtonUp { .. }
            | Event::MouseWheel { .. } => self.handle_mouse(event),
            Event::FingerDown { .. } | Event::FingerMotion { .. } | Event::FingerUp { .. } => {
                self.handle_finger(event);
            }
            // From the session, or the display server going away.
            Event::Quit { .. } => self.quit_requested(),
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
            WindowEvent::Exposed | WindowEvent::Shown => window.redraw(),
            WindowEvent::SizeChanged(..)
            | WindowEvent::Resized(..)
            | WindowEvent::Maximized
            | WindowEvent::Restored
            | WindowEvent::DisplayChanged(_) => window.size_changed(Instant::now()),
            WindowEvent::FocusLost => self.focus_lost(scanout),
            WindowEvent::Leave => {
                self.seat.pointer = None;
                self.show_pointer();
            }
            _ => {}
        }
    }

    /// Nothing shows the scanout any more. With a frame it has another window.
    pub(super) fn remove_window(&mut self, scanout: u32) {
        self.focus_lost(scanout);
        self.slots.remove(&scanout);
    }

    /// The user types for another window, or another program.
    fn focus_lost(&mut self, scanout: u32) {
        self.seat.keyboard.release_all();
        if self.seat.grabbed == Some(scanout) {
            self.release_grab();
        }
        if let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) {
            window.input.release_all(&*self.on_event);
        }
    }

    fn key_down(&mut self, window_id: u32, key: Scancode, symbol: Option<Keycode>) {
        let Some((scanout, _)) = self.find(window_id) else { return };
        let is_grabbed = self.seat.grabbed == Some(scanout);
        let action = self.seat.keyboard.press(key, symbol, is_grabbed);
        let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) else { return };
        if let Some(action) = action {
            // The scanout shall not think that it has the modifiers.
            window.input.release_keys(&*self.on_event);
            self.act(scanout, action);
        } else if !self.seat.keyboard.is_private(key)
            && let Some(code) = linux_key(key)
        {
            // A shortcut has taken them away, and now they are for the scanout after all.
            for modifier in self.seat.keyboard.held_modifiers() {
                if let Some(code) = linux_key(modifier)
                    && !self.seat.keyboard.is_private(modifier)
                {
                    window.input.key(code, true, &*self.on_event);
                }
            }
            window.input.key(code, true, &*self.on_event);
        }
    }

    fn key_up(&mut self, window_id: u32, key: Scancode) {
        self.seat.keyboard.release(key);
        let Some((scanout, _)) = self.find(window_id) else { return };
        // Of a shortcut's key the scanout does not know that it is down.
        if let (Some(code), Some(Slot::Open(window))) =
            (linux_key(key), self.slots.get_mut(&scanout))
        {
            window.input.key(code, false, &*self.on_event);
        }
    }

    fn act(&mut self, scanout: u32, action: Action) {
        let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) else { return };
        match action {
            Action::Fullscreen => window.toggle_fullscreen(),
            Action::OriginalSize => window.set_original_size(),
            Action::Larger => window.zoom(true),
            Action::Smaller => window.zoom(false),
            Action::NextScaling => window.set_next_scaling(),
            Action::NextFilter => window.set_next_filter(),
            Action::Overlay => window.toggle_overlay(),
            Action::Grab => self.toggle_grab(scanout),
            Action::Screenshot => self.save_screenshot(scanout),
            Action::Quit => self.quit_requested(),
        }
    }

    fn toggle_grab(&mut self, scanout: u32) {
        if self.seat.grabbed.is_some() {
            return self.release_grab();
        }
        let release = format!("{}+G", self.seat.keyboard.modifier());
        if let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) {
            window.set_grab(Some(release));
            self.sdl.mouse().set_relative_mouse_mode(true);
            self.seat.grabbed = Some(scanout);
        }
    }

    fn release_grab(&mut self) {
        let Some(scanout) = self.seat.grabbed.take() else { return };
        self.sdl.mouse().set_relative_mouse_mode(false);
        if let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) {
            window.set_grab(None);
        }
    }

    fn handle_mouse(&mut self, event: &Event) {
        let (window_id, x, y) = match *event {
            Event::MouseMotion { window_id, x, y, .. }
            | Event::MouseButtonDown { window_id, x, y, .. }
            | Event::MouseButtonUp { window_id, x, y, .. } => (window_id, x, y),
            Event::MouseWheel { window_id, mouse_x, mouse_y, .. } => (window_id, mouse_x, mouse_y),
            _ => return,
        };
        let Some((scanout, window)) = self.find(window_id) else { return };
        let Some(at) = window.view().map(|view| view.at(x, y)) else { return };
        let grabbed = self.seat.grabbed == Some(scanout);
        self.seat.pointer = Some((scanout, x, y));
        let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) else { return };
        let sink = &*self.on_event;
        match *event {
            Event::MouseMotion { xrel, yrel, .. } if grabbed => {
                window.input.relative_motion(xrel, yrel, sink);
            }
            Event::MouseMotion { .. } => window.input.motion(at, sink),
            Event::MouseButtonDown { mouse_btn, .. } => {
                press_button(window, mouse_btn, true, (!grabbed).then_some(at), sink);
            }
            Event::MouseButtonUp { mouse_btn, .. } => {
                press_button(window, mouse_btn, false, (!grabbed).then_some(at), sink);
            }
            Event::MouseWheel { precise_x, precise_y, direction, .. } => {
                let sign = if direction == MouseWheelDirection::Flipped { -1.0 } else { 1.0 };
                if grabbed || at.is_inside {
                    window.input.wheel(precise_x * sign, precise_y * sign, sink);
                }
            }
            _ => {}
        }
        self.show_pointer();
    }

    /// Shows the window system's pointer, or hides it over the picture: see [`HostPointer`].
    pub(super) fn show_pointer(&mut self) {
        let hides = |window: &Window| match self.options.host_pointer {
            HostPointer::Auto => window.shows_pointer(),
            HostPointer::Show => false,
            HostPointer::Hide => true,
        };
        let is_needed = self.seat.pointer.is_none_or(|(scanout, x, y)| {
            let Some(Slot::Open(window)) = self.slots.get(&scanout) else { return true };
            !window.view().is_some_and(|view| view.at(x, y).is_inside && hides(window))
        });
        if is_needed != self.seat.has_pointer {
            self.seat.has_pointer = is_needed;
            self.sdl.mouse().show_cursor(is_needed);
        }
    }

    fn handle_finger(&mut self, event: &Event) {
        let (finger, x, y): (Finger, f32, f32) = match *event {
            Event::FingerDown { touch_id, finger_id, x, y, .. }
            | Event::FingerMotion { touch_id, finger_id, x, y, .. }
            | Event::FingerUp { touch_id, finger_id, x, y, .. } => ((touch_id, finger_id), x, y),
            _ => return,
        };
        let Some(scanout) = self.touched_scanout(finger) else { return };
        let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) else { return };
        let Some(at) = window.view().map(|view| view.at_part(x, y)) else { return };
        let sink = &*self.on_event;
        match *event {
            Event::FingerDown { .. } => window.input.finger_down(finger, at, sink),
            Event::FingerMotion { .. } => window.input.finger_motion(finger, at, sink),
            _ => window.input.finger_up(finger, sink),
        }
    }

    /// The binding does not say which window an event of a finger is for.
    fn touched_scanout(&self, finger: Finger) -> Option<u32> {
        let mouse = self.sdl.mouse().focused_window_id();
        let focused = mouse.or_else(|| self.sdl.keyboard().focused_window_id());
        let windows = || {
            self.slots.iter().filter_map(|(&id, slot)| match slot {
                Slot::Open(window) => Some((id, window)),
                Slot::Failed(_) => None,
            })
        };
        windows()
            .find(|(_, window)| window.input.has_finger(finger))
            .or_else(|| windows().find(|(_, window)| Some(window.id()) == focused))
            .or_else(|| windows().next().filter(|_| windows().count() == 1))
            .map(|(id, _)| id)
    }

    fn save_screenshot(&mut self, scanout: u32) {
        let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) else { return };
        let directory = self.options.screenshot_directory.as_deref().unwrap_or(Path::new("."));
        // Whoever presses a key does not know where the program was started.
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let path = screenshot_path(&directory, &self.name, scanout);
        let saved = window
            .screenshot()
            .and_then(|picture| picture.write_png(&path).map_err(DisplayError::from));
        match saved {
            Ok(()) => (self.on_event)(DisplayEvent::ScreenshotSaved { scanout, path }),
            Err(error) => log::error!("no screenshot of scanout {scanout}: {}", one_line(&error)),
        }
    }

    fn quit_requested(&mut self) {
        let ids: Vec<u32> = self.slots.keys().copied().collect();
        for id in ids {
            self.close_requested(id);
        }
    }

    fn close_requested(&mut self, scanout: u32) {
        let Some(Slot::Open(window)) = self.slots.get(&scanout) else { return };
        if window.is_closed() {
            return;
        }
        match self.options.on_close {
            ClosePolicy::Quit => {
                self.focus_lost(scanout);
                if let Some(Slot::Open(window)) = self.slots.get_mut(&scanout) {
                    window.close();
                }
            }
            ClosePolicy::Report => {}
        }
        (self.on_event)(DisplayEvent::CloseRequested { scanout });
    }

    /// True if there were windows and the user has closed all of them.
    pub(super) fn is_closed_by_user(&self) -> bool {
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

fn press_button(
    window: &mut Window,
    button: MouseButton,
    is_down: bool,
    at: Option<Position>,
    sink: &dyn Fn(DisplayEvent),
) {
    if let Some(code) = linux_button(button) {
        window.input.button(code, is_down, at, sink);
    }
}

/// A name that is free: `cluster-0-2026-11-26_220542.png`, by the local time.
fn screenshot_path(directory: &Path, name: &str, scanout: u32) -> PathBuf {
    let name = window_name(name, 0).replace('/', "_");
    let time = jiff::Zoned::now().strftime("%Y-%m-%d_%H%M%S").to_string();
    let path = |serial: &str| directory.join(format!("{name}-{scanout}-{time}{serial}.png"));
    let serials = (1..MAX_SAME_NAME).map(|serial| path(&format!("-{serial}")));
    // Beyond that many in a second the last one is replaced.
    std::iter::once(path("")).chain(serials).find(|path| !path.exists()).unwrap_or_else(|| path(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screenshots_have_names_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let first = screenshot_path(directory.path(), "clu/ster", 2);
        let name = first.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("clu_ster-2-20") && name.ends_with(".png"), "{name}");
        assert_eq!(name.len(), "clu_ster-2-2026-11-26_220542.png".len());
        std::fs::write(&first, "").unwrap();
        assert_ne!(screenshot_path(directory.path(), "clu/ster", 2), first);
    }
}
