//! One scanout's window: what it shows.

mod cursor;
mod import;
mod open;
mod overlay;
mod size;

use std::time::Instant;

use sdl2::pixels::{Color, PixelFormatEnum};
use sdl2::render::{BlendMode, ScaleMode, Texture, TextureAccess, WindowCanvas};

pub(super) use self::open::{Drawing, Request};

use self::cursor::{cursor_texture, place_cursor};
use self::import::Imports;
use self::overlay::{Overlay, Timing};
use self::size::Sizes;
use super::ffi;
use super::input::Input;
use super::resize::Resizes;
use super::scale::{View, place};
use super::title::{ShownRates, Title};
use crate::cursor::Cursor;
use crate::statistics::Rates;
use crate::{
    DisplayError, Filter, Frame, FrameLayout, Origin, Picture, PixelFormat, Rect, Scaling, Signal,
};

/// The pixels of the last latch, in memory order.
struct PictureTexture {
    texture: Texture,
    layout: FrameLayout,
    /// GL draws into it, instead of the processor.
    is_target: bool,
    /// Nothing of it is defined yet.
    is_blank: bool,
}

/// A scanout's window.
pub(super) struct Window {
    canvas: WindowCanvas,
    picture: Option<PictureTexture>,
    imports: Imports,
    cursor: Cursor,
    cursor_texture: Option<Texture>,
    scaling: Scaling,
    filter: Filter,
    overlay: Option<Overlay>,
    timing: Timing,
    signal: Signal,
    name: String,
    /// What the title says now.
    title: String,
    rates: ShownRates,
    /// The keys that release keyboard and pointer, while they are grabbed.
    release: Option<String>,
    /// What the scanout knows of the user's input.
    pub(super) input: Input,
    resizes: Resizes,
    /// The size that all has been done for.
    known: Sizes,
    reports_resize: bool,
    /// Frames do not change the window's size.
    keeps_size: bool,
    has_position: bool,
    /// The frame's size has changed when the window's could not.
    has_missed_mode: bool,
    /// The window does not show the newest pixels.
    has_new_pixels: bool,
    needs_redraw: bool,
    is_shown: bool,
    is_closed: bool,
    is_fullscreen: bool,
}

impl Window {
    fn new(canvas: WindowCanvas, request: Request) -> Window {
        let Request { scanout, name, options, .. } = request;
        log::info!("{name}: drawing by {}", canvas.info().name);
        let imports = Imports::new(&canvas);
        let mut window = Window {
            canvas,
            imports,
            picture: None,
            cursor: Cursor::default(),
            cursor_texture: None,
            scaling: options.scaling,
            filter: options.filter,
            overlay: None,
            timing: Timing::default(),
            signal: Signal::Live,
            name,
            title: String::new(),
            rates: ShownRates::default(),
            release: None,
            input: Input::new(scanout),
            resizes: Resizes::default(),
            known: Sizes::default(),
            reports_resize: options.report_resize,
            keeps_size: options.size.is_some(),
            has_position: options.position.is_some(),
            has_missed_mode: false,
            has_new_pixels: false,
            needs_redraw: false,
            is_shown: false,
            is_closed: false,
            is_fullscreen: false,
        };
        window.known = window.sizes();
        if options.fullscreen {
            window.toggle_fullscreen();
        }
        window
    }

    pub(super) fn id(&self) -> u32 {
        self.canvas.window().id()
    }

    /// Takes `damage` out of the frame's memory, or everything if it is the first of its kind. Gives
    /// the bytes that the processor has copied for that.
    pub(super) fn latch(&mut self, frame: &Frame, damage: &[Rect]) -> Result<u64, DisplayError> {
        let bounds = [frame.layout().bounds()];
        let start = Instant::now();
        let is_import = self.imports.has(&self.canvas, frame);
        let mut picture = self.take_picture(frame.layout(), is_import)?;
        let damage = if picture.is_blank { &bounds } else { damage };
        let in_memory: Vec<Rect> = damage.iter().map(|&rect| frame.in_memory_order(rect)).collect();
        let taken = if is_import {
            self.imports.copy(&mut self.canvas, &mut picture.texture, &in_memory)
        } else {
            let mut upload = |&rect: &Rect| ffi::upload(&mut picture.texture, frame, rect);
            in_memory.iter().try_for_each(&mut upload).map_err(sdl_error("read a frame"))
        };
        picture.is_blank &= taken.is_err();
        self.picture = Some(picture);
        taken?;
        self.has_new_pixels = true;
        self.timing.upload = start.elapsed();
        self.timing.bytes = if is_import { 0 } else { damage.iter().map(Rect::bytes).sum() };
        self.timing.rects = damage.len();
        self.timing.around = damage.iter().fold(Rect::default(), |sum, rect| sum.bounding(rect));
        Ok(self.timing.bytes)
    }

