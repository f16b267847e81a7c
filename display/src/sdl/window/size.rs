//! The size of a window: its own, its user's, and its frames'.

use std::time::Instant;

use sdl2::video::{FullscreenType, WindowPos};

use super::Window;
use super::open::fit_screen;
use crate::sdl::resize::Size;

/// The window's sizes for the shortcuts that zoom, in per cent of the frame's.
const ZOOM_STEPS: [u32; 9] = [25, 50, 75, 100, 125, 150, 200, 300, 400];

/// A drawing area's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// In the window system's units.
    pub(super) units: Size,
    /// In the screen's pixels.
    pub(super) pixels: Size,
}

impl Sizes {
    /// What it would be with so many pixels.
    fn units_for(&self, pixels: Size) -> Size {
        let scaled = |pixels: u32, units: u32, of: u32| {
            let exact = u64::from(pixels) * u64::from(units) + u64::from(of) / 2;
            exact.checked_div(u64::from(of)).and_then(|units| u32::try_from(units).ok())
        };
        let width = scaled(pixels.0, self.units.0, self.pixels.0).unwrap_or(pixels.0);
        let height = scaled(pixels.1, self.units.1, self.pixels.1).unwrap_or(pixels.1);
        (width.max(1), height.max(1))
    }
}

impl Window {
    pub(super) fn sizes(&self) -> Sizes {
        let units = self.canvas.window().size();
        Sizes { units, pixels: self.canvas.output_size().unwrap_or(units) }
    }

    /// A frame of another size has come: the window takes it, unless its size is the user's.
    pub(super) fn follow(&mut self, frame: Size) {
        if self.keeps_size || self.resizes.is_answer(frame, Instant::now()) {
            return;
        }
        if self.is_fullscreen || self.is_maximized() {
            self.has_missed_mode = true;
            return;
        }
        self.set_size(frame);
        // Keeps windows that grow on the screen.
        if !self.is_shown && !self.has_position {
            self.canvas.window_mut().set_position(WindowPos::Centered, WindowPos::Centered);
        }
    }

    /// Gives the drawing area so many pixels, or what the screen has.
    fn set_size(&mut self, pixels: Size) {
        let wanted = self.sizes().units_for(pixels);
        let window = self.canvas.window_mut();
        let screen = window.display_index().unwrap_or(0);
        let (width, height) = fit_screen(window.subsystem(), screen, wanted);
        let before = window.size();
        if before != (width, height)
            && let Err(error) = window.set_size(width, height)
        {
            log::error!("cannot resize a window: {error}");
        }
        self.known = self.sizes();
        self.resizes.set(before, (width, height), Instant::now());
        self.needs_redraw = true;
    }

    /// The window system says that something about the size has changed.
    pub(in crate::sdl) fn size_changed(&mut self, now: Instant) {
        self.needs_redraw = true;
        let sizes = self.sizes();
        let before = std::mem::replace(&mut self.known, sizes);
        if sizes.pixels == before.pixels || sizes.pixels.0 == 0 || sizes.pixels.1 == 0 {
            return;
        }
        if sizes.units == before.units && !self.is_fullscreen && !self.is_maximized() {
            // It has come to a screen with more or fewer pixels a unit.
            if !self.keeps_size {
                self.set_size(before.pixels);
            }
        } else if self.reports_resize && !self.resizes.is_own(sizes.units, now) {
            self.resizes.changed(sizes.pixels, now);
        }
    }

    /// The size to report now, if there is one.
    pub(in crate::sdl) fn take_resize(&mut self, now: Instant) -> Option<Size> {
        self.resizes.take(now)
    }

    pub(in crate::sdl) fn toggle_fullscreen(&mut self) {
        let kind = if self.is_fullscreen { FullscreenType::Off } else { FullscreenType::Desktop };
        match self.canvas.window_mut().set_fullscreen(kind) {
            Ok(()) => {
                self.is_fullscreen = !self.is_fullscreen;
                self.needs_redraw = true;
                let has_missed_mode = self.has_missed_mode && !self.is_fullscreen;
                if has_missed_mode && !self.reports_resize && !self.keeps_size {
                    self.set_original_size();
                }
                self.size_changed(Instant::now());
            }
            Err(error) => log::error!("cannot change to or from full screen: {error}"),
        }
    }

    /// Gives the window the frame's size.
    pub(in crate::sdl) fn set_original_size(&mut self) {
        if let Some(size) = self.frame_size() {
            self.set_own_size(size);
        }
    }

    /// Gives the window the next larger or smaller step of the frame's size.
    pub(in crate::sdl) fn zoom(&mut self, is_larger: bool) {
        let Some(frame) = self.frame_size() else { return };
        let scaled = |percent: u32| {
            let scale = |length: u32| (length.saturating_mul(percent) / 100).max(1);
            (scale(frame.0), scale(frame.1))
        };
        let now = self.sizes().pixels.0;
        let mut steps = ZOOM_STEPS.into_iter().map(scaled);
        let step = if is_larger {
            steps.find(|step| step.0 > now)
        } else {
            steps.rfind(|step| step.0 < now)
        };
        if let Some(size) = step {
            self.set_own_size(size);
        }
    }

    fn set_own_size(&mut self, size: Size) {
        if self.is_fullscreen {
            return;
        }
        if self.is_maximized() {
            self.canvas.window_mut().restore();
        }
        self.has_missed_mode = false;
        self.set_size(size);
    }

    fn is_maximized(&self) -> bool {
        let maximized = sdl2::sys::SDL_WindowFlags::SDL_WINDOW_MAXIMIZED as u32;
        self.canvas.window().window_flags() & maximized != 0
    }

    fn frame_size(&self) -> Option<Size> {
        self.picture.as_ref().map(|picture| (picture.layout.width, picture.layout.height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_units() {
        let sizes = Sizes { units: (100, 80), pixels: (200, 160) };
        assert_eq!(sizes.units_for((1280, 720)), (640, 360));
        let fractional = Sizes { units: (100, 80), pixels: (150, 120) };
        assert_eq!(fractional.units_for((1280, 720)), (853, 480));
        assert_eq!(Sizes::default().units_for((5, 6)), (5, 6));
    }
}
