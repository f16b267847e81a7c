//! One scanout's window: its texture, cursor, title and size.

use std::path::Path;
use std::time::{Duration, Instant};

use sdl2::pixels::{Color, PixelFormatEnum};
use sdl2::render::{BlendMode, ScaleMode, Texture, WindowCanvas};
use sdl2::video::{FullscreenType, WindowPos};
use sdl2::{VideoSubsystem, hint};

use super::{ffi, title_state};
use crate::cursor::Cursor;
use crate::{
    CursorImage, DisplayError, Frame, FrameLayout, Origin, Picture, PixelFormat, Rect,
    RendererChoice, Signal,
};

/// Least time between two changes of a title's rate.
const TITLE_PERIOD: Duration = Duration::from_secs(1);

/// After this long without a present the title shows no rate.
const RATE_LIFETIME: Duration = Duration::from_secs(2);

/// What draws the windows; decided with the first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing {
    choice: RendererChoice,
}

impl Drawing {
    pub(super) fn new(choice: RendererChoice, video_driver: &str) -> Drawing {
        // Without a device GL would only be emulated, and loading it takes 100 MB.
        let has_gpu = ["/dev/dri", "/dev/nvidiactl"].iter().any(|path| Path::new(path).exists());
        let is_wayland = video_driver == "wayland";
        if !is_wayland {
            // What SDL draws by software goes to the window by software too.
            hint::set("SDL_FRAMEBUFFER_ACCELERATION", "0");
        }
        let choice = match choice {
            // SDL 2 cannot show anything there but through GL, emulated or not.
            RendererChoice::Auto if is_wayland => RendererChoice::Accelerated,
            RendererChoice::Auto if !has_gpu => RendererChoice::Software,
            choice => choice,
        };
        Drawing { choice }
    }

    /// Opens a window whose drawing area has `size`, or less if the screen is smaller.
    pub(super) fn open(
        &mut self,
        video: &VideoSubsystem,
        name: String,
        size: (u32, u32),
        fullscreen: bool,
    ) -> Result<Window, DisplayError> {
        if self.choice == RendererChoice::Auto {
            self.choice = match open_canvas(video, &name, size, RendererChoice::Accelerated) {
                Ok(canvas) if !is_emulated(&canvas) => {
                    self.choice = RendererChoice::Accelerated;
                    return Ok(Window::new(canvas, name, fullscreen));
                }
                Ok(_) | Err(_) => RendererChoice::Software,
            };
        }
        let canvas = open_canvas(video, &name, size, self.choice)?;
        Ok(Window::new(canvas, name, fullscreen))
    }
}

fn open_canvas(
    video: &VideoSubsystem,
    name: &str,
    size: (u32, u32),
    choice: RendererChoice,
) -> Result<WindowCanvas, DisplayError> {
    let (width, height) = fit_screen(video, 0, size);
    let window = video
        .window(name, width, height)
        .position_centered()
        .resizable()
        // Until there is something to show.
        .hidden()
        .build()
        .map_err(sdl_error("open a window"))?;
    let canvas = match choice {
        RendererChoice::Software => window.into_canvas().software(),
        RendererChoice::Auto | RendererChoice::Accelerated => window.into_canvas().accelerated(),
    };
    // Without vsync: one window would wait for the screen while others have something to show.
    canvas.build().map_err(sdl_error("draw in a window"))
}

/// True if GL has no device and draws on the CPU, slower than SDL does.
fn is_emulated(canvas: &WindowCanvas) -> bool {
    ffi::gl_renderer(canvas).is_some_and(|renderer| {
        let emulated = ["llvmpipe", "softpipe", "swrast", "SwiftShader", "Software Rasterizer"]
            .iter()
            .any(|name| renderer.contains(name));
        log::debug!("GL draws by {renderer}");
        emulated
    })
}