    /// The texture for frames of this layout, to be put back. A new size also changes the window's.
    fn take_picture(
        &mut self,
        layout: &FrameLayout,
        is_target: bool,
    ) -> Result<PictureTexture, DisplayError> {
        let size = (layout.width, layout.height);
        let known = self.picture.take();
        let known_size = known.as_ref().map(|known| (known.layout.width, known.layout.height));
        let is_fit = known.as_ref().is_some_and(|known| {
            known.layout.format == layout.format && known.is_target == is_target
        });
        let picture = match known {
            Some(known) if known_size == Some(size) && is_fit => {
                PictureTexture { layout: *layout, ..known }
            }
            known => {
                if let Some(known) = known {
                    ffi::destroy(known.texture, &self.canvas);
                }
                if known_size != Some(size) {
                    self.follow(size);
                }
                let access =
                    if is_target { TextureAccess::Target } else { TextureAccess::Streaming };
                let mut texture = self
                    .canvas
                    .create_texture(texture_format(layout.format), access, size.0, size.1)
                    .map_err(sdl_error("create a texture"))?;
                texture.set_blend_mode(BlendMode::None);
                texture.set_scale_mode(scale_mode(self.filter));
                PictureTexture { texture, layout: *layout, is_target, is_blank: true }
            }
        };
        Ok(picture)
    }

    pub(super) fn set_cursor(&mut self, cursor: Cursor) {
        if cursor == self.cursor {
            return;
        }
        // What is not visible needs no present.
        self.needs_redraw |= cursor.visible || self.cursor.visible;
        let is_same_image = cursor.image == self.cursor.image;
        self.cursor = cursor;
        if is_same_image {
            return;
        }
        if let Some(texture) = self.cursor_texture.take() {
            ffi::destroy(texture, &self.canvas);
        }
        if let Some(image) = &self.cursor.image {
            self.cursor_texture = cursor_texture(&self.canvas, image)
                .inspect_err(|error| log::error!("{error}"))
                .ok();
        }
    }

    /// True if the scanout shows a pointer of its own, so that no other is needed over the picture.
    pub(super) fn shows_pointer(&self) -> bool {
        self.cursor.shown().is_some()
    }

    pub(super) fn set_signal(&mut self, signal: Signal) {
        if self.signal != signal {
            self.signal = signal;
            if signal != Signal::Live {
                // They are others' memory.
                self.imports.clear(&self.canvas);
            }
            self.rates.clear();
            self.set_title();
        }
    }

    pub(super) fn redraw(&mut self) {
        self.needs_redraw = true;
    }

    pub(super) fn needs_present(&self) -> bool {
        self.has_new_pixels || self.needs_redraw
    }

    /// Shows whatever is new. True if there were new pixels among it.
    pub(super) fn present(&mut self) -> bool {
        if !self.needs_present() {
            return false;
        }
        let start = Instant::now();
        if let Err(error) = self.draw().and_then(|()| self.draw_overlay(start)) {
            log::error!("{error}");
        }
        self.canvas.present();
        self.needs_redraw = false;
        if !self.is_shown && !self.is_closed {
            self.is_shown = true;
            self.set_title();
            self.canvas.window_mut().show();
        }
        let is_new = std::mem::take(&mut self.has_new_pixels);
        if is_new {
            self.timing.present = start.elapsed();
            self.timing.presented(start);
        }
        is_new
    }

    fn draw(&mut self) -> Result<(), DisplayError> {
        self.canvas.set_draw_color(Color::BLACK);
        self.canvas.set_clip_rect(None);
        self.canvas.clear();
        let view = self.view();
        let (Some(view), Some(picture)) = (view, &self.picture) else { return Ok(()) };
        let target = sdl_rect(view.place);
        match picture.layout.origin {
            Origin::TopLeft => self.canvas.copy(&picture.texture, None, target),
            Origin::BottomLeft => {
                self.canvas.copy_ex(&picture.texture, None, target, 0.0, None, false, true)
            }
        }
        .map_err(sdl_error("draw a frame"))?;
        if let (Some(image), Some(texture)) = (self.cursor.shown(), &self.cursor_texture) {
            let cursor = (image.width(), image.height(), self.cursor.x, self.cursor.y);
            self.canvas.set_clip_rect(target);
            if let Some(target) = place_cursor(cursor, view.place, view.frame) {
                self.canvas.copy(texture, None, target).map_err(sdl_error("draw a cursor"))?;
            }
            self.canvas.set_clip_rect(None);
        }
        Ok(())
    }

    fn draw_overlay(&mut self, now: Instant) -> Result<(), DisplayError> {
        let Sizes { pixels, units } = self.sizes();
        let Some(overlay) = &mut self.overlay else { return Ok(()) };
        if overlay.is_due(now) {
            let view = format!("{}, {}, {}x{}", self.scaling, self.filter, pixels.0, pixels.1);
            let rates = self.rates.get().unwrap_or_default();
            overlay.write(&self.canvas, &self.timing, rates, &view)?;
        }
        let scale = pixels.0.checked_div(units.0).unwrap_or(1).max(1);
        overlay.draw(&mut self.canvas, scale)
    }

