//! How windows are opened, and what draws them.

use std::path::Path;

use sdl2::render::WindowCanvas;
use sdl2::{VideoSubsystem, hint};

use super::{Window, ffi, sdl_error};
use crate::sdl::resize::Size;
use crate::sdl::scale::fit;
use crate::{DisplayError, RendererChoice, SdlOptions};

/// Further windows are so much further right and down, in the window system's units.
const CASCADE: i32 = 32;

/// What draws the windows; decided with the first one.
#[derive(Debug, Clone, Copy)]
pub(in crate::sdl) struct Drawing {
    choice: RendererChoice,
}

/// A window to be opened.
pub(in crate::sdl) struct Request<'a> {
    pub(in crate::sdl) scanout: u32,
    pub(in crate::sdl) name: String,
    /// The frame's size.
    pub(in crate::sdl) frame: Size,
    pub(in crate::sdl) options: &'a SdlOptions,
}

impl Request<'_> {
    /// In the window system's units. On a screen with several pixels a unit, the window that is made
    /// knows better.
    fn size(&self, video: &VideoSubsystem) -> Size {
        self.options.size.unwrap_or_else(|| fit_screen(video, 0, self.frame))
    }

    fn position(&self) -> Option<(i32, i32)> {
        let (x, y) = self.options.position?;
        let step = i32::try_from(self.scanout).unwrap_or(0) * CASCADE;
        Some((x.saturating_add(step), y.saturating_add(step)))
    }
}

impl Drawing {
    pub(in crate::sdl) fn new(choice: RendererChoice, video_driver: &str) -> Drawing {
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

    /// Opens a window whose drawing area has the frame's size, or less if the screen is smaller.
    pub(in crate::sdl) fn open(
        &mut self,
        video: &VideoSubsystem,
        request: Request,
    ) -> Result<Window, DisplayError> {
        if self.choice == RendererChoice::Auto {
            self.choice = match open_canvas(video, &request, RendererChoice::Accelerated) {
                Ok(canvas) if !is_emulated(&canvas) => {
                    self.choice = RendererChoice::Accelerated;
                    return Ok(Window::new(canvas, request));
                }
                Ok(_) | Err(_) => RendererChoice::Software,
            };
        }
        let canvas = open_canvas(video, &request, self.choice)?;
        Ok(Window::new(canvas, request))
    }
}

fn open_canvas(
    video: &VideoSubsystem,
    request: &Request,
    choice: RendererChoice,
) -> Result<WindowCanvas, DisplayError> {
    let (width, height) = request.size(video);
    let mut builder = video.window(&request.name, width, height);
    match request.position() {
        Some((x, y)) => builder.position(x, y),
        None => builder.position_centered(),
    };
    let window = builder
        .resizable()
        // Pixels of frames are pixels of the screen.
        .allow_highdpi()
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

/// `size`, in units, made smaller in proportion if the screen has less.
pub(super) fn fit_screen(video: &VideoSubsystem, screen: i32, size: Size) -> Size {
    let Ok(bounds) = video.display_usable_bounds(screen) else { return size };
    if size.0 <= bounds.width() && size.1 <= bounds.height() {
        return size;
    }
    let fitted = fit(size, (bounds.width(), bounds.height()));
    (fitted.width, fitted.height)
}