/// `size`, made smaller in proportion if the screen has less.
fn fit_screen(video: &VideoSubsystem, screen: i32, size: (u32, u32)) -> (u32, u32) {
    let Ok(bounds) = video.display_usable_bounds(screen) else { return size };
    if size.0 <= bounds.width() && size.1 <= bounds.height() {
        return size;
    }
    let fitted = fit(size, (bounds.width(), bounds.height()));
    (fitted.width, fitted.height)
}

/// Where a picture goes so that all of it shows, as large as possible, with even borders.
fn fit(picture: (u32, u32), area: (u32, u32)) -> Rect {
    let (picture_width, picture_height) = (u64::from(picture.0), u64::from(picture.1));
    let (area_width, area_height) = (u64::from(area.0), u64::from(area.1));
    let is_wider = picture_width * area_height >= area_width * picture_height;
    let (width, height) = if is_wider {
        (area_width, (picture_height * area_width).checked_div(picture_width).unwrap_or(0))
    } else {
        ((picture_width * area_height).checked_div(picture_height).unwrap_or(0), area_height)
    };
    // At most the area, so it fits u32 again; a very flat picture keeps a visible line.
    let width = u32::try_from(width).unwrap_or(area.0).max(1);
    let height = u32::try_from(height).unwrap_or(area.1).max(1);
    let x = area.0.saturating_sub(width) / 2;
    let y = area.1.saturating_sub(height) / 2;
    Rect { x, y, width, height }
}

/// The pixels of the last latch, in memory order.
struct PictureTexture {
    texture: Texture,
    layout: FrameLayout,
    /// Nothing of it is defined yet.
    is_blank: bool,
}

/// A scanout's window.
pub(super) struct Window {
    canvas: WindowCanvas,
    picture: Option<PictureTexture>,
    cursor: Cursor,
    cursor_texture: Option<Texture>,
    signal: Signal,
    name: String,
    /// What the title says now, after the name.
    title: String,
    title_changed: Option<Instant>,
    rate: Option<f64>,
    rate_expiry: Option<Instant>,
    /// The window does not show the newest pixels.
    has_new_pixels: bool,
    needs_redraw: bool,
    is_shown: bool,
    is_closed: bool,
    fullscreen: bool,
}

impl Window {
    fn new(canvas: WindowCanvas, name: String, fullscreen: bool) -> Window {
        log::info!("{name}: drawing by {}", canvas.info().name);
        let mut window = Window {
            canvas,
            picture: None,
            cursor: Cursor::default(),
            cursor_texture: None,
            signal: Signal::Live,
            name,
            title: String::new(),
            title_changed: None,
            rate: None,
            rate_expiry: None,
            has_new_pixels: false,
            needs_redraw: false,
            is_shown: false,
            is_closed: false,
            fullscreen: false,
        };
        if fullscreen {
            window.toggle_fullscreen();
        }
        window
    }

    pub(super) fn id(&self) -> u32 {
        self.canvas.window().id()
    }

    /// Copies `damage` out of the frame's memory, or everything if it is the first of its kind.
    pub(super) fn latch(&mut self, frame: &Frame, damage: &[Rect]) -> Result<(), DisplayError> {
        let bounds = [frame.layout().bounds()];
        let picture = self.prepare_picture(frame.layout())?;
        let damage = if picture.is_blank { &bounds } else { damage };
        for &rect in damage {
            let rect = frame.in_memory_order(rect);
            ffi::upload(&mut picture.texture, frame, rect).map_err(sdl_error("read a frame"))?;
        }
        picture.is_blank = false;
        self.has_new_pixels = true;
        Ok(())
    }