    /// Where the picture is; None if there is none yet.
    pub(super) fn view(&self) -> Option<View> {
        let layout = &self.picture.as_ref()?.layout;
        let frame = (layout.width, layout.height);
        let Sizes { pixels: area, units } = self.sizes();
        Some(View { frame, place: place(self.scaling, frame, area), area, units })
    }

    /// What the window shows but for the overlay, drawn anew: what was presented cannot be read
    /// back.
    pub(super) fn screenshot(&mut self) -> Result<Picture, DisplayError> {
        self.draw()?;
        let (width, height) = self.canvas.output_size().map_err(sdl_error("measure a window"))?;
        let rgb = self
            .canvas
            .read_pixels(None, PixelFormatEnum::RGB24)
            .map_err(sdl_error("read a window"))?;
        // Drawing has used up the buffer that the next present would show.
        self.needs_redraw = true;
        Ok(Picture::from_rgb(width, height, rgb))
    }

    /// Shows the rates, which are changed now and then.
    pub(super) fn show_rates(&mut self, rates: Rates, now: Instant) {
        if self.rates.presented(rates, now) {
            self.set_title();
        }
    }

    /// When there is something to do though nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.rates.deadline().into_iter().chain(self.resizes.deadline()).min()
    }

    /// Shows no rates if nothing is presented any more.
    pub(super) fn expire_rates(&mut self, now: Instant) {
        if self.rates.expire(now) {
            self.set_title();
            self.needs_redraw |= self.overlay.is_some();
        }
    }

    fn set_title(&mut self) {
        let Some(picture) = &self.picture else { return };
        let title = Title {
            name: &self.name,
            signal: self.signal,
            size: (picture.layout.width, picture.layout.height),
            rates: self.rates.get(),
            release: self.release.as_deref(),
        };
        let title = title.text();
        if title != self.title {
            if let Err(error) = self.canvas.window_mut().set_title(&title) {
                log::error!("cannot set a window's title: {error}");
            }
            self.title = title;
        }
    }

    /// Keeps keyboard and pointer to the window, until it is told to `release` them again by the
    /// keys of that name.
    pub(super) fn set_grab(&mut self, release: Option<String>) {
        let window = self.canvas.window_mut();
        window.set_keyboard_grab(release.is_some());
        window.set_mouse_grab(release.is_some());
        self.release = release;
        self.set_title();
    }

    pub(super) fn set_next_scaling(&mut self) {
        self.scaling = self.scaling.next();
        log::info!("{}: scaling {}", self.name, self.scaling);
        self.changed_view();
    }

    pub(super) fn set_next_filter(&mut self) {
        self.filter = self.filter.next();
        log::info!("{}: filter {}", self.name, self.filter);
        if let Some(picture) = &mut self.picture {
            picture.texture.set_scale_mode(scale_mode(self.filter));
        }
        self.changed_view();
    }

    /// Shows the overlay, or hides it.
    pub(super) fn toggle_overlay(&mut self) {
        self.overlay = match self.overlay.take() {
            Some(mut overlay) => {
                overlay.destroy(&self.canvas);
                None
            }
            None => Some(Overlay::default()),
        };
        self.needs_redraw = true;
    }

    fn changed_view(&mut self) {
        // Says so at once.
        if let Some(overlay) = &mut self.overlay {
            overlay.destroy(&self.canvas);
            *overlay = Overlay::default();
        }
        self.needs_redraw = true;
    }

    /// Takes the window from the screen for good.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.canvas.window_mut().hide();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }
}

fn scale_mode(filter: Filter) -> ScaleMode {
    match filter {
        Filter::Linear => ScaleMode::Linear,
        Filter::Nearest => ScaleMode::Nearest,
    }
}

/// The texture format of the same bytes. Alpha is not blended, so formats without it use the ones
/// with it, which every renderer has.
fn texture_format(format: PixelFormat) -> PixelFormatEnum {
    // SDL names formats by the bits of a native integer, DRM by those of a little-endian one.
    const { assert!(cfg!(target_endian = "little")) };
    match format {
        PixelFormat::Xrgb8888 | PixelFormat::Argb8888 => PixelFormatEnum::ARGB8888,
        PixelFormat::Xbgr8888 | PixelFormat::Abgr8888 => PixelFormatEnum::ABGR8888,
        PixelFormat::Bgrx8888 | PixelFormat::Bgra8888 => PixelFormatEnum::BGRA8888,
        PixelFormat::Rgbx8888 | PixelFormat::Rgba8888 => PixelFormatEnum::RGBA8888,
    }
}

fn sdl_rect(rect: Rect) -> sdl2::rect::Rect {
    // All of a window, whose size SDL gave as an int.
    let x = i32::try_from(rect.x).unwrap_or(i32::MAX);
    let y = i32::try_from(rect.y).unwrap_or(i32::MAX);
    sdl2::rect::Rect::new(x, y, rect.width, rect.height)
}

fn sdl_error<E: ToString>(what: &'static str) -> impl Fn(E) -> DisplayError {
    move |reason| DisplayError::Sdl { what, reason: reason.to_string() }
}