    /// The texture for frames of this layout. A new size also changes the window's.
    fn prepare_picture(
        &mut self,
        layout: &FrameLayout,
    ) -> Result<&mut PictureTexture, DisplayError> {
        let size = (layout.width, layout.height);
        let known = self.picture.take();
        let known_size = known.as_ref().map(|known| (known.layout.width, known.layout.height));
        let is_fit = known.as_ref().is_some_and(|known| known.layout.format == layout.format);
        let picture = match known {
            Some(known) if known_size == Some(size) && is_fit => {
                PictureTexture { layout: *layout, ..known }
            }
            known => {
                if let Some(known) = known {
                    ffi::destroy(known.texture, &self.canvas);
                }
                if known_size != Some(size) {
                    self.resize(size);
                }
                let mut texture = self
                    .canvas
                    .create_texture_streaming(texture_format(layout.format), size.0, size.1)
                    .map_err(sdl_error("create a texture"))?;
                texture.set_blend_mode(BlendMode::None);
                texture.set_scale_mode(ScaleMode::Linear);
                PictureTexture { texture, layout: *layout, is_blank: true }
            }
        };
        Ok(self.picture.insert(picture))
    }

    /// Gives the window a new mode's size, unless its size is the screen's.
    fn resize(&mut self, size: (u32, u32)) {
        let flags = self.canvas.window().window_flags();
        let maximized = sdl2::sys::SDL_WindowFlags::SDL_WINDOW_MAXIMIZED as u32;
        if self.fullscreen || flags & maximized != 0 {
            return;
        }
        let window = self.canvas.window_mut();
        let screen = window.display_index().unwrap_or(0);
        let (width, height) = fit_screen(window.subsystem(), screen, size);
        if window.size() != (width, height) {
            if let Err(error) = window.set_size(width, height) {
                log::error!("cannot resize a window: {error}");
            }
            // Keeps windows that grow on the screen.
            if !self.is_shown {
                window.set_position(WindowPos::Centered, WindowPos::Centered);
            }
        }
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

    pub(super) fn set_signal(&mut self, signal: Signal) {
        if self.signal != signal {
            self.signal = signal;
            self.rate = None;
            self.rate_expiry = None;
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
        if let Err(error) = self.draw() {
            log::error!("{error}");
        }
        self.canvas.present();
        self.needs_redraw = false;
        if !self.is_shown && !self.is_closed {
            self.is_shown = true;
            self.set_title();
            self.canvas.window_mut().show();
        }
        std::mem::take(&mut self.has_new_pixels)
    }

    fn draw(&mut self) -> Result<(), DisplayError> {
        let area = self.canvas.output_size().map_err(sdl_error("measure a window"))?;
        self.canvas.set_draw_color(Color::BLACK);
        self.canvas.set_clip_rect(None);
        self.canvas.clear();
        let Some(picture) = &self.picture else { return Ok(()) };
        let layout = &picture.layout;
        let place = fit((layout.width, layout.height), area);
        let target = sdl_rect(place);
        match layout.origin {
            Origin::TopLeft => self.canvas.copy(&picture.texture, None, target),
            Origin::BottomLeft => {
                self.canvas.copy_ex(&picture.texture, None, target, 0.0, None, false, true)
            }
        }
        .map_err(sdl_error("draw a frame"))?;
        if let (Some(image), Some(texture)) = (self.cursor.shown(), &self.cursor_texture) {
            let cursor = (image.width(), image.height(), self.cursor.x, self.cursor.y);
            self.canvas.set_clip_rect(target);
            if let Some(target) = place_cursor(cursor, place, (layout.width, layout.height)) {
                self.canvas.copy(texture, None, target).map_err(sdl_error("draw a cursor"))?;
            }
            self.canvas.set_clip_rect(None);
        }
        Ok(())
    }

    /// What the window shows, drawn anew: what was presented cannot be read back.
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

    /// Puts the rate into the title, now and then.
    pub(super) fn show_rate(&mut self, rate: f64, now: Instant) {
        let is_due = self.title_changed.is_none_or(|time| now - time >= TITLE_PERIOD);
        if is_due && rate > 0.0 {
            self.rate = Some(rate);
            self.set_title();
        }
        if self.rate.is_some() {
            self.rate_expiry = Some(now + RATE_LIFETIME);
        }
    }

    /// When the title's rate stops being true.
    pub(super) fn rate_expiry(&self) -> Option<Instant> {
        self.rate_expiry
    }

    /// Takes the rate out of the title if nothing is presented any more.
    pub(super) fn expire_rate(&mut self, now: Instant) {
        if self.rate_expiry.is_some_and(|expiry| now >= expiry) {
            self.rate_expiry = None;
            self.rate = None;
            self.set_title();
        }
    }

    fn set_title(&mut self) {
        let Some(picture) = &self.picture else { return };
        let size = (picture.layout.width, picture.layout.height);
        let title = title_state(self.signal, size, self.rate);
        self.title_changed = Some(Instant::now());
        if title != self.title {
            let whole = format!("{} - {title}", self.name);
            if let Err(error) = self.canvas.window_mut().set_title(&whole) {
                log::error!("cannot set a window's title: {error}");
            }
            self.title = title;
        }
    }

    pub(super) fn toggle_fullscreen(&mut self) {
        let kind = if self.fullscreen { FullscreenType::Off } else { FullscreenType::Desktop };
        match self.canvas.window_mut().set_fullscreen(kind) {
            Ok(()) => {
                self.fullscreen = !self.fullscreen;
                self.needs_redraw = true;
                if let Some(picture) = &self.picture {
                    // The mode may have changed meanwhile.
                    self.resize((picture.layout.width, picture.layout.height));
                }
            }
            Err(error) => log::error!("cannot change to or from full screen: {error}"),
        }
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

/// SDL's software renderer blends straight alpha only, so premultiplied colours are divided.
fn cursor_texture(canvas: &WindowCanvas, image: &CursorImage) -> Result<Texture, DisplayError> {
    let pixels: Vec<[u8; 4]> = image.pixels().iter().map(|&pixel| straight(pixel)).collect();
    let mut texture = canvas
        .create_texture_static(PixelFormatEnum::ARGB8888, image.width(), image.height())
        .map_err(sdl_error("create a cursor"))?;
    texture.set_blend_mode(BlendMode::Blend);
    texture
        .update(None, pixels.as_flattened(), image.width() as usize * 4)
        .map_err(sdl_error("update a cursor"))?;
    Ok(texture)
}

/// B, G, R, A with the colours no longer premultiplied.
fn straight([b, g, r, a]: [u8; 4]) -> [u8; 4] {
    let channel = |value: u8| {
        let value = (u32::from(value) * 255 + u32::from(a) / 2).checked_div(u32::from(a));
        u8::try_from(value.unwrap_or(0)).unwrap_or(u8::MAX)
    };
    [channel(b), channel(g), channel(r), a]
}

/// Where a cursor of (width, height, x, y) goes, given where the picture does. None if that is
/// nowhere near.
fn place_cursor(
    (width, height, x, y): (u32, u32, i32, i32),
    place: Rect,
    picture: (u32, u32),
) -> Option<sdl2::rect::Rect> {
    let edge = |at: i64, start: u32, length: u32, of: u32| {
        let scaled = (at * i64::from(length)).checked_div(i64::from(of))?;
        i32::try_from(i64::from(start) + scaled).ok()
    };
    let span = |at: i32, size: u32, start: u32, length: u32, of: u32| {
        let (first, end) = (i64::from(at), i64::from(at) + i64::from(size));
        if end <= 0 || first >= i64::from(of) {
            return None;
        }
        let first = edge(first, start, length, of)?;
        let end = edge(end, start, length, of)?;
        Some((first, u32::try_from(end - first).ok()?.max(1)))
    };
    let (x, width) = span(x, width, place.x, place.width, picture.0)?;
    let (y, height) = span(y, height, place.y, place.height, picture.1)?;
    Some(sdl2::rect::Rect::new(x, y, width, height))
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

#[cfg(test)]
mod tests;
